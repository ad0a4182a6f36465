//! The recordings: exchanges with real providers, and what a right reader gets from them.

use serde_json::Value;
use std::path::PathBuf;

/// One recorded answer.
pub(crate) struct Recording {
    /// Its path below `wire/recorded`.
    pub(crate) path: String,
    /// Its line of `manifest.jsonl`.
    pub(crate) manifest: Value,
    /// Its line of `oracle.jsonl`; null when it has none.
    pub(crate) oracle: Value,
    /// The answer's body.
    pub(crate) body: Vec<u8>,
    /// The body of the request, where that is known.
    pub(crate) request: Option<Vec<u8>>,
}

/// Where the suites are; `None` (and a line about it) when they are not there.
#[expect(clippy::print_stdout, reason = "a test that tests nothing must say so")]
pub(crate) fn wire() -> Option<PathBuf> {
    let shared = std::env::var_os("SHARDGATE_SHARED").map_or("../shared".into(), PathBuf::from);
    let wire = shared.join("wire");
    if wire.join("manifest.jsonl").is_file() {
        return Some(wire);
    }
    println!("no recordings at {}; nothing was tested", wire.display());
    None
}

/// All recordings of these protocols (`manifest.jsonl`), in the order of the manifest.
pub(crate) fn recordings(protocols: &[&str]) -> Vec<Recording> {
    let Some(wire) = wire() else {
        return Vec::new();
    };
    let lines = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(wire.join(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let oracles: std::collections::BTreeMap<String, Value> = lines("oracle.jsonl")
        .into_iter()
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line))
        .collect();
    let folder = wire.join("recorded");
    lines("manifest.jsonl")
        .into_iter()
        .filter(|line| protocols.contains(&line["protocol"].as_str().unwrap()))
        .map(|manifest| {
            let path = manifest["path"].as_str().unwrap().to_owned();
            let request = manifest["request"]
                .as_str()
                .and_then(|request| std::fs::read(folder.join(request)).ok());
            Recording {
                oracle: oracles.get(&path).cloned().unwrap_or(Value::Null),
                body: std::fs::read(folder.join(&path)).unwrap(),
                request,
                path,
                manifest,
            }
        })
        .collect()
}
