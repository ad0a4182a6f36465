//! The config room as a whole: what is refused and in which words, what is accepted, and
//! that printing gives the same back.

use super::model::{
    Caching, Embedder, Mode, Rate, Replay, Scheme, Scope, Secret, Semantic, Strategy, Temperature,
    Threshold,
};
use super::print::Printed;
use super::{Checked, Config, FixedSecrets, Secrets, check};
use proptest::prelude::*;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

/// The secrets and files of the cases, certificates made on the spot.
struct Fixed {
    given: Vec<(&'static str, String)>,
}

impl Secrets for Fixed {
    fn env(&self, name: &str) -> Result<Option<String>, String> {
        let given = self.given.iter().find(|(given, _)| *given == name);
        Ok(given.map(|(_, value)| value.clone()))
    }

    fn file(&self, path: &str) -> Result<String, String> {
        FixedSecrets::default().file(path)
    }

    fn pem(&self, path: &str) -> Result<String, String> {
        self.env(path)?.ok_or(self.file(path).unwrap_err())
    }
}

static SECRETS: LazyLock<Fixed> = LazyLock::new(|| {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    Fixed {
        given: vec![
            ("KEY", "sk-good".to_owned()),
            ("KEY2", "sk-other".to_owned()),
            ("TOKEN", "sk-token".to_owned()),
            ("EMPTY", String::new()),
            ("SPACED", "sk a".to_owned()),
            ("ODD", "sk:odd!".to_owned()),
            ("cert.pem", made.cert.pem()),
            ("cert.key", made.signing_key.serialize_pem()),
            ("other.key", other.serialize_pem()),
            ("empty.pem", "nothing\n".to_owned()),
            ("broken.pem", broken.to_owned()),
        ],
    }
});

/// Stands behind each case, so that a case shows only what it is about.
const PROVIDER: &str = "\n[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n";

fn faults(text: &str) -> Vec<String> {
    match check(text, &*SECRETS) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0.iter().map(ToString::to_string).collect(),
    }
}

fn good(text: &str) -> Checked {
    check(text, &*SECRETS).unwrap_or_else(|faults| panic!("{text}\n{faults}"))
}

/// Cases with every fault that they give: the text, then a line `=> fault` for each, then
/// `---`. A case that names no provider of its own gets [`PROVIDER`] behind it.
const CASES: &str = include_str!("faults.txt");

/// Goal: K1, K3, F1, F3: every fault of a file is told, in these words and at this place.
#[test]
fn each_bad_file_gives_exactly_its_faults() {
    let mut cases = 0;
    for case in CASES.trim_end().split("\n---\n") {
        let (text, want) = case.split_once("\n=> ").unwrap();
        let behind = if text.contains("[providers") {
            ""
        } else {
            PROVIDER
        };
        let want: Vec<_> = want.split("\n=> ").collect();
        assert_eq!(faults(&format!("{text}{behind}")), want, "{text}");
        cases += 1;
    }
    assert!(cases >= 80, "{cases} cases");
}

/// Goal: an empty file is told what it lacks.
#[test]
fn an_empty_file_lacks_a_provider() {
    let want = "1:1: the file has no `providers`; write [providers.NAME] with dialect and base_url";
    assert_eq!(faults(""), [want]);
    assert_eq!(faults("# nothing\n"), [want]);
}

/// Goal: what requests are signed with, and what signatures are verified with, arrives whole.
#[test]
fn keys_of_aws_arrive_whole() {
    let config = good(&full()).config;
    let aws = |at: usize| config.keys[at].aws.as_ref().unwrap();
    assert_eq!(config.keys[0].aws, None);
    assert_eq!(config.keys[2].digest, None);
    assert_eq!(aws(2).access_key_id, "AKIDC");
    assert!(config.keys[3].digest.is_some());
    assert_eq!(aws(3).secret_access_key.reveal(), "sk-good");
    let signer = config.providers[2].aws.as_ref().unwrap();
    let token = signer.session_token.as_ref().map(Secret::reveal);
    assert_eq!((&*signer.region, token), ("eu-west-1", Some("sk-token")));
    assert_eq!(signer.access_key_id.reveal(), "sk-good");
    assert_eq!(signer.secret_access_key.reveal(), "sk-other");
}

/// Goal: K2. Method: a secret where a reference belongs, at every place that takes one, and
/// one that is loaded well; none may show in faults, print or `Debug`.
#[test]
fn no_text_shows_a_secret() {
    let text = "[[keys]]\nname = \"a\"\nsecret = \"hunter2\"\n[[keys]]\nname = \"b\"\nsecret = [\"hunter2\"]\n[providers.q]\ndialect = \"openai\"\nbase_url = \"http://x:hunter2@h\"\napi_key = \"hunter2\"";
    let all = faults(text).join("\n");
    assert_eq!(all.lines().count(), 4, "{all}");
    assert!(!all.contains("hunter2"), "{all}");
    let config = good(&full()).config;
    let shown = format!("{config:?}\n{}", Printed(&config));
    assert!(shown.contains("KEY2") && !shown.contains("sk-"), "{shown}");
    assert_eq!(
        config.providers[1].api_key.as_ref().unwrap().reveal(),
        "sk-other"
    );
}

/// A file that writes every key.
fn full() -> String {
    "[server]\nlisten = [\"0.0.0.0:8080\", \"[::1]:0\"]\nadmin = \"off\"\nshards = 2\nhandover = \"/run/shardgate/h.sock\"\n\
     [limits]\nhead_max = \"16KiB\"\ntarget_max = \"8KiB\"\nfields_max = 64\nbody_max = \"1MiB\"\nbodies_max = \"2MiB\"\nbody_rate_min = \"1B\"\nstreams_max = 50_000\nqueue_max = 5\nqueue_wait = \"50ms\"\nconnections_max = 0xffff\n\
     [timeouts]\nconnect = \"250ms\"\nfirst_token = \"1s\"\nidle = \"90s\"\ntotal = \"1h\"\nhead = \"3s\"\nbody = \"4s\"\nkeep_alive = \"5s\"\nstall = \"6s\"\ndrain = \"7s\"\n\
     [retry]\nattempts_max = 3\nbudget = \"7%\"\nbackoff = { first = \"20ms\", max = \"1s\" }\nwait_max = \"3s\"\n\
     [breaker]\nmode = \"off\"\nwindow = \"20s\"\nerror_rate = 0.07\nrequests_min = 9\nconsecutive = 3\nopen = \"1s\"\nopen_max = \"9s\"\nramp = \"0s\"\n\
     [gossip]\ntick = \"20ms\"\n\
     [stream]\nkeepalive = \"15s\"\n\
     [cache]\nmode = \"exact\"\nttl = \"48h\"\nmemory_max = \"3MiB\"\nscope = \"shared\"\nreplay = \"paced\"\ntemperature_max = 0.7\ntool_calls = true\nentry_max = \"2MiB\"\ncoalesce = false\n\
     [cache.semantic]\nthreshold = 0.95\nshadow = true\naudit = \"off\"\ntemperature_max = 0.25\nembedder = \"builtin\"\n\
     [cache.remote]\nurl = \"REDISS://[::1]/7\"\nuser = \"team\"\npassword = { env = \"KEY2\" }\ndeadline = \"5ms\"\nprefix = \"team-a\"\ntls = { ca = \"cert.pem\" }\n\
     [[keys]]\nname = \"team-a\"\nsecret = { env = \"KEY\" }\nmodels = [\"gpt-*\", \"small\"]\n\
     [[keys]]\nname = \"team-b\"\nsecret = { sha256 = \"2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B\" }\n\
     [[keys]]\nname = \"team-c\"\naws = { access_key_id = \"AKIDC\", secret_access_key = { env = \"KEY2\" } }\n\
     [[keys]]\nname = \"team-d\"\nsecret = { env = \"KEY2\" }\naws = { access_key_id = \"AKIDD\", secret_access_key = { env = \"KEY\" } }\n\
     [providers.local]\ndialect = \"openai\"\nbase_url = \"http://LOCALHOST:8000/v1/\"\npool = { idle_max = 0, idle = \"1s\", age_max = \"2s\" }\n\
     [providers.\"azure.eu\"]\ndialect = \"azure\"\nbase_url = \"http://[::1]:80\"\napi_key = { env = \"KEY2\" }\napi_version = \"2025-01-01-preview\"\n\
     [providers.aws]\ndialect = \"bedrock\"\nbase_url = \"https://bedrock-runtime.eu-west-1.amazonaws.com\"\naws = { region = \"eu-west-1\", access_key_id = { env = \"KEY\" }, secret_access_key = { env = \"KEY2\" }, session_token = { env = \"TOKEN\" } }\n\
     [providers.vertex]\ndialect = \"anthropic\"\nflavour = \"vertex\"\nbase_url = \"http://127.0.0.1:9/publishers/anthropic\"\n\
     [models.\"gpt-4o\"]\nstrategy = \"priority\"\ntargets = [{ provider = \"azure.eu\", model = \"prod\" }, { provider = \"local\" }]\nfallbacks = [\"small\", \"local/tiny:1b\"]\n\
     timeouts = { total = \"2h\" }\nstream = { keepalive = \"off\" }\ncache = { mode = \"semantic\", ttl = \"5m\", scope = \"key\", semantic = { threshold = \"strict\", audit = \"2%\", embedder = { provider = \"azure.eu\", model = \"e/3\", timeout = \"300ms\" } } }\nhedge = { after = \"p90\", extra_max = \"7%\" }\n\
     [models.small]\nstrategy = \"priority\"\ntargets = [{ provider = \"local\", weight = 10000, tier = 64, price = { input = 0.000001, output = 1000 } }]\nfallbacks = [\"gpt-4o\"]\nhedge = { after = \"1500ms\" }\n\
     [models.\"*\"]\nstrategy = \"round_robin\"\ntargets = [{ provider = \"local\", model = \"any\", abilities = { context = 8000, thinking = \"off\", images = false } }]\n"
        .to_owned()
}

/// Goal: so do the keys of breakers, gossip and silence.
#[test]
fn what_is_for_targets_arrives() {
    let config = good(&full()).config;
    let b = config.breaker;
    assert_eq!(
        (b.is_on, b.error_percent, b.requests_min, b.consecutive),
        (false, 7, 9, 3)
    );
    let seconds = [b.window, b.open, b.open_max, b.ramp].map(|length| length.as_secs());
    assert_eq!(seconds, [20, 1, 9, 0]);
    assert_eq!(config.gossip.tick, Duration::from_millis(20));
    let keepalive = |at: usize| config.models[at].keepalive;
    assert_eq!(config.keepalive, Some(Duration::from_secs(15)));
    assert_eq!((keepalive(0), keepalive(1)), (None, config.keepalive));
}

/// Goal: so do the keys of caches, and a model's own go over those of the file.
#[test]
fn what_is_cached_arrives() {
    let config = good(&full()).config;
    let c = &config.cache.of_models;
    assert_eq!(config.cache.memory_max, 3 << 20);
    assert_eq!(
        (c.mode, c.scope, c.replay),
        (Mode::Exact, Scope::Shared, Replay::Paced)
    );
    assert_eq!((c.ttl.as_secs(), c.entry_max), (48 * 3600, 2 << 20));
    assert_eq!((c.tool_calls, c.coalesce), (true, false));
    let limits = (c.temperature_max, c.semantic.temperature_max);
    assert_eq!(limits, (Temperature(700), Temperature(250)));
    let s = &c.semantic;
    assert_eq!((s.threshold, s.shadow), (Threshold::At(9500), true));
    assert_eq!(s.audit_percent, 0);
    assert_eq!(s.embedder, Embedder::Builtin);
    let model = &config.models[0].cache;
    let want = Caching {
        mode: Mode::Semantic,
        ttl: Duration::from_secs(300),
        scope: Scope::Key,
        semantic: Semantic {
            threshold: Threshold::Strict,
            audit_percent: 2,
            embedder: Embedder::Provider {
                provider: 1,
                model: "e/3".to_owned(),
                timeout: Duration::from_millis(300),
            },
            ..s.clone()
        },
        ..c.clone()
    };
    assert_eq!(*model, want);
    assert!(config.models[1..].iter().all(|other| other.cache == *c));
}

/// Goal: an embedder needs no more than who and what.
#[test]
fn an_embedder_has_a_timeout() {
    let text = "[cache]\nmode = \"semantic\"\n[cache.semantic]\n\
                embedder = { provider = \"p\", model = \"m\" }\n\
                [providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n";
    let config = good(text).config;
    let want = Embedder::Provider {
        provider: 0,
        model: "m".to_owned(),
        timeout: Duration::from_millis(200),
    };
    assert_eq!(config.cache.of_models.semantic.embedder, want);
}

/// Goal: where the shared tier is, and with what one gets there, arrives; where little is written
/// the rest is the default.
#[test]
fn the_shared_tier_arrives() {
    let remote = good(&full()).config.cache.remote.unwrap();
    assert_eq!(remote.url.to_string(), "rediss://[::1]:6379/7");
    assert_eq!(remote.user.as_deref(), Some("team"));
    assert_eq!(remote.password.unwrap().reveal(), "sk-other");
    assert_eq!(remote.deadline, Duration::from_millis(5));
    assert_eq!(remote.prefix, "team-a");
    assert_eq!(remote.ca.unwrap().file, "cert.pem");
    let text =
        format!("[cache]\nmode = \"exact\"\n[cache.remote]\nurl = \"redis://H:7\"{PROVIDER}");
    let Checked { config, warnings } = good(&text);
    let remote = config.cache.remote.unwrap();
    assert_eq!(remote.url.to_string(), "redis://h:7/0");
    assert_eq!(remote.deadline, Duration::from_millis(2));
    assert_eq!(
        (&*remote.prefix, remote.password, remote.ca),
        ("shardgate", None, None)
    );
    let want = "4:7: answers go to h in clear text; make sure that the way there is private, or \
                write rediss://\n";
    assert_eq!(warnings.to_string(), want);
    assert!(good(PROVIDER).config.cache.remote.is_none());
}

/// Goal: nothing is cached unless the file says so.
#[test]
fn a_file_without_a_cache_has_none() {
    let text = PROVIDER.to_owned() + "[models.m]\ntargets = [{ provider = \"p\" }]\n";
    let config = good(&text).config;
    assert!(config.models.iter().all(|it| it.cache.mode == Mode::Off));
}

/// Goal: every key of the file arrives.
#[test]
fn a_full_file_arrives_whole() {
    let Checked { config, warnings } = good(&full());
    assert_eq!(warnings.to_string(), "");
    let listen: Vec<SocketAddr> = vec!["0.0.0.0:8080".parse().unwrap(), "[::1]:0".parse().unwrap()];
    assert_eq!(
        (
            config.server.listen,
            config.server.admin,
            config.server.shards
        ),
        (listen, None, Some(2))
    );
    let l = config.limits;
    assert_eq!(
        (l.head_max, l.target_max, l.fields_max),
        (16 << 10, 8 << 10, 64)
    );
    assert_eq!(
        (l.body_max, l.bodies_max, l.body_rate_min),
        (1 << 20, 2 << 20, 1)
    );
    assert_eq!((l.streams_max, l.connections_max), (50_000, 0xffff));
    let t = config.timeouts;
    let ms = [
        t.connect,
        t.first_token,
        t.idle,
        t.total,
        t.head,
        t.body,
        t.keep_alive,
        t.stall,
        t.drain,
    ];
    assert_eq!(
        ms.map(|d| d.as_millis()),
        [250, 1000, 90_000, 3_600_000, 3000, 4000, 5000, 6000, 7000]
    );
    let retry = config.retry;
    assert_eq!((retry.attempts_max, retry.budget_percent), (3, Some(7)));
    let waits = [retry.backoff_first, retry.backoff_max, retry.wait_max];
    assert_eq!(waits.map(|d| d.as_millis()), [20, 1000, 3000]);
    assert_eq!(config.keys[0].models, ["gpt-*", "small"]);
    assert_eq!(config.keys[1].models, ["*"]);
    assert_eq!(config.keys[1].digest.unwrap()[..3], [0x2b, 0xb8, 0x0d]);
    let url = &config.providers[0].base_url;
    assert_eq!(
        (url.scheme, &*url.host, url.port, &*url.path),
        (Scheme::Http, "localhost", 8000, "/v1")
    );
    assert_eq!(url.authority(), "localhost:8000");
    assert_eq!(config.providers[0].pool.idle_max, 0);
    assert_eq!(config.providers[1].base_url.authority(), "[::1]");
    assert_eq!(
        config.providers[1].api_version.as_deref(),
        Some("2025-01-01-preview")
    );
    let model = &config.models[0];
    assert_eq!(
        (&*model.name, model.strategy),
        ("gpt-4o", Strategy::Priority)
    );
    assert_eq!(
        (model.targets[0].provider, model.targets[1].provider),
        (1, 0)
    );
    assert_eq!(model.timeouts.total, Duration::from_secs(7200));
    assert_eq!(model.timeouts.idle, Duration::from_secs(90));
    assert_eq!(model.fallbacks[0].model, 1);
    assert_eq!(model.fallbacks[1].forwarded, "tiny:1b");
}

/// Goal: weight, tier and price of a target arrive; tiers are the file's order where they count
/// and are not written.
#[test]
fn what_a_target_weighs_arrives() {
    let config = good(&full()).config;
    let (model, small) = (&config.models[0], &config.models[1].targets[0]);
    assert_eq!((small.weight, small.tier), (10_000, 64));
    let price = Rate {
        input: 1,
        output: 1_000_000_000,
    };
    assert_eq!(small.price, Some(price));
    let tiers = model.targets.iter().map(|target| target.tier);
    assert_eq!(tiers.collect::<Vec<_>>(), [1, 2], "the order of the file");
}

/// Goal: exact names win over `provider/model`, which wins over `*`.
#[test]
fn names_lead_to_their_model() {
    let text = full() + "[models.\"local/pinned\"]\ntargets = [{ provider = \"azure.eu\" }]\n";
    let config = good(&text).config;
    let find = |asked| {
        config
            .find(asked)
            .map(|f| (f.model.name.as_str(), f.forwarded))
    };
    assert_eq!(find("gpt-4o"), Some(("gpt-4o", "gpt-4o")));
    assert_eq!(find("local/pinned"), Some(("local/pinned", "local/pinned")));
    assert_eq!(find("local/a/b"), Some(("local/*", "a/b")));
    assert_eq!(find("azure.eu/x"), Some(("azure.eu/*", "x")));
    assert_eq!(find("local/"), Some(("*", "local/")));
    assert_eq!(find("other"), Some(("*", "other")));
    assert_eq!(find("*"), Some(("*", "*")));
    let listed: Vec<_> = config.listed().map(|m| &*m.name).collect();
    assert_eq!(listed, ["gpt-4o", "small", "local/pinned"]);
    let bare = good(PROVIDER).config;
    assert!(bare.find("other").is_none() && bare.find("p/").is_none());
    assert_eq!(bare.find("p/x").unwrap().index, 0);
    assert_eq!(bare.listed().count(), 0);
}

/// Goal: P1. Method: the full file, the smallest one and the book's example.
#[test]
fn printing_and_checking_again_gives_the_same() {
    let book = PROVIDER.to_owned()
        + "[models.\"a/b:c@d\"]\ntargets = [{ provider = \"p\", model = \"x\", weight = 3 }, { provider = \"p\" }]\n[timeouts]\nidle = \"1500ms\"";
    let tls = "[server]\ntls = { cert = \"cert.pem\", key = \"cert.key\", client_ca = \"cert.pem\" }\n\
         [providers.p]\ndialect = \"openai\"\nbase_url = \"https://h/v1\"\n\
         tls = { ca = \"cert.pem\", handshakes_max = 7 }\n\
         [providers.q]\ndialect = \"openai\"\nbase_url = \"https://[::1]/v1\"\n";
    let config = good(tls).config;
    assert_eq!(config.server.tls.as_ref().unwrap().cert, "cert.pem");
    let provider = &config.providers[0].tls;
    assert_eq!(provider.ca.as_ref().unwrap().certs.len(), 1);
    assert_eq!(provider.handshakes_max, 7);
    for text in [&full(), PROVIDER, &book, tls] {
        let config = good(text).config;
        let printed = Printed(&config).to_string();
        let again: Config = good(&printed).config;
        assert_eq!(again, config, "{printed}");
        assert_eq!(Printed(&again).to_string(), printed);
    }
}

/// Goal: what works but is hardly meant is said, and is no fault.
#[test]
fn doubtful_settings_give_warnings() {
    let cases = [
        (
            "[server]\nadmin = \"0.0.0.0:1\"",
            "2:9: `admin` (0.0.0.0:1) is not loopback and asks for no key; make sure that only operators reach it",
        ),
        (
            "[timeouts]\ntotal = \"40s\"",
            "2:9: `idle` (1m) is not shorter than `total` (40s) and never comes to bear; write idle < total",
        ),
        (
            "[providers.q]\ndialect = \"openai\"\nbase_url = \"http://h\"\napi_key = { env = \"KEY\" }",
            "3:12: `api_key` goes to h in clear text; make sure that the way there is private",
        ),
        (
            "[[keys]]\nname = \"a\"\nsecret = { env = \"KEY\" }\nmodels = [\"gone\", \"p/x\"]",
            "4:11: `models` names \"gone\", which leads to no model; add [models.\"gone\"]",
        ),
        (
            "[models.m]\nstrategy = \"priority\"\ntargets = [{ provider = \"p\", weight = 2 }]",
            "3:30: `weight` means nothing with strategy \"priority\"; remove it or write \"weighted\"",
        ),
        (
            "[models.m]\nstrategy = \"cheapest\"\ntargets = [{ provider = \"p\", model = \"gpt-4o\" }, { provider = \"p\" }]",
            "3:11: the price of target 2 is not known, so it is asked last; write price = { input = 2.5, output = 10.0 }",
        ),
        (
            "[cache]\nttl = \"5m\"",
            "1:2: [cache] has no `mode`, so nothing is cached; write mode = \"exact\"",
        ),
        (
            "[cache]\nmode = \"semantic\"\nsemantic = { temperature_max = 1.5 }",
            "3:32: `temperature_max` here is more than that of `cache`, above which nothing is stored; raise that one too",
        ),
        (
            "[cache]\nmode = \"semantic\"\nsemantic = { threshold = 0.6 }",
            "3:26: `threshold` is looser than \"strict\" and gives more wrong answers: measured at \"balanced\", of natural pairs of questions with two answers 0.12 % were taken for one (\"strict\": 0.03 %), and of those with one answer 9.6 % were found (\"strict\": 8.0 %)",
        ),
        (
            "[models.m]\ntargets = [{ provider = \"p\" }]\nhedge = {}",
            "3:1: `hedge` has no other target to turn to; add a target or a fallback",
        ),
        (
            "[retry]\nattempts_max = 1\n[models.m]\ntargets = [{ provider = \"p\", model = \"a\" }, { provider = \"p\", model = \"b\" }]\nhedge = { after = \"1s\" }",
            "5:1: `hedge` never comes to bear, as `retry.attempts_max` is 1; write attempts_max = 2 or more",
        ),
        (
            "[models.m]\ntargets = [{ provider = \"p\" }]\ncontinuation = \"prefill\"",
            "3:16: `continuation` finds nobody to go on with a stream that is cut: there is one target and no fallback; add one, or write \"off\"",
        ),
        (
            "[retry]\nattempts_max = 1\n[models.m]\ntargets = [{ provider = \"p\", model = \"a\" }, { provider = \"p\", model = \"b\" }]\ncontinuation = \"prefill\"",
            "1:1: `attempts_max` is 1, so nobody goes on with a stream of a model with `continuation`; write 2 or more",
        ),
    ];
    for (text, want) in cases {
        let warnings = good(&format!("{text}{PROVIDER}")).warnings;
        assert_eq!(warnings.to_string(), format!("{want}\n"), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Goal: no text makes the reader panic, and a refusal always has a reason of one line.
    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        if let Err(faults) = check(&text, &*SECRETS) {
            prop_assert!(!faults.0.is_empty());
            prop_assert!(faults.0.iter().all(|fault| !fault.text.contains('\n')));
        }
    }

    /// Goal: the same for texts that are nearly a config. Method: the full file with a part
    /// cut out and something put in its place.
    #[test]
    fn no_damaged_config_panics(
        from in 0_usize..3200,
        len in 0_usize..60,
        patch in "[\\[\\]{}=\"'.,#\\\\\n a-z0-9\u{e9}\u{0}-]{0,8}",
    ) {
        let full = full();
        let from = from.min(full.len());
        let to = (from + len).min(full.len());
        let text = format!("{}{patch}{}", &full[..from], &full[to..]);
        if let Err(faults) = check(&text, &*SECRETS) {
            prop_assert!(!faults.0.is_empty());
            prop_assert!(faults.0.is_sorted_by_key(|fault| (fault.line, fault.column)));
        }
    }
}
