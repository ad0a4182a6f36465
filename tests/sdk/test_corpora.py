"""The shared suites of hostile clients, hostile bodies and hostile providers.

Each runs as it is, as a program of its own, and says its score; the floors stand here.
The runner of the first two is also the gateway's only provider: it sees what was forwarded.
"""

import json
import socket
import subprocess
import sys
import time

import pytest

from processes import PATIENCE, Gateway, free_port

pytestmark = pytest.mark.corpus

KEY = "sk-test"
CHAT = "/v1/chat/completions"

RECORDED = """
[[keys]]
name = "test"
secret = {{ env = "TEST_KEY" }}
models = ["*"]

[providers.recorder]
dialect = "openai"
base_url = "http://{recorder}/v1"

[models.ok]
targets = [{{ provider = "recorder" }}]
"""

TROUBLED = """[breaker]
mode = "off"

[retry]
backoff = {{ first = "20ms", max = "200ms" }}

[timeouts]
first_token = "2s"
idle = "2s"

[[keys]]
name = "test"
secret = {{ env = "TEST_KEY" }}
models = ["*"]

[providers.evil]
dialect = "openai"
base_url = "http://{evil}/v1"

[models."*"]
targets = [{{ provider = "evil" }}]
"""

# Where an answer is honest but not the best one, and why.
NOT_IDEAL_YET = {
    "sse_fin_mid_event": "the cut is inside the very first event, so nothing was begun: 502, so "
    "that another target may answer, instead of a stream that ends with an error event",
}


def run(arguments, seconds) -> tuple[str, int]:
    """Runs a suite; gives what it said and its exit code."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    print(done.stdout)
    return done.stdout, done.returncode


@pytest.fixture
def recorded(tmp_path, sockets):
    """A gateway whose only provider is the runner, and where the runner must listen."""
    recorder = f"127.0.0.1:{free_port()}"
    gateway = Gateway(tmp_path, RECORDED.format(recorder=recorder), {"TEST_KEY": KEY}, sockets)
    yield gateway, recorder
    panics = gateway.total("panics_total")
    gateway.stop()
    assert panics == 0


def test_http1_requests_are_read_as_the_rfcs_say(suites, recorded, tmp_path):
    """Goal: 100 % of the class `rfc`, at least 97 % of `ideal`, nothing smuggled or ambiguous,
    no lint. Method: every case of every category, one after the other."""
    gateway, recorder = recorded
    report = tmp_path / "h1.json"
    said, code = run(
        [suites / "run_h1.py", gateway.address, CHAT, "--auth", KEY, "--model", "ok", "--recorder", recorder,
         "--auth-enforced", "--timeout", "2", "--json", report],
        900,
    )  # fmt: skip
    results = json.loads(report.read_text())
    manifest = json.loads((suites / "corpus/h1/manifest.json").read_text())["cases"]
    assert len(results) == sum("slow" not in case.get("tags", []) for case in manifest)
    assert code == 0, said[-3000:]
    assert [r["id"] for r in results if not r["rfc"]] == []
    assert "smuggled cases 0 | ambiguous 0" in said
    not_ideal = {r["id"]: r["msg_ideal"] for r in results if not r["ideal"]}
    assert len(not_ideal) <= 0.03 * len(results), not_ideal
    assert {r["id"]: r["lint"] for r in results if r.get("lint")} == {}


def test_json_bodies_are_read_in_one_way(suites, recorded, tmp_path):
    """Goal: 100 % strict: what is accepted, refused and forwarded, numbers kept as written,
    duplicates of routing keys refused."""
    gateway, recorder = recorded
    report = tmp_path / "json.json"
    said, code = run(
        [suites / "run_json.py", gateway.address, CHAT, "--auth", KEY, "--model", "ok", "--recorder", recorder,
         "--json", report],
        600,
    )  # fmt: skip
    results = json.loads(report.read_text())
    assert code == 0 and len(results) >= 700, said[-3000:]
    assert {r["name"]: r["msg"] for r in results if not (r["ok"] and r["hard"])} == {}


@pytest.fixture
def evil(suites):
    """The suite's provider, which does everything wrong; its address."""
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, suites / "evil_upstream.py", "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert time.monotonic() < until and child.poll() is None, "the provider does not listen"
            time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    child.kill()
    child.wait(PATIENCE)


def test_a_bad_provider_never_looks_like_a_good_one(suites, evil, sockets, tmp_path):
    """Goal: 100 % of the floor: no cut answer that seems whole, no poisoned connection, no
    provider that is asked on after its client left. Of the ideal, all but the listed."""
    gateway = Gateway(tmp_path, TROUBLED.format(evil=evil), {"TEST_KEY": KEY}, sockets)
    report = tmp_path / "evil.json"
    try:
        said, code = run(
            [suites / "evil_check.py", gateway.address, "--by", "model", "--path", CHAT, "--auth", KEY, "--upstream", evil,
             "--stall", "2", "-j", "1", "-v", "--json", report],
            600,
        )  # fmt: skip
        gateway.at_rest()
        assert gateway.total("panics_total") == 0
    finally:
        gateway.stop()
    results = json.loads(report.read_text())
    manifest = json.loads((suites / "corpus/evil_manifest.json").read_text())
    assert len(results) == len(manifest)
    assert {r["name"]: (r["out"], r["prob"]) for r in results if not r["rfc"]} == {}
    assert code == 0, said[-3000:]
    not_ideal = {r["name"]: (r["out"], r.get("soft")) for r in results if not r["ideal"]}
    assert set(not_ideal) <= set(NOT_IDEAL_YET), not_ideal
