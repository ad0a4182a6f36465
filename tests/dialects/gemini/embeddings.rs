//! Recorded embeddings.

use super::super::recorded::recordings;
use super::is_answered;
use serde_json::{Value, json};
use shardgate::base::fault::Kind;
use shardgate::dialect::gemini::embed;
use shardgate::dialect::model::Notes;

/// Goal: recorded embeddings: requests round-trip, answers have their vectors.
#[test]
fn recorded_embeddings_are_read() {
    for recording in recordings(&["gemini-embed"]) {
        let path = &recording.path;
        if let Some(body) = &recording.request {
            let mut notes = Notes::default();
            let is_batch = path.contains("basic_functionality") || path.contains("TestGoogle");
            let (read, again) = if is_batch {
                let read = embed::read_batch(body, "gemini-embedding-001", &mut notes).unwrap();
                let written = embed::write_batch(&read);
                (
                    read.clone(),
                    embed::read_batch(&written, &read.model, &mut notes),
                )
            } else {
                let read = embed::read(body, "gemini-embedding-001", &mut notes).unwrap();
                let written = embed::write(&read).unwrap();
                (read.clone(), embed::read(&written, &read.model, &mut notes))
            };
            assert_eq!(again.unwrap(), read, "{path}");
            assert!(!read.inputs[0].is_empty(), "{path}");
        }
        let answer = embed::read_answer(&recording.body);
        if is_answered(&recording) {
            let body: Value = serde_json::from_slice(&recording.body).unwrap();
            let one = body.get("embedding").unwrap_or(&body["embeddings"][0]);
            let vectors = answer.unwrap().values;
            assert_eq!(json!(vectors[0]), one["values"], "{path}");
        } else {
            assert_eq!(answer, Err(Kind::UpstreamError), "{path}");
        }
    }
}
