//! What a simulated provider listens on, knows and does: the TOML file of `simulate`.
//!
//! ```toml
//! listen  = ["127.0.0.1:9001"]     # several; port 0 = any free one, printed at start
//! api_key = "sk-sim"               # asked for when set: Authorization: Bearer, or api-key
//! models  = ["gpt-4o", "llama*"]   # 404 for others when set; sim/… names are always known
//! seed    = 7                      # of the dice that fail_rate throws
//!
//! [defaults]                       # keys of `keys::KEYS`, `_` or `-` in their names
//! ttft = "20ms"
//! rate = 100
//!
//! [[rule]]                         # the first rule whose model fits; `*` stands for anything
//! model = "llama*"
//! status = 429
//! fail_rate = 5
//!
//! [[provider]]                     # several providers in one process: each has the tables
//! listen = ["127.0.0.1:9002"]      # above of its own and inherits what it does not set
//! ```
//!
//! Invariants
//! - I1 All faults of a file are found at once, each as `file:line:column: …`.
//! - I2 A rule is a whole behaviour: the defaults with the rule's keys on top.

use super::behave::Behaviour;
use super::keys;
use std::net::SocketAddr;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most rules, providers or models in a file.
pub const ENTRIES_MAX: usize = 1_000;

/// One simulated provider.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// The key that it asks for; `None` = nobody is asked.
    pub api_key: Option<String>,
    /// The models that it knows, `*` standing for anything; none = every name.
    pub models: Vec<String>,
    /// Seed of the dice of `fail-rate`.
    pub seed: u64,
    defaults: Behaviour,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    model: String,
    sets: Vec<(String, String)>,
    behaviour: Behaviour,
}

impl Config {
    /// Sets a key of every request's default behaviour.
    ///
    /// # Errors
    /// [`keys::Refused`], as of [`Behaviour::set`].
    pub fn set_default(&mut self, key: &str, value: &str) -> Result<(), keys::Refused> {
        self.defaults.set(key, value)?;
        self.compose()
    }

    /// Puts a rule before the others: models that fit `model` get the defaults with `sets`.
    ///
    /// # Errors
    /// [`keys::Refused`] for the first of `sets` that is no key or value.
    pub fn add_rule(&mut self, model: &str, sets: &[(&str, &str)]) -> Result<(), keys::Refused> {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let rule = Rule {
            model: model.to_owned(),
            sets: sets.iter().map(owned).collect(),
            behaviour: self.defaults,
        };
        self.rules.insert(0, rule);
        self.compose()
    }

    /// The behaviour that defaults and rules give to requests for `model`.
    pub fn behaviour_for(&self, model: &str) -> Behaviour {
        self.rules
            .iter()
            .find(|rule| fits(&rule.model, model))
            .map_or(self.defaults, |rule| rule.behaviour)
    }

    /// Whether `model` is known: no list, on the list, or a `sim/…` name.
    pub fn knows(&self, model: &str) -> bool {
        self.models.is_empty()
            || keys::segments(model).is_some()
            || self.models.iter().any(|pattern| fits(pattern, model))
    }

    fn compose(&mut self) -> Result<(), keys::Refused> {
        for rule in &mut self.rules {
            rule.behaviour = self.defaults;
            for (key, value) in &rule.sets {
                rule.behaviour.set(key, value)?;
            }
        }
        Ok(())
    }
}

/// Reads the file at `path`: its providers, at least one.
///
/// # Errors
/// Every fault as `file:line:column: what is wrong`, one a line.
pub fn load(path: &Path) -> Result<Vec<Config>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&text, &path.display().to_string())
}

/// As [`load`], of a text that is called `name` in faults.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, name: &str) -> Result<Vec<Config>, String> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut read = Read { faults: Vec::new() };
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        read.fault(at, error.message());
    }
    let configs = if read.faults.is_empty() {
        read.file(table.get_ref())
    } else {
        Vec::new()
    };
    if read.faults.is_empty() {
        return Ok(configs);
    }
    read.faults.sort_by_key(|&(at, _)| at);
    let lines: Vec<_> = read
        .faults
        .iter()
        .map(|(at, what)| format!("{name}:{}: {what}", line_and_column(text, *at)))
        .collect();
    Err(lines.join("\n"))
}

struct Read {
    faults: Vec<(usize, String)>,
}

impl Read {
    fn fault(&mut self, at: usize, what: impl Into<String>) {
        self.faults.push((at, what.into()));
    }

    fn file(&mut self, table: &DeTable<'_>) -> Vec<Config> {
        let base = self.provider(table, &Config::default(), true);
        let Some(list) = table.get("provider") else {
            return vec![base];
        };
        let list = self.tables(list).unwrap_or_default();
        list.into_iter()
            .map(|one| self.provider(one, &base, false))
            .collect()
    }

    fn provider(&mut self, table: &DeTable<'_>, base: &Config, is_top: bool) -> Config {
        let mut config = base.clone();
        for (key, value) in table {
            let at = key.span().start;
            match key.get_ref().as_ref() {
                "listen" => config.listen = self.list(value, "an address such as 127.0.0.1:9001"),
                "models" => config.models = self.list(value, "a model name"),
                "api_key" => config.api_key = self.one(value, "a string"),
                "seed" => config.seed = self.one(value, "a whole number").unwrap_or_default(),
                "defaults" => self.behaviour(value, &mut config.defaults),
                "rule" => self.rules(value, &mut config),
                "provider" if is_top => {}
                other => self.fault(
                    at,
                    format!(
                        "there is no '{other}'; listen, api_key, models, seed, defaults, rule and \
                         (at the top) provider are"
                    ),
                ),
            }
        }
        if let Err(refused) = config.compose() {
            self.fault(0, refused.to_string());
        }
        config
    }

    fn rules(&mut self, value: &Spanned<DeValue<'_>>, config: &mut Config) {
        let mut rules = Vec::new();
        for table in self.tables(value).unwrap_or_default() {
            let mut scratch = Behaviour::default();
            let (mut model, mut sets) = (None, Vec::new());
            for (key, value) in table {
                if key.get_ref() == "model" {
                    model = self.one(value, "a model name");
                } else if let Some(pair) = self.key(key, value, &mut scratch) {
                    sets.push(pair);
                }
            }
            match model {
                Some(model) => rules.push(Rule {
                    model,
                    sets,
                    behaviour: scratch,
                }),
                None => self.fault(value.span().start, "a rule needs a model = \"…\""),
            }
        }
        rules.append(&mut config.rules); // what is inherited comes after one's own
        config.rules = rules;
    }

    fn behaviour(&mut self, value: &Spanned<DeValue<'_>>, into: &mut Behaviour) {
        let Some(table) = value.get_ref().as_table() else {
            return self.fault(value.span().start, "a table of keys was expected");
        };
        for (key, value) in table {
            self.key(key, value, into);
        }
    }

    /// Sets one key in `into`, and gives it back as text.
    fn key(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        into: &mut Behaviour,
    ) -> Option<(String, String)> {
        let Some(text) = scalar(value.get_ref()) else {
            self.fault(value.span().start, "a string, number or true was expected");
            return None;
        };
        match into.set(key.get_ref(), &text) {
            Ok(()) => Some((key.get_ref().to_string(), text)),
            Err(refused @ keys::Refused::Key(_)) => {
                self.fault(key.span().start, refused.to_string());
                None
            }
            Err(refused) => {
                self.fault(value.span().start, refused.to_string());
                None
            }
        }
    }

    fn one<T: std::str::FromStr>(&mut self, value: &Spanned<DeValue<'_>>, form: &str) -> Option<T> {
        let read = scalar(value.get_ref()).and_then(|text| text.parse().ok());
        if read.is_none() {
            self.fault(value.span().start, format!("{form} was expected"));
        }
        read
    }

    fn list<T: std::str::FromStr>(&mut self, value: &Spanned<DeValue<'_>>, form: &str) -> Vec<T> {
        let Some(list) = value.get_ref().as_array() else {
            return self.one(value, form).into_iter().collect();
        };
        if list.len() > ENTRIES_MAX {
            self.fault(
                value.span().start,
                format!("more than {ENTRIES_MAX} entries"),
            );
            return Vec::new();
        }
        list.iter()
            .filter_map(|one| self.one(one, &format!("a list of {form}")))
            .collect()
    }

    fn tables<'a, 'i>(&mut self, value: &'a Spanned<DeValue<'i>>) -> Option<Vec<&'a DeTable<'i>>> {
        let tables: Option<Vec<_>> = value
            .get_ref()
            .as_array()
            .filter(|list| list.len() <= ENTRIES_MAX)
            .and_then(|list| list.iter().map(|one| one.get_ref().as_table()).collect());
        if tables.is_none() {
            self.fault(
                value.span().start,
                format!("tables in double brackets, at most {ENTRIES_MAX}, were expected"),
            );
        }
        tables
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(is) => Some(is.to_string()),
        _ => None,
    }
}

fn line_and_column(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default();
    format!("{line}:{}", column.chars().count() + 1)
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    // Tries every place where the rest may start; a pattern is an operator's, and short.
    (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| fits(rest, tail)))
}

#[cfg(test)]
mod tests {
    use super::super::behave::Fate;
    use super::*;
    use std::time::Duration;

    /// Goal: I2 and inheritance. Method: a file with everything in it.
    #[test]
    fn providers_inherit_what_they_do_not_set() {
        let text = r#"
            listen = "127.0.0.1:9001"
            models = ["gpt-4o", "llama*"]
            [defaults]
            ttft = "20ms"
            [[rule]]
            model = "llama*"
            status = 429
            fail_rate = 2.5
            [[provider]]
            api_key = "k"
            [[provider]]
            listen = ["127.0.0.1:9002", "[::1]:0"]
            defaults = { events = 3 }
            rule = [{ model = "llama-70b", cut = true }]
        "#;
        let both = parse(text, "sim.toml").unwrap();
        let [one, two] = &both[..] else { panic!() };
        assert_eq!(one.listen, ["127.0.0.1:9001".parse().unwrap()]);
        assert_eq!(one.api_key.as_deref(), Some("k"));
        assert_eq!(two.listen.len(), 2);
        let llama = two.behaviour_for("llama-8b");
        assert_eq!((llama.fate, llama.events), (Fate::Status(429), 3));
        assert_eq!(llama.ttft, Duration::from_millis(20));
        assert_eq!(llama.fail_ppm, Some(25_000));
        assert_eq!(two.behaviour_for("llama-70b").fate, Fate::Cut(None));
        assert_eq!(
            one.behaviour_for("llama-70b").fate,
            Fate::Status(429),
            "one provider's rules are not another's"
        );
        assert_eq!(one.behaviour_for("gpt-4o").events, 16);
        assert!(one.knows("llama-8b") && one.knows("sim/cut") && !one.knows("gpt-4"));
    }

    /// Goal: I1.
    #[test]
    fn every_fault_of_a_file_is_placed() {
        let text = "listen = [\"nowhere\"]\nlisen = 1\n[defaults]\n  ttft = 50\nfoo = 1\n[[rule]]\ncut = 1\n";
        let faults = parse(text, "f.toml").unwrap_err();
        let lines: Vec<_> = faults.lines().collect();
        assert_eq!(lines.len(), 5, "{faults}");
        assert!(lines[0].starts_with("f.toml:1:11: a list of an address"));
        assert!(lines[1].starts_with("f.toml:2:1: there is no 'lisen'"));
        assert!(lines[2].starts_with("f.toml:4:10: 'ttft' takes TIME; '50' came"));
        assert!(lines[3].starts_with("f.toml:5:1: there is no key 'foo'"));
        assert!(lines[4].contains("a rule needs a model"));
        assert!(
            parse("a = = 1", "f.toml")
                .unwrap_err()
                .starts_with("f.toml:1:")
        );
    }

    /// Goal: `*` stands for any run, at every place of a pattern.
    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, want) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("*b", "aab", true),
            ("a*c*", "abcd", true),
            ("a*c", "abcd", false),
            ("*", "", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(fits(pattern, name), want, "{pattern} {name}");
        }
    }

    /// Goal: flags reach under the rules.
    #[test]
    fn a_later_default_reaches_into_rules() {
        let mut config = Config::default();
        config.add_rule("m", &[("cut", "5")]).unwrap();
        config.set_default("events", "9").unwrap();
        let behaviour = config.behaviour_for("m");
        assert_eq!((behaviour.events, behaviour.fate), (9, Fate::Cut(Some(5))));
    }
}
