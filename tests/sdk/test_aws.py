"""Signatures of AWS on both sides: `boto3` before the gateway, and a provider behind it that
verifies with botocore's own signer."""

import datetime
import hashlib
import http.client
import json

import boto3
import openai
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from aws_provider import ANSWER, WORDS, AwsProvider
from processes import KEY, PROVIDER_KEY, Gateway, Provider
from tls_files import Authority

ID, SECRET = "AKIDCLIENT", "client+secret/of-aws"
TOKEN = "temporary/token+of=the==provider"
UP_ID, UP_SECRET = "AKIDUPSTREAM", "upstream/secret+of-aws"
MODEL = "eu.anthropic.claude-haiku-4-5-v1:0"
SIGNER = 'region = "eu-west-1", access_key_id = { env = "UP_ID" }, secret_access_key = { env = "UP_SECRET" }'

KEYS = """
[[keys]]
name = "signs"
aws = { access_key_id = "AKIDCLIENT", secret_access_key = { env = "CLIENT_SECRET" } }

[[keys]]
name = "both"
secret = { env = "CLIENT_KEY" }
aws = { access_key_id = "AKIDBOTH", secret_access_key = { env = "CLIENT_SECRET" } }

[[keys]]
name = "narrow"
aws = { access_key_id = "AKIDNARROW", secret_access_key = { env = "CLIENT_SECRET" } }
models = ["nothing"]
"""
REST = """
[breaker]
mode = "off"

[providers.sim]
dialect = "openai"
base_url = "http://{sim}/v1"
api_key = {{ env = "SIM_KEY" }}

[providers.aws]
dialect = "bedrock"
base_url = "http://{aws}"
aws = {{ {signer} }}

[providers.temporary]
dialect = "bedrock"
base_url = "http://{temporary}"
aws = {{ {signer}, session_token = {{ env = "TOKEN" }} }}

[providers.wrong]
dialect = "bedrock"
base_url = "http://{temporary}"
aws = {{ {signer} }}

[models."eu.anthropic.claude-haiku-4-5-v1:0"]
targets = [{{ provider = "sim", model = "sim/events-8" }}]

[models.replaced]
strategy = "priority"
targets = [{{ provider = "wrong", model = "a" }}, {{ provider = "aws", model = "b" }}]
"""
ENVIRONMENT = {
    "CLIENT_SECRET": SECRET, "CLIENT_KEY": KEY, "SIM_KEY": PROVIDER_KEY,
    "UP_ID": UP_ID, "UP_SECRET": UP_SECRET, "TOKEN": TOKEN,
}  # fmt: skip
ASK = [{"role": "user", "content": [{"text": "Say something."}]}]
TEXT = "".join(f"token {n} " for n in range(8)).strip()


@pytest.fixture(scope="module")
def sim():
    running = Provider("--api-key", PROVIDER_KEY)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def aws():
    running = AwsProvider(UP_ID, UP_SECRET, "eu-west-1")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def temporary():
    """The same, with credentials that have a session token."""
    running = AwsProvider(UP_ID, UP_SECRET, "eu-west-1", TOKEN)
    yield running
    running.stop()


def started(folder, keys, sim, aws, temporary):
    rest = REST.format(sim=sim.address, aws=aws.address, temporary=temporary.address, signer=SIGNER)
    return Gateway(folder, keys + rest, ENVIRONMENT)


@pytest.fixture(scope="module")
def gate(sim, aws, temporary, tmp_path_factory):
    running = started(tmp_path_factory.mktemp("aws"), KEYS, sim, aws, temporary)
    yield running
    panics, lines = running.total("panics_total"), list(running.lines)
    running.stop()
    assert panics == 0, lines
    said = "\n".join(lines)
    assert not [secret for secret in ENVIRONMENT.values() if secret in said and secret != UP_ID], said


def sdk(gate, access_key=ID, secret_key=SECRET, token=None, region="eu-west-1"):
    """The official SDK, unmodified, with one attempt."""
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=f"http://{gate.address}",
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=20),
    )


def text_of(answer) -> str:
    return "".join(block["text"] for block in answer["output"]["message"]["content"]).strip()


def text_of_stream(answer) -> str:
    events = list(answer["stream"])
    assert any("messageStop" in event for event in events)
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    return "".join(deltas).strip()


def refused(call) -> tuple:
    """Status and code of what the SDK raises."""
    with pytest.raises(ClientError) as raised:
        call()
    answer = raised.value.response
    assert SECRET not in str(answer)
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


UNKNOWN = (403, "UnrecognizedClientException")
WRONG = (403, "InvalidSignatureException")


def test_boto3_is_answered_plain_and_streamed(gate):
    """Goal: the real SDK signs, the gateway verifies, whatever the region and whoever answers."""
    for region in ("eu-west-1", "us-east-1"):
        client = sdk(gate, region=region)
        answer = client.converse(modelId=MODEL, messages=ASK)
        assert text_of(answer) == TEXT and answer["usage"]["outputTokens"] == 8
        line = gate.receipt(answer["ResponseMetadata"]["RequestId"])
        assert (line["status"], line["key"]) == (200, "signs")
        assert text_of_stream(client.converse_stream(modelId=MODEL, messages=ASK)) == TEXT
    assert text_of(sdk(gate, "AKIDBOTH").converse(modelId=MODEL, messages=ASK)) == TEXT


def test_a_large_signed_body_is_answered(gate):
    """Goal: the hash is of the whole body. Method: a body that comes in many reads."""
    messages = [{"role": "user", "content": [{"text": "é" * (2 << 20)}]}]
    assert text_of(sdk(gate).converse(modelId=MODEL, messages=messages)) == TEXT


def test_a_clients_session_token_is_signed_and_stays_here(gate, aws):
    answer = sdk(gate, token="of/the+client==").converse(modelId="aws/x", messages=ASK)
    assert text_of(answer) == "".join(WORDS)
    assert "of/the+client==" not in str(aws.seen[-1]["headers"])


@pytest.mark.parametrize("call", ["converse", "converse_stream"])
def test_a_wrong_secret_and_an_unknown_access_key_are_refused(gate, sim, call):
    before = sim.at_rest()["requests"]
    ask = {"modelId": MODEL, "messages": ASK}
    assert refused(lambda: getattr(sdk(gate, secret_key=SECRET + "x"), call)(**ask)) == WRONG
    assert refused(lambda: getattr(sdk(gate, secret_key=SECRET[:-1]), call)(**ask)) == WRONG
    assert refused(lambda: getattr(sdk(gate, "AKIDNOBODY"), call)(**ask)) == UNKNOWN
    assert refused(lambda: getattr(sdk(gate, "akidclient"), call)(**ask)) == UNKNOWN
    assert sim.at_rest()["requests"] == before, "a refused request reached the provider"


def test_who_could_not_prove_his_key_is_not_logged_as_it(gate):
    with pytest.raises(ClientError) as raised:
        sdk(gate, secret_key="wrong").converse(modelId=MODEL, messages=ASK)
    line = gate.receipt(raised.value.response["ResponseMetadata"]["RequestId"])
    assert (line["status"], line["fault"], line["key"]) == (403, "invalid_signature", "-")


def test_a_keys_list_of_models_goes_for_signatures_too(gate):
    client = sdk(gate, "AKIDNARROW")
    assert refused(lambda: client.converse(modelId=MODEL, messages=ASK)) == (403, "AccessDeniedException")


@pytest.fixture(scope="module")
def secure(sim, aws, temporary, tmp_path_factory):
    """The same gateway behind TLS, as a function that makes clients: `boto3` sends no Bearer key without."""
    folder = tmp_path_factory.mktemp("secure")
    ca = Authority(folder, "authority")
    cert, key = ca.issue("gateway")
    running = started(folder, f'tls = {{ cert = "{cert}", key = "{key}" }}\n' + KEYS, sim, aws, temporary)
    yield lambda **given: boto3.client(
        "bedrock-runtime", endpoint_url=f"https://localhost:{running.port}", region_name="eu-west-1",
        verify=str(ca.path), config=Config(retries={"total_max_attempts": 1}), **given,
    )  # fmt: skip
    running.stop()


def test_bedrocks_bearer_keys_work_too(secure, monkeypatch):
    """Goal: AWS_BEARER_TOKEN_BEDROCK. Method: the right key, a wrong one, and an access key id as one."""
    for token, want in ((KEY, None), (KEY + "x", UNKNOWN), (ID, UNKNOWN)):
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", token)
        client = secure()
        if want is None:
            assert text_of(client.converse(modelId=MODEL, messages=ASK)) == TEXT
            assert text_of_stream(client.converse_stream(modelId=MODEL, messages=ASK)) == TEXT
        else:
            assert refused(lambda: client.converse(modelId=MODEL, messages=ASK)) == want


def test_signatures_are_verified_behind_tls(secure):
    given = {"aws_access_key_id": ID, "aws_secret_access_key": SECRET}
    assert text_of(secure(**given).converse(modelId=MODEL, messages=ASK)) == TEXT
    assert text_of_stream(secure(**given).converse_stream(modelId=MODEL, messages=ASK)) == TEXT
    wrong = secure(**{**given, "aws_secret_access_key": "x"})
    assert refused(lambda: wrong.converse(modelId=MODEL, messages=ASK)) == WRONG


PATH = f"/model/{MODEL}/converse".replace(":", "%3A")


def by_hand(gate, monkeypatch, seconds=0, sent=None, headers=None, path=PATH, to=None):
    """Signs with botocore as if it were `seconds` later and sends it, or `sent` and `to` instead of the
    body and the path that were signed; gives status, error type and code."""
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
    body = json.dumps({"messages": ASK}).encode()
    fields = {"content-type": "application/json", **(headers or {})}
    request = AWSRequest("POST", f"http://{gate.address}{path}", fields, body)
    SigV4Auth(Credentials(ID, SECRET), "bedrock", "eu-west-1").add_auth(request)
    connection = http.client.HTTPConnection(gate.host, gate.port, timeout=20)
    connection.request("POST", to or path, sent or body, dict(request.headers))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.getheader("x-amzn-errortype"), answer.getheader("x-shardgate-code")


GOOD = (200, None, None)
BAD = (*WRONG, "invalid_signature")


CLOCKS = [(0, GOOD), (840, GOOD), (-840, GOOD), (960, BAD), (-960, BAD), (86400, BAD)]


@pytest.mark.parametrize(("seconds", "want"), CLOCKS)
def test_clocks_may_differ_by_a_quarter_of_an_hour(gate, monkeypatch, seconds, want):
    assert by_hand(gate, monkeypatch, seconds) == want


def test_a_changed_request_is_refused(gate, monkeypatch):
    """Goal: body, path and hash are what was signed. Method: a body of the same length, a shorter one,
    another model; with the hash in a header and without; bodies that are not signed at all."""
    body = json.dumps({"messages": ASK}).encode()
    named = {"X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}
    for headers in ({}, named):
        assert by_hand(gate, monkeypatch, headers=headers) == GOOD
        assert by_hand(gate, monkeypatch, headers=headers, sent=body.replace(b"Say", b"Sag")) == BAD
        assert by_hand(gate, monkeypatch, headers=headers, sent=body.replace(b"Say ", b"")) == BAD
        assert by_hand(gate, monkeypatch, headers=headers, to="/model/sim%2Fsim%2Fevents-1/converse") == BAD
    for other in ("UNSIGNED-PAYLOAD", "0" * 64):
        assert by_hand(gate, monkeypatch, headers={"X-Amz-Content-SHA256": other}) == BAD


def test_signatures_count_on_bedrocks_routes_only(gate, monkeypatch):
    status, kind, code = by_hand(gate, monkeypatch, path="/v1/chat/completions")
    assert (status, kind, code) == (401, None, "invalid_api_key")


def test_an_open_gateway_does_not_look_at_signatures(sim, aws, temporary, tmp_path):
    gate = started(tmp_path, "", sim, aws, temporary)
    try:
        assert text_of(sdk(gate, "AKIDNOBODY", "x").converse(modelId=MODEL, messages=ASK)) == TEXT
    finally:
        gate.stop()


@pytest.fixture
def chat(gate):
    with openai.OpenAI(base_url=gate.url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


@pytest.mark.parametrize("name", [MODEL, "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.m-v1:0", "plain"])
@pytest.mark.parametrize("provider", ["aws", "temporary"])
def test_what_the_gateway_signs_is_what_botocore_signs(gate, chat, request, provider, name):
    """Goal: both ways to Bedrock are signed: translated from Chat, and as `boto3` wrote it."""
    behind = request.getfixturevalue(provider)
    before = len(behind.seen)
    asked = [{"role": "user", "content": "Say something, é."}]
    answer = chat.chat.completions.create(model=f"{provider}/{name}", messages=asked)
    assert answer.choices[0].message.content == "".join(WORDS)
    chunks = chat.chat.completions.create(model=f"{provider}/{name}", messages=asked, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "".join(WORDS)
    client = sdk(gate)
    same = client.converse(modelId=f"{provider}/{name}", messages=ASK)
    assert (text_of(same), same["usage"]) == ("".join(WORDS), ANSWER["usage"])
    assert text_of_stream(client.converse_stream(modelId=f"{provider}/{name}", messages=ASK)) == "".join(WORDS)
    seen = behind.seen[before:]
    assert len(seen) == 4 and all(one["is_good"] for one in seen), seen
    escaped = name.replace(":", "%3A").replace("/", "%2F")
    ways = ["converse", "converse-stream"] * 2
    assert [one["path"] for one in seen] == [f"/model/{escaped}/{way}" for way in ways]
    for one in seen:
        assert f"Credential={UP_ID}/" in one["headers"]["authorization"]
        assert SECRET not in str(one) and ID not in str(one) and UP_SECRET not in str(one)


def test_what_is_invoked_is_signed_and_counted(gate, chat, aws):
    """Goal: embeddings, as `boto3` wrote them and translated; tokens of the body, or of the head."""
    client, before = sdk(gate), len(aws.seen)
    bodies = {"amazon.titan-embed-text-v2:0": {"inputText": "é"}, "cohere.embed-v4:0": {"texts": ["a", "é"]}}
    for (name, body), tokens in zip(bodies.items(), (2, 6), strict=True):
        same = client.invoke_model(modelId=f"aws/{name}", body=json.dumps(body))
        assert json.loads(same["body"].read())
        assert gate.receipt(same["ResponseMetadata"]["RequestId"])["tokens_in"] == tokens
        texts = body.get("texts", ["é"])
        raw = chat.embeddings.with_raw_response.create(model=f"aws/{name}", input=texts, encoding_format="float")
        got = raw.parse()
        assert [one.embedding for one in got.data] == [[0.5, -0.001]] * len(texts)
        assert got.usage.prompt_tokens == tokens
        assert gate.receipt(raw.headers["x-request-id"])["tokens_in"] == tokens
    seen = aws.seen[before:]
    assert len(seen) == 4 and all(one["is_good"] for one in seen), seen


def test_a_large_body_is_signed_as_it_is_sent(chat, aws):
    """Goal: the hash is of the pieces as they go out."""
    before = len(aws.seen)
    asked = [{"role": "user", "content": "x" * (3 << 20)}]
    assert chat.chat.completions.create(model="aws/large", messages=asked).choices
    (one,) = aws.seen[before:]
    assert one["is_good"] and len(one["body"]) > 3 << 20


def test_each_attempt_has_its_own_signature(chat, aws, temporary):
    """Goal: a refused signature is the gateway's own trouble, and the next target is asked with its own.
    Method: the first one lacks the session token that its provider wants."""
    raw = chat.chat.completions.with_raw_response.create(model="replaced", messages=[{"role": "user", "content": "Hello"}])
    assert raw.headers["x-shardgate-attempts"] == "2"
    assert raw.headers["x-shardgate-target"] == "aws"
    first, second = temporary.seen[-1], aws.seen[-1]
    assert (first["is_good"], second["is_good"]) == (False, True)
    assert first["headers"]["authorization"] != second["headers"]["authorization"]
    with pytest.raises(openai.InternalServerError) as raised:
        chat.chat.completions.create(model="wrong/a", messages=[{"role": "user", "content": "Hello"}])
    assert raised.value.status_code == 502 and raised.value.code == "upstream_refused_key"


def test_a_pooled_connection_carries_a_signature_each_time(chat, aws):
    before = len(aws.seen)
    for n in range(5):
        chat.chat.completions.create(model=f"aws/m-{n}", messages=[{"role": "user", "content": f"Hello {n}"}])
    seen = aws.seen[before:]
    assert all(one["is_good"] for one in seen)
    assert len({one["headers"]["authorization"] for one in seen}) == 5
