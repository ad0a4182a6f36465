//! `shardgate check` from outside: what it prints where, and its exit codes.

use std::fs;
use std::process::{Command, Output};

const GOOD: &str =
    "[providers.local]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:8000/v1\"\n";

/// Runs `shardgate` with `args` in a folder that holds `text` as `gate.toml`.
fn shardgate(text: &str, args: &[&str]) -> Result<Output, std::io::Error> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("gate.toml"), text)?;
    fs::write(folder.path().join("key"), "sk-from-file\n")?;
    Command::new(env!("CARGO_BIN_EXE_shardgate"))
        .args(args)
        .current_dir(folder.path())
        .env_remove("SHARDGATE_TEST_GONE")
        .env("SHARDGATE_TEST_KEY", "sk-from-env")
        .output()
}

fn shown(output: &Output) -> (Option<i32>, String, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

const CHECK: &[&str] = &["check", "--config", "gate.toml"];

/// Goal: a good file gives 0 and a verdict.
#[test]
fn a_good_file_exits_with_0() {
    let (code, out, err) = shown(&shardgate(GOOD, CHECK).unwrap());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "gate.toml: good: 1 provider, no models, no client keys\n"
    );
    assert_eq!(err, "");
}

/// Goal: a bad file gives 1 and every fault with its place, on stderr.
#[test]
fn a_bad_file_exits_with_1_and_tells_every_fault() {
    let text =
        format!("{GOOD}api_key = {{ env = \"SHARDGATE_TEST_GONE\" }}\n[retry]\nattempts = 3\n");
    let (code, out, err) = shown(&shardgate(&text, CHECK).unwrap());
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        err,
        "gate.toml:4:19: the environment variable SHARDGATE_TEST_GONE is not set; set it for this process\n\
         gate.toml:6:1: unknown key `attempts` in [retry]; known here: attempts_max, budget, backoff, wait_max\n"
    );
}

/// Goal: a file that cannot be read gives 1 and says so.
#[test]
fn a_file_that_is_not_there_exits_with_1() {
    let (code, out, err) = shown(&shardgate(GOOD, &["check", "--config", "gone.toml"]).unwrap());
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("gone.toml: cannot be read: No such file"),
        "{err}"
    );
}

/// Goal: wrong usage gives 2; help and version give 0.
#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["check"][..],
        &[],
        &["chekc"],
        &["check", "--config"],
        &["--nope"],
    ] {
        let (code, out, _) = shown(&shardgate(GOOD, args).unwrap());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["check", "--help"]] {
        let (code, _, err) = shown(&shardgate(GOOD, args).unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
    }
}

/// Goal: `--print` gives a whole file that is good itself, with references instead of
/// secrets; environment and files are read. Method: print, check what was printed, print again.
#[test]
fn what_print_shows_is_a_good_file_without_secrets() {
    let text = format!(
        "{GOOD}api_key = {{ env = \"SHARDGATE_TEST_KEY\" }}\n\
         [[keys]]\nname = \"a\"\nsecret = {{ file = \"key\" }}\n"
    );
    let print = [CHECK, &["--print"]].concat();
    let (code, out, err) = shown(&shardgate(&text, &print).unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.contains("api_key = { env = \"SHARDGATE_TEST_KEY\" }"),
        "{out}"
    );
    assert!(out.contains("secret = { file = \"key\" }"), "{out}");
    assert!(out.contains("first_token = \"30s\""), "{out}");
    assert!(!out.contains("sk-from"), "{out}");
    let (code, again, _) = shown(&shardgate(&out, &print).unwrap());
    assert_eq!((code, again), (Some(0), out));
}

/// Goal: completions and the man page come out of the program.
#[test]
fn completions_and_man_page_are_generated() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = shown(&shardgate(GOOD, &["completions", shell]).unwrap());
        assert_eq!(code, Some(0));
        assert!(out.contains("check"), "{shell}");
    }
    let (code, out, _) = shown(&shardgate(GOOD, &["man"]).unwrap());
    assert_eq!(code, Some(0));
    assert!(out.contains(".TH shardgate 1"), "{out}");
}

/// Goal: what is hardly meant is told with its place on stderr, and the file is good all the same.
#[test]
fn warnings_have_their_place_and_exit_with_0() {
    let text = format!(
        "{GOOD}[[keys]]\nname = \"a\"\nsecret = {{ env = \"SHARDGATE_TEST_KEY\" }}\nmodels = [\"m\"]\n\
         [models.m]\ntargets = [{{ provider = \"local\" }}]\nfallbacks = [\"local/m\"]\n\
         [models.lost]\ntargets = [{{ provider = \"local\" }}]\n"
    );
    let (code, out, err) = shown(&shardgate(&text, CHECK).unwrap());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, "gate.toml: good: 1 provider, 2 models, 1 client key\n");
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 2, "{err}");
    let starts = [
        "gate.toml:10:14: warning: `fallbacks` names \"local/m\", whose targets are all among",
        "gate.toml:11:9: warning: no key may ask for \"lost\" and no model falls back to it",
    ];
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}
