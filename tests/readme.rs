//! The README says what the program does: its configs, keys, defaults, codes, commands,
//! options, metrics and fields are compared with the program's own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, its helpers included"
)]

use shardgate::base::fault::Kind;
use shardgate::config::print::Printed;
use shardgate::config::{FixedSecrets, check};
use shardgate::stats::exposition::{Names, Scrape, write};
use shardgate::stats::text::Form;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;
use toml::Value;

const README: &str = include_str!("../README.md");

/// Every environment variable and certificate that a config in the README or here names.
static SECRETS: LazyLock<FixedSecrets<'_>> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (
        made.cert.pem().leak(),
        made.signing_key.serialize_pem().leak(),
    );
    FixedSecrets(
        vec![
            ("TEAM_A_KEY", "sk-a"),
            ("AZURE_KEY", "sk-b"),
            ("OPENAI_API_KEY", "sk-c"),
            ("AWS_ID", "AKID"),
            ("AWS_KEY", "sk-d"),
            ("tls.pem", &*cert),
            ("tls.key", &*key),
            ("/etc/shardgate/tls.pem", &*cert),
            ("/etc/shardgate/tls.key", &*key),
            ("/etc/shardgate/vllm-ca.pem", &*cert),
        ]
        .leak(),
    )
});

/// A config that uses every key there is, with the least that each needs beside it.
const FULL: &str = r#"
[server.tls]
cert = "tls.pem"
key = "tls.key"
client_ca = "tls.pem"

[[keys]]
name = "k"
secret = { env = "TEAM_A_KEY" }

[keys.aws]
access_key_id = "AKID"
secret_access_key = { env = "AWS_KEY" }

[providers.NAME]
dialect = "azure"
base_url = "https://127.0.0.1:1"
api_key = { env = "AZURE_KEY" }
tls = { ca = "tls.pem" }

[providers.SIGNED]
dialect = "anthropic"
flavour = "bedrock"
base_url = "https://127.0.0.1:1"

[providers.SIGNED.aws]
region = "us-east-1"
access_key_id = { env = "AWS_ID" }
secret_access_key = { env = "AWS_KEY" }
session_token = { env = "AWS_KEY" }

[models.NAME]
targets = [{ provider = "NAME", model = "m", price = { input = 1.0, output = 1.0 }, abilities = { images = true } }]
hedge = {}
"#;

/// The text of every fenced block of the language `lang`.
fn blocks(lang: &str) -> Vec<String> {
    let fence = format!("```{lang}");
    let mut found = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if line.trim() == fence {
            let block: Vec<_> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            found.push(block.join("\n"));
        }
    }
    found
}

/// The cells of every row of the table whose first heading is `heading`.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let head = format!("| {heading} |");
    let start = README
        .lines()
        .position(|line| line.starts_with(&head))
        .unwrap();
    let table = README.lines().skip(start + 2);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// What stands between backticks in `text`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Goal: whoever copies a config from the README has a good one.
#[test]
fn every_config_of_the_readme_is_good() {
    let configs = blocks("toml");
    assert!(configs.len() >= 2);
    for text in configs {
        let checked = check(&text, &*SECRETS);
        let faults = checked.as_ref().err().map(|faults| faults.show("README"));
        assert_eq!(faults, None, "{text}");
        let warnings = checked.unwrap().warnings;
        assert!(warnings.0.is_empty(), "{}", warnings.show("README"));
    }
}

/// Goal: the table of errors is the table of faults, row by row and in its order.
#[test]
fn every_code_stands_there_with_its_status() {
    let written: Vec<_> = rows("status")
        .iter()
        .map(|row| (row[0].clone(), quoted(&row[1]).collect::<String>()))
        .collect();
    let known: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| (kind.status().to_string(), kind.code().to_owned()))
        .collect();
    assert_eq!(written, known);
}

/// Flattens a printed config to `section.key` and value; `keys[]` and `targets[]` stand for
/// their first entry, `NAME` for the signed provider too; references to secrets and abilities
/// are values.
fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    let is_whole = |table: &toml::Table| {
        prefix.ends_with("abilities") || ["env", "file"].iter().any(|key| table.contains_key(*key))
    };
    match value {
        Value::Table(table) if !is_whole(table) => {
            for (key, value) in table {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{key}"), value, into);
            }
        }
        Value::Array(list) if list.first().is_some_and(Value::is_table) => {
            flatten(&format!("{prefix}[]"), &list[0], into);
        }
        other => drop(into.insert(prefix.replace("SIGNED", "NAME"), other.clone())),
    }
}

/// Goal: the reference has every key that exists and no other, each with its default.
/// Method: a config with every key is printed; the README's keys are those of the print, and
/// where the README writes a value, the print has it.
#[test]
fn every_key_stands_there_with_its_default() {
    let config = check(FULL, &*SECRETS).unwrap().config;
    let printed: Value = toml::from_str(&Printed(&config).to_string()).unwrap();
    let mut known = BTreeMap::new();
    flatten("", &printed, &mut known);
    let mut written = BTreeSet::new();
    for row in rows("key") {
        let key: String = quoted(&row[0]).collect();
        let has = known.get(&key).unwrap_or_else(|| panic!("no key {key}"));
        if let Some(default) = quoted(&row[1]).next().filter(|_| row[1].starts_with('`')) {
            let default: Value = toml::from_str::<Value>(&format!("x = {default}")).unwrap();
            assert_eq!(default["x"], *has, "{key}");
        } else {
            let words = [
                "required",
                "none",
                "as `timeouts`",
                "as `stream`",
                "as `cache`",
                "as `cache.semantic`",
                "by the model's name",
            ];
            assert!(words.contains(&row[1].as_str()), "{key}: {}", row[1]);
        }
        if row[2].starts_with("likewise ") {
            let (section, _) = key.rsplit_once('.').unwrap();
            written.extend(quoted(&row[2]).map(|name| format!("{section}.{name}")));
        }
        assert!(written.insert(key.clone()), "{key} stands there twice");
    }
    let known: BTreeSet<_> = known.into_keys().collect();
    assert_eq!(written, known);
}

/// Goal: what is called required is, and nothing else is.
#[test]
fn what_is_required_is_refused_when_missing() {
    for row in rows("key") {
        let path: String = quoted(&row[0]).collect();
        let key = path.rsplit('.').next().unwrap();
        let without: Vec<_> = FULL
            .lines()
            .map(|line| line.replace(&format!("{key} = \"NAME\", "), ""))
            .filter(|line| !line.starts_with(&format!("{key} = ")))
            .collect();
        let text = without.join("\n");
        if row[1] == "required" {
            assert_ne!(
                text,
                FULL.trim_end(),
                "{path} is not in the config of this test"
            );
            assert!(check(&text, &*SECRETS).is_err(), "{path} is not required");
        }
    }
}

/// Goal: each command of the README exists, with each of its options.
/// Method: every line of a shell block that begins with the program's name is taken apart
/// and looked up in the program's own help.
#[test]
fn every_command_and_option_exists() {
    let mut seen = BTreeSet::new();
    for block in blocks("sh") {
        for line in block.lines().filter(|line| line.starts_with("shardgate ")) {
            let line = line.split('#').next().unwrap();
            let name = line.split(' ').nth(1).unwrap();
            let help = Command::new(env!("CARGO_BIN_EXE_shardgate"))
                .args([name, "--help"])
                .output()
                .unwrap();
            assert!(help.status.success(), "{name}");
            let help = String::from_utf8(help.stdout).unwrap();
            for option in line.split(' ').filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{name} has no {option}");
            }
            seen.insert(name.to_owned());
        }
    }
    let all = ["check", "demo", "load", "serve", "simulate", "verdict"];
    assert_eq!(seen, all.map(str::to_owned).into());
}

/// Goal: the README names every metric and no other.
#[test]
fn every_metric_stands_there() {
    let text = write(&Scrape::default(), &Names::default(), Form::Prometheus);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<_> = types.filter_map(|line| line.split(' ').next()).collect();
    let rows = rows("metric");
    let written: BTreeSet<_> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(written, known);
}

/// The part of `text` between the first `from` and the next `to`.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let (_, rest) = text.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

/// Goal: the access log's fields and the fields that pass upstream are those of the source.
#[test]
fn every_field_of_the_log_and_of_a_request_stands_there() {
    let source = include_str!("../src/shard/log.rs");
    let line = between(source, "const JSON", "];");
    let fields = line.split("\\\"").filter(|part| {
        let mut letters = part.chars();
        letters.all(|c| c.is_ascii_lowercase() || c == '_') && part.len() > 1
    });
    let known: BTreeSet<_> = fields.filter(|field| *field != "openai").collect();
    assert!(known.len() > 10, "{known:?}");
    let section = between(README, "**Access log**", "No prompts");
    let written: BTreeSet<_> = quoted(section).collect();
    for field in known {
        assert!(written.contains(field), "{field} of the access log");
    }
    let source = include_str!("../src/exchange/upstream.rs");
    let passes = between(source, "const PASSES", "];");
    for name in passes.split("b\"").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(
            quoted(&rows("from the client")[0][0]).any(|n| n == name),
            "{name}"
        );
    }
}
