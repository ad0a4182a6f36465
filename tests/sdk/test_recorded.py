"""What real providers have answered comes out of every other front as its own SDK wants it.

One gateway, one provider that replays recordings, and the official SDKs, many asks at once.
Where a recording is no answer, or says something else than the oracle, it is listed here with
the reason; what a front's dialect cannot say is in `fit`.
"""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import httpx2
import pytest
import urllib3.exceptions

import recordings
from fronts import FRONTS, Question, front
from processes import KEY, Gateway
from replay import Replay

# No keys: whoever asks here is let in, so that signatures of requests are not what is tested.
CONFIG = """
[breaker]
mode = "off"
"""
PROVIDER = """
[providers.{name}]
dialect = "{dialect}"
base_url = "http://{address}{path}"
"""

ERROR = "the provider's error in an answer with status 200"
NO_ANSWER = {
    "openrouter/pydanticai__test_openrouter_stream_error__0.sse": ERROR,
    "groq/pydanticai__test_tool_use_failed_error_streaming_with_text__0.sse": ERROR,
    "groq/pydanticai__test_tool_use_failed_error_streaming__0.sse": ERROR,
    "gpustack/rubyllm__chat_with_extended_thinking_gpustack_qwen3_streams_thinking_c.sse": ERROR,
    "azure/openllmetry__test_prompt_content_filtering__0.json": ERROR,
    "openai/vercel__openai-error.1.chunks.txt": ERROR,
    "openai/pydanticai__test_background_mode_with_tool_vcr__2.json": "queued: no answer yet",
    "openai/pydanticai__test_background_mode_reasoning_vcr__0.json": "queued: no answer yet",
    "openai/vercel__parallel-tool-call-wrapper.1.chunks.txt": "two of its events are cut off in the file",
    "vertex/firebase__unary-failure-invalid-response.json": "JSON of another kind",
    "vertex/firebase__unary-success-detailed-token-response.json": "a count of tokens",
    "vertex/firebase__unary-success-no-billable-characters.json": "a count of tokens",
    "vertex/firebase__streaming-failure-empty-content.sse": "no finishReason: cut",
    "vertex/firebase__streaming-failure-invalid-json.sse": "no finishReason: cut",
    "vertex/firebase__streaming-failure-malformed-content.sse": "no finishReason: cut",
    "vertex/firebase__streaming-success-quotes-escaped.sse": "no finishReason: cut",
    "misc/agentgateway__detect_bedrock-invoke.eventstream.bin": "a stream of another operation",
}

REFUSED = "This request triggered restrictions on violative cyber content and was blocked under"
REFUSED += " Anthropic's Usage Policy."
SQL = {"calls": [("write_sql", "SELECT * FROM users WHERE age > 25")], "stop": "tool"}
ITEMS = [
    {"action": "add", "description": "Fresh red apple", "itemid": "apple_001", "price": 0.5},
    {"action": "add", "description": "Ripe yellow banana", "itemid": "banana_001", "price": 0.3},
]
DICE = [("rollDie", {"player": f"player{1 + n % 2}"}) for n in range(14)]
# What a right reader gets where the oracle says something else.
CORRECTED = {
    # The oracle leaves out `citationsContent`, whose text is the answer's.
    "bedrock/rubyllm__chat_citations_with_bedrock_claude-haiku-4-5_cites_text_docum.json": {
        "text": "The Ruby programming language was created by Yukihiro Matsumoto in 1993."
    },
    "bedrock/rubyllm__chat_citations_with_bedrock_claude-haiku-4-5_cites_tool_resul.json": {
        "text": "Ruby was created by Yukihiro Matsumoto in 1993."
    },
    # The explanation of a refusal is what the client is shown.
    "anthropic/vercel__anthropic-refusal.json": {"text": REFUSED},
    "anthropic/vercel__anthropic-refusal.chunks.txt": {"text": REFUSED},
    # The oracle does not know custom tools, nor answers without `"object":"response"`.
    "openai/vercel__openai-custom-tool.1.json": SQL,
    "openai/vercel__openai-custom-tool.1.chunks.txt": SQL,
    "openai/agentgateway__responses_custom-tool.json": {
        "calls": [("exec", '{"cmd":"echo"}')],
        "stop": "tool",
        "usage": (10, 5, 4),
    },
    "openai/agentgateway__responses_truncated_tool_call.json": {
        "calls": [("get_weather", '{"location": "Par')],
        "stop": "length",
    },
    # The deltas were made shorter than the whole text by hand: a stream cannot be taken back.
    "openai/vercel__openai-shell-container.1.chunks.txt": {"text": "The command ran successfully."},
    # Two parts of a summary are two paragraphs, not one word.
    "openai/pydanticai__test_openai_responses_thinking_part_iter__0.sse": {"thinking": None},
    # The thinking is in `reasoning_details` alone, where the oracle does not look.
    "snowflake/pydanticai__test_snowflake_thinking_streaming__0.sse": {"thinking": 13},
    "snowflake/pydanticai__test_snowflake_thinking__0.json": {"thinking": 39},
    # Calls that code of the provider makes stand whole in `message_start` or in their start; the
    # oracle reads deltas. The plain one was merged by the recorder from several answers.
    "anthropic/vercel__anthropic-programmatic-tool-calling.1.chunks.txt": {"calls": DICE},
    "anthropic/vercel__anthropic-programmatic-tool-calling.1.json": {"stop": "tool"},
    # No candidate, and feedback about the prompt that names no reason: blocked.
    "gemini/firebase__unary-failure-only-prompt-feedback.json": {"stop": "filtered"},
    # The arguments come in pieces, each of which the oracle counts as a call.
    "gemini/vercel__google-stream-no-args-tool-call.chunks.txt": {
        "calls": [("read_theme", {}), *(("read_screen", {"id": name}) for name in "ABC")]
    },
    "gemini/vercel__google-stream-tool-call-arguments.chunks.txt": {
        "calls": [("getWeather", {"location": place}) for place in ("Boston", "San Francisco")]
    },
    "gemini/vercel__google-stream-tool-call-array-arguments-missing-terminal-funct.chunks.txt": {
        "calls": [("writeItems", {"operations": ITEMS})]
    },
    "gemini/vercel__google-vertex-stream-tool-call-arguments-nested.1.chunks.txt": {"calls": None},
}
# A tool that the provider itself runs. The oracle counts its calls; no client answers them.
SERVER_TOOL = "nova_code_interpreter"


@pytest.fixture(scope="module")
def recorded():
    """The recordings; without them these tests fail, they are not skipped."""
    assert (recordings.wire() / "manifest.jsonl").exists(), "no recordings; set SHARDGATE_SHARED"
    return recordings.load()


@pytest.fixture(scope="module")
def sdks(recorded, tmp_path_factory):
    """The SDK of each front, before one gateway, before one provider of each dialect."""
    replay = Replay(recorded)
    config = CONFIG
    for name in FRONTS:
        dialect = "openai" if name == "chat" else name
        path = "/v1" if name in ("chat", "responses") else ""
        config += PROVIDER.format(name=name, dialect=dialect, address=replay.address, path=path)
    gateway = Gateway(tmp_path_factory.mktemp("recorded"), config)
    yield {name: front(name, gateway.address, KEY) for name in FRONTS}
    panics = gateway.total("panics_total")
    gateway.stop()
    replay.stop()
    assert panics == 0


def in_parallel(ask, jobs) -> list:
    """The faults that `ask` finds with these jobs."""
    with ThreadPoolExecutor(8) as pool:
        return [fault for faults in pool.map(lambda job: ask(*job), jobs) for fault in faults]


def ask(sdk, recording, how=""):
    """Asks for a recording; of several answers behind each other, for all of them."""
    whole = None
    for part in recording.parts or [recording]:
        question = Question(model=f"{recording.dialect}/replay-{part.number}{how}")
        answer = (sdk.stream if recording.stream else sdk.plain)(question)
        if whole:
            answer.text = whole.text + answer.text
            answer.thinking = whole.thinking + answer.thinking
            answer.calls = whole.calls + answer.calls
        whole = answer
    return whole


def fit(want, sdk, recording):
    """What of it this front's dialect can say."""
    calls, usage = want.calls, want.usage
    if "custom" in recording.path:
        # Text for a custom tool is the one argument of a function where there are no such tools.
        place = None if sdk.name in ("chat", "responses") else "input"
    else:
        # Arguments that are no JSON have a place of their own where they must be an object.
        must_be_object = sdk.name == "gemini" or (sdk.name in ("anthropic", "bedrock") and not recording.stream)
        place = "_raw" if must_be_object else None
    if calls and place:
        calls = [(name, {place: said} if isinstance(said, str) else said) for name, said in calls]
    if sdk.name in ("anthropic", "bedrock"):
        usage = usage or (0, 0, 0)  # which their answers must have
    return dataclasses.replace(want, calls=calls, usage=usage)


def faults_of(sdk, recording, how="") -> list:
    """What is not as it should be when this front asks for this recording."""
    name = f"{sdk.name} ← {recording.path}{how}"
    if recording.path in NO_ANSWER:
        try:
            answer = ask(sdk, recording, how)
        except sdk.errors:
            return []
        return [f"{name}: no error, but {answer}"]
    try:
        got = ask(sdk, recording, how)
    except Exception as error:  # noqa: BLE001: whatever the SDK raises is a fault
        return [f"{name}: {type(error).__name__}: {error}"]
    want = recordings.expected(recording)
    want.calls = [call for call in want.calls if call[0] != SERVER_TOOL]
    corrected = CORRECTED.get(recording.path, {})
    if "text" in corrected:
        want.length = len(corrected["text"])
    want = fit(dataclasses.replace(want, **corrected), sdk, recording)
    faults = []
    is_text = got.text.startswith(want.text) and len(got.text) == want.length
    if sdk.name == "cohere" and not recording.stream and got.calls:
        # Beside calls, a plain answer has two places for text, and no order between them.
        is_text = len(got.text) == want.length
    if not is_text:
        faults.append(f"{name}: text {got.text[:200]!r} ({len(got.text)}), not {want.text[:200]!r}")
    if want.calls is None:
        assert "nested" in recording.path
        recipe = got.calls[0].arguments["recipe"]
        is_whole = len(got.calls) == 1 and len(recipe["ingredients"]) == len(recipe["steps"]) == 10
        faults += [] if is_whole else [f"{name}: {got.calls}"]
    elif got.plain_calls != want.calls:
        faults.append(f"{name}: calls {got.plain_calls}, not {want.calls}")
    if len({call.id for call in got.calls}) != len(got.calls):
        faults.append(f"{name}: two calls with one id: {got.calls}")
    if got.stop != want.stop:
        faults.append(f"{name}: {got.native_stop!r}, not {want.stop}")
    if got.usage != want.usage:
        faults.append(f"{name}: usage {got.usage}, not {want.usage}")
    if want.thinking is not None and len(got.thinking) != want.thinking:
        faults.append(f"{name}: {len(got.thinking)} characters of thinking, not {want.thinking}")
    return faults


@pytest.mark.parametrize("name", FRONTS)
def test_every_recorded_answer_comes_out_of_the_other_fronts(sdks, recorded, name):
    """Goal: text, thinking, calls, stop and usage are the oracle's, as the front's SDK reads them."""
    jobs = [(sdks[name], recording) for recording in recorded if recording.dialect != name]
    assert len(jobs) > 500
    faults = in_parallel(faults_of, jobs)
    assert not faults, "\n".join(faults)


def test_streams_that_arrive_in_small_pieces_say_the_same(sdks, recorded):
    """Method: each recorded stream at one of the other fronts, by turns, in parts of 1 to 13 bytes."""
    jobs = []
    for turn, recording in enumerate(r for r in recorded if r.stream and len(r.body) < 10_000):
        others = [name for name in FRONTS if name != recording.dialect]
        jobs.append((sdks[others[turn % len(others)]], recording, f".by-{1 + turn % 13}"))
    assert len(jobs) > 150
    faults = in_parallel(faults_of, jobs)
    assert not faults, "\n".join(faults)


PATHS = {
    "chat": ("/v1/chat/completions", {"messages": [], "stream_options": {"include_usage": True}}),
    "responses": ("/v1/responses", {"input": "x"}),
    "anthropic": ("/v1/messages", {"messages": [], "max_tokens": 9}),
    "gemini": ("/v1beta/models/{model}:{verb}", {"contents": []}),
    "cohere": ("/v2/chat", {"messages": []}),
    "bedrock": ("/model/{model}/{verb}", {"messages": []}),
}
VERBS = {"gemini": ("generateContent", "streamGenerateContent"), "bedrock": ("converse", "converse-stream")}
# What the gateway adds where a provider left it away.
LEFT_OUT = [b"", b"\n", b"\r\n", b"\n\n"]
LEFT_OUT += [end + b"data: [DONE]\n\n" for end in LEFT_OUT]
NOT_AS_IT_IS = {
    "anthropic/agentgateway__anthropic_stream_tool_empty_args.sse": "a comment after the end",
    "anthropic/anthropicsdk__unknown_events_response.sse": "events after the end",
    "vertex/firebase__streaming-failure-error-mid-stream.sse": "an error without `data:`: cut",
}


def test_the_own_front_gets_the_providers_bytes(sdks, recorded):
    """Goal: where both sides speak the same dialect, nothing is read and written again."""
    gateway = str(sdks["chat"].sdk.base_url).removesuffix("/v1/")

    def passes(recording):
        model = f"{recording.dialect}/replay-{recording.number}"
        path, body = PATHS[recording.dialect]
        verb = VERBS.get(recording.dialect, ("", ""))[recording.stream]
        path = path.format(model=model.replace("/", "%2F"), verb=verb)
        if not verb:
            body = {"model": model, **body, "stream": recording.stream}
        if not recording.stream:
            body.pop("stream_options", None)
        got = client.post(gateway + path, json=body)
        wanted = [recording.body + end for end in LEFT_OUT]
        if got.status_code == 200 and got.content in (wanted if recording.stream else wanted[:1]):
            return []
        return [f"{recording.path}: {got.status_code} {got.content[-300:]}, not {recording.body[-300:]}"]

    left_out = {*NO_ANSWER, *NOT_AS_IT_IS}
    jobs = [(recording,) for recording in recorded if recording.path not in left_out and not recording.parts]
    with httpx.Client(timeout=60) as client:
        faults = in_parallel(passes, jobs)
    assert not faults, f"{len(faults)}\n" + "\n".join(faults)


# What the event holds that ends an answer.
ENDS = {
    "chat": b'"finish_reason":"',
    "responses": b'"type":"response.completed"',
    "anthropic": b'"type":"message_stop"',
    "gemini": b'"finishReason"',
    "cohere": b'"type":"message-end"',
    "bedrock": b"messageStop",
}
BROKEN = (httpx.HTTPError, httpx2.HTTPError, urllib3.exceptions.HTTPError)


@pytest.mark.parametrize("dialect", FRONTS)
def test_a_stream_that_is_cut_never_ends_as_complete(sdks, recorded, dialect):
    """Goal: no front, not even the provider's own, makes a whole answer of a part.

    Method: a stream of some text is cut in its middle and right before its end, once as if
    the body ended there, once by closing the connection; six fronts each.
    """
    mark = ENDS[dialect]
    of_dialect = (r for r in recorded if r.dialect == dialect and r.stream and r.path not in NO_ANSWER)
    long_enough = (r for r in of_dialect if len(r.pieces) >= 8 and not r.parts and mark in r.body)
    recording = next(r for r in long_enough if recordings.expected(r).length >= 20)
    whole = recordings.expected(recording)
    before_end = sum(
        len(piece) for piece in recording.pieces[: [mark in p for p in recording.pieces].index(True)]
    )
    places = [before_end // 4, before_end // 2, before_end * 3 // 4, before_end - 1, before_end]

    def cut(sdk, how):
        name = f"{sdk.name} ← {recording.path}{how}"
        try:
            got = ask(sdk, recording, how)
        except (*sdk.errors, *BROKEN):
            return []
        is_beginning = whole.text.startswith(got.text[: len(whole.text)])
        return [] if got.stop is None and is_beginning else [f"{name}: {got}"]

    jobs = [(sdks[name], f".{way}-{at}") for name in FRONTS for at in places for way in ("cut", "drop")]
    faults = in_parallel(cut, jobs)
    assert not faults, "\n".join(faults)


def test_the_lists_of_exceptions_are_true(recorded):
    """Goal: what is listed exists and is needed."""
    paths = {recording.path for recording in recorded}
    assert set(NO_ANSWER) <= paths and set(CORRECTED) <= paths
    for recording in recorded:
        for field, value in CORRECTED.get(recording.path, {}).items():
            assert json.dumps(getattr(recordings.expected(recording), field)) != json.dumps(value)
