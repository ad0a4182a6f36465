//! What a request wants for itself: other fallbacks, less time, fewer attempts.
//!
//! ```text
//!   x-shardgate-timeout, x-litellm-timeout          ┐
//!   x-shardgate-first-token-timeout                 ├─► Wishes ─► the tighter of wish and file
//!   x-shardgate-attempts, x-litellm-num-retries     ┘
//!   x-shardgate-fallbacks, else "fallbacks": [ … ]  ──► names ─► models that the key may use
//! ```
//!
//! Invariants
//! - V1 A wish only ever tightens what the file says; the list of fallbacks takes the place of the
//!   model's own.
//! - V2 A wish that cannot be understood is refused, with what would be right; none is ignored.
//!
//! Source: the proxy of `LiteLLM`, "Request headers"; product headers in the README.

use super::auth;
use crate::base::fault::Kind;
use crate::config::Config;
use crate::config::model::defaults::FALLBACKS_MAX;
use crate::wire::http1::may_be_wish;
use std::time::Duration;

/// The names of the fields with fallbacks, in the head and in the body.
const FALLBACKS: &str = "x-shardgate-fallbacks";
/// See [`FALLBACKS`].
pub const BODY_FIELD: &str = "fallbacks";

/// The longest time that means anything.
const TIME_MAX: Duration = Duration::from_secs(86_400);

/// A model that a request names as a fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wished {
    /// Index into [`Config::models`].
    pub model: usize,
    /// The name that goes upstream for a target without a `model` of its own.
    pub forwarded: Box<str>,
}

impl Wished {
    /// `forwarded`, where the configuration has it as a name; else empty.
    pub fn name<'a>(&self, config: &'a Config) -> &'a str {
        let model = config.models.get(self.model);
        let same = model.filter(|model| *model.name == *self.forwarded);
        same.map_or("", |model| &model.name)
    }
}

/// What a request wants for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// One deadline over all attempts.
    pub timeout: Option<Duration>,
    /// Until the first content of a stream.
    pub first_token: Option<Duration>,
    /// How many attempts.
    pub attempts: Option<usize>,
    /// The names of the fallbacks in the head; empty for `none`.
    pub names: Option<Vec<String>>,
    /// The fallbacks, once their names were looked up.
    pub fallbacks: Option<Box<[Wished]>>,
    /// The name that the asked model forwards ([`Wishes::forwarded`]).
    pub asked: Box<str>,
}

/// Why a wish is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// As what.
    pub kind: Kind,
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with it, or what it must be: goes on from the field's name.
    pub why: String,
}

impl Bad {
    fn value(field: &'static str, why: &str) -> Self {
        let why = why.to_owned();
        Self {
            kind: Kind::BadAsk,
            field,
            why,
        }
    }

    /// The body's field is not a list as it should be.
    pub fn list() -> Self {
        Self::value(
            BODY_FIELD,
            "must be a list of at most 8 names of models, or of objects with 'model'",
        )
    }
}

impl Wishes {
    /// What the fields of a head wish for.
    ///
    /// # Errors
    /// V2.
    pub fn read<'b>(fields: impl Iterator<Item = (&'b [u8], &'b [u8])>) -> Result<Self, Bad> {
        let mut wishes = Self::default();
        for (name, value) in fields.filter(|(name, _)| may_be_wish(name)) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let value = std::str::from_utf8(value).unwrap_or_default();
            for known in ["x-shardgate-timeout", "x-litellm-timeout"] {
                if is(known) {
                    tighten(&mut wishes.timeout, time(known, value)?);
                }
            }
            let known = "x-shardgate-first-token-timeout";
            if is(known) {
                tighten(&mut wishes.first_token, time(known, value)?);
            }
            let known = "x-shardgate-attempts";
            if is(known) {
                let attempts = number(value).filter(|attempts| *attempts > 0);
                let why = "must be a whole number of at least 1";
                let attempts = attempts.ok_or_else(|| Bad::value(known, why))?;
                tighten(&mut wishes.attempts, attempts);
            }
            let known = "x-litellm-num-retries";
            if is(known) {
                let why = "must be a whole number";
                let retries = number(value).ok_or_else(|| Bad::value(known, why))?;
                tighten(&mut wishes.attempts, retries.saturating_add(1));
            }
            if is(FALLBACKS) {
                let names = wishes.names.get_or_insert_default();
                names.extend(listed(value)?);
            }
        }
        Ok(wishes)
    }

    /// Looks the fallbacks up: those of the head, else `in_body`. Without both the model at index
    /// `own`, which the client asked for as `asked`, has its own. What the client's `key` may not
    /// use is refused; the asked model itself and what occurs twice is passed over.
    ///
    /// # Errors
    /// [`Kind::NoSuchModel`], [`Kind::ModelForbidden`], [`Kind::BadAsk`]: too many.
    pub fn find(
        &mut self,
        in_body: Option<Vec<String>>,
        config: &Config,
        key: Option<usize>,
        (own, asked): (usize, &str),
    ) -> Result<(), Bad> {
        let from_head = self.names.take().map(|names| (FALLBACKS, names));
        let from_body = in_body.map(|names| (BODY_FIELD, names));
        let Some((field, names)) = from_head.or(from_body) else {
            return Ok(());
        };
        if names.len() > FALLBACKS_MAX {
            return Err(Bad::value(field, "must name at most 8 models"));
        }
        let mut all: Vec<Wished> = Vec::with_capacity(names.len());
        for name in &names {
            let why = |what| format!("names {:?}, which {what}", shown(name));
            let bad = |kind, what| Bad {
                kind,
                field,
                why: why(what),
            };
            let (model, forwarded) = config
                .find_named(name)
                .ok_or_else(|| bad(Kind::NoSuchModel, "is no model of this gateway"))?;
            auth::permit(&config.keys, key, name)
                .map_err(|kind| bad(kind, "this API key may not use"))?;
            let wished = Wished {
                model,
                forwarded: forwarded.into(),
            };
            if name != asked && (model != own || is_implicit(config, own)) && !all.contains(&wished)
            {
                all.push(wished);
            }
        }
        self.fallbacks = Some(all.into());
        Ok(())
    }

    /// What targets without a name of their own are asked for when it is the turn `turn` of a
    /// plan ([`super::plan::Plan::last_turn`]); `None`: what the step says.
    pub fn forwarded(&self, turn: usize) -> Option<&str> {
        let wished = self.fallbacks.as_ref()?;
        match turn.checked_sub(1) {
            None => Some(&self.asked),
            Some(at) => wished.get(at).map(|wished| &*wished.forwarded),
        }
    }
}

/// Whether the model at `index` stands for every name of a provider.
fn is_implicit(config: &Config, index: usize) -> bool {
    index >= config.written().len()
}

/// What of a name is told back.
fn shown(name: &str) -> &str {
    let end = name.char_indices().nth(64).map_or(name.len(), |(at, _)| at);
    name.get(..end).unwrap_or_default()
}

/// V1.
fn tighten<T: Ord + Copy>(slot: &mut Option<T>, wish: T) {
    *slot = Some(slot.map_or(wish, |before| before.min(wish)));
}

/// Digits alone; what is larger than any number counts as the largest.
fn number(value: &str) -> Option<usize> {
    let are_digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| value.parse().unwrap_or(usize::MAX))
}

/// Seconds, with or without a fraction, or a number with its unit.
fn time(field: &'static str, value: &str) -> Result<Duration, Bad> {
    const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut units = UNITS.iter();
    let (text, unit) = units
        .find_map(|(unit, seconds)| Some((value.strip_suffix(unit)?, *seconds)))
        .unwrap_or((value, 1.0));
    let is_plain = text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = text.parse::<f64>().ok().filter(|_| is_plain);
    let time = seconds.map(|seconds| (seconds * unit).min(TIME_MAX.as_secs_f64()));
    let time = time.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let why = "must be seconds, such as 30, or a duration, such as 250ms, 2s or 10m";
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| Bad::value(field, why))
}

/// The names of a comma list; none for `none`.
fn listed(value: &str) -> Result<Vec<String>, Bad> {
    let names: Vec<_> = value.split(',').map(str::trim).collect();
    if names == ["none"] {
        return Ok(Vec::new());
    }
    let is_good = names.iter().all(|name| !name.is_empty());
    let why = "must list names of models with commas between them, or be none";
    is_good
        .then(|| names.into_iter().map(str::to_owned).collect())
        .ok_or_else(|| Bad::value(FALLBACKS, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FixedSecrets, check};
    use proptest::prelude::*;

    fn read(fields: &[(&str, &str)]) -> Result<Wishes, Bad> {
        let fields = fields.iter();
        Wishes::read(fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    /// Goal: V1, V2 for times and numbers, in any spelling of the names.
    #[test]
    fn times_and_numbers_are_read_or_refused() {
        let ms = Duration::from_millis;
        for (text, want) in [
            ("30", Some(ms(30_000))),
            ("0.25", Some(ms(250))),
            ("250ms", Some(ms(250))),
            ("2s", Some(ms(2_000))),
            ("10m", Some(ms(600_000))),
            ("1h", Some(ms(3_600_000))),
            ("999999999h", Some(TIME_MAX)),
            ("0", None),
            ("0ms", None),
            ("-1", None),
            ("", None),
            ("soon", None),
            ("1e3", None),
            (".5", None),
            ("1 s", None),
            ("1.2.3", None),
            ("inf", None),
        ] {
            for name in ["X-Shardgate-Timeout", "x-litellm-timeout"] {
                let got = read(&[(name, text)]).ok().and_then(|wishes| wishes.timeout);
                assert_eq!(got, want, "{text:?}");
            }
            let name = "x-shardgate-first-token-timeout";
            let got = read(&[(name, text)]);
            assert_eq!(got.ok().and_then(|it| it.first_token), want, "{text:?}");
        }
        for (name, text, want) in [
            ("x-shardgate-attempts", "1", Some(1)),
            (
                "x-shardgate-attempts",
                "99999999999999999999",
                Some(usize::MAX),
            ),
            ("x-shardgate-attempts", "0", None),
            ("x-shardgate-attempts", "1.5", None),
            ("x-litellm-num-retries", "0", Some(1)),
            ("x-litellm-num-retries", "3", Some(4)),
            ("x-litellm-num-retries", "-1", None),
            ("x-litellm-num-retries", "", None),
        ] {
            let got = read(&[(name, text)]);
            assert_eq!(got.is_ok(), want.is_some(), "{name}: {text}");
            assert_eq!(got.ok().and_then(|it| it.attempts), want, "{name}: {text}");
        }
        let both = read(&[("x-shardgate-timeout", "9"), ("x-litellm-timeout", "2")]);
        assert_eq!(both.unwrap().timeout, Some(ms(2_000)));
        let others = [
            ("x-shardgate-session", "a"),
            ("x-other", "b"),
            ("x-litellm-tags", "c"),
        ];
        assert_eq!(read(&others), Ok(Wishes::default()));
    }

    const CONFIG: &str = "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
        [models.m]\ntargets = [{ provider = \"p\", model = \"t\" }]\n\
        [models.f]\ntargets = [{ provider = \"p\" }]\n\
        [models.g]\ntargets = [{ provider = \"p\" }]\n\
        [models.\"*\"]\ntargets = [{ provider = \"p\" }]\n\
        [[keys]]\nname = \"k\"\nsecret = { env = \"K\" }\nmodels = [\"m\", \"f\", \"p/a\", \"n\"]\n";

    fn config() -> Config {
        check(CONFIG, &FixedSecrets(&[("K", "sk-k")]))
            .unwrap()
            .config
    }

    fn find(config: &Config, head: Option<&str>, body: Option<&[&str]>) -> Result<Wishes, Bad> {
        let head = head.map(|list| ("x-shardgate-fallbacks", list));
        let mut wishes = read(head.as_slice())?;
        wishes.asked = "m".into();
        let body = body.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        wishes.find(body, config, Some(0), (0, "m"))?;
        Ok(wishes)
    }

    fn names(wishes: &Wishes) -> Option<Vec<&str>> {
        let fallbacks = wishes.fallbacks.as_ref()?;
        Some(fallbacks.iter().map(|wished| &*wished.forwarded).collect())
    }

    /// Goal: names of models that the key may use are found, in order; the asked model itself and
    /// repetitions are passed over; everything else is refused by its name.
    #[test]
    fn names_lead_to_models_or_are_refused() {
        let config = config();
        for (head, body, want) in [
            (None, None, None),
            (Some("none"), None, Some(vec![])),
            (None, Some(&[][..]), Some(vec![])),
            (Some("p/a , f"), None, Some(vec!["a", "f"])),
            (None, Some(&["f", "m", "f"][..]), Some(vec!["f"])),
            (Some("none"), Some(&["f"][..]), Some(vec![])),
        ] {
            let found = find(&config, head, body).unwrap();
            assert_eq!(names(&found), want, "{head:?} {body:?}");
        }
        for (list, kind) in [
            ("n", Kind::NoSuchModel), // `*` is for what is asked, not for slips in a list
            ("p/b", Kind::ModelForbidden),
            ("g", Kind::ModelForbidden),
            ("f,,f", Kind::BadAsk),
            ("", Kind::BadAsk),
            ("none, f", Kind::NoSuchModel),
            ("f,f,f,f,f,f,f,f,f", Kind::BadAsk),
        ] {
            let bad = find(&config, Some(list), None).unwrap_err();
            assert_eq!((bad.kind, bad.field), (kind, FALLBACKS), "{list}");
        }
        let bad = find(&config, None, Some(&["x"])).unwrap_err();
        let why = "names \"x\", which is no model of this gateway";
        assert_eq!((bad.field, &*bad.why), (BODY_FIELD, why));
    }

    /// Goal: what is forwarded for each turn.
    #[test]
    fn each_turn_has_its_name() {
        let config = config();
        let found = find(&config, Some("p/a, f"), None).unwrap();
        let turns: Vec<_> = (0..4).map(|turn| found.forwarded(turn)).collect();
        assert_eq!(turns, [Some("m"), Some("a"), Some("f"), None]);
        let fallbacks = found.fallbacks.unwrap();
        let in_config: Vec<_> = fallbacks.iter().map(|it| it.name(&config)).collect();
        assert_eq!(in_config, ["", "f"]);
        assert_eq!(Wishes::default().forwarded(1), None);
    }

    proptest! {
        /// Goal: no value is a panic, and what is read is in range.
        #[test]
        fn any_value_is_read_or_refused(name in 0..5_usize, value in ".{0,24}") {
            let names = ["x-shardgate-timeout", "x-litellm-num-retries", FALLBACKS,
                "x-shardgate-attempts", "x-shardgate-first-token-timeout"];
            if let Ok(wishes) = read(&[(names[name], &value)]) {
                prop_assert!(wishes.attempts.is_none_or(|attempts| attempts > 0));
                prop_assert!(wishes.timeout.is_none_or(|time| !time.is_zero() && time <= TIME_MAX));
            }
        }
    }
}
