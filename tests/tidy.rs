//! Guards the house: floors, places of unsafe and of glommio, sizes, headers, leftovers.
//!
//! ```text
//!   tracked files ──► File {path, text, code} ──► every rule ──► "path:line: what; what instead"
//!                       code = text without comments and without what is in quotes
//! ```
//!
//! Invariants
//! - I1 Every rule has a snippet that it refuses and one that it lets pass, in this file.
//! - I2 Words in comments and strings never break a rule about code.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

#[path = "tidy/code.rs"]
mod code;

use code::{blanked, code_of, is_word};
use std::path::Path;
use std::process::Command;

/// The floors of `src/lib.rs`, lowest first.
const FLOORS: [&[&str]; 7] = [
    &["base", "sys"],
    &["wire", "dialect", "stats"],
    &["policy", "config", "cache"],
    &["host"],
    &["exchange", "shard"],
    &["control", "simulate", "load"],
    &["cli"],
];

/// The highest floor without clock, I/O and logs.
const PURE_MAX: usize = 2;

/// Most lines of a file.
const LINES_MAX: usize = 600;

/// Most columns of a line, not counting what is in quotes.
const COLUMNS_MAX: usize = 100;

/// Most columns in the picture of a file's header.
const PICTURE_MAX: usize = 110;

/// What a pure floor may not say, and what to do instead.
const IMPURE: [(&str, &str); 15] = [
    ("async", "what waits belongs to host and above"),
    (".await", "what waits belongs to host and above"),
    ("TcpStream", "sockets belong to host"),
    ("TcpListener", "sockets belong to host"),
    ("UdpSocket", "sockets belong to host"),
    ("Instant::now", "time comes in"),
    ("SystemTime::now", "time comes in"),
    ("thread::spawn", "tasks belong to host"),
    ("thread::sleep", "time comes in"),
    ("print!", "return a verdict; floor 4 logs"),
    ("println!", "return a verdict; floor 4 logs"),
    ("eprint!", "return a verdict; floor 4 logs"),
    ("eprintln!", "return a verdict; floor 4 logs"),
    ("log::", "return a verdict; floor 4 logs"),
    ("tracing::", "return a verdict; floor 4 logs"),
];

/// A file of the repository.
struct File {
    path: String,
    text: String,
    code: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let code = if is_rust(path) {
            code_of(text)
        } else {
            String::new()
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    /// The folder or file directly under `src` that it belongs to.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next().unwrap().trim_end_matches(".rs"))
    }

    fn floor(&self) -> Option<usize> {
        floor_of(self.room()?)
    }

    /// `path:line: what` for the position `at` in text or code.
    fn fault(&self, at: usize, what: &str) -> String {
        let line = 1 + self.text[..at].matches('\n').count();
        format!("{}:{line}: {what}", self.path)
    }
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == "rs")
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// Positions of `what` in `code` that are not part of a longer word.
fn words<'c>(code: &'c str, what: &'c str) -> impl Iterator<Item = usize> + 'c {
    let (bytes, word) = (code.as_bytes(), what.as_bytes());
    let is_cut = |a: Option<&u8>, b: Option<&u8>| {
        a.is_some_and(|&a| is_word(a)) && b.is_some_and(|&b| is_word(b))
    };
    code.match_indices(what)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = at.checked_sub(1).and_then(|at| bytes.get(at));
            !is_cut(before, word.first()) && !is_cut(word.last(), bytes.get(at + word.len()))
        })
}

/// The first names behind a path that ends at `at`: one, or those of a brace list.
fn names(code: &str, at: usize) -> Vec<(usize, &str)> {
    let bytes = code.as_bytes();
    let word = |from: usize| {
        let len = bytes[from..].iter().take_while(|&&b| is_word(b)).count();
        (from, &code[from..from + len])
    };
    if bytes.get(at) != Some(&b'{') {
        return vec![word(at)];
    }
    let (mut depth, mut from, mut found, mut is_first) = (0, at, Vec::new(), false);
    while from < bytes.len() {
        match bytes[from] {
            b'{' => (depth, is_first) = (depth + 1, true),
            b'}' => depth -= 1,
            b',' => is_first = true,
            b if is_word(b) => {
                let (start, name) = word(from);
                if depth == 1 && is_first {
                    found.push((start, name));
                }
                (from, is_first) = (start + name.len(), false);
                continue;
            }
            _ => (),
        }
        if depth == 0 {
            break;
        }
        from += 1;
    }
    found
}

/// Imports go downward only; a room that no floor names must be given one.
fn floors(file: &File) -> Vec<String> {
    let Some(room) = file.room().filter(|r| !["lib", "main"].contains(r)) else {
        return Vec::new();
    };
    let Some(own) = floor_of(room) else {
        return vec![file.fault(
            0,
            "this room is on no floor; name it in src/lib.rs and here",
        )];
    };
    let depth = file.path.matches('/').count() - usize::from(file.path.ends_with("/mod.rs"));
    let to_root = "super::".repeat(depth);
    let starts = ["crate::", &to_root].into_iter().filter(|s| !s.is_empty());
    starts
        .flat_map(|start| {
            let used =
                words(&file.code, start).flat_map(move |at| names(&file.code, at + start.len()));
            used.filter(|(_, name)| floor_of(name).is_some_and(|floor| floor > own))
                .map(|(at, name)| file.fault(at, &format!("{room} imports {name}, which is above")))
        })
        .collect()
}

/// Floors without clock, I/O and logs stay so.
fn purity(file: &File) -> Vec<String> {
    if file.floor().is_none_or(|floor| floor > PURE_MAX) || file.room() == Some("sys") {
        return Vec::new();
    }
    let said = IMPURE.iter().flat_map(|(what, instead)| {
        let all = words(&file.code, what);
        all.map(move |at| file.fault(at, &format!("'{what}' on a pure floor; {instead}")))
    });
    said.collect()
}

/// glommio is named under `src/host` alone, unsafe under `src/sys` and in `tests/alloc.rs`.
fn places(file: &File) -> Vec<String> {
    let mut faults = Vec::new();
    if file.path.starts_with("src/") && !file.path.starts_with("src/host/") {
        let all = words(&file.code, "glommio");
        faults.extend(all.map(|at| file.fault(at, "glommio outside src/host")));
    }
    if !file.path.starts_with("src/sys/") && file.path != "tests/alloc.rs" {
        let all = words(&file.code, "unsafe");
        faults.extend(all.map(|at| file.fault(at, "unsafe outside src/sys")));
    }
    faults
}

/// Rooms forbid unsafe; `sys` alone does not.
fn forbids(file: &File) -> Vec<String> {
    let is_room = file.path.matches('/').count() == 2 && file.path.ends_with("/mod.rs");
    let is_due = is_room && file.room().is_some_and(|r| r != "sys");
    if is_due && !file.code.contains("#![forbid(unsafe_code)]") {
        return vec![file.fault(0, "a room's mod.rs says #![forbid(unsafe_code)]")];
    }
    Vec::new()
}

/// Files and lines have a size, and a file opens with what it is.
fn shape(file: &File) -> Vec<String> {
    if !is_rust(&file.path) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        faults.push(file.fault(
            0,
            &format!("{lines} lines; split it, {LINES_MAX} is the limit"),
        ));
    }
    if !file.text.starts_with("//! ") {
        faults.push(file.fault(0, "a file opens with //! and what it is"));
    }
    // what is in quotes may be long (tables of sentences), what is around it may not
    let shown = blanked(&file.text, b'\0', false);
    let mut is_picture = false;
    for (number, (text, shown)) in file.text.lines().zip(shown.lines()).enumerate() {
        let columns = shown.chars().filter(|&c| c != '\0').count();
        is_picture ^= text.trim_start().starts_with("//! ```");
        let max = if is_picture { PICTURE_MAX } else { COLUMNS_MAX };
        if columns > max && !text.contains("://") {
            faults.push(format!("{}:{}: {columns} columns", file.path, number + 1));
        }
    }
    faults
}

/// Nothing is left undone, and nothing names the machine that it was written on.
fn leftovers(file: &File) -> Vec<String> {
    let undone = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let macros = [concat!("to", "do!("), concat!("unimple", "mented!(")];
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mirrors = [
        concat!("index-", "url"),
        concat!("find-", "links"),
        concat!("[sour", "ce."),
    ];
    let rules = [
        (&undone[..], "is left undone; do it or open an issue"),
        (&macros, "is left undone; do it or open an issue"),
        (&paths, "names a machine's path"),
        (&mirrors, "names a package mirror"),
    ];
    let mut faults = Vec::new();
    for (texts, what) in rules {
        for text in texts {
            let all = words(&file.text, text);
            faults.extend(all.map(|at| file.fault(at, &format!("'{text}' {what}"))));
        }
    }
    if file.path.ends_with("Cargo.lock") {
        let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        let sources = file.text.lines().filter(|l| l.starts_with("source = "));
        let other = sources.filter(|line| *line != public);
        faults.extend(other.map(|line| format!("{}: {line}: not the public registry", file.path)));
    }
    faults
}

/// Looks at one file and says what is wrong with it.
type Rule = fn(&File) -> Vec<String>;

/// Every rule.
const RULES: [Rule; 6] = [floors, purity, places, forbids, shape, leftovers];

/// Every text file that git tracks or would track.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(list.status.success(), "git lists the files");
    let paths = String::from_utf8(list.stdout).unwrap();
    let paths = paths.split('\0').filter(|p| !p.is_empty());
    paths
        .filter_map(|path| {
            Some(File::new(
                path,
                &std::fs::read_to_string(root.join(path)).ok()?,
            ))
        })
        .collect()
}

/// Goal: the house is in order. Method: every rule on every tracked file; all faults at once.
#[test]
fn the_house_is_in_order() {
    let files = files();
    assert!(
        files.iter().any(|f| f.path == "src/lib.rs"),
        "no files found"
    );
    let faults: Vec<String> = files
        .iter()
        .flat_map(|f| RULES.iter().flat_map(|r| r(f)))
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Goal: the table here is the table that `src/lib.rs` shows. Method: read its picture.
#[test]
fn the_floors_are_those_of_the_library() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("src/lib.rs")).unwrap();
    for (number, rooms) in FLOORS.iter().enumerate() {
        let start = format!("//!  {number}  ");
        let line = text.lines().find_map(|l| l.strip_prefix(&start)).unwrap();
        let shown: Vec<&str> = line.split("  ").take_while(|w| !w.is_empty()).collect();
        assert_eq!(shown, *rooms, "floor {number}");
    }
}

/// Snippets and the rule that refuses each.
const BAD: [(Rule, &str, &str); 32] = [
    (floors, "src/base/a.rs", "use crate::wire::http1;"),
    (floors, "src/wire/a.rs", "fn f(x: crate::host::Y) {}"),
    (
        floors,
        "src/wire/a.rs",
        "use crate::{base::span, policy::{auth}};",
    ),
    (
        floors,
        "src/wire/a.rs",
        "use crate::{base::{wire, span}, cli};",
    ),
    (floors, "src/config/mod.rs", "use super::control::launch;"),
    (
        floors,
        "src/wire/json/scan.rs",
        "use super::super::super::shard::Shard;",
    ),
    (floors, "src/host/mod.rs", "pub use crate::exchange as x;"),
    (
        floors,
        "src/helpers/mod.rs",
        "//! A room that nobody knows.",
    ),
    (purity, "src/wire/a.rs", "pub async fn f() {}"),
    (purity, "src/policy/a.rs", "let a = f().await;"),
    (
        purity,
        "src/stats/a.rs",
        "let a = std::time::Instant::now();",
    ),
    (purity, "src/config/a.rs", "use std::net::TcpStream;"),
    (
        purity,
        "src/config/a.rs",
        "use std::net::{Ipv4Addr, TcpListener};",
    ),
    (purity, "src/base/a.rs", "eprintln!(\"x\");"),
    (purity, "src/base/a.rs", "log::warn!(\"x\");"),
    (places, "src/exchange/a.rs", "use glommio::Task;"),
    (places, "src/main.rs", "glommio::run();"),
    (places, "src/host/a.rs", "unsafe { f() }"),
    (places, "tests/x.rs", "unsafe impl Send for X {}"),
    (places, "bench/x.rs", "let a = /* safe */ unsafe { b };"),
    (forbids, "src/wire/mod.rs", "//! Wire.\n"),
    (forbids, "src/wire/mod.rs", "// #![forbid(unsafe_code)]\n"),
    (shape, "src/wire/a.rs", "// No header.\n"),
    (leftovers, "README.md", concat!("TO", "DO: more")),
    (leftovers, "src/a.rs", concat!("// FIX", "ME")),
    (leftovers, "src/a.rs", concat!("to", "do!()")),
    (
        leftovers,
        "src/a.rs",
        concat!("unimple", "mented!(\"later\")"),
    ),
    (leftovers, "scripts/test", concat!("cd /wo", "rk/main")),
    (leftovers, "Cargo.toml", concat!("path = \"/ro", "ot/x\"")),
    (leftovers, "pip.conf", concat!("index-", "url = x")),
    (leftovers, "config.toml", concat!("[sour", "ce.mirror]")),
    (
        leftovers,
        "Cargo.lock",
        "source = \"registry+https://mirror.example/index\"",
    ),
];

/// Goal: I1, what each rule refuses.
#[test]
fn every_rule_refuses_what_it_should() {
    for (number, (rule, path, text)) in BAD.into_iter().enumerate() {
        let faults = rule(&File::new(path, text));
        assert_eq!(
            faults.len(),
            1,
            "number {number}: {path}: {text}: {faults:?}"
        );
        assert!(faults[0].starts_with(path), "{faults:?}");
    }
    let long = File::new(
        "src/wire/a.rs",
        &format!("//! A.\n{}", "\n".repeat(LINES_MAX)),
    );
    assert_eq!(shape(&long).len(), 1);
    let picture = format!("//! A.\n//! ```text\n//! {}\n//! ```\n", "-".repeat(100));
    assert!(shape(&File::new("src/wire/a.rs", &picture)).is_empty());
    assert_eq!(
        shape(&File::new("src/wire/a.rs", &picture.replace("--", "---"))).len(),
        1
    );
    for text in [
        format!("//! {}", "a".repeat(97)),
        format!("//! A.\nlet {} = 1;", "a".repeat(97)),
    ] {
        assert_eq!(shape(&File::new("src/wire/a.rs", &text)).len(), 1, "{text}");
    }
}

/// Snippets that every rule lets pass.
const GOOD: [(&str, &str); 18] = [
    (
        "src/wire/a.rs",
        "//! async, .await, unsafe, glommio and crate::cli in words.\n",
    ),
    (
        "src/wire/a.rs",
        "//! A.\nconst A: &str = \"async unsafe { glommio } // crate::cli\";\n",
    ),
    (
        "src/wire/a.rs",
        "//! A.\nconst A: &str = r#\"unsafe \" async\"#; const B: u8 = b'\"';\n",
    ),
    (
        "src/wire/a.rs",
        "//! A.\nfn f<'a>(x: &'a str) -> char { '\\'' } /* async /* x */ unsafe */\n",
    ),
    (
        "src/wire/a.rs",
        "//! A.\nuse crate::{base::{span, host}, dialect::openai};\n",
    ),
    (
        "src/wire/a.rs",
        "//! A.\nfn is_async() -> unsafe_free { sprint!(); dialog::x() }\n",
    ),
    (
        "src/wire/a.rs",
        "//! A.\nuse super::super::base::span;\nmod tests { use super::*; }\n",
    ),
    (
        "src/host/a.rs",
        "//! A.\nasync fn f() { glommio::x().await; crate::base::y(); }\n",
    ),
    ("src/shard/a.rs", "//! A.\nuse crate::exchange::Exchange;\n"),
    ("src/sys/mod.rs", "//! A.\nfn f() { unsafe { g() } }\n"),
    ("src/wire/mod.rs", "//! A.\n\n#![forbid(unsafe_code)]\n"),
    ("src/wire/http1/mod.rs", "//! A.\n"),
    ("src/main.rs", "//! A.\nuse shardgate::cli;\n"),
    (
        "tests/alloc.rs",
        "//! A.\nunsafe impl GlobalAlloc for A {}\n",
    ),
    (
        "src/wire/a.rs",
        "//! https://example.com/a/very/long/path/that/goes/on/and/on/and/on/and/on/and/on/and/on/and/on.html\n",
    ),
    (
        "src/wire/a.rs",
        "//! A.\n    A = \"a sentence that a caller reads and that is longer than what fits into one hundred columns\";\n",
    ),
    (
        "Cargo.lock",
        "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
    ),
    ("README.md", "## Work: root/x\n"),
];

/// Goal: I1 and I2, what every rule lets pass.
#[test]
fn what_is_in_order_passes() {
    for (path, text) in GOOD {
        let faults: Vec<String> = RULES
            .iter()
            .flat_map(|r| r(&File::new(path, text)))
            .collect();
        assert!(faults.is_empty(), "{path}: {text}: {faults:?}");
    }
}
