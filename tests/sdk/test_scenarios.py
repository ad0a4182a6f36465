"""Every way in which a provider fails, seen from the official SDKs, with a healthy fallback behind it.

Each scenario is asked for plain and streamed, in the client's own dialect and in the other one, through the
`openai` and the `anthropic` SDK. What fails before content nobody notices; what fails after it ends with an
error. `SCENARIO_TABLE=path` writes what came of it as a table.
"""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import socket
import threading

import anthropic
import openai
import pytest

import tls_files
from processes import Gateway, Provider
from rude import Rude, TEXT
from tls_provider import TlsProvider

ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
DIALECTS = ("openai", "anthropic")
OTHER = dict(zip(DIALECTS, reversed(DIALECTS)))
GOOD = "token 0 token 1 token 2 token 3 "  # what the simulator says when nothing is wrong
AT_ONCE = 12


@dataclasses.dataclass(frozen=True)
class Scenario:
    """`provider`'s target `model` is asked first. `breaks_begun`: streams break after content. `waits`: only a
    timeout ends it."""

    name: str
    provider: str
    model: str
    breaks_begun: bool = False
    waits: bool = False

    @property
    def key(self) -> str:
        return self.name.replace(" ", "-").replace(",", "")


SCENARIOS = [
    Scenario("connection refused", "dead", "m"),
    Scenario("DNS failure", "nowhere", "m"),
    Scenario("TLS failure", "selfsigned", "m"),
    Scenario("reset before head", "sim", "sim/reset"),
    Scenario("closed before head", "sim", "sim/cut"),
    Scenario("broken head", "sim", "sim/bad-head"),
    Scenario("reset after head, before content", "rude", "reset-after-head"),
    Scenario("cut before content", "sim", "sim/cut-0"),
    Scenario("silent upstream", "rude", "silent", waits=True),
    Scenario("TTFT stall", "rude", "deaf", waits=True),
    Scenario("TTFT stall after the role", "sim", "sim/stall-0", waits=True),
    Scenario("slow drip", "rude", "slow-drip", waits=True),
    Scenario("slow drip of the body", "rude", "slow-body", waits=True),
    Scenario("malformed SSE", "rude", "no-sse"),
    Scenario("malformed event before content", "sim", "sim/malformed-0"),
    Scenario("bad chunk before content", "sim", "sim/bad-chunk-0"),
    Scenario("error event in a 200", "sim", "sim/error-event-0"),
    Scenario("HTML 200", "sim", "sim/html-200"),
    Scenario("429 with Retry-After", "sim", "sim/status-429/retry-after-7s"),
    Scenario("429 without Retry-After", "rude", "limited"),
    Scenario("500", "sim", "sim/status-500"),
    Scenario("503", "sim", "sim/status-503"),
    Scenario("529", "sim", "sim/status-529"),
    Scenario("HTML 502", "sim", "sim/html-502"),
    Scenario("context too long", "rude", "too-long"),
    Scenario("stall mid-stream", "sim", "sim/events-9/stall-3", breaks_begun=True, waits=True),
    Scenario("cut mid-stream", "sim", "sim/events-9/cut-3", breaks_begun=True),
    Scenario("reset mid-stream", "sim", "sim/events-9/reset-3", breaks_begun=True),
    Scenario("malformed event mid-stream", "sim", "sim/events-9/malformed-3", breaks_begun=True),
    Scenario("bad chunk mid-stream", "sim", "sim/events-9/bad-chunk-3", breaks_begun=True),
    Scenario("error event mid-stream", "sim", "sim/events-9/error-event-3", breaks_begun=True),
]

# Nobody answers: the targets of each, of which the first is asked, and what the client is told.
DOWN = {
    "all refused connections": ([("dead", "a"), ("dead", "b")], 502),
    "all resolve to nothing": ([("nowhere", "a"), ("nowhere", "b")], 502),
    "all answer 503": ([("sim", "sim/status-503/events-1"), ("sim", "sim/status-503/events-2")], 503),
    "all answer 529": ([("sim", "sim/status-529/events-1"), ("sim", "sim/status-529/events-2")], 529),
    "all answer 429": ([("sim", "sim/status-429/events-1"), ("sim", "sim/status-429/events-2")], 429),
    "all reset": ([("sim", "sim/reset/events-1"), ("sim", "sim/reset/events-2")], 502),
    "all silent": ([("sim", "sim/stall-0/events-1"), ("sim", "sim/stall-0/events-2")], 504),
}

WAITS = 'timeouts = {{ connect = "500ms", first_token = "700ms", idle = "700ms", total = "{total}" }}\n'


def config(ports: dict) -> str:
    """Each provider in both dialects. For each scenario and dialect a model, whose fallback is a healthy target
    of the other dialect; what is healthy is given time, however busy the machine is."""
    text = 'shards = 1\n\n[breaker]\nmode = "off"\n\n[retry]\nbudget = "off"\nbackoff = { first = "20ms", max = "100ms" }\n\n'
    text += '[timeouts]\nconnect = "2s"\nfirst_token = "20s"\nidle = "20s"\ntotal = "40s"\n\n'
    for name, url in ports.items():
        for dialect in DIALECTS:
            text += f'[providers.{name}-{dialect}]\ndialect = "{dialect}"\n'
            text += f'base_url = "{url}{"/v1" if dialect == "openai" else ""}"\n\n'
    for dialect in DIALECTS:
        for name, model in (("sim", "sim/events-4"), ("rude", "fine")):
            text += f'[models."good-{name}-{dialect}"]\n'
            text += f'targets = [{{ provider = "{name}-{dialect}", model = "{model}" }}]\n\n'
        for one in SCENARIOS:
            text += f'[models."{one.key}-{dialect}"]\n'
            text += f'targets = [{{ provider = "{one.provider}-{dialect}", model = "{one.model}" }}]\n'
            text += f'fallbacks = ["good-sim-{OTHER[dialect]}"]\n'
            text += WAITS.format(total="4s") if one.waits else ""
            text += "\n"
        for name, (targets, _) in DOWN.items():
            first, second = [f'{{ provider = "{p}-{dialect}", model = "{m}" }}' for p, m in targets]
            name = name.replace(" ", "-")
            text += f'[models."{name}-{dialect}"]\ntargets = [{first}]\nfallbacks = ["{name}-{dialect}-2"]\n'
            text += WAITS.format(total="4s")
            text += f'[models."{name}-{dialect}-2"]\ntargets = [{second}]\n'
            text += WAITS.format(total="4s")
    return text


@dataclasses.dataclass
class Seen:
    """What a client saw of one exchange."""

    text: str = ""
    is_whole: bool = False  # it ended, and said so
    error: Exception | None = None
    headers: dict = dataclasses.field(default_factory=dict)

    @property
    def status(self):
        return getattr(self.error, "status_code", None)


class Clients:
    """Both SDKs, unmodified, before one gateway."""

    def __init__(self, gateway, retries=0):
        self.openai = openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=retries, timeout=60)
        address = f"http://{gateway.address}"
        self.anthropic = anthropic.Anthropic(base_url=address, api_key="any", max_retries=retries, timeout=60)

    def ask(self, front: str, model: str, stream: bool) -> Seen:
        create = self.openai.chat.completions if front == "openai" else self.anthropic.messages
        seen = Seen()
        try:
            raw = create.with_raw_response.create(model=model, stream=stream, **ASK)
            seen.headers = dict(raw.headers)
            self._read(front, raw.parse(), stream, seen)
        except Exception as error:  # also what no SDK should let through
            seen.error = error
            if not seen.headers and hasattr(error, "response"):
                seen.headers = dict(error.response.headers)
        return seen

    @staticmethod
    def _read(front, parsed, stream, seen):
        if not stream and front == "openai":
            seen.text, seen.is_whole = parsed.choices[0].message.content, parsed.choices[0].finish_reason == "stop"
        elif not stream:
            seen.text, seen.is_whole = parsed.content[0].text, parsed.stop_reason == "end_turn"
        elif front == "openai":
            for chunk in parsed:
                for choice in chunk.choices:
                    seen.text += choice.delta.content or ""
                    seen.is_whole |= choice.finish_reason is not None
        else:
            for event in parsed:
                if event.type == "content_block_delta":
                    seen.text += event.delta.text
                seen.is_whole |= event.type == "message_stop"

    def close(self):
        self.openai.close()
        self.anthropic.close()


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Where each provider is."""
    simulated, rude = Provider(), Rude()
    tls = TlsProvider(*tls_files.self_signed(tmp_path_factory.mktemp("tls"), is_ca=False))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # it does not listen
        yield {
            "sim": f"http://{simulated.address}",
            "rude": f"http://{rude.address}",
            "dead": "http://%s:%d" % bound.getsockname(),
            "nowhere": "http://provider.invalid",
            "selfsigned": f"https://localhost:{tls.port}",
        }
    assert tls.bytes_read == 0, "nobody told a secret to a stranger"
    for provider in (simulated, rude, tls):
        provider.stop()


@pytest.fixture(scope="module", params=["auto", "poll"])
def gateway(request, ports, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), config(ports), sockets=request.param)
    yield running
    running.end()


Case = collections.namedtuple("Case", "scenario dialect front stream")
CASES = [
    Case(scenario, dialect, front, stream)
    for scenario in SCENARIOS
    for stream in (False, True)
    for front in DIALECTS
    for dialect in DIALECTS
]


@pytest.fixture(scope="module")
def outcomes(gateway):
    """What came of every case: what the client saw, the line in the log, and what a request behind it saw that
    goes to the same provider, so that it would meet a connection that is not as it should be. Many at once."""
    clients = Clients(gateway)

    def play(case: Case):
        seen = clients.ask(case.front, f"{case.scenario.key}-{case.dialect}", case.stream)
        on = case.scenario.provider if case.scenario.provider in ("sim", "rude") else "sim"
        after = [clients.ask(case.front, f"good-{on}-{case.dialect}", stream) for stream in (False, True)]
        return seen, gateway.receipt(seen.headers["x-request-id"]), (on, after)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        # Those that wait go first, so that they wait together.
        order = sorted(CASES, key=lambda case: not case.scenario.waits)
        found = dict(zip(order, pool.map(play, order)))
    clients.close()
    return found


def name(case: Case) -> str:
    way = "same" if case.front == case.dialect else "cross"
    return f"{case.scenario.key}-{case.front}-{way}-{'streamed' if case.stream else 'plain'}"


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_failure_stays_hidden_or_is_an_error(outcomes, case):
    """Goal: with a healthy fallback, what fails before content is answered as if nothing had been; a stream that
    fails after it ends with an error and never seems whole. Head and log say how it came about."""
    seen, line, _ = outcomes[case]
    tries = line["tries"]
    assert len(tries) == line["attempts"] == int(seen.headers["x-shardgate-attempts"])
    if case.stream and case.scenario.breaks_begun:
        assert isinstance(seen.error, (openai.APIError, anthropic.APIError)) and not seen.is_whole, seen
        assert seen.text and GOOD.startswith(seen.text), seen
        assert [one["end"] for one in tries] == ["cut"] and line["end"] == "error"
        return
    assert seen.error is None and seen.is_whole and seen.text == GOOD, seen
    assert seen.headers["x-shardgate-fallbacks"] == seen.headers["x-shardgate-model"] == f"good-sim-{OTHER[case.dialect]}"
    assert seen.headers["x-shardgate-target"] == line["target"] == f"sim-{OTHER[case.dialect]}"
    assert [one["end"] for one in tries[:-1]] and tries[-1]["end"] == line["end"] == "done"
    assert {one["end"] for one in tries[:-1]} <= {"refused", "failed"}
    assert all(one["why"] != "-" for one in tries[:-1])


def test_no_connection_is_used_again_that_broke(outcomes):
    """Goal: the exchange behind each of these, with the same provider, gets its own answer, at the first attempt."""
    wrong = []
    for case, (_, _, (on, after)) in outcomes.items():
        want = GOOD if on == "sim" else TEXT
        for seen in after:
            is_clean = seen.error is None and seen.is_whole and seen.text == want
            if not is_clean or seen.headers["x-shardgate-attempts"] != "1":
                wrong.append((name(case), seen))
    assert wrong == []


@pytest.fixture(scope="module")
def refused(gateway):
    """What the SDKs, with the retries that they make by themselves, say when nobody answers, and how many requests
    they made."""
    clients = Clients(gateway, retries=2)
    count = collections.Counter(line["model"] for line in gateway.receipts())
    assert not any(model.startswith("all-") for model in count)
    lock, found = threading.Lock(), {}

    def play(down):
        scenario, dialect, front, stream = down
        seen = clients.ask(front, f"{scenario.replace(' ', '-')}-{dialect}", stream)
        line = gateway.receipt(seen.headers["x-request-id"])
        with lock:
            found[down] = (seen, line)

    every = [(s, d, f, stream) for s in DOWN for d in DIALECTS for f in DIALECTS for stream in (False, True)]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(play, every))
    clients.close()
    gateway.at_rest()
    requests = collections.Counter(line["model"] for line in gateway.receipts())
    return found, requests


@pytest.mark.parametrize("scenario", DOWN)
def test_when_all_are_down_the_client_is_told_once(refused, scenario):
    """Goal: an error of the client's own dialect, with the status that fits, after all targets were asked; and the
    SDK does not ask again, since the gateway has done so."""
    found, requests = refused
    _, status = DOWN[scenario]
    mine = {down: it for down, it in found.items() if down[0] == scenario}
    assert len(mine) == 8
    for (_, _, front, _), (seen, line) in mine.items():
        sdk = openai if front == "openai" else anthropic
        assert isinstance(seen.error, sdk.APIStatusError), seen
        # Anthropic has a status of its own for a provider that is overloaded, OpenAI has none.
        fits = {status} if status not in (503, 529) else {503, 529}
        assert seen.status in fits, seen
        body = seen.error.response.json()
        assert body["error"]["message"] and body["error"]["type"]
        assert (body.get("type") == "error") == (front == "anthropic")
        assert seen.headers["x-should-retry"] == "false"
        assert int(seen.headers["x-shardgate-attempts"]) == len(line["tries"]) >= 2
        assert {one["end"] for one in line["tries"]} <= {"refused", "failed"}
    for dialect in DIALECTS:
        assert requests[f"{scenario.replace(' ', '-')}-{dialect}"] == 4, "one exchange for each client"


def told(seen: Seen) -> str:
    if seen.error is None:
        return "clean answer" if seen.is_whole else "INCOMPLETE"
    if seen.text or seen.status is None or seen.status == 200:
        return "error event"
    return f"error {seen.status}"


def test_the_table_of_what_came_of_it(outcomes, refused):
    """Writes the table, from what clients saw and what the log says."""
    rows = collections.defaultdict(set)
    for case, (seen, line, _) in outcomes.items():
        rows[case.scenario.name, case.stream].add((told(seen), line["attempts"], line["tries"][0]["why"]))
    for (scenario, _, _, stream), (seen, line) in refused[0].items():
        rows[scenario, stream].add((told(seen), line["attempts"], line["tries"][0]["why"]))
    order = [one.name for one in SCENARIOS] + list(DOWN)
    assert len(rows) == 2 * len(order)

    def row(scenario, stream):
        columns = zip(*rows[scenario, stream])
        return " | ".join(" or ".join(sorted({str(it) for it in column})) for column in columns)

    lines = ["| scenario | plain: client saw | attempts | why the first ended | streamed: client saw | attempts | why |"]
    lines.append("|---|---|---|---|---|---|---|")
    lines += [f"| {scenario} | {row(scenario, False)} | {row(scenario, True)} |" for scenario in order]
    table = "\n".join(lines) + "\n"
    print(table)
    if path := os.environ.get("SCENARIO_TABLE"):
        pathlib.Path(path).write_text(table)
