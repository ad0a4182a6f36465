//! Signatures that others made: AWS's published test suite, and botocore's signer.

use super::*;

const KEYS: Keys<'_> = Keys {
    id: "AKIDEXAMPLE",
    secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    token: None,
};
const SUITE: Place<'_> = Place {
    region: "us-east-1",
    service: "service",
};
const BEDROCK: Place<'_> = Place {
    region: "eu-central-1",
    service: "bedrock",
};
/// 20150830T123600Z.
const NOW: u64 = 1_440_938_160;

/// Headers of a request.
type Headers<'a> = [(&'a str, &'a str)];

/// A case of the suite: method, path, query, further headers, body, signature.
type Case<'a> = (&'a str, &'a str, &'a str, &'a Headers<'a>, &'a str, &'a str);

const UNRESERVED: &str = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqw\
AeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0K\
PkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqK\
mlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
const FORM: &str = "application/x-www-form-urlencoded";

/// The test suite, header signing. Left out is what this signer never meets: requests whose
/// head is not well-formed.
#[rustfmt::skip]
const CASES: &[Case<'_>] = &[
    ("GET", "/", "", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/", "", &[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")], "", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"),
    ("GET", "/", "", &[("my-header1", "value1,value2,value3")], "", "ba17b383a53190154eb5fa66a1b836cc297cc0a3d70a5d00705980573d8ff790"),
    ("GET", "/", "", &[("my-header1", "value4,value1,value3,value2")], "", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"),
    ("GET", "/", "", &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\" ")], "", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
    ("GET", UNRESERVED, "", &[], "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
    ("GET", "/ሴ", "", &[], "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ("GET", "/./", "", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "//", "", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/example/..", "", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/example1/example2/../..", "", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/", "Param1=value1", &[], "", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
    ("GET", "/", "Param2=value2&Param1=value1", &[], "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ("GET", "/", "ሴ=bar", &[], "", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    ("POST", "/", "", &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("POST", "/", "", &[("My-Header1", "value1")], "", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
    ("POST", "/", "", &[("My-Header1", "VALUE1")], "", "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"),
    ("POST", "/", "", &[("X-Amz-Security-Token", TOKEN)], "", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
    ("POST", "/", "Param1=value1", &[], "", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    ("POST", "/", "%40%23%24%25%5E=&%2B=%2F%2C%3F%3E%3C%60%22%3B%3A%5C%7C%5D%5B%7B%7D", &[], "", "66c82657c86e26fb25238d0e69f011edc4c6df5ae71119d7cb98ed9b87393c1e"),
    ("POST", "/", "p=", &[], "", "e71688addb58a26418614085fb730ba3faa623b461c17f48f2fbdb9361b94a9b"),
    ("POST", "/", "", &[("Content-Type", FORM)], "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
];

/// Signs, and checks that the signature is accepted (I2).
fn signed(ask: &Ask<'_>, keys: &Keys<'_>, place: Place<'_>) -> String {
    let signed = sign(ask, keys, place, NOW);
    let mut sent = ask.headers.to_vec();
    sent.push(("X-Amz-Date", &signed.date));
    sent.extend(keys.token.map(|token| ("X-Amz-Security-Token", token)));
    sent.push(("User-Agent", "not signed"));
    let arrived = Ask {
        headers: &sent,
        ..*ask
    };
    let credential = Credential::read(&signed.authorization).unwrap();
    assert_eq!((credential.id, credential.place), (keys.id, place));
    assert_eq!(verify(&arrived, &credential, keys.secret, NOW + 60), Ok(()));
    signed.authorization
}

/// Goal: signatures are AWS's. Method: the published test suite.
#[test]
fn the_published_suite_is_signed_as_published() {
    for (method, path, query, headers, body, want) in CASES {
        let mut all = vec![("Host", "example.amazonaws.com")];
        all.extend_from_slice(headers);
        let ask = Ask {
            method,
            path,
            query,
            headers: &all,
            payload: Payload::Bytes(body.as_bytes()),
        };
        let got = signed(&ask, &KEYS, SUITE);
        let start = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=";
        assert!(got.starts_with(start), "{got}");
        assert_eq!(
            got.rsplit('=').next(),
            Some(*want),
            "{method} {path} {query}"
        );
    }
}

/// Goal: signatures for Bedrock are those of AWS's own client: paths that are encoded already,
/// session tokens, queries. Method: what botocore 1.44.8 (`SigV4Auth`) makes of the same.
#[test]
fn bedrock_is_signed_as_botocore_signs_it() {
    const HOST: &str = "bedrock-runtime.eu-central-1.amazonaws.com";
    let json = ("content-type", "application/json");
    let arn = "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.x\
               /converse";
    let cases: [Case<'_>; 5] = [
        (
            "POST",
            "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream",
            "",
            &[json],
            "{\"messages\":[]}",
            "4268ffe60b6a1edd05706136e3821c575406cc0477c9e62cd77edbd2e0d7d4bd",
        ),
        (
            "POST",
            arn,
            "",
            &[json],
            "{\"text\":\"é\"}",
            "247382a5706de3c8091013e0599153aa7cffd39c7cfd86c8196b1670e59f1350",
        ),
        (
            "POST",
            "/model/a//b/../c%20d/converse",
            "",
            &[json],
            "",
            "94c5686cdf3523955973ae9dec84d56311cbe1fabcbc0db70a544512117d5c1c",
        ),
        (
            "GET",
            "/guardrails",
            "nextToken=a%2Fb&maxResults=5&x",
            &[],
            "",
            "b5823240bf3efc730f50462ad60bfeb796c12292126730149335537280549508",
        ),
        (
            "GET",
            "/a/b/",
            "b=2&a=3&a=1",
            &[("x-amz-meta", "  two   spaces ")],
            "",
            "28dba509311eda45ef722b206e208c54fccf740cc9a057593949898e18404500",
        ),
    ];
    for (method, path, query, headers, body, want) in cases {
        let mut all = vec![("host", HOST)];
        all.extend_from_slice(headers);
        let ask = Ask {
            method,
            path,
            query,
            headers: &all,
            payload: Payload::Bytes(body.as_bytes()),
        };
        let token = (path == arn).then_some("tok/en+==");
        let got = signed(&ask, &Keys { token, ..KEYS }, BEDROCK);
        assert_eq!(
            got.rsplit('=').next(),
            Some(want),
            "{method} {path} {query}"
        );
    }
}

const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");
const ASK: Ask<'_> = Ask {
    method: "POST",
    path: "/model/m/converse",
    query: "",
    headers: &[("host", "h"), ("content-type", "a"), DATE],
    payload: Payload::Bytes(b"{}"),
};

/// Whether `ask` is what was signed as [`ASK`].
fn says(ask: &Ask<'_>, secret: &str, now: u64) -> Result<(), SignatureFault> {
    let authorization = sign(&ASK, &KEYS, BEDROCK, NOW).authorization;
    verify(ask, &Credential::read(&authorization).unwrap(), secret, now)
}

/// Goal: I2. Method: one thing after the other is changed behind the signature.
#[test]
fn whatever_is_signed_cannot_be_changed() {
    let hash = Payload::Hash(Sha256::digest(b"{}").into());
    let other = [("host", "h"), ("content-type", "b"), DATE];
    let more = [
        ("HOST", " h "),
        ("content-type", "a"),
        DATE,
        ("accept", "x"),
    ];
    let with = |change: fn(&mut Ask<'_>)| {
        let mut ask = ASK;
        change(&mut ask);
        says(&ask, KEYS.secret, NOW)
    };
    let (good, bad) = (Ok(()), Err(SignatureFault::Mismatch));
    assert_eq!(with(|_| {}), good);
    assert_eq!(with(|ask| ask.method = "PUT"), bad);
    assert_eq!(with(|ask| ask.path = "/model/n/converse"), bad);
    assert_eq!(with(|ask| ask.query = "a=b"), bad);
    assert_eq!(with(|ask| ask.payload = Payload::Bytes(b"{ }")), bad);
    assert_eq!(with(|ask| ask.payload = Payload::Unsigned), bad);
    let with = |headers, payload| {
        let ask = Ask {
            headers,
            payload,
            ..ASK
        };
        says(&ask, KEYS.secret, NOW)
    };
    assert_eq!(with(ASK.headers, hash), good);
    assert_eq!(with(&more, hash), good);
    assert_eq!(with(&other, hash), bad);
    assert_eq!(with(&ASK.headers[..1], hash), Err(SignatureFault::Date));
    let missing = [ASK.headers[0], DATE];
    assert_eq!(with(&missing, hash), Err(SignatureFault::Headers));
    assert_eq!(says(&ASK, "other", NOW), bad);
}

/// Goal: a signature is good for a while, either way; what is none is not read.
#[test]
fn a_signature_is_good_for_a_while() {
    let skew = Err(SignatureFault::Skew { limit: SKEW_MAX });
    for (now, want) in [
        (NOW + SKEW_MAX, Ok(())),
        (NOW + SKEW_MAX + 1, skew),
        (NOW - SKEW_MAX - 1, skew),
    ] {
        assert_eq!(says(&ASK, KEYS.secret, now), want);
    }
    for broken in [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, SignedHeaders=host",
    ] {
        assert_eq!(Credential::read(broken), None, "{broken}");
    }
}

/// Goal: a body may stay unsigned, and only where the signature says so; no secret is shown.
#[test]
fn a_body_may_stay_unsigned() {
    let headers = [("host", "h")];
    let ask = Ask {
        method: "PUT",
        path: "/",
        query: "",
        headers: &headers,
        payload: Payload::Unsigned,
    };
    signed(&ask, &KEYS, SUITE);
    assert_eq!(Payload::Unsigned.text(), "UNSIGNED-PAYLOAD");
    assert!(!format!("{KEYS:?}").contains(KEYS.secret));
}

/// Goal: dates are told in the calendar, both ways. Method: known days, and every day of 400
/// years there and back.
#[test]
fn dates_are_told_in_the_calendar() {
    assert_eq!(date_of(NOW), "20150830T123600Z");
    assert_eq!(date_of(0), "19700101T000000Z");
    assert_eq!(date_of(951_782_400), "20000229T000000Z");
    assert_eq!(date_of(4_107_542_399), "21000228T235959Z");
    for day in 0..ERA {
        let seconds = day * 86_400 + day % 86_400;
        assert_eq!(seconds_of(&date_of(seconds)), Some(seconds));
    }
    for broken in [
        "20150231T000000Z",
        "20150830T246000Z",
        "2015083T0123600Z",
        "20150830 123600Z",
    ] {
        assert_eq!(seconds_of(broken), None, "{broken}");
    }
}

/// Goal: a date of nowhere is none, whatever its digits: clients write it. Method: years, months
/// and days below those that there are, with every month.
#[test]
fn dates_below_the_calendar_are_none() {
    for year in ["0000", "0001", "1969", "1970", "2026"] {
        for month in 0..100 {
            for day in ["00", "01", "32", "99"] {
                let date = format!("{year}{month:02}{day}T000000Z");
                let is_good = year >= "1970" && (1..=12).contains(&month) && day == "01";
                assert_eq!(seconds_of(&date).is_some(), is_good, "{date}");
            }
        }
    }
}

/// Goal: a signature is known by its first word, a hash by its 64 digits.
#[test]
fn signatures_and_hashes_are_told_from_others() {
    for (text, is) in [
        ("AWS4-HMAC-SHA256 Credential=a", true),
        ("AWS4-HMAC-SHA256", true),
        ("AWS4-HMAC-SHA256-X Credential=a", false),
        ("Bearer AWS4-HMAC-SHA256", false),
        ("", false),
    ] {
        assert_eq!(is_signature(text), is, "{text}");
    }
    let text = Payload::Bytes(b"body").text();
    let hash: [u8; 32] = Sha256::digest(b"body").into();
    assert_eq!(hash_of_text(text.as_bytes()), Some(hash));
    let (upper, short) = (text.to_uppercase(), &text[1..]);
    for none in [&*upper, short, "UNSIGNED-PAYLOAD", "", &"g".repeat(64)] {
        assert_eq!(hash_of_text(none.as_bytes()), None, "{none}");
    }
}

/// Goal: paths are resolved and encoded once more, as botocore does it; for S3 they stand as
/// they are.
#[test]
fn paths_are_resolved_and_encoded_once_more() {
    for (path, want) in [
        ("", "/"),
        ("/", "/"),
        ("/a/.", "/a"),
        ("/a/./", "/a/"),
        ("/a/../..", "/"),
        ("//a//b", "/a/b"),
        ("/a%3Ab:c", "/a%253Ab%3Ac"),
        ("/\u{e9}~", "/%C3%A9~"),
    ] {
        let mut out = String::new();
        put_path(&mut out, path, false);
        assert_eq!(out, want, "{path}");
    }
    let mut out = String::new();
    put_path(&mut out, "/a%3Ab//.", true);
    assert_eq!(out, "/a%3Ab//.");
}
