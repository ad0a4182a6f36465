//! `POST /api/cache/purge`: stored answers are forgotten, at the shared tier and on every shard,
//! before it answers.
//!
//! | query | what is forgotten |
//! |---|---|
//! | nothing | everything |
//! | `model=NAME` | what that model answered |
//! | `client=NAME` | what was stored for the client key of that name |
//! | `namespace=NAME` | what requests put under that name |
//! | `key=HEX` | one answer: `x-shardgate-cache-key` of the answer says it |

use super::admin::{Admin, Page};
use crate::cache::entry::Tag;
use crate::cache::key::Key;
use crate::cache::purge::Purge;
use crate::dialect::route::unescape;
use crate::wire::http1::Method;
use serde_json::json;
use std::rc::Rc;

/// What `query` wants to be forgotten.
fn wanted(query: &[u8]) -> Option<Purge> {
    if query.is_empty() {
        return Some(Purge::All);
    }
    let at = query.iter().position(|byte| *byte == b'=')?;
    let (name, value) = query.split_at_checked(at)?;
    let mut text = Vec::new();
    if !unescape(value.get(1..)?, &mut text) || text.contains(&b'&') {
        return None;
    }
    let text = std::str::from_utf8(&text).ok()?;
    match name {
        b"model" | b"client" | b"namespace" => {
            let kind = std::str::from_utf8(name).ok()?;
            Some(Purge::Tag(Tag::of(kind, text)))
        }
        b"key" => Key::from_hex(text).map(Purge::Key),
        _ => None,
    }
}

/// Purges, and says under which number; 503 where the shared tier did not take it.
pub(super) async fn page(admin: &Rc<Admin>, method: Method, query: &[u8]) -> Page {
    if method != Method::Post {
        return Page::only_post("/api/cache/purge answers POST", method);
    }
    let Some(what) = wanted(query) else {
        return Page::error(
            400,
            "what to purge is one of model=NAME, client=NAME, namespace=NAME and key=HEX, or \
             nothing for everything",
        );
    };
    let shared = admin.shared.purge(&what).await;
    let number = admin.purge(what).await;
    admin.shared.caught_up().await;
    let Err(why) = shared else {
        return Page::json(200, &json!({ "purge": number }));
    };
    let message = format!(
        "purged on this box, not for certain on the cache server and other boxes: {why}; purge again"
    );
    let body = json!({ "purge": number, "error": { "message": message } });
    Page::json(503, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what can be purged is understood, and nothing else.
    #[test]
    fn queries_say_what_goes() {
        assert_eq!(wanted(b""), Some(Purge::All));
        let model = Purge::Tag(Tag::of("model", "a b"));
        assert_eq!(wanted(b"model=a%20b"), Some(model));
        let hex = "0123456789abcdef".repeat(4);
        let key = Key::from_hex(&hex).map(Purge::Key);
        assert!(key.is_some());
        assert_eq!(wanted(format!("key={hex}").as_bytes()), key);
        for bad in ["key=12", "all", "model=a&client=b", "tag=x", "model=%f"] {
            assert_eq!(wanted(bad.as_bytes()), None, "{bad}");
        }
    }
}
