//! `shardgate demo`: the main job in one process, without keys and without a network.
//!
//! Two simulated providers and a gateway on loopback; four requests over real sockets, each
//! shown with the command that repeats it: a plain answer, a stream, an answer although the
//! first provider fails, and an answer in another dialect than the provider's. Nothing is
//! short-cut: the same shards, the same exchange, the same listeners as in `serve`.

use super::gateway::Gateway;
use super::{logger, serve};
use crate::config::{self, FixedSecrets};
use crate::shard::log::Format;
use crate::simulate::{self, Simulation};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What the client of the demo sends as its key; [`Front::fields`] have it, too.
const KEY: &str = "demo-key";

/// Bytes of an answer that are shown, at most.
const ANSWER_MAX: u64 = 64 << 10;

/// How long an answer of the demo may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first provider is well, the second fails every request.
const PROVIDERS: &str = r#"
[[provider]]
listen = ["127.0.0.1:0"]
[provider.defaults]
ttft = "30ms"
rate = 20
events = 8

[[provider]]
listen = ["127.0.0.1:0"]
[provider.defaults]
status = 503
"#;

/// One request of the walk.
struct Scene {
    title: &'static str,
    front: Front,
    body: &'static str,
    note: &'static str,
}

/// How a client speaks: the path, and the fields with its key.
#[derive(Clone, Copy)]
struct Front {
    path: &'static str,
    fields: &'static [&'static str],
}

const OPENAI: Front = Front {
    path: "/v1/chat/completions",
    fields: &["Authorization: Bearer demo-key"],
};

const ANTHROPIC: Front = Front {
    path: "/v1/messages",
    fields: &["x-api-key: demo-key", "anthropic-version: 2023-06-01"],
};

const SCENES: [Scene; 4] = [
    Scene {
        title: "a plain request",
        front: OPENAI,
        body: r#"{"model":"demo","messages":[{"role":"user","content":"Say something."}]}"#,
        note: "The JSON came from the simulated provider, byte for byte.",
    },
    Scene {
        title: "a stream, token by token",
        front: OPENAI,
        body: r#"{"model":"demo","stream":true,"messages":[{"role":"user","content":"Say something."}]}"#,
        note: "Each event was passed on as it arrived; the stream ends with [DONE].",
    },
    Scene {
        title: "a provider that fails",
        front: OPENAI,
        body: r#"{"model":"demo-failing","messages":[{"role":"user","content":"Say something."}]}"#,
        note: "The first provider answered 503; the second one answered instead: x-shardgate-attempts is 2.",
    },
    Scene {
        title: "another dialect: Anthropic's Messages, answered by a provider that speaks OpenAI's",
        front: ANTHROPIC,
        body: r#"{"model":"demo","stream":true,"max_tokens":64,"messages":[{"role":"user","content":"Say something."}]}"#,
        note: "The same provider as before; request and events were translated on the way.",
    },
];

/// Runs the demo; with `once` it ends after the walk, else it serves until Ctrl-C. Text goes
/// to `out` as it happens.
///
/// # Errors
/// Why it cannot start, or which request did not go as it should.
pub fn demo(once: bool, out: &mut dyn Write) -> Result<(), String> {
    let providers = simulate::config::parse(PROVIDERS, "demo")?;
    let simulation = Simulation::start(providers, &[None])?;
    let address = |index: usize| {
        simulation
            .addresses
            .get(index)
            .and_then(|at| at.first().copied())
    };
    let (Some(well), Some(failing)) = (address(0), address(1)) else {
        return Err("the simulated providers do not listen".to_owned());
    };
    let text = gateway_config(well, failing);
    let secrets = FixedSecrets(&[("DEMO_KEY", KEY)]);
    let checked = config::check(&text, &secrets).map_err(|faults| faults.show("demo.toml"))?;
    let log = logger::start().map_err(|error| error.to_string())?;
    let gateway = Gateway::start(&Arc::new(checked.config), Format::Off, &log, None)?;
    serve::on_signals(gateway.stop.clone(), || {}, || {})?;
    let at = *gateway
        .listen
        .first()
        .ok_or("the gateway does not listen")?;
    say(out, &introduction(&gateway, &text, well, failing))?;
    for (number, scene) in SCENES.iter().enumerate() {
        play(out, at, number + 1, scene)?;
    }
    let admin = gateway
        .admin
        .map(|admin| format!("curl http://{admin}/api/status\n"))
        .unwrap_or_default();
    say(
        out,
        &format!("\nAll four were answered. What the gateway counted:\n  {admin}"),
    )?;
    if once {
        gateway.stop.drain();
    } else {
        say(out, "\nServing until Ctrl-C; the commands above work.\n")?;
    }
    gateway.wait().map(|_| ())
}

fn gateway_config(well: SocketAddr, failing: SocketAddr) -> String {
    format!(
        r#"[server]
listen = ["127.0.0.1:0"]
admin  = "127.0.0.1:0"

[[keys]]
name   = "demo"
secret = {{ env = "DEMO_KEY" }}
models = ["*"]

[providers.well]
dialect  = "openai"
base_url = "http://{well}/v1"

[providers.failing]
dialect  = "openai"
base_url = "http://{failing}/v1"

[models.demo]
targets = [ {{ provider = "well", model = "simulated" }} ]

[models."demo-failing"]
strategy = "priority"
targets  = [ {{ provider = "failing", model = "simulated" }},
             {{ provider = "well", model = "simulated" }} ]
"#
    )
}

fn introduction(gateway: &Gateway, config: &str, well: SocketAddr, failing: SocketAddr) -> String {
    let at: Vec<_> = gateway.listen.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "shardgate demo: {} shards listen on http://{}\n\
         simulated providers: http://{well} (well), http://{failing} (answers 503)\n\nIts configuration:\n\n",
        gateway.shards,
        at.join(", ")
    );
    for line in config.lines() {
        // Writing into a String cannot fail.
        _ = writeln!(text, "    {line}");
    }
    text
}

/// Sends one request of the walk and shows the answer.
fn play(out: &mut dyn Write, at: SocketAddr, number: usize, scene: &Scene) -> Result<(), String> {
    let Scene {
        title,
        front,
        body,
        note,
    } = scene;
    let Front { path, fields } = front;
    let flags = if body.contains("\"stream\":true") {
        "-sN"
    } else {
        "-s"
    };
    let headers = fields.join("' -H '");
    say(
        out,
        &format!(
            "\n{number}. {title}\n\n    curl {flags}i http://{at}{path} \\\n      -H '{headers}' \
             -H 'Content-Type: application/json' \\\n      -d '{body}'\n\n"
        ),
    )?;
    let failed = |error: std::io::Error| format!("{title}: {error}");
    let mut socket = TcpStream::connect_timeout(&at, PATIENCE).map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!(
        "POST {path} HTTP/1.0\r\nhost: {at}\r\n{}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        fields.join("\r\n"),
        body.len()
    );
    socket.write_all(request.as_bytes()).map_err(failed)?;
    let mut shown = Vec::new();
    let mut block = [0; 4096];
    while (shown.len() as u64) < ANSWER_MAX {
        let got = match socket.read(&mut block) {
            // A ring of this thread that has just ended (the probe for it) may still interrupt.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.map_err(failed)?,
        };
        let Some(fresh) = block.get(..got).filter(|fresh| !fresh.is_empty()) else {
            break;
        };
        shown.extend_from_slice(fresh);
        say(out, &String::from_utf8_lossy(fresh).replace("\r\n", "\n"))?; // as it arrives
    }
    if !shown.starts_with(b"HTTP/1.1 200 ") {
        return Err(format!("{title}: this should have been answered with 200"));
    }
    say(out, &format!("\n    → {note}\n"))
}

fn say(out: &mut dyn Write, text: &str) -> Result<(), String> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("stdout cannot be written to: {error}"))
}
