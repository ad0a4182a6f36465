//! The key of a request for embeddings.

use crate::fingerprint::asked;
use shardgate::cache::fingerprint::{NoKey, print};
use shardgate::dialect::model::Request;
use shardgate::dialect::route::Route;

/// Goal: of a request for vectors all of the body is in the key, but for what no vector differs by:
/// also what its reader leaves out, as numbers of tokens are. It is compared with no other.
#[test]
fn a_request_for_vectors_is_its_body() {
    let nothing = Request::default();
    let print = |route, body: &str| {
        let found = print(&asked(route, body.as_bytes(), &nothing))?;
        assert!(found.near.is_err());
        Ok(found.key)
    };
    let of = |rest: &str| print(Route::Embeddings, &format!(r#"{{"model":"m"{rest}}}"#)).unwrap();
    let one = of(r#","input":["a","b"],"dimensions":8"#);
    for same in [
        r#", "dimensions":8, "input":[ "a", "\u0062" ]"#,
        r#","input":["a","b"],"dimensions":8,"user":"u","cache":{"ttl":5},"fallbacks":["n"]"#,
    ] {
        assert_eq!(of(same), one, "{same}");
    }
    let mut seen = vec![one];
    for other in [
        r#","input":["a","b"]"#,
        r#","input":["b","a"],"dimensions":8"#,
        r#","input":["ab"],"dimensions":8"#,
        r#","input":"ab","dimensions":8"#,
        r#","input":["a","b"],"dimensions":8,"encoding_format":"base64""#,
        r#","input":["a","b"],"dimensions":8,"encoding_format":"float""#,
        r#","input":["a","b"],"dimensions":8,"input_type":"query""#,
        r#","input":[1,2],"dimensions":8"#,
        r#","input":[[1],[2]],"dimensions":8"#,
        r#","input":[[1,2]],"dimensions":8"#,
    ] {
        let key = of(other);
        assert!(!seen.contains(&key), "{other}");
        seen.push(key);
    }
    let twice = r#"{"model":"m","input":"a","input":"b"}"#;
    assert_eq!(print(Route::Embeddings, twice), Err(NoKey::Odd));
    for route in [Route::CohereEmbed, Route::EmbedContent, Route::Invoke] {
        assert_eq!(print(route, "{}"), Err(NoKey::Route));
    }
}
