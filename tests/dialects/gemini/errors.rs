//! Recorded errors.

use super::super::recorded::recordings;
use super::is_answered;
use shardgate::dialect::gemini::error;
use shardgate::dialect::model::Trouble;

/// Goal: recorded errors are classified by what they say.
#[test]
fn recorded_errors_are_classified() {
    let all = recordings(&["gemini", "gemini-stream", "gemini-embed"]);
    let mut count = 0;
    for recording in all.iter().filter(|recording| !is_answered(recording)) {
        let status = u16::try_from(recording.manifest["status"].as_u64().unwrap()).unwrap();
        let refused = error::read(status, &recording.body);
        let path = &recording.path;
        let want = match status {
            403 => Trouble::Permission,
            404 => Trouble::NotFound,
            429 => Trouble::RateLimit,
            _ if path.contains("api-key") => Trouble::Auth,
            _ if path.contains("user-location") => Trouble::Permission,
            _ => Trouble::Invalid,
        };
        assert_eq!(refused.trouble, want, "{path}: {}", refused.message);
        assert!(
            !refused.message.is_empty() && refused.message.len() < 600,
            "{path}"
        );
        let waits = path.contains("rubyllm__chat_real_error");
        assert_eq!(
            refused.retry_after.map(|wait| wait.as_secs()),
            waits.then_some(48),
            "{path}"
        );
        count += 1;
    }
    println!("{count} errors");
    assert!(all.is_empty() || count >= 18, "{count}");
}
