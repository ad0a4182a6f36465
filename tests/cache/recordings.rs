//! Keys of requests that real clients sent.

use super::fingerprint::{asked, changed, is_silent, read};
use super::recorded::recordings;
use serde_json::{Value, json};
use shardgate::cache::fingerprint::print;
use shardgate::cache::key::Key;
use shardgate::dialect::route::Route;
use std::collections::{BTreeMap, BTreeSet};

/// Goal: F1 for what real clients sent. Method: every recorded request, changed at every place up
/// to a number of them, and all recorded requests beside each other.
#[test]
fn recorded_requests_have_keys_of_their_own() {
    const CHANGES_MAX: usize = 40;
    /// Where another spelling means the same, or only the provider's cache is told something.
    const SPELLINGS: [&str; 8] = [
        ".prompt_cache_breakpoint",
        ".prompt_cache_breakpoint.mode",
        ".prompt_cache_breakpoint.zz",
        ".toolResult.status", // success
        ".contents[].role",
        ".responseMimeType",
        ".source.media_type",
        ".input[].type",
    ];
    let protocols = [
        ("openai-chat", Route::Chat),
        ("openai-responses", Route::Responses),
        ("anthropic-messages", Route::Messages),
        ("gemini", Route::Generate),
        ("cohere-chat", Route::CohereChat),
        ("bedrock-converse", Route::Converse),
    ];
    let (mut count, mut wrong) = (0, BTreeSet::new());
    for (protocol, route) in protocols {
        let mut bodies: BTreeMap<Key, Value> = BTreeMap::new();
        for recording in recordings(&[protocol]) {
            let Some(text) = recording.request else {
                continue;
            };
            let Ok(body) = serde_json::from_slice::<Value>(&text) else {
                continue;
            };
            let Some(request) = read(route, &text) else {
                continue;
            };
            let Ok(found) = print(&asked(route, &text, &request)) else {
                continue;
            };
            let twin = bodies.insert(found.key, body.clone());
            if let Some(twin) = twin.filter(|twin| bare(twin) != bare(&body)) {
                wrong.insert(format!("{route:?}: the same key\n{twin}\n{body}"));
            }
            let mut left = CHANGES_MAX;
            changed(&body, "", &mut |place, other| {
                if left == 0 || is_silent(&place) || other == body {
                    return;
                }
                left -= 1;
                let text = other.to_string();
                let Some(request) = read(route, text.as_bytes()) else {
                    return;
                };
                count += 1;
                let key = print(&asked(route, text.as_bytes(), &request)).map(|it| it.key);
                let place = place.replace(|c: char| c.is_ascii_digit(), "");
                let is_spelling = SPELLINGS.iter().any(|known| place.ends_with(known));
                if key == Ok(found.key) && bare(&other) != bare(&body) && !is_spelling {
                    wrong.insert(format!("{route:?}: {place}"));
                }
            });
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count == 0 || count > 5_000, "{count}");
}

/// A body without what changes no answer, at the top, and without members that say what goes
/// without them: null, false, nothing.
fn bare(body: &Value) -> Value {
    let mut body = body.clone();
    let object = body.as_object_mut().unwrap();
    object.retain(|name, _| !is_silent(&format!(".{name}")));
    spoken(&body)
}

fn spoken(value: &Value) -> Value {
    let is_nothing = |value: &Value| {
        let nothings = [json!(null), json!(false), json!([]), json!({}), json!("")];
        nothings.contains(value)
    };
    match value {
        Value::Array(items) => items.iter().map(spoken).collect(),
        Value::Object(object) => {
            let members = object
                .iter()
                .map(|(name, inner)| (name.clone(), spoken(inner)));
            Value::Object(members.filter(|(_, inner)| !is_nothing(inner)).collect())
        }
        other => other.clone(),
    }
}
