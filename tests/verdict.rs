//! `shardgate verdict` as users run it: the real binary, pairs on stdin.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers included")]

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn verdict(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shardgate"))
        .arg("verdict")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Goal: a line out for each line in, at both points, and exit code 0.
#[test]
fn pairs_are_answered_at_both_points() {
    let input = concat!(
        r#"{"a": "How do I learn Rust?", "b": "What is the best way to learn Rust?", "kind": "x"}"#,
        "\n",
        r#"{"a": "How do I learn Rust?", "b": "How do I learn Ruby?"}"#,
        "\n",
        r#"{"a": "Why did Rome fall in 476?", "b": "Why did Rome fall in 410?"}"#,
        "\n",
    );
    for args in [&[][..], &["--point", "strict"], &["--point", "balanced"]] {
        let output = verdict(args, input.as_bytes());
        assert!(output.status.success(), "{output:?}");
        let lines = lines(&output);
        let said: Vec<_> = lines
            .iter()
            .map(|line| line.get("verdict").unwrap())
            .collect();
        assert_eq!(said, ["same", "different", "different"], "{args:?}");
        let veto = |at: usize| lines.get(at).unwrap().get("veto").unwrap();
        assert_eq!(veto(1), "name");
        assert!(veto(0).is_null());
        let cosine = lines
            .iter()
            .map(|line| line.get("cosine").unwrap().as_f64().unwrap());
        assert!(
            cosine
                .into_iter()
                .all(|cosine| (0.5..=1.01).contains(&cosine))
        );
    }
}

/// Goal: nothing in, nothing out; a bad line ends the run with its number, what it should
/// have been and exit code 1; a point that is none, with exit code 2.
#[test]
fn what_is_no_pair_is_refused_by_its_line() {
    let empty = verdict(&[], b"");
    assert!(empty.status.success() && empty.stdout.is_empty());
    let output = verdict(&[], b"{\"a\": \"x\", \"b\": \"x\"}\n\n{\"a\": \"x\"}\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines(&output).len(), 1);
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(
        why.starts_with("line 3: ") && why.contains("missing field `b`"),
        "{why}"
    );
    assert_eq!(verdict(&["--point", "loose"], b"").status.code(), Some(2));
}
