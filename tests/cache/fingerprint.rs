//! Keys are the same for the same question, and for no other. Method: bodies of each dialect,
//! changed at every place; the same request written for every dialect.

use proptest::prelude::*;
use serde_json::{Value, json};
use shardgate::cache::fingerprint::{Asked, NoKey, Tenant, Unlike, counts, print};
use shardgate::cache::key::Key;
use shardgate::dialect::model::{Dialect, Notes, Request};
use shardgate::dialect::route::Route;
use shardgate::dialect::{abilities, speak};

const MODEL: &str = "gpt-4o";

pub(crate) fn read(route: Route, body: &[u8]) -> Option<Request> {
    speak::ask(route, body, MODEL, false).ok()
}

pub(crate) fn asked<'a>(route: Route, body: &'a [u8], request: &'a Request) -> Asked<'a> {
    Asked {
        tenant: Tenant::Open,
        namespace: None,
        route,
        model: MODEL,
        fields: &[],
        body,
        request,
    }
}

/// The key of a body, and its partition where it has one.
fn keys(route: Route, body: &str) -> Result<(Key, Option<Key>), NoKey> {
    let request = read(route, body.as_bytes()).expect(body);
    let found = print(&asked(route, body.as_bytes(), &request))?;
    Ok((found.key, found.near.ok().map(|near| near.partition)))
}

fn key(route: Route, body: &str) -> Key {
    keys(route, body).expect(body).0
}

/// A rich body of each dialect.
fn bodies() -> Vec<(Route, Value)> {
    let all: Value = serde_json::from_str(include_str!("bodies.json")).unwrap();
    [
        (Route::Chat, "Chat"),
        (Route::Completions, "Completions"),
        (Route::Responses, "Responses"),
        (Route::Messages, "Messages"),
        (Route::Generate, "Generate"),
        (Route::CohereChat, "CohereChat"),
        (Route::Converse, "Converse"),
    ]
    .map(|(route, name)| (route, all[name].clone()))
    .to_vec()
}

/// Whether what stands at `path` changes no answer.
pub(crate) fn is_silent(path: &str) -> bool {
    /// At the top of a body.
    const TOP: [&str; 10] = [
        "model",
        "stream",
        "user",
        "metadata",
        "prompt_cache_key",
        "fallbacks",
        "cache",
        "requestMetadata",
        "stream_options",
        "store",
    ];
    /// Anywhere.
    const INSIDE: [&str; 3] = [
        ".cache_control",
        "system_instruction.role",
        "systemInstruction.role",
    ];
    let is_at = |name: &str| {
        let rest = path
            .strip_prefix('.')
            .and_then(|path| path.strip_prefix(name));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    TOP.iter().any(|name| is_at(name)) || INSIDE.iter().any(|name| path.contains(name))
}

/// Every body that differs from `value` at one place, with the place.
pub(crate) fn changed(value: &Value, path: &str, put: &mut dyn FnMut(String, Value)) {
    match value {
        Value::Null => put(path.to_owned(), json!("was null")),
        Value::Bool(is) => put(path.to_owned(), json!(!is)),
        Value::Number(number) => {
            let other = number.as_i64().map_or_else(
                || json!(number.as_f64().unwrap() + 0.0625),
                |whole| json!(whole + 1),
            );
            put(path.to_owned(), other);
            put(path.to_owned(), json!("7"));
        }
        Value::String(text) => {
            put(path.to_owned(), json!(format!("{text}x")));
            put(path.to_owned(), json!(text.to_uppercase()));
            put(path.to_owned(), json!([text]));
            for word in [
                "user",
                "assistant",
                "system",
                "developer",
                "tool",
                "auto",
                "text",
                "",
            ] {
                put(path.to_owned(), json!(word));
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let here = format!("{path}[{at}]");
                changed(item, &here, &mut |place, other| {
                    let mut list = items.clone();
                    list[at] = other;
                    put(place, Value::Array(list));
                });
                let mut list = items.clone();
                list.remove(at);
                put(here.clone(), Value::Array(list));
                let mut list = items.clone();
                list.insert(at, item.clone());
                put(here.clone(), Value::Array(list));
                let mut list = items.clone();
                list.swap(at, 0);
                put(here, Value::Array(list));
            }
            let mut list = items.clone();
            list.push(Value::Null);
            put(format!("{path}[]"), Value::Array(list));
        }
        Value::Object(object) => {
            for (name, inner) in object {
                let here = format!("{path}.{name}");
                changed(inner, &here, &mut |place, other| {
                    let mut members = object.clone();
                    members.insert(name.clone(), other);
                    put(place, Value::Object(members));
                });
                let mut members = object.clone();
                members.remove(name);
                put(here, Value::Object(members));
            }
            let mut members = object.clone();
            members.insert("zz".to_owned(), json!({"a": [1]}));
            put(format!("{path}.zz"), Value::Object(members));
        }
    }
}

/// Places where another spelling means the same: what is left out is what goes without it.
const SPELLINGS: [(Route, &str); 8] = [
    (Route::Completions, ".stop"), // a text, or a list of it
    (Route::Responses, ".input[1].type"),
    (Route::Responses, ".input[1].content[0].annotations"),
    (Route::Messages, ".messages[0].content[2].source.media_type"),
    (Route::Generate, ".contents[0].role"),
    (Route::Generate, ".contents[2].role"),
    (Route::Generate, ".contents[4].role"),
    (Route::Generate, ".generationConfig.responseMimeType"),
];

/// Goal: F1. Method: every body is changed at every place: in kind, in value, by what is left
/// out, added, doubled and moved. What a dialect refuses is passed over.
#[test]
fn another_question_has_another_key() {
    let (mut count, mut spellings, mut wrong) = (0, 0, Vec::new());
    for (route, body) in bodies() {
        let own = key(route, &body.to_string());
        changed(&body, "", &mut |place, other| {
            let text = other.to_string();
            let Some(request) = read(route, text.as_bytes()).filter(|_| other != body) else {
                return;
            };
            count += 1;
            let found = print(&asked(route, text.as_bytes(), &request));
            if place.starts_with(".store") && found == Err(NoKey::Effect) {
                return;
            }
            let is_same = found.is_ok_and(|found| found.key == own);
            let is_spelling = SPELLINGS.contains(&(route, &place)) && is_same;
            spellings += usize::from(is_spelling);
            // What nobody knows may be in the key wherever it stands.
            let may_differ = place.rsplit('.').next() == Some("zz");
            let is_right = match (is_silent(&place), is_same) {
                (true, is_same) => is_same || may_differ,
                (false, is_same) => !is_same || is_spelling,
            };
            if !is_right {
                let what = if is_same { "the same" } else { "another" };
                wrong.push(format!("{route:?}: {place}: {what} key\n{text}"));
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(spellings, SPELLINGS.len());
    assert!(count > 1500, "{count}");
}

/// `value` with its members in the opposite order, at every level but in what a tool was called
/// with: that is text to the model.
fn turned(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(turned).collect(),
        Value::Object(object) => {
            let members = object.iter().rev();
            let turn = |(name, inner): (&String, &Value)| {
                let is_text = ["input", "args"].contains(&name.as_str());
                let inner = if is_text {
                    inner.clone()
                } else {
                    turned(inner)
                };
                (name.clone(), inner)
            };
            Value::Object(members.map(turn).collect())
        }
        other => other.clone(),
    }
}

/// Goal: the order of members, white space, escapes and the spelling of a fraction are none of a
/// key's. Method: the bodies turned around and spread over lines, and texts by hand.
#[test]
fn spelling_changes_no_key() {
    for (route, body) in bodies() {
        let own = keys(route, &body.to_string());
        let turned = turned(&body);
        assert_ne!(turned.to_string(), body.to_string());
        assert_eq!(keys(route, &turned.to_string()), own, "{route:?}");
        let spread = serde_json::to_string_pretty(&turned).unwrap();
        assert_eq!(keys(route, &spread), own, "{route:?}");
    }
    let one = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"é"}],"temperature":0.5,"zz":[0.50]}"#;
    let other = r#"{"temperature":5e-1,"m\u006fdel":"x","zz":[0.5],"messages":[{"content":"\u00e9","role":"user"}]}"#;
    assert_eq!(key(Route::Chat, one), key(Route::Chat, other));
}

/// Requests that every dialect can say.
fn plain() -> impl Strategy<Value = Value> {
    let text = "[a-z][a-z \"\\\\é0-9]{0,19}";
    let turn = (text, text);
    (
        proptest::option::of(text),
        proptest::collection::vec(turn, 0..3),
        text,
        proptest::option::of(0..=4_u8),
        proptest::option::of(prop_oneof![1..32_u64, 1..4000_u64]),
        proptest::collection::vec("[a-z]{1,5}", 0..3),
        any::<bool>(),
    )
        .prop_map(|(system, turns, last, heat, max, stop, has_tool)| {
            let mut messages = Vec::new();
            messages.extend(system.map(|text| json!({"role": "system", "content": text})));
            for (user, model) in turns {
                messages.push(json!({"role": "user", "content": user}));
                messages.push(json!({"role": "assistant", "content": model}));
            }
            messages.push(json!({"role": "user", "content": last}));
            let mut body = json!({"model": MODEL, "messages": messages});
            if let Some(heat) = heat {
                body["temperature"] = json!(f64::from(heat) / 4.0);
            }
            // Anthropic has no default.
            body["max_tokens"] = json!(max.unwrap_or(50));
            if !stop.is_empty() {
                body["stop"] = json!(stop);
            }
            if has_tool {
                body["tools"] = json!([{"type": "function", "function": {"name": "f",
                    "description": "d", "parameters": {"type": "object", "properties": {}}}}]);
                body["tool_choice"] = json!("required");
            }
            body
        })
}

/// The route by which a client asks in `dialect`.
const fn route_of(dialect: Dialect) -> Route {
    match dialect {
        Dialect::Chat => Route::Chat,
        Dialect::Responses => Route::Responses,
        Dialect::Anthropic => Route::Messages,
        Dialect::Gemini => Route::Generate,
        Dialect::Cohere => Route::CohereChat,
        Dialect::Bedrock => Route::Converse,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Goal: the same question in another dialect hits the same entry. Method: requests that all
    /// of them can say, written for each and read back; what one cannot be told is passed over
    /// (stop sequences for Responses). What is asked with another limit, as Responses has none
    /// below 16 tokens, is another question.
    #[test]
    fn every_dialect_asks_the_same(body in plain()) {
        let text = body.to_string();
        let own = keys(Route::Chat, &text).unwrap();
        prop_assert!(own.1.is_some());
        let request = read(Route::Chat, text.as_bytes()).unwrap();
        let mut count = 0;
        for dialect in Dialect::ALL {
            let mut notes = Notes::default();
            let can = abilities::of(MODEL);
            let Ok(written) = speak::put_ask(dialect, &request, &can, &mut notes) else {
                continue;
            };
            let route = route_of(dialect);
            let written = String::from_utf8(written).unwrap();
            let key = keys(route, &written).unwrap();
            if dialect == Dialect::Responses && body["max_tokens"].as_u64() < Some(16) {
                prop_assert_ne!(key.0, own.0, "{}", written);
            } else {
                prop_assert_eq!(key, own, "{:?}: {}", dialect, written);
            }
            count += 1;
        }
        prop_assert!(count >= 5);
    }

    /// Goal: F1 for texts: wherever they are cut, they are other texts.
    #[test]
    fn borders_of_texts_count(text in "[ab]{2,12}", cut in 0..12_usize, other in 0..12_usize) {
        let part = |cut: usize| {
            let (a, b) = text.split_at(cut.min(text.len()));
            let messages = json!([{"role": "system", "content": a}, {"role": "user", "content": b}]);
            let parts = json!([{"role": "user", "content": [{"type": "text", "text": a},
                {"type": "text", "text": b}]}]);
            [messages, parts].map(|messages| {
                let body = json!({"model": MODEL, "messages": messages});
                key(Route::Chat, &body.to_string())
            })
        };
        let is_same = cut.min(text.len()) == other.min(text.len());
        prop_assert_eq!(part(cut) == part(other), is_same);
        prop_assert_ne!(part(cut)[0], part(cut)[1]);
    }
}

fn chat(rest: &str) -> String {
    format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"hi"}}]{rest}}}"#)
}

/// Goal: a request whose answer depends on more than what it says, or whose JSON two readers may
/// understand in two ways, has no key.
#[test]
fn what_is_bound_to_more_has_no_key() {
    let responses = |rest: &str| format!(r#"{{"model":"m","input":"hi"{rest}}}"#);
    let big = "1".repeat(30);
    for (route, body, want) in [
        (Route::Chat, chat(r#","store":true"#), NoKey::Effect),
        (Route::Chat, chat(r#","web_search_options":{}"#), NoKey::Tool),
        (Route::Chat, chat(r#","zz":{"a":1,"a":2}"#), NoKey::Odd),
        (Route::Chat, chat(r#","zz":{"a":1,"\u0061":2}"#), NoKey::Odd),
        (Route::Chat, chat(r#","temperature":1,"temperature":0"#), NoKey::Odd),
        (Route::Chat, chat(&format!(r#","zz":{big}"#)), NoKey::Odd),
        (
            Route::Chat,
            chat(&format!(
                r#","tools":[{{"type":"function","function":{{"name":"f","parameters":{{"x":{big}}}}}}}]"#
            )),
            NoKey::Odd,
        ),
        (Route::Chat, chat(r#","tools":[{"type":"web_search"}]"#), NoKey::Tool),
        (Route::Responses, responses(r#","previous_response_id":"r""#), NoKey::State),
        (Route::Responses, responses(r#","conversation":"c""#), NoKey::State),
        (Route::Responses, responses(r#","background":true"#), NoKey::Effect),
        (Route::Responses, responses(r#","tools":[{"type":"web_search"}]"#), NoKey::Tool),
        (
            Route::Responses,
            r#"{"model":"m","input":[{"type":"item_reference","id":"i"},{"role":"user","content":"a"}]}"#
                .to_owned(),
            NoKey::State,
        ),
        (
            Route::Messages,
            r#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"a"}],"mcp_servers":[{"url":"u"}]}"#
                .to_owned(),
            NoKey::Tool,
        ),
        (
            Route::Generate,
            r#"{"contents":[{"role":"user","parts":[{"text":"a"}]}],"top_k":1,"topK":2}"#.to_owned(),
            NoKey::Odd,
        ),
        (
            Route::Generate,
            r#"{"contents":[{"role":"user","parts":[{"text":"a"}]}],"cachedContent":"c"}"#.to_owned(),
            NoKey::State,
        ),
        (
            Route::CountTokens,
            r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#.to_owned(),
            NoKey::Route,
        ),
    ] {
        assert_eq!(keys(route, &body), Err(want), "{body}");
    }
    for rest in [
        r#","store":false"#,
        r#","web_search_options":null"#,
        r#","zz":1e30"#,
    ] {
        assert!(keys(Route::Chat, &chat(rest)).is_ok(), "{rest}");
    }
}

/// Goal: tenants, namespaces, models and the fields that count never share a key.
#[test]
fn whom_it_is_for_is_in_the_key() {
    let body = chat("");
    let request = read(Route::Chat, body.as_bytes()).unwrap();
    let own = asked(Route::Chat, body.as_bytes(), &request);
    let key = |asked: &Asked<'_>| print(asked).unwrap().key;
    let beta: &[(&[u8], &[u8])] = &[(b"OpenAI-Beta", b"a"), (b"accept", b"x")];
    let others = [
        Asked {
            tenant: Tenant::Shared,
            ..own
        },
        Asked {
            tenant: Tenant::Key("a"),
            ..own
        },
        Asked {
            tenant: Tenant::Key("b"),
            ..own
        },
        Asked {
            tenant: Tenant::Key(""),
            ..own
        },
        Asked {
            namespace: Some(""),
            ..own
        },
        Asked {
            namespace: Some("n"),
            ..own
        },
        Asked {
            tenant: Tenant::Key("a"),
            namespace: Some("b"),
            ..own
        },
        Asked {
            model: "other",
            ..own
        },
        Asked {
            fields: beta,
            ..own
        },
        Asked {
            fields: &[(b"openai-beta", b"b")],
            ..own
        },
        Asked {
            fields: &[(b"anthropic-version", b"2024-01-01")],
            ..own
        },
    ];
    let mut all: Vec<_> = others.iter().map(key).collect();
    all.push(key(&own));
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

/// Goal: fields that do not count, the case of names, space around values and the version that
/// everybody sends change no key.
#[test]
fn other_fields_are_not_in_the_key() {
    let body = chat("");
    let request = read(Route::Chat, body.as_bytes()).unwrap();
    let own = asked(Route::Chat, body.as_bytes(), &request);
    let key = |fields| print(&Asked { fields, ..own }).unwrap().key;
    let beta: &[(&[u8], &[u8])] = &[(b"OpenAI-Beta", b"a"), (b"accept", b"x")];
    let silent: &[(&[u8], &[u8])] = &[
        (b"accept", b"x"),
        (b"anthropic-version", b"2023-06-01"),
        (b"authorization", b"Bearer x"),
    ];
    assert_eq!(key(silent), key(&[]));
    let spelled: &[(&[u8], &[u8])] = &[(b"openai-beta", b" a ")];
    assert_eq!(key(spelled), key(beta));
    assert_ne!(key(beta), key(&[]));
    assert!(counts(b"Anthropic-Beta") && !counts(b"user-agent"));
}

/// Goal: completions and chats never share a key, though the same text is asked in both.
#[test]
fn completions_are_no_chats() {
    let completion = r#"{"model":"gpt-4o","prompt":"hi","max_tokens":16}"#;
    let chat = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"max_tokens":16}"#;
    assert_ne!(key(Route::Completions, completion), key(Route::Chat, chat));
}

/// The partition and the last text of a chat with these messages and members.
fn near_of(messages: &Value, more: &Value) -> Result<(Key, String), Unlike> {
    let mut body = json!({"model": MODEL, "messages": messages});
    let object = body.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    let body = body.to_string();
    let request = read(Route::Chat, body.as_bytes()).unwrap();
    let found = print(&asked(Route::Chat, body.as_bytes(), &request)).unwrap();
    found
        .near
        .map(|near| (near.partition, near.text.to_owned()))
}

/// A system message and what the user says.
fn user(text: &str) -> Value {
    json!([{"role": "system", "content": "s"}, {"role": "user", "content": text}])
}

/// Goal: only the last text of the user may differ within a partition.
#[test]
fn partitions_hold_everything_but_the_last_text() {
    let (one, text) = near_of(&user("What is A?"), &json!({})).unwrap();
    assert_eq!(text, "What is A?");
    assert_eq!(near_of(&user("What is B?"), &json!({})).unwrap().0, one);
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "context"},
        {"type": "text", "text": "What?"}]}]);
    let (other, text) = near_of(&parts, &json!({})).unwrap();
    assert_eq!(text, "What?");
    let context = json!([{"role": "user", "content": [{"type": "text", "text": "other"},
        {"type": "text", "text": "What?"}]}]);
    assert_ne!(near_of(&context, &json!({})).unwrap().0, other);
    for (more, is_same) in [
        (json!({"user": "u", "stream": true}), true),
        (json!({"temperature": 0.5}), false),
        (json!({"max_tokens": 5}), false),
        (json!({"zz": 1}), false),
    ] {
        assert_eq!(near_of(&user("a"), &more).unwrap().0 == one, is_same);
    }
}

/// Goal: a request that cannot be compared by its last text says why.
#[test]
fn what_cannot_be_compared_says_why() {
    let image = json!([{"role": "user", "content": [{"type": "image_url",
        "image_url": {"url": "https://h/i.png"}}, {"type": "text", "text": "a"}]}]);
    let tool = json!([{"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function",
            "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
        {"role": "user", "content": "a"}]);
    let prefill = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let named = json!([{"role": "user", "content": "a", "name": "n"}]);
    for (messages, more, why) in [
        (image, json!({}), Unlike::Media),
        (tool, json!({}), Unlike::ToolTurn),
        (prefill, json!({}), Unlike::NoText),
        (named, json!({}), Unlike::NoText),
        (user(" "), json!({}), Unlike::NoText),
        (user("a"), json!({"n": 2}), Unlike::Several),
        (user("a"), json!({"logprobs": true}), Unlike::Logprobs),
        (user("a"), json!({"grammar": "g"}), Unlike::Foreign),
    ] {
        assert_eq!(near_of(&messages, &more).unwrap_err(), why);
    }
    let body = r#"{"model":"m","prompt":"hi"}"#;
    let request = read(Route::Completions, body.as_bytes()).unwrap();
    let found = print(&asked(Route::Completions, body.as_bytes(), &request)).unwrap();
    assert_eq!(found.near, Err(Unlike::Completion));
}
