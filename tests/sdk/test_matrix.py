"""Six fronts × six providers × what can be asked: each cell works, or is refused with a reason.

    SDK of the front ─► gateway ─► Ear, which keeps what it heard ─► `shardgate simulate`

What a provider is told is read from the request that came to it, by its own dialect's
places. `SHARDGATE_MATRIX=FILE` writes the table that the run found.
"""

import collections
import json
import os
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fronts import FRONTS, Answer, Call, Question, Tool, Unsayable, front
from processes import KEY, Gateway, Provider
from replay import Replay

NAMES = {
    "chat": "OpenAI Chat",
    "responses": "OpenAI Responses",
    "anthropic": "Anthropic",
    "gemini": "Gemini",
    "cohere": "Cohere",
    "bedrock": "Bedrock",
}

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ZONE = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}
NONE = {"type": "object", "properties": {}}
TOOLS = [
    Tool("get_weather", "Tells the weather.", CITY),
    Tool("get_time", "Tells the time.", ZONE),
    Tool("roll_dice", "Rolls dice.", NONE),
]
CALLS = [
    Call("call_weather", "get_weather", {"city": "Paris", "days": 3}),
    Call("call_time", "get_time", {"zone": "CET"}),
]


def png() -> bytes:
    """One red pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


PNG = png()


def words(count: int) -> str:
    return "".join(f"token {n} " for n in range(count))


# What a provider was told, by the places of its dialect.


def texts(content) -> str:
    """The text of a message, be it one text or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or [])


def camel(value):
    """Gemini takes both spellings of its keys, and the official SDK sends some of each."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    spelt = {key: re.sub("_([a-z])", lambda letter: letter[1].upper(), key) for key in value}
    return {spelt[key]: item if "chema" in key else camel(item) for key, item in value.items()}


def system_of(dialect, body) -> str:
    if dialect in ("chat", "cohere"):
        first = body["messages"][0]
        return texts(first["content"]) if first["role"] in ("system", "developer") else ""
    if dialect == "responses":
        if "instructions" in body:
            return body["instructions"]
        return "".join(texts(i["content"]) for i in body["input"] if i.get("role") in ("system", "developer"))
    if dialect == "gemini":
        return texts(body["systemInstruction"]["parts"])
    return texts(body["system"])


def turns_of(dialect, body) -> list:
    if dialect == "gemini":
        roles = {"user": "user", "model": "assistant"}
        return [(roles[c["role"]], texts(c["parts"])) for c in body["contents"]]
    messages = body["input"] if dialect == "responses" else body["messages"]
    return [(m["role"], texts(m["content"])) for m in messages]


def tools_of(dialect, body) -> list:
    """Name, description and schema of each."""
    if dialect in ("chat", "cohere"):
        functions = [tool["function"] for tool in body["tools"]]
        return [(f["name"], f.get("description"), f["parameters"]) for f in functions]
    if dialect == "responses":
        return [(t["name"], t.get("description"), t["parameters"]) for t in body["tools"]]
    if dialect == "anthropic":
        return [(t["name"], t.get("description"), t["input_schema"]) for t in body["tools"]]
    if dialect == "gemini":
        declared = [f for tool in body["tools"] for f in tool["functionDeclarations"]]
        return [(f["name"], f.get("description"), f.get("parametersJsonSchema") or f["parameters"]) for f in declared]
    specs = [tool["toolSpec"] for tool in body["toolConfig"]["tools"]]
    return [(s["name"], s.get("description"), s["inputSchema"]["json"]) for s in specs]


def thinks(dialect, body) -> bool:
    """Whether thinking was asked for."""
    if dialect == "chat":
        return body.get("reasoning_effort") in ("low", "medium", "high")
    if dialect == "responses":
        return body.get("reasoning", {}).get("effort") in ("low", "medium", "high")
    if dialect in ("anthropic", "cohere"):
        return body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if dialect == "gemini":
        config = body["generationConfig"].get("thinkingConfig", {})
        return bool(config.get("thinkingLevel") or config.get("thinkingBudget"))
    more = body.get("additionalModelRequestFields", {})
    return "thinking" in more or "effort" in body.get("outputConfig", {})


def limit_of(dialect, body):
    if dialect == "chat":
        return body.get("max_completion_tokens") or body.get("max_tokens")
    if dialect == "responses":
        return body.get("max_output_tokens")
    if dialect == "gemini":
        return body["generationConfig"]["maxOutputTokens"]
    if dialect == "bedrock":
        return body["inferenceConfig"]["maxTokens"]
    return body["max_tokens"]


def stop_of(dialect, body):
    if dialect == "chat":
        return body["stop"]
    if dialect == "gemini":
        return body["generationConfig"]["stopSequences"]
    if dialect == "bedrock":
        return body["inferenceConfig"]["stopSequences"]
    return body["stop_sequences"]


# What is asked, and what is right.


class Cell:
    """One front, one provider, one feature, plain or streamed."""

    def __init__(self, sdk, provider, ear, stream, number):
        self.sdk, self.provider, self.ear, self.stream = sdk, provider, ear, stream
        self.number = number

    def ask(self, keys: str, **more) -> Answer:
        # The name is the cell's own, so that its request is found again: no embedding is asked for.
        self.upstream = f"sim/dims-{self.number}/{keys}"
        question = Question(model=f"{self.provider}/{self.upstream}", **more)
        return (self.sdk.stream if self.stream else self.sdk.plain)(question)

    @property
    def heard(self) -> dict:
        """The body of what the provider was asked."""
        body = json.loads(self.ear.last[self.upstream][2])
        return camel(body) if self.provider == "gemini" else body

    def text(self):
        got = self.ask("events-8")
        assert (got.text.strip(), got.stop) == (words(8).strip(), "end")
        assert turns_of(self.provider, self.heard) == [("user", "Say something.")]

    def system(self):
        got = self.ask("events-2", system="Be brief.")
        assert got.text.strip() == words(2).strip()
        assert system_of(self.provider, self.heard) == "Be brief."

    def multi_turn(self):
        turns = [("user", "One."), ("assistant", "Two."), ("user", "Three.")]
        got = self.ask("events-4", turns=turns)
        assert got.text.strip() == words(4).strip()
        assert turns_of(self.provider, self.heard) == turns

    def tools(self):
        got = self.ask("events-20", tools=TOOLS[:1], forced="get_weather")
        assert got.plain_calls == [("get_weather", {"city": "city 1", "days": 3})], got
        assert got.stop == "tool" and got.text == ""
        told = tools_of(self.provider, self.heard)
        assert [name for name, _, _ in told] == ["get_weather"] and told[0][1] == "Tells the weather."
        assert told[0][2]["properties"].keys() == CITY["properties"].keys()
        assert told[0][2]["required"] == CITY["required"]

    def parallel_tools(self):
        got = self.ask("tools-3", tools=TOOLS)
        names = [name for name, _ in got.plain_calls]
        assert sorted(names) == sorted(tool.name for tool in TOOLS), got
        assert all(isinstance(arguments, dict) for _, arguments in got.plain_calls)
        assert len({call.id for call in got.calls}) == 3 and got.stop == "tool"
        assert [name for name, _, _ in tools_of(self.provider, self.heard)] == [tool.name for tool in TOOLS]

    def tool_result(self):
        turns = [("user", "Weather?"), ("calls", CALLS), ("results", [(CALLS[0], "sunny"), (CALLS[1], "noon")])]
        got = self.ask("events-20", turns=turns, tools=TOOLS)
        assert got.text.startswith("The result of get_weather is: sunny. The result of get_time is: noon."), got
        assert got.stop == "end" and not got.calls

    def image(self):
        got = self.ask("events-20", image=PNG)
        assert "I see 1 image: image/png." in got.text, got

    def structured_output(self):
        got = self.ask("events-20", schema=CITY)
        said = json.loads(got.text)
        # Anthropic's schemas know no `minimum`: there it is told in words.
        assert said.keys() == {"city", "days"} and isinstance(said["days"], int) and isinstance(said["city"], str)
        assert got.stop == "end" and not got.calls, got

    def thinking(self):
        got = self.ask("thinking-3/events-4", effort="medium", max_tokens=8192)
        assert got.text.strip() == words(4).strip()
        assert got.thinking.strip() == "thought 0 thought 1 thought 2", got
        assert thinks(self.provider, self.heard), self.heard

    def stop_reasons(self):
        got = self.ask("events-20", max_tokens=16)
        assert (got.stop, got.text.strip()) == ("length", words(16).strip()), got
        assert limit_of(self.provider, self.heard) == 16
        got = self.ask("events-20/finish-content_filter")
        assert got.stop == "filtered", got

    def stop_sequence(self):
        got = self.ask("events-20", stop=["token 5"])
        assert got.text.strip() == words(5).strip() and got.stop in ("sequence", "end"), got
        assert stop_of(self.provider, self.heard) == ["token 5"]

    def usage(self):
        keys = "prompt-tokens-100/cached-tokens-40/thinking-3/completion-tokens-20/reasoning-tokens-5"
        got = self.ask(f"{keys}/events-2")
        assert got.usage == (100, 20, 40), got.usage

    def error(self):
        for status, kind in [(429, self.sdk.rate_limit), (500, self.sdk.server)]:
            with pytest.raises(kind) as caught:
                self.ask(f"status-{status}/retry-after-7s")
            if status == 429 and (self.sdk.name, self.provider) == ("gemini", "gemini"):
                assert "'retryDelay': '7s'" in str(caught.value.details)  # as the provider said it
            elif status == 429:
                assert header(caught.value, "retry-after") == "7"
        if self.stream:
            with pytest.raises(self.sdk.errors):
                self.ask("error-event-3/events-9")


def header(error, name):
    """A header of the answer that an SDK's exception is about."""
    if isinstance(getattr(error, "response", None), dict):  # boto3
        return error.response["ResponseMetadata"]["HTTPHeaders"].get(name)
    headers = getattr(error, "headers", None)
    return (error.response.headers if headers is None else headers).get(name)


FEATURES = (
    "text", "system", "multi_turn", "tools", "parallel_tools", "tool_result", "image",
    "structured_output", "thinking", "stop_reasons", "stop_sequence", "usage", "error",
)  # fmt: skip

# (front, provider, feature) → why it is refused; "*" for all.
REFUSED: dict = {
    ("*", "responses", "stop_sequence"): "Responses has no stop sequences: 400 that names `stop`",
    ("responses", "*", "stop_sequence"): "Responses has no stop sequences: nothing to translate",
}


def why_refused(front, provider, feature):
    ways = [(front, provider, feature), ("*", provider, feature), (front, "*", feature)]
    return next((REFUSED[way] for way in ways if way in REFUSED), None)


CONFIG = """
[breaker]
mode = "off"
"""


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Every front's SDK, and the ear before the simulator."""
    simulated = Provider()
    ear = Replay([], forward=simulated.address)
    config = CONFIG
    for name in FRONTS:
        dialect = "openai" if name == "chat" else name
        path = "/v1" if name in ("chat", "responses") else ""
        config += f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "http://{ear.address}{path}"\n'
    gateway = Gateway(tmp_path_factory.mktemp("matrix"), config)
    yield {name: front(name, gateway.address, KEY) for name in FRONTS}, ear
    panics = gateway.total("panics_total")
    gateway.stop()
    simulated.stop()
    ear.stop()
    assert panics == 0


def run(number, sdk, provider, ear, feature) -> list:
    """What happened in a cell, plain and streamed: ("works" or "refused" or "broken", why)."""
    found = []
    for stream in (False, True):
        try:
            getattr(Cell(sdk, provider, ear, stream, 2 * number + stream), feature)()
            found.append(("works", ""))
        except Unsayable as error:
            found.append(("refused", str(error)))
        except sdk.bad_request as error:
            found.append(("refused", str(error)))
        except Exception as error:  # noqa: BLE001: the table shows whatever it is
            found.append(("broken", f"{type(error).__name__}: {error}"[:600]))
    return found


def test_every_front_reaches_every_provider(grid):
    """Goal: each cell works, or is refused with the reason that is listed here."""
    sdks, ear = grid
    cells = [(name, provider, feature) for name in FRONTS for provider in FRONTS for feature in FEATURES]
    with ThreadPoolExecutor(8) as pool:
        asks = [(number, sdks[name], provider, ear, what) for number, (name, provider, what) in enumerate(cells, 1)]
        found = list(pool.map(lambda ask: run(*ask), asks))
    results = dict(zip(cells, found, strict=True))
    table = table_of(results)
    if path := os.environ.get("SHARDGATE_MATRIX"):
        Path(path).write_text(table)
    faults = []
    for cell, outcomes in results.items():
        reason = why_refused(*cell)
        want = "refused" if reason else "works"
        for way, (outcome, said) in zip(("plain", "stream"), outcomes, strict=True):
            if outcome != want:
                faults.append(f"{' → '.join(cell[:2])}, {cell[2]}, {way}: {outcome}, not {want}: {said}")
    assert not faults, f"{len(faults)} cells\n" + "\n".join(faults)
    architecture = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    told = architecture.split("<!-- matrix -->\n")[1].split("<!-- end of matrix -->")[0]
    assert told.strip() == table.strip(), "ARCHITECTURE.md has another matrix: SHARDGATE_MATRIX=FILE writes it"


def table_of(results):
    """One line for each pair; what is refused has a number, and its reason below."""
    reasons: dict = collections.OrderedDict()
    lines = ["| front → provider | " + " | ".join(f.replace("_", " ") for f in FEATURES) + " |"]
    lines.append("|---" * (1 + len(FEATURES)) + "|")
    for name in FRONTS:
        for provider in FRONTS:
            row = [f"{NAMES[name]} → {NAMES[provider]}"]
            for feature in FEATURES:
                outcomes = {outcome for outcome, _ in results[name, provider, feature]}
                if outcomes == {"works"}:
                    row.append("yes")
                elif outcomes == {"refused"}:
                    reason = why_refused(name, provider, feature) or "not listed"
                    row.append(f"no ({reasons.setdefault(reason, len(reasons) + 1)})")
                else:
                    row.append("BROKEN")
            lines.append("| " + " | ".join(row) + " |")
    pairs = sum(
        results[name, provider, "text"] == [("works", "")] * 2 for name in FRONTS for provider in FRONTS
    )
    lines += ["", f"{pairs} of 36 pairs; each cell plain and streamed."]
    lines += [f"({number}) {reason}" for reason, number in reasons.items()]
    return "\n".join(lines) + "\n"
