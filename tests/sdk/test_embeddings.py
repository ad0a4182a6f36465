"""Embeddings: each front's official SDK before each provider that makes them.

    SDK of the front ─► gateway ─► Ear, which keeps what it heard ─► `shardgate simulate`
"""

import base64
import json
import struct
import urllib.request

import botocore.exceptions
import openai
import pytest
from cohere.core import ApiError
from google.genai import errors, types

from fronts import front
from processes import KEY, Gateway, Provider
from replay import Replay
from test_matrix import header

EMBED = ("chat", "gemini", "cohere", "bedrock")
CONFIG = """
[breaker]
mode = "off"

[models.falls]
strategy = "priority"
targets = [
  { provider = "bedrock", model = "sim/dims-2" },
  { provider = "cohere", model = "sim/dims-4" },
]

[models.longer]
strategy = "priority"
targets = [
  { provider = "gemini", model = "sim/dims-9" },
  { provider = "bedrock", model = "sim/dims-2" },
]
"""
# `sim/dims-3`: the root of a third, as the shortest text of that `f32`.
THREE = [0.57735026, -0.57735026, 0.57735026]


class Ear(Replay):
    """Does not heed a length of 5, except for Titan."""

    def _pass_on(self, connection, line, headers, body):
        for name in (b"dimensions", b"output_dimension", b"outputDimensionality"):
            if b"inputText" not in body:
                body = body.replace(b'"%s":5' % name, b'"%s":4' % name)
        return super()._pass_on(connection, line, headers, body)


@pytest.fixture(scope="module")
def ear():
    simulated = Provider()
    running = Ear([], forward=simulated.address)
    yield running
    running.stop()
    simulated.stop()


@pytest.fixture(scope="module")
def gateway(ear, tmp_path_factory):
    config = CONFIG
    for name in (*EMBED, "anthropic", "responses"):
        dialect = "openai" if name == "chat" else name
        path = "/v1" if name in ("chat", "responses") else ""
        config += f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "http://{ear.address}{path}"\n'
    running = Gateway(tmp_path_factory.mktemp("embeddings"), config)
    yield running
    panics = running.total("panics_total")
    running.stop()
    assert panics == 0


@pytest.fixture(scope="module")
def sdks(gateway):
    return {name: front(name, gateway.address, KEY).sdk for name in EMBED}


def embed(sdks, name, model, inputs, dimensions=None, query=True):
    """Vectors and tokens, as the SDK shows them."""
    sdk = sdks[name]
    if name == "chat":
        more = {"dimensions": dimensions} if dimensions else {}
        got = sdk.embeddings.create(model=model, input=inputs, encoding_format="float", **more)
        assert got.object == "list" and [one.index for one in got.data] == list(range(len(inputs)))
        assert model.endswith(got.model)  # as the provider said it, where bytes pass
        return [one.embedding for one in got.data], got.usage.prompt_tokens
    if name == "gemini":
        task = "RETRIEVAL_QUERY" if query else None
        config = types.EmbedContentConfig(output_dimensionality=dimensions, task_type=task)
        got = sdk.models.embed_content(model=model, contents=inputs, config=config)
        return [one.values for one in got.embeddings], got.usage_metadata.prompt_token_count
    if name == "cohere":
        more = {"request_options": {"max_retries": 0}}
        more |= {"output_dimension": dimensions} if dimensions else {}
        kind = "search_query" if query else "search_document"
        got = sdk.embed(model=model, texts=inputs, input_type=kind, embedding_types=["float"], **more)
        assert got.response_type == "embeddings_by_type" and got.texts == inputs
        return got.embeddings.float_, got.meta.billed_units.input_tokens
    assert len(inputs) == 1
    body = {"inputText": inputs[0], "normalize": True} | ({"dimensions": dimensions} if dimensions else {})
    got = json.loads(sdk.invoke_model(modelId=model, body=json.dumps(body))["body"].read())
    assert got["embeddingsByType"]["float"] == got["embedding"]
    return [got["embedding"]], got["inputTextTokenCount"]


@pytest.mark.parametrize("provider", EMBED)
@pytest.mark.parametrize("name", EMBED)
def test_each_front_reaches_each_provider(sdks, ear, name, provider):
    """Goal: vectors to the digit, one for each text and in order, and the tokens."""
    for inputs in (["one"], ["one", "two"]):
        if len(inputs) > 1 and "bedrock" in (name, provider):
            continue  # one text a request
        model = f"{provider}/sim/dims-3/prompt-tokens-7"
        vectors, tokens = embed(sdks, name, model, inputs)
        assert vectors == [THREE] * len(inputs) and tokens == 7
        path, _, body = ear.last["sim/dims-3/prompt-tokens-7"]
        told = json.loads(body)
        if provider == "gemini":
            assert path.endswith(":batchEmbedContents")
            texts = ["".join(p["text"] for p in r["content"]["parts"]) for r in told["requests"]]
            assert {r["model"] for r in told["requests"]} == {"models/sim/dims-3/prompt-tokens-7"}
        elif provider == "chat":
            assert path == "/v1/embeddings"
            texts = [told["input"]] if isinstance(told["input"], str) else told["input"]
        elif provider == "cohere":
            assert path == "/v2/embed"
            texts = told["texts"]
        else:
            assert path.endswith("/invoke")
            texts = [told["inputText"]]
        assert texts == inputs


@pytest.mark.parametrize("provider", EMBED)
@pytest.mark.parametrize("name", EMBED)
def test_the_length_of_vectors_is_told(sdks, ear, name, provider):
    vectors, _ = embed(sdks, name, f"{provider}/sim/dims-9", ["one"], dimensions=4)
    assert vectors == [[0.5, -0.5, 0.5, 0.5]]
    told = json.loads(ear.last["sim/dims-9"][2])
    fields = {"chat": "dimensions", "cohere": "output_dimension", "bedrock": "dimensions"}
    place = told["requests"][0] if provider == "gemini" else told
    assert place[fields.get(provider, "outputDimensionality")] == 4


def test_what_vectors_are_for_is_told_or_named(sdks, ear):
    """Goal: Gemini's and Cohere's words for it, and `x-shardgate-dropped` where there are none."""
    for query in (True, False):
        embed(sdks, "gemini", "cohere/sim/dims-3", ["one"], query=query)
        kind = json.loads(ear.last["sim/dims-3"][2])["input_type"]
        assert kind == ("search_query" if query else "search_document")
        embed(sdks, "cohere", "gemini/sim/dims-3", ["one"], query=query)
        task = json.loads(ear.last["sim/dims-3"][2])["requests"][0]["taskType"]
        assert task == ("RETRIEVAL_QUERY" if query else "RETRIEVAL_DOCUMENT")
    got = sdks["chat"].embeddings.with_raw_response.create(
        model="cohere/sim/dims-3", input="one", user="u", extra_body={"input_type": "query"}
    )
    assert got.headers["x-shardgate-dropped"] == "user"
    assert json.loads(ear.last["sim/dims-3"][2])["input_type"] == "search_query"
    got = sdks["chat"].embeddings.with_raw_response.create(
        model="bedrock/sim/dims-3", input="one", extra_body={"input_type": "query"}
    )
    assert got.headers["x-shardgate-dropped"] == "input_type"


@pytest.mark.parametrize("provider", EMBED)
def test_base64_is_made_of_numbers(sdks, ear, provider):
    """Goal: what OpenAI's SDK asks for by default, and what Cohere may be asked for."""
    model = f"{provider}/sim/dims-3"
    got = sdks["chat"].embeddings.create(model=model, input="one").data[0].embedding
    exact = [struct.unpack("f", struct.pack("f", number))[0] for number in THREE]
    assert list(got) == exact
    both = sdks["cohere"].embed(
        model=f"{provider}/sim/dims-3", texts=["one"], input_type="clustering", embedding_types=["float", "base64"]
    )
    assert both.embeddings.float_ == [THREE]
    assert list(struct.unpack("<3f", base64.b64decode(both.embeddings.base64[0]))) == exact


def test_what_a_provider_cannot_do_is_refused_by_name(sdks):
    """Goal: 400 that names the field, in the form of each front."""
    for provider in ("bedrock", "anthropic", "responses"):
        model, inputs = f"{provider}/sim/dims-3", ["one", "two"]
        fields = ("input", "texts", "requests") if provider == "bedrock" else ("model",) * 3
        with pytest.raises(openai.BadRequestError) as caught:
            embed(sdks, "chat", model, inputs)
        assert caught.value.status_code == 400 and caught.value.param == fields[0]
        with pytest.raises(ApiError) as caught:
            embed(sdks, "cohere", model, inputs)
        assert caught.value.status_code == 400 and f"'{fields[1]}'" in str(caught.value.body)
        with pytest.raises(errors.ClientError) as caught:
            embed(sdks, "gemini", model, inputs)
        assert caught.value.code == 400 and f"'{fields[2]}'" in str(caught.value)
    for more, field in (
        ({"images": ["data:image/png;base64,AAAA"]}, "images"),
        ({"texts": ["one"], "embedding_types": ["int8"]}, "embedding_types"),
    ):
        with pytest.raises(ApiError) as caught:
            sdks["cohere"].embed(model="chat/sim/dims-3", input_type="clustering", **more)
        assert caught.value.status_code == 400 and f"'{field}'" in str(caught.value.body)
    with pytest.raises(openai.BadRequestError) as caught:
        sdks["chat"].embeddings.create(model="cohere/sim/dims-3", input=[[1, 2], [3]])
    assert caught.value.param == "input"
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        sdks["bedrock"].invoke_model(modelId="chat/sim/dims-3", body=json.dumps({"prompt": "?"}))
    assert "inputText" in str(caught.value)


@pytest.mark.parametrize("provider", ("chat", "gemini", "cohere"))
def test_vectors_of_another_length_than_asked_for_are_none(sdks, provider):
    """Goal: a provider that does not heed the length is found out; the field is named."""
    model = f"{provider}/sim/dims-9"
    if provider != "chat":
        with pytest.raises(openai.BadRequestError) as caught:
            embed(sdks, "chat", model, ["one"], dimensions=5)
        assert caught.value.param == "dimensions"
    if provider != "cohere":
        with pytest.raises(ApiError) as caught:
            embed(sdks, "cohere", model, ["one"], dimensions=5)
        assert caught.value.status_code == 400 and "'output_dimension'" in str(caught.value.body)
    if provider != "gemini":
        with pytest.raises(errors.ClientError) as caught:
            embed(sdks, "gemini", model, ["one"], dimensions=5)
        assert caught.value.code == 400 and "'outputDimensionality'" in str(caught.value)
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        embed(sdks, "bedrock", model, ["one"], dimensions=5)
    assert "'dimensions'" in str(caught.value)


def test_another_target_may_heed_the_length(sdks):
    vectors, _ = embed(sdks, "chat", "longer", ["one"], dimensions=5)
    assert [len(vector) for vector in vectors] == [5]


def test_texts_that_a_target_cannot_take_go_to_the_next(sdks):
    vectors, _ = embed(sdks, "chat", "falls", ["one", "two"])
    assert [len(vector) for vector in vectors] == [4, 4]
    vectors, _ = embed(sdks, "chat", "falls", ["one"])
    assert [len(vector) for vector in vectors] == [2]


@pytest.mark.parametrize("provider", EMBED)
@pytest.mark.parametrize("name", EMBED)
def test_a_refusal_is_the_sdks_own_exception(sdks, name, provider):
    kinds = {
        "chat": openai.RateLimitError,
        "gemini": errors.APIError,
        "cohere": ApiError,
        "bedrock": botocore.exceptions.ClientError,
    }
    with pytest.raises(kinds[name]) as caught:
        embed(sdks, name, f"{provider}/sim/status-429/retry-after-7s", ["one"])
    if (name, provider) != ("gemini", "gemini"):
        assert header(caught.value, "retry-after") == "7"


def test_tokens_are_in_the_log(sdks, gateway):
    """Goal: what passes is counted as what is translated. OpenAI's SDK tells the request's id."""
    for provider in EMBED:
        got = sdks["chat"].embeddings.with_raw_response.create(
            model=f"{provider}/sim/dims-3/prompt-tokens-11", input="one"
        )
        line = gateway.receipt(got.headers["x-request-id"])
        assert line["tokens_in"] == 11 and line["route"] == "embeddings" and line["end"] == "done"
    got = sdks["bedrock"].invoke_model(
        modelId="bedrock/sim/dims-3/prompt-tokens-11", body=json.dumps({"inputText": "one"})
    )
    line = gateway.receipt(got["ResponseMetadata"]["HTTPHeaders"]["x-request-id"])
    assert line["tokens_in"] == 11 and line["route"] == "invoke"


def test_tokens_of_answers_that_pass_without_being_held_are_in_the_log(gateway):
    """Goal: more than a MiB of numbers passes as it comes, and is counted."""
    model, many = "sim/dims-3072/prompt-tokens-11", ["one"] * 90
    parts = [{"content": {"parts": [{"text": text}]}} for text in many]
    for path, body, vectors in (
        ("/v1/embeddings", {"model": f"chat/{model}", "input": many}, lambda got: got["data"]),
        (
            "/v2/embed",
            {"model": f"cohere/{model}", "texts": many, "input_type": "clustering"},
            lambda got: got["embeddings"]["float"],
        ),
        (
            f"/v1beta/models/gemini/{model}:batchEmbedContents",
            {"requests": parts},
            lambda got: got["embeddings"],
        ),
    ):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        asked = urllib.request.Request(f"http://{gateway.address}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            got = answer.read()
        assert len(got) > 2 << 20 and len(vectors(json.loads(got))) == len(many)
        line = gateway.receipt(answer.headers["x-request-id"])
        assert line["tokens_in"] == 11 and line["end"] == "done"
