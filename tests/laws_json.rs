//! Laws of the JSON scanner and of the OpenAI dialect's readers and cutters, on the corpus,
//! on recorded answers and on random input.
//!
//! The corpora are found by the variable `SHARDGATE_SHARED`, else next to the repository;
//! the tests that need them fail without them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, its helpers included"
)]

mod suites;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shardgate::base::fault::Kind;
use shardgate::dialect::ask::{Ask, ask};
use shardgate::dialect::openai::answer::{Shape, answer};
use shardgate::dialect::openai::chunk::look;
use shardgate::dialect::route::Route;
use shardgate::wire::json::scan::{BOM, DEPTH_MAX, object, validate};
use shardgate::wire::json::{JsonFault, scan};
use shardgate::wire::sse::frame;
use std::fmt::Write as _;
use std::path::Path;
use suites::shared;

const MODEL: &str = "small-1";

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    for found in memchr::memmem::find_iter(text, from) {
        out.extend_from_slice(&text[at..found]);
        out.extend_from_slice(to);
        at = found + from.len();
    }
    out.extend_from_slice(&text[at..]);
    out
}

fn concat(ask: &Ask, body: &[u8], model: Option<&str>, usage: bool) -> Vec<u8> {
    let pieces = ask.pieces(body, model, usage);
    let out = pieces.iter().collect::<Vec<_>>().concat();
    assert_eq!(out.len(), pieces.len());
    out
}

/// The body of a corpus case, rendered as its manifest says.
fn render(case: &Value, raw: &[u8]) -> Vec<u8> {
    if let Some(big) = case["generate"].as_str() {
        let size: usize = big.split_once(':').unwrap().1.parse().unwrap();
        let filler = "x".repeat(size - 80);
        return format!(
            r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"{filler}"}}]}}"#
        )
        .into_bytes();
    }
    if case["render"] == "escape" {
        let escape = |text: &str| {
            text.bytes().fold(String::new(), |mut out, b| {
                write!(out, "\\u{b:04x}").unwrap();
                out
            })
        };
        return replace(raw, escape("@M@").as_bytes(), escape(MODEL).as_bytes());
    }
    replace(raw, b"@M@", MODEL.as_bytes())
}

/// What must hold for a body that was accepted, beyond being accepted.
fn check_accepted(name: &str, case: &Value, body: &[u8], ask: &Ask) {
    assert_eq!(ask.model(body, b"", &mut Vec::new()), Some(MODEL), "{name}");
    if !case["generate"].is_null() {
        return; // 100 MB of one letter: to be accepted in linear time says enough
    }
    let unchanged = concat(ask, body, None, false);
    assert_eq!(unchanged, body.strip_prefix(BOM).unwrap_or(body), "{name}");
    let out = concat(ask, body, Some("upstream/name"), true);
    assert_eq!(validate(&out), Ok(()), "{name}");
    let again = ask_chat(&out).unwrap();
    assert_eq!(
        again.model(&out, b"", &mut Vec::new()),
        Some("upstream/name")
    );
    assert!(again.wants_usage, "{name}");
    for kept in case["verbatim"].as_array().into_iter().flatten() {
        let kept = kept.as_str().unwrap().as_bytes();
        assert!(memchr::memmem::find(&out, kept).is_some(), "{name}");
    }
}

fn ask_chat(body: &[u8]) -> Result<Ask, Kind> {
    ask(Route::Chat, body)
}

fn judge(name: &str, case: &Value, body: &[u8], expect: &str, wrong: &mut Vec<String>) {
    let got = ask_chat(body);
    match (&got, expect) {
        (Err(kind), "accept") => wrong.push(format!("{name}: {kind:?}, want accept")),
        (Ok(_), "reject") => wrong.push(format!("{name}: accepted, want reject")),
        (Err(kind), _) => assert_eq!(kind.status(), 400, "{name}"),
        (Ok(ask), _) => check_accepted(name, case, body, ask),
    }
}

/// Goal: the corpus of 438 bodies is judged as its manifest says. Method: render each like
/// the corpus's own runner, ask without a socket; whatever is accepted must also survive
/// being cut. Content types and codings are the exchange's business and not judged here.
#[test]
fn the_corpus_is_judged_as_its_manifest_says() {
    let folder = shared("reliability/corpus/json");
    let manifest = read_json(&folder.join("manifest.json"));
    let cases = manifest["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 438);
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["file"].as_str().unwrap();
        let expect = case["expect"].as_str().unwrap();
        let raw = std::fs::read(folder.join(name)).unwrap();
        if case["wrap"] == true {
            let head = format!(
                r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"hi"}}],"metadata":"#
            );
            let body = [head.as_bytes(), &raw, b"}"].concat();
            judge(&format!("wrapped {name}"), case, &body, expect, &mut wrong);
            let alone = if name.starts_with("nst/i_") {
                "either"
            } else {
                "reject"
            };
            judge(&format!("raw {name}"), case, &raw, alone, &mut wrong);
            let valid = validate(&raw).is_ok();
            assert!(
                expect == "either" || valid == (expect == "accept"),
                "{name}"
            );
        } else {
            judge(name, case, &render(case, &raw), expect, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Goal: the limit of nesting is exact, and beyond it the error says so, whatever mix of
/// brackets and whether or not they are closed.
#[test]
fn nesting_is_limited_exactly() {
    let nested = |depth: usize| {
        let open: String = (0..depth)
            .map(|i| if i % 3 == 0 { r#"{"a":"# } else { "[" })
            .collect();
        let close: String = (0..depth)
            .rev()
            .map(|i| if i % 3 == 0 { '}' } else { ']' })
            .collect();
        format!("{open}0{close}")
    };
    assert_eq!(validate(nested(DEPTH_MAX).as_bytes()), Ok(()));
    assert!(object(nested(DEPTH_MAX).as_bytes(), |_| ()).is_ok());
    for text in [nested(DEPTH_MAX + 1), "[".repeat(1 << 20)] {
        let error = validate(text.as_bytes()).unwrap_err();
        assert_eq!(error.what, JsonFault::TooDeep);
        assert!(error.at <= DEPTH_MAX * 6, "{error}");
    }
    let deep = format!(r#"{{"error":1,"choices":[],"x":{}}}"#, nested(DEPTH_MAX));
    assert_eq!(ask_chat(deep.as_bytes()).err(), Some(Kind::TooDeep));
    assert!(look(deep.as_bytes()).is_json, "unknown, not garbled");
    assert_eq!(answer(deep.as_bytes()).shape, Shape::TooDeep);
}

/// Goal: top-level members are reported in order, with the bytes that stand there.
#[test]
fn members_are_reported_with_their_bytes() {
    let json = b" {\"a\" : 1 ,\"mod\\u0065l\":\"x\\n\",\"c\":[{\"model\":2}], \"d\":{}}\n";
    let mut got = Vec::new();
    let span = object(json, |m| {
        got.push((
            String::from_utf8(m.key.bytes(json).to_vec()).unwrap(),
            String::from_utf8(m.value.bytes(json).to_vec()).unwrap(),
            m.key_escaped,
            m.value_escaped,
        ));
        let is_model = scan::key_is(m.key.bytes(json), m.key_escaped, "model");
        assert_eq!(is_model, m.key_escaped);
    });
    assert_eq!(span.unwrap().bytes(json), json.trim_ascii());
    let want = [
        ("a", "1", false, false),
        ("mod\\u0065l", "\"x\\n\"", true, true),
        ("c", "[{\"model\":2}]", false, false),
        ("d", "{}", false, false),
    ];
    let want = want.map(|(k, v, a, b)| (k.to_owned(), v.to_owned(), a, b));
    assert_eq!(got, want);
}

/// Goal: every key that decides something may occur once only, also through escapes, and
/// fields of the wrong type are refused.
#[test]
fn what_decides_occurs_once_and_has_its_type() {
    for key in [
        "model",
        "messages",
        "input",
        "prompt",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
    ] {
        let escaped = format!("\\u{:04x}{}", key.as_bytes()[0], &key[1..]);
        let body = format!(r#"{{"model":"m","{key}":null,"x":1,"{escaped}":null}}"#);
        assert_eq!(
            ask_chat(body.as_bytes()).err(),
            Some(Kind::DuplicateKey),
            "{body}"
        );
        let upper = key.to_uppercase();
        let body = format!(r#"{{"model":"m","{upper}":1,"{upper}":2}}"#);
        assert!(ask_chat(body.as_bytes()).is_ok(), "{body}");
    }
    for (body, want) in [
        (r#"{"model":"m","stream":1}"#, Kind::BadField),
        (r#"{"model":"m","stream":"true"}"#, Kind::BadField),
        (r#"{"model":"m","stream_options":[]}"#, Kind::BadField),
        (
            r#"{"model":"m","stream_options":{"include_usage":1}}"#,
            Kind::BadField,
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":true,"include_\u0075sage":null}}"#,
            Kind::DuplicateKey,
        ),
        (r#"{"stream":true}"#, Kind::NoModel),
        (r#"{"model":"a\u002e."}"#, Kind::BadModel),
        (r#"{"model":"a b"}"#, Kind::BadModel),
        (r#"{"model":"\ud800"}"#, Kind::BadModel),
        (r#"{"model":"m","model":"m"#, Kind::BadJson),
        (r#"["model"]"#, Kind::BadJson),
    ] {
        assert_eq!(ask_chat(body.as_bytes()).err(), Some(want), "{body}");
    }
    let name = |n: usize| format!(r#"{{"model":"{}"}}"#, "m".repeat(n));
    assert!(ask_chat(name(256).as_bytes()).is_ok());
    assert_eq!(ask_chat(name(257).as_bytes()).err(), Some(Kind::BadModel));
}

/// Goal: token limits are read when they are plain, and absent otherwise; never wrapped.
#[test]
fn token_limits_never_wrap() {
    for (value, want) in [
        ("7", Some(7)),
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("-1", None),
        ("1.0", None),
        ("1e3", None),
        ("\"7\"", None),
        ("null", None),
    ] {
        let body = format!(r#"{{"model":"m","max_tokens":{value},"n":{value}}}"#);
        let got = ask_chat(body.as_bytes()).unwrap();
        assert_eq!((got.max_tokens, got.n), (want, want), "{value}");
    }
    let both = br#"{"max_completion_tokens":5,"model":"m","max_tokens":9}"#;
    assert_eq!(ask_chat(both).unwrap().max_tokens, Some(5));
}

// ---------------------------------------------------------------- random input

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e30..1e30).prop_map(Value::from),
        "[ -~\n\"\\\\é😀]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z\"\\\\]{0,8}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn stream_options() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        Just(Some(json!({}))),
        Just(Some(json!({"include_usage": null}))),
        Just(Some(json!({"include_usage": false}))),
        Just(Some(json!({"include_usage": true}))),
        Just(Some(json!({"include_obfuscation": false}))),
        Just(Some(
            json!({"x": {"include_usage": 1}, "include_usage": false, "y": []})
        )),
    ]
}

/// A chat body, its members in any order.
fn any_body() -> impl Strategy<Value = Vec<(String, Value)>> {
    (
        "[A-Za-z0-9_:/@-]{1,20}",
        stream_options(),
        prop::option::of(prop_oneof![
            Just(json!(true)),
            Just(json!(false)),
            Just(Value::Null)
        ]),
        prop::collection::vec(("[b-k]{1,6}", any_json()), 0..4),
        any_json(),
    )
        .prop_map(|(model, options, stream, others, messages)| {
            let mut body = vec![
                ("model".to_owned(), json!(model)),
                ("messages".to_owned(), messages),
            ];
            body.extend(options.map(|o| ("stream_options".to_owned(), o)));
            body.extend(stream.map(|s| ("stream".to_owned(), s)));
            body.extend(others);
            body
        })
        .prop_shuffle()
}

/// Writes a body: pretty or not, the first letter of keys escaped or not.
fn write_body(body: &[(String, Value)], pretty: bool, escaped: bool) -> String {
    let members: Vec<String> = body
        .iter()
        .map(|(key, value)| {
            let key = if escaped {
                format!("\\u{:04x}{}", key.as_bytes()[0], &key[1..])
            } else {
                key.clone()
            };
            let value = if pretty {
                serde_json::to_string_pretty(value)
            } else {
                serde_json::to_string(value)
            };
            format!("\"{key}\":{}", value.unwrap())
        })
        .collect();
    if pretty {
        format!(" {{ {} }}\r\n", members.join(" ,\n\t"))
    } else {
        format!("{{{}}}", members.join(","))
    }
}

/// Few edits at random places.
fn mutate(mut text: Vec<u8>, edits: &[(usize, u8, u8)]) -> Vec<u8> {
    const LIKELY: &[u8] = b"\"\\{}[]:,0-.eE+tfn \n\x00\x1f\x80\xff/u";
    for &(at, how, what) in edits {
        if text.is_empty() {
            break;
        }
        let at = at % text.len();
        let likely = LIKELY[usize::from(what) % LIKELY.len()];
        match how % 5 {
            0 => text[at] = likely,
            1 => text[at] = what,
            2 => text.insert(at, likely),
            3 => _ = text.remove(at),
            _ => text.truncate(at),
        }
    }
    text
}

fn edits(most: usize) -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    prop::collection::vec(any::<(usize, u8, u8)>(), 0..most)
}

fn serde_accepts(text: &[u8]) -> bool {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    std::str::from_utf8(text)
        .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Goal: the scanner and `serde_json` agree on what is JSON. Method: documents with a
    /// few random edits; `IgnoredAny` checks grammar only, as the scanner does.
    #[test]
    fn the_scanner_agrees_with_serde_json(doc in any_json(), pretty: bool, edits in edits(4)) {
        let text = if pretty { serde_json::to_vec_pretty(&doc) } else { serde_json::to_vec(&doc) };
        let text = mutate(text.unwrap(), &edits);
        prop_assert_eq!(validate(&text).is_ok(), serde_accepts(&text), "{}", text.escape_ascii());
        let is_object = serde_accepts(&text) && text.trim_ascii_start().starts_with(b"{");
        prop_assert_eq!(object(&text, |_| ()).is_ok(), is_object);
    }

    /// Goal: no bytes make anything panic, and none are accepted that `serde_json` refuses.
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let accepted = ask_chat(&bytes).is_ok();
        prop_assert!(!accepted || serde_accepts(&bytes));
        prop_assert_eq!(validate(&bytes).is_ok(), serde_accepts(&bytes));
        look(&bytes);
        answer(&bytes);
        frame(&bytes).data(&mut Vec::new());
    }

    /// Goal: what goes upstream is what came, but for the model and the wish for usage.
    /// Method: random bodies in every member order and every state of `stream_options`,
    /// cut, put together and read as a tree; all other bytes are compared as they are.
    #[test]
    fn only_model_and_usage_change(
        body in any_body(), pretty: bool, escaped: bool, bom: bool,
        name in prop::option::of("[a-z0-9_/:-]{1,30}"), ask_usage: bool,
    ) {
        let text = write_body(&body, pretty, escaped);
        let mut bytes = if bom { BOM.to_vec() } else { Vec::new() };
        bytes.extend_from_slice(text.as_bytes());
        let asked = ask_chat(&bytes).unwrap();
        let mut want: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let mut scratch = Vec::new();
        prop_assert_eq!(asked.model(&bytes, b"", &mut scratch), want["model"].as_str());
        prop_assert_eq!(asked.stream, want.get("stream") == Some(&json!(true)));
        let wanted = want.get("stream_options").map(|o| o["include_usage"] == true);
        prop_assert_eq!(asked.wants_usage, wanted == Some(true));

        let out = concat(&asked, &bytes, name.as_deref(), ask_usage);
        if let Some(name) = &name {
            want["model"] = json!(name);
        }
        if ask_usage {
            let options = want.entry("stream_options").or_insert_with(|| json!({}));
            options["include_usage"] = json!(true);
        } else {
            let quoted = asked.quoted().unwrap();
            let (from, to) = (quoted.start as usize, quoted.end as usize);
            let name = name.as_deref().unwrap_or(std::str::from_utf8(&bytes[from..to]).unwrap());
            let by_hand = [&bytes[..from], name.as_bytes(), &bytes[to..]].concat();
            prop_assert_eq!(&out, by_hand.strip_prefix(BOM).unwrap_or(&by_hand));
        }
        let got: Map<String, Value> = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(got, want);
        prop_assert!(ask_chat(&out).unwrap().wants_usage == (ask_usage || asked.wants_usage));
    }

    /// Goal: edited bodies never panic, and what is accepted can be cut into valid JSON.
    #[test]
    fn edited_bodies_never_panic(body in any_body(), edits in edits(4)) {
        let bytes = mutate(write_body(&body, true, false).into_bytes(), &edits);
        if let Ok(asked) = ask_chat(&bytes) {
            prop_assert!(serde_accepts(&bytes));
            let out = concat(&asked, &bytes, Some("m"), true);
            prop_assert!(ask_chat(&out).unwrap().wants_usage, "{}", out.escape_ascii());
        }
    }
}

/// A body whose members stand in this order, with this much space around commas and colons.
fn body_of(members: &[(&str, &str)], space: &str) -> Vec<u8> {
    let list: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}"))
        .collect();
    format!("{{{}}}", list.join(",")).into_bytes()
}

proptest! {
    /// Goal: the members `fallbacks` and `cache` go and everything else stays, byte for byte, also
    /// beside what is put in; on other routes they pass, also twice. Method: members in any order,
    /// with any space, compared with the object read by serde.
    #[test]
    fn the_gateways_members_are_cut_out_and_nothing_else(
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
        count in 2..=6_usize,
        space in proptest::sample::select(vec!["", " ", "\n\t", "\r\n  "]),
        options in proptest::sample::select(vec!["null", "{}", r#"{"include_usage":false}"#]),
        usage in any::<bool>(),
    ) {
        let all = [
            ("model", "\"m\""),
            ("fallbacks", r#"["a,}", {"model": "b"}]"#),
            ("cache", r#"{"ttl": 5, "a,}": "\""}"#),
            ("messages", r#"[{"fallbacks":[1],"cache":{}}]"#),
            ("stream_options", options),
            ("user", r#"", \"fallbacks\": []""#),
        ];
        let of = |at: &usize| all[*at];
        let members: Vec<_> = order.iter().filter(|at| **at < count).map(of).collect();
        let body = body_of(&members, space);
        let found = ask_chat(&body).unwrap();
        prop_assert_eq!(found.fallbacks().unwrap().bytes(&body), all[1].1.as_bytes());
        let cache = found.cache().map(|span| span.bytes(&body));
        prop_assert_eq!(cache, (count > 2).then_some(all[2].1.as_bytes()));
        let out = concat(&found, &body, Some("up"), usage);
        let mut want: Value = serde_json::from_slice(&body).unwrap();
        let object = want.as_object_mut().unwrap();
        object.remove("fallbacks");
        object.remove("cache");
        object.insert("model".into(), "up".into());
        if usage {
            object.insert("stream_options".into(), json!({"include_usage": true}));
        }
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), want);
        let kept = members.iter().filter(|(name, _)| !["fallbacks", "cache"].contains(name));
        let kept: Vec<_> = kept.copied().collect();
        let least = concat(&found, &body, None, false);
        let bare = |bytes: &[u8]| replace(bytes, space.as_bytes(), b"");
        let want = body_of(&kept, space);
        let is_same = least == want || !space.is_empty() && bare(&least) == bare(&want);
        prop_assert!(is_same);
        let mut twice = members.clone();
        twice.push(all[1]);
        let twice = body_of(&twice, space);
        prop_assert_eq!(ask_chat(&twice).err(), Some(Kind::DuplicateKey));
        let theirs = ask(Route::Messages, &twice).unwrap();
        prop_assert!(theirs.fallbacks().is_none() && theirs.cache().is_none());
        prop_assert_eq!(concat(&theirs, &twice, None, false), twice);
    }
}
