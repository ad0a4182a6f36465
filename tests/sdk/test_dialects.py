"""Each official SDK at its own front, with what is special about it: helpers, schemas, tools
that it calls itself, asynchronous clients, counting, and the exception for each failure.

What all fronts have in common, before every provider, is in `test_matrix.py`.
"""

import asyncio

import anthropic
import boto3
import botocore.config
import cohere
import openai
import pydantic
import pytest
from google import genai
from google.genai import types

from fronts import FRONTS, Question, front
from processes import KEY, NARROW_KEY, Gateway, Provider
from test_matrix import CITY, header, words

PROVIDERS = """
[breaker]
mode = "off"

[models.narrow]
targets = [{{ provider = "chat", model = "sim/events-3" }}]

[models.falls]
strategy = "priority"
targets = [
  {{ provider = "chat", model = "sim/status-503" }},
  {{ provider = "anthropic", model = "sim/status-529" }},
  {{ provider = "gemini", model = "sim/events-4" }},
]
"""
KEYS = """
[[keys]]
name = "all"
secret = { env = "TEST_KEY_ALL" }
aws = { access_key_id = "AKIDSKALL9F2C71", secret_access_key = { env = "TEST_KEY_ALL" } }
models = ["*"]

[[keys]]
name = "narrow"
secret = { env = "TEST_KEY_NARROW" }
aws = { access_key_id = "AKIDSKNARROW51AB08", secret_access_key = { env = "TEST_KEY_NARROW" } }
models = ["narrow"]
"""


@pytest.fixture(scope="module")
def simulated():
    running = Provider()
    yield running
    running.stop()


def start(folder, simulated, keys):
    config = keys + PROVIDERS.format()
    for name in FRONTS:
        dialect = "openai" if name == "chat" else name
        path = "/v1" if name in ("chat", "responses") else ""
        config += f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "http://{simulated.address}{path}"\n'
    return Gateway(folder, config, {"TEST_KEY_ALL": KEY, "TEST_KEY_NARROW": NARROW_KEY})


@pytest.fixture(scope="module")
def keyed(simulated, tmp_path_factory):
    """A gateway that asks for keys."""
    running = start(tmp_path_factory.mktemp("keyed"), simulated, KEYS)
    yield running
    panics = running.total("panics_total")
    running.stop()
    assert panics == 0


@pytest.fixture(scope="module")
def sdks(keyed):
    return {name: front(name, keyed.address, KEY) for name in FRONTS}


@pytest.fixture(params=FRONTS)
def sdk(request, sdks):
    return sdks[request.param]


@pytest.fixture(params=[False, True], ids=["plain", "stream"])
def ask(request, sdk):
    return sdk.stream if request.param else sdk.plain


def status_of(error) -> int:
    if isinstance(getattr(error, "response", None), dict):
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return getattr(error, "status_code", None) or error.code


def said_by(error) -> str:
    """All that an exception shows of an error's body."""
    parts = [str(error), getattr(error, "body", ""), getattr(error, "details", ""), getattr(error, "response", "")]
    return " ".join(map(str, parts))


# Failures: which exception each becomes.


def test_a_wrong_key_is_the_sdks_authentication_error(keyed, sdk):
    with pytest.raises(sdk.bad_key) as caught:
        front(sdk.name, keyed.address, "sk-wrong").plain(Question(model="narrow"))
    assert status_of(caught.value) == (403 if sdk.name == "bedrock" else 401)
    assert "sk-wrong" not in said_by(caught.value)
    if sdk.name == "bedrock":
        assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_a_model_that_the_key_may_not_use_is_403(keyed, sdk):
    narrow = front(sdk.name, keyed.address, NARROW_KEY)
    assert narrow.plain(Question(model="narrow")).text.strip() == words(3).strip()
    with pytest.raises(sdk.errors) as caught:
        narrow.plain(Question(model="chat/sim/events-2"))
    assert status_of(caught.value) == 403


def test_an_unknown_model_is_not_found(sdk, ask):
    with pytest.raises(sdk.not_found) as caught:
        ask(Question(model="nobody"))
    assert status_of(caught.value) == 404
    if sdk.name == "bedrock":
        assert type(caught.value).__name__ == "ResourceNotFoundException"


OTHER = {name: "chat" if name != "chat" else "anthropic" for name in FRONTS}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", [name for name in FRONTS if name != "responses"])
def test_a_field_that_the_target_has_no_place_for_is_named(sdks, name, stream):
    sdk = sdks[name]
    question = Question(model="responses/sim/events-2", stop=["x"])
    with pytest.raises(sdk.bad_request) as caught:
        (sdk.stream if stream else sdk.plain)(question)
    assert status_of(caught.value) == 400
    assert "'stop' has no place" in said_by(caught.value)


def test_a_broken_field_is_named_by_its_path(sdks):
    """Method: what each SDK lets through although its API does not know it."""
    message = {"role": "user", "content": [{"type": "nonsense"}]}
    with pytest.raises(openai.BadRequestError) as caught:
        sdks["chat"].sdk.chat.completions.create(model="anthropic/sim/events-2", messages=[message])
    assert caught.value.param == "messages[0].content[0].type"
    with pytest.raises(openai.BadRequestError) as caught:
        sdks["responses"].sdk.responses.create(model="chat/sim/events-2", input=[message])
    assert caught.value.param == "input[0].content[0].type"
    with pytest.raises(anthropic.BadRequestError) as caught:
        sdks["anthropic"].sdk.messages.create(model="chat/sim/events-2", max_tokens=9, messages=[message])
    assert "messages[0].content[0].type" in caught.value.message
    with pytest.raises(genai.errors.ClientError) as caught:
        config = {"http_options": {"extra_body": {"generationConfig": {"maxOutputTokens": "many"}}}}
        sdks["gemini"].sdk.models.generate_content(model="chat/sim/events-2", contents="x", config=config)
    assert caught.value.code == 400 and "generationConfig.maxOutputTokens" in said_by(caught.value)
    with pytest.raises(cohere.BadRequestError) as caught:
        sdks["cohere"].sdk.chat(model="chat/sim/events-2", messages=[{"role": "nobody", "content": "x"}])
    assert "messages[0].role" in said_by(caught.value)


AMAZON = {
    400: "ValidationException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}


@pytest.mark.parametrize("status", AMAZON)
def test_a_providers_error_is_the_right_exception(sdk, ask, status):
    """Goal: whatever the provider speaks, the SDK raises what it would raise for its own."""
    kinds = {400: sdk.bad_request, 404: sdk.not_found, 429: sdk.rate_limit}
    with pytest.raises(kinds.get(status, sdk.server)) as caught:
        ask(Question(model=f"{OTHER[sdk.name]}/sim/status-{status}/retry-after-7s"))
    error = caught.value
    overloaded = 529 if sdk.name == "anthropic" else 503
    want = {500: 502, 503: overloaded, 529: overloaded}.get(status, status)
    assert status_of(error) == want
    if status == 429:
        assert header(error, "retry-after") == "7"
    if want == 529:
        assert type(error) is anthropic.OverloadedError
    if sdk.name == "bedrock":
        assert error.response["Error"]["Code"] == AMAZON[status]


def test_a_providers_401_is_not_the_clients(sdk):
    """Goal: a client must not throw its own key away because the gateway's has expired."""
    with pytest.raises(sdk.server) as caught:
        sdk.plain(Question(model=f"{OTHER[sdk.name]}/sim/status-401"))
    assert status_of(caught.value) == 502


def test_errors_in_the_middle_of_a_stream_are_the_sdks(sdk):
    """Goal: a stream that breaks raises, at every front, for every way to break."""
    for fault in ("error-event-3", "cut-3", "malformed-3", "no-done"):
        model = f"anthropic/sim/{fault}/events-9" if sdk.name != "anthropic" else f"responses/sim/{fault}/events-9"
        with pytest.raises(sdk.errors):
            sdk.stream(Question(model=model))


def test_a_fallback_over_three_dialects_is_seen_by_nobody(sdk, ask):
    got = ask(Question(model="falls"))
    assert (got.text.strip(), got.stop) == (words(4).strip(), "end")
    if got.headers:
        assert got.headers["x-shardgate-attempts"] == "3"


# Helpers of the SDKs.


class Weather(pydantic.BaseModel):
    """What a model is to answer in."""

    city: str
    days: int


ASK = [{"role": "user", "content": "Say something."}]
OTHERS = [name for name in FRONTS if name != "chat"]


@pytest.mark.parametrize("provider", FRONTS)
def test_openai_parses_into_a_class(sdks, provider):
    sdk = sdks["chat"].sdk
    whole = sdk.chat.completions.parse(model=f"{provider}/sim/events-2", messages=ASK, response_format=Weather)
    assert isinstance(whole.choices[0].message.parsed, Weather)
    with sdk.chat.completions.stream(
        model=f"{provider}/sim/events-2", messages=ASK, response_format=Weather
    ) as stream:
        kinds = {event.type for event in stream}
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Weather) and {"chunk", "content.delta", "content.done"} <= kinds
    whole = sdk.responses.parse(model=f"{provider}/sim/events-2", input="x", text_format=Weather)
    assert isinstance(whole.output_parsed, Weather)
    with sdk.responses.stream(model=f"{provider}/sim/events-2", input="x", text_format=Weather) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Weather)


@pytest.mark.parametrize("provider", FRONTS)
def test_openai_parses_tools(sdks, provider):
    sdk = sdks["chat"].sdk
    tool = openai.pydantic_function_tool(Weather, name="get_weather")
    model = f"{provider}/sim/tools-1"
    whole = sdk.chat.completions.parse(model=model, messages=ASK, tools=[tool])
    assert isinstance(whole.choices[0].message.tool_calls[0].function.parsed_arguments, Weather)
    with sdk.chat.completions.stream(model=model, messages=ASK, tools=[tool]) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert len(done) == 1 and isinstance(done[0].parsed_arguments, Weather) and call.function.name == "get_weather"


@pytest.mark.parametrize("provider", OTHERS)
def test_openai_completions_of_a_chat_provider(sdks, provider):
    sdk = sdks["chat"].sdk
    plain = sdk.completions.create(model=f"{provider}/sim/events-3", prompt="Say something.", max_tokens=100)
    assert plain.choices[0].text.strip() == words(3).strip() and plain.usage.completion_tokens == 3
    stream = sdk.completions.create(
        model=f"{provider}/sim/events-3", prompt="Say something.", max_tokens=100, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices).strip() == words(3).strip()


@pytest.mark.parametrize("provider", FRONTS)
def test_anthropics_stream_helper(sdks, provider):
    sdk = sdks["anthropic"].sdk
    with sdk.messages.stream(
        model=f"{provider}/sim/thinking-2/events-5",
        max_tokens=4096,
        thinking={"type": "enabled", "budget_tokens": 2048},
        messages=ASK,
    ) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text.strip() == stream.get_final_text().strip() == words(5).strip()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking.strip() == "thought 0 thought 1"
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0


@pytest.mark.parametrize("provider", FRONTS)
def test_anthropics_tool_turns_go_round(sdks, provider):
    """Goal: what the model said, thinking and its signature with it, may be sent back as it came."""
    sdk = sdks["anthropic"].sdk
    more = {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 2048}}
    more["tools"] = [{"name": "get_weather", "input_schema": CITY}]
    first = sdk.messages.create(model=f"{provider}/sim/thinking-2/tools-1", messages=ASK, **more)
    (use,) = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use" and use.input == {"city": "city 1", "days": 3}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = sdk.messages.create(model=f"{provider}/sim/events-3", messages=turns, **more)
    assert second.content[-1].text.startswith("The result of get_weather is: sunny."), second.content


def test_anthropic_counts_tokens(sdks):
    sdk = sdks["anthropic"].sdk
    for provider in FRONTS:
        short = sdk.messages.count_tokens(model=f"{provider}/sim/events-2", messages=ASK).input_tokens
        turns = [{"role": "user", "content": "Say something. " * 50}]
        long = sdk.messages.count_tokens(model=f"{provider}/sim/events-2", messages=turns).input_tokens
        assert 0 < short < long, provider


@pytest.mark.parametrize("provider", FRONTS)
def test_gemini_calls_functions_by_itself(sdks, provider):
    """Goal: the SDK's own loop: schema from a function, its call, its result, the answer."""
    called = []

    def get_weather(city: str) -> str:
        """Tells the weather."""
        called.append(city)
        return "sunny"

    chat = sdks["gemini"].sdk.chats.create(
        model=f"{provider}/sim/tools-1", config=types.GenerateContentConfig(tools=[get_weather])
    )
    answer = chat.send_message("Weather?")
    assert called == ["city 1"] and answer.text.startswith("The result of get_weather is:"), answer
    assert "sunny" in answer.text
    again = "".join(chunk.text or "" for chunk in chat.send_message_stream("And now?"))
    assert called == ["city 1"] * 2 and "sunny" in again


@pytest.mark.parametrize("provider", FRONTS)
def test_gemini_parses_into_a_class(sdks, provider):
    config = {"response_mime_type": "application/json", "response_schema": Weather}
    answer = sdks["gemini"].sdk.models.generate_content(
        model=f"{provider}/sim/events-2", contents="x", config=config
    )
    assert isinstance(answer.parsed, Weather)


def test_boto3_tells_where_a_request_went(sdks):
    whole = sdks["bedrock"].sdk.converse(
        modelId="chat/sim/events-3", messages=[{"role": "user", "content": [{"text": "x"}]}]
    )
    assert whole["ResponseMetadata"]["RequestId"] == whole["ResponseMetadata"]["HTTPHeaders"]["x-request-id"]
    assert whole["metrics"]["latencyMs"] >= 0 and whole["stopReason"] == "end_turn"


def test_boto3_retries_what_is_throttled(keyed):
    """Goal: its own retries know a refusal by the exception's name."""
    settings = botocore.config.Config(retries={"total_max_attempts": 2, "mode": "standard"})
    sdk = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"http://{keyed.address}",
        aws_access_key_id="AKIDSKALL9F2C71",
        aws_secret_access_key=KEY,
        config=settings,
    )
    with pytest.raises(sdk.exceptions.ThrottlingException) as caught:
        sdk.converse(
            modelId="chat/sim/status-429/retry-after-1s", messages=[{"role": "user", "content": [{"text": "x"}]}]
        )
    assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 1


def test_the_asynchronous_clients(keyed):
    """Goal: the same for the clients of an event loop, all at once."""
    model, url = "cohere/sim/events-6", f"http://{keyed.address}"

    async def chat():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
            stream = await sdk.chat.completions.create(model=model, messages=ASK, stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    async def responses():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
            async with sdk.responses.stream(model=model, input="x") as stream:
                return (await stream.get_final_response()).output_text

    async def messages():
        async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY, auth_token=None, max_retries=0) as sdk:
            async with sdk.messages.stream(model=model, max_tokens=99, messages=ASK) as stream:
                return await stream.get_final_text()

    async def gemini():
        sdk = genai.Client(api_key=KEY, vertexai=False, http_options=types.HttpOptions(base_url=url))
        stream = await sdk.aio.models.generate_content_stream(model=model, contents="x")
        return "".join([chunk.text or "" async for chunk in stream])

    async def cohere_chat():
        sdk = cohere.AsyncClientV2(api_key=KEY, base_url=url)
        events = sdk.chat_stream(model="chat/sim/events-6", messages=ASK)
        deltas = [event.delta.message.content.text async for event in events if event.type == "content-delta"]
        return "".join(deltas)

    async def all_of_them():
        return await asyncio.gather(*(ask() for ask in (chat, responses, messages, gemini, cohere_chat) * 3))

    texts = asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert [text.strip() for text in texts] == [words(6).strip()] * 15


def test_log_lines_name_the_front(keyed):
    """Goal: one access-log line for each exchange, with its counts, whatever was spoken."""
    for name, sdk in ((name, front(name, keyed.address, KEY)) for name in FRONTS):
        got = sdk.plain(Question(model=f"{OTHER[name]}/sim/events-3/prompt-tokens-50"))
        if not got.headers:
            continue
        line = keyed.receipt(got.headers["x-request-id"])
        assert (line["status"], line["end"], line["key"]) == (200, "done", "all")
        assert (line["tokens_in"], line["tokens_out"]) == (50, 3), line
