//! From one model to the next: after which failures, and to whom.

use super::tests::Table;
use super::*;
use crate::config::{FixedSecrets, check};
use crate::policy::wishes::Wished;
use proptest::prelude::*;
use std::fmt::Write as _;

/// `m` with targets of 8k, 16k, an unknown window and 32k, and the fallbacks `small` (8k), `large`
/// (64k), `unknown`; by what `on` lists.
fn config(on: &str) -> Config {
    let target = |name: &str, context: u32| match context {
        0 => format!("{{ provider = \"p\", model = \"{name}\" }}"),
        _ => format!(
            "{{ provider = \"p\", model = \"{name}\", abilities = {{ context = {context} }} }}"
        ),
    };
    let own = [("t8", 8), ("t16", 16), ("t0", 0), ("t32", 32)].map(|(name, k)| target(name, k));
    let mut text = format!(
        "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
         [models.m]\nstrategy = \"priority\"\ntargets = [{}]\nfallback_on = [{on}]\n\
         fallbacks = [\"small\", \"large\", \"unknown\"]\n",
        own.join(", ")
    );
    for (name, context) in [("small", 8), ("large", 64), ("unknown", 0)] {
        let target = target(name, context);
        writeln!(text, "[models.{name}]\ntargets = [{target}]").unwrap();
    }
    check(&text, &FixedSecrets::default()).unwrap().config
}

/// Who is asked when the attempts fail for these reasons, the last one again and again.
fn walk(config: &Config, reasons: &[Reason]) -> Vec<String> {
    walk_with(config, reasons, None)
}

fn walk_with(config: &Config, reasons: &[Reason], wished: Option<&[Wished]>) -> Vec<String> {
    let found = config.find("m").unwrap();
    let (mut plan, mut table) = (Plan::new(&found, 8), Table::new(config));
    table.wished = wished.map(<[_]>::to_vec);
    let mut rotations = Rotations::new(config, 0);
    let (mut names, mut reasons) = (Vec::new(), reasons.iter().copied());
    let mut reason = None;
    while let Some(step) = table.next(&mut plan, config, &mut rotations, &found) {
        let target = &step.model.targets[step.target_index];
        names.push(target.model.clone().unwrap());
        reason = reasons.next().or(reason);
        plan.fail(reason.unwrap(), target.window("m"));
        assert_eq!(plan.reason(), reason);
    }
    names
}

const OWN: [&str; 4] = ["t8", "t16", "t0", "t32"];

/// Goal: another model is asked only after what is listed, whatever came in between; other targets
/// of the same model after everything.
#[test]
fn only_what_is_listed_leads_to_another_model() {
    use Reason::{Error, RateLimit, Timeout};
    let fallbacks = ["small", "large", "unknown"];
    let all = [&OWN[..], &fallbacks].concat();
    for (on, reasons, goes_on) in [
        ("\"error\"", &[Error][..], true),
        ("\"error\"", &[Timeout], false),
        ("\"timeout\", \"rate_limit\"", &[Error], false),
        (
            "\"timeout\", \"rate_limit\"",
            &[Error, RateLimit, Error],
            true,
        ),
        ("\"timeout\"", &[Error, Error, Error, Timeout], true),
        ("\"context_length\", \"content_policy\"", &[Error], false),
        ("", &[Error, Timeout, RateLimit], false),
    ] {
        let got = walk(&config(on), reasons);
        assert_eq!(
            got,
            if goes_on { &all[..] } else { &OWN },
            "{on} {reasons:?}"
        );
    }
}

/// Goal: a prompt that was too long goes to targets of the model that take more for certain, and
/// to other models that may take more; never where as much or less fits.
#[test]
fn a_prompt_that_is_too_long_goes_where_it_may_fit() {
    use Reason::{ContextLength, Error};
    let listed = config("\"error\", \"context_length\"");
    let all = walk(&listed, &[ContextLength]);
    assert_eq!(all, ["t8", "t16", "t32", "large", "unknown"]);
    // Of one that failed otherwise nothing is known.
    let some = walk(&listed, &[Error, ContextLength]);
    assert_eq!(some, ["t8", "t16", "t32", "large", "unknown"]);
    // Who refused may be larger than all that is known: another model may take it all the same.
    let unknown = walk(&listed, &[Error, Error, ContextLength]);
    let want = ["t8", "t16", "t0", "small", "large", "unknown"];
    assert_eq!(unknown, want);
    let not_listed = config("\"error\", \"timeout\"");
    assert_eq!(walk(&not_listed, &[ContextLength]), ["t8", "t16", "t32"]);
    assert_eq!(
        walk(&not_listed, &[Error, ContextLength]),
        ["t8", "t16", "t32"]
    );
}

/// Goal: what was refused for its content goes to other models at once, if the operator says so.
#[test]
fn a_refusal_for_content_goes_to_another_model_or_to_nobody() {
    use Reason::{ContentPolicy, Error};
    let listed = config("\"content_policy\"");
    assert_eq!(
        walk(&listed, &[ContentPolicy]),
        ["t8", "small", "large", "unknown"]
    );
    assert_eq!(
        walk(&listed, &[Error, ContentPolicy]),
        ["t8", "t16", "small", "large", "unknown"]
    );
    let not_listed = config("\"error\"");
    assert_eq!(walk(&not_listed, &[ContentPolicy]), ["t8"]);
    assert_eq!(walk(&not_listed, &[Error, ContentPolicy]), ["t8", "t16"]);
}

/// Goal: targets that are out lead to another model when an outage of any kind may.
#[test]
fn breakers_lead_to_another_model_where_an_outage_may() {
    for (on, want) in [
        ("\"rate_limit\"", "small"),
        ("\"error\"", "small"),
        ("\"context_length\", \"content_policy\"", "own"), // one of its own, by lot
        ("", "own"),
    ] {
        let config = config(on);
        let found = config.find("m").unwrap();
        let mut table = Table::new(&config);
        for place in 0..OWN.len() {
            table.open((0, place), 1 + place as u64);
        }
        let (mut plan, mut rotations) = (Plan::new(&found, 8), Rotations::new(&config, 0));
        let step = table.next(&mut plan, &config, &mut rotations, &found);
        let asked = step.unwrap().upstream_model;
        assert!(
            asked == want || want == "own" && OWN.contains(&asked),
            "{on}: {asked}"
        );
    }
}

/// Goal: the request's own list takes the place of the model's, in its order, and what is
/// forwarded for names that the configuration does not have is told by the turn.
#[test]
fn a_list_of_the_request_takes_the_place_of_the_models() {
    let config = config("\"error\"");
    let wished = |name: &str| {
        let (model, forwarded) = config.find_named(name).unwrap();
        Wished {
            model,
            forwarded: forwarded.into(),
        }
    };
    let list = [wished("unknown"), wished("small")];
    let got = walk_with(&config, &[Reason::Error], Some(&list));
    assert_eq!(got, [&OWN[..], &["unknown", "small"]].concat());
    assert_eq!(walk_with(&config, &[Reason::Error], Some(&[])), OWN);
    let never = self::config("");
    assert_eq!(walk_with(&never, &[Reason::Error], Some(&list)), OWN);
    let found = config.find("m").unwrap();
    let (mut plan, mut table) = (Plan::new(&found, 8), Table::new(&config));
    table.wished = Some(vec![wished("p/direct")]);
    let mut rotations = Rotations::new(&config, 0);
    plan.fail(Reason::Error, None);
    let mut end = None;
    while let Some(step) = table.next(&mut plan, &config, &mut rotations, &found) {
        end = Some((step.fallback, step.upstream_model, plan.last_turn()));
    }
    assert_eq!(end, Some((Some("p/*"), "", 1)));
}

proptest! {
    /// Goal: whatever attempts fail of, no target is asked twice, none after a refusal for content
    /// that is not listed, and none that is known to take no more than one that took too little.
    #[test]
    fn no_walk_asks_whom_it_need_not(
        reasons in proptest::collection::vec(proptest::sample::select(Reason::ALL.to_vec()), 8),
        listed in 0..32_u8,
    ) {
        let on: Vec<_> = Reason::ALL.into_iter().filter(|one| listed >> (*one as u8) & 1 == 1)
            .map(|one| format!("{:?}", one.name())).collect();
        let config = config(&on.join(", "));
        let got = walk(&config, &reasons);
        let window = |name: &str| match name {
            "t8" | "small" => Some(8),
            "t16" => Some(16),
            "t32" => Some(32),
            "large" => Some(64),
            _ => None,
        };
        let is_own = |name: &str| OWN.contains(&name);
        let mut least = 0;
        for (at, name) in got.iter().enumerate() {
            prop_assert!(!got[..at].contains(name));
            prop_assert!(window(name).is_none_or(|window| window > least), "{got:?} {reasons:?}");
            if !is_own(name) {
                let is_listed = |reason: &Reason| on.contains(&format!("{:?}", reason.name()));
                prop_assert!(reasons[..at].iter().any(is_listed));
            }
            match reasons[at] {
                Reason::ContextLength => least = least.max(window(name).unwrap_or(0)),
                Reason::ContentPolicy => {
                    let next = got.get(at + 1);
                    prop_assert!(next.is_none_or(|next| !is_own(next)));
                    let is_listed = on.contains(&"\"content_policy\"".to_owned());
                    prop_assert!(is_listed || next.is_none());
                }
                _ => {}
            }
        }
    }
}
