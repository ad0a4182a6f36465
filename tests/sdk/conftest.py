"""One simulated provider, one gateway before it, and the official SDK as its client."""

import collections
import os
import pathlib
import socket

import openai
import pytest

from processes import KEY, NARROW_KEY, PROVIDER_KEY, ROOT, Gateway, Provider

# `p/sim/…` reaches every behaviour of the simulator; the other names are for what the
# provider's name cannot say: timeouts, fallbacks, a list of allowed models.
# Breakers are off, since these tests break the same targets again and again.
CONFIG = """
[breaker]
mode = "off"

[timeouts]
connect = "1s"
first_token = "5s"
idle = "2s"
total = "30s"

[[keys]]
name = "all"
secret = {{ env = "TEST_KEY_ALL" }}
models = ["*"]

[[keys]]
name = "narrow"
secret = {{ env = "TEST_KEY_NARROW" }}
models = ["chat"]

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"
api_key = {{ env = "TEST_KEY_PROVIDER" }}

[providers.dead]
dialect = "openai"
base_url = "http://{dead}/v1"

[models.chat]
targets = [{{ provider = "p", model = "sim/events-8" }}]

[models.fallback]
strategy = "priority"
targets = [{{ provider = "p", model = "sim/status-503" }}, {{ provider = "p", model = "sim/events-4" }}]

[models."all-fail"]
strategy = "priority"
targets = [{{ provider = "p", model = "sim/status-503" }}, {{ provider = "p", model = "sim/status-500" }}]

[models.unreachable]
targets = [{{ provider = "dead" }}]

[models.late]
targets = [{{ provider = "p", model = "sim/ttft-1s" }}]
timeouts = {{ first_token = "300ms" }}

[models.silent]
targets = [{{ provider = "p", model = "sim/events-9/stall-3" }}]
timeouts = {{ idle = "300ms" }}

[models.endless]
targets = [{{ provider = "p", model = "sim/rate-20/events-1000" }}]
timeouts = {{ connect = "100ms", first_token = "600ms", idle = "500ms", total = "700ms" }}
"""


@pytest.fixture(scope="session")
def provider():
    running = Provider("--api-key", PROVIDER_KEY)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def dead_address():
    """Where connecting is refused: a bound port that does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield "%s:%d" % bound.getsockname()


@pytest.fixture(scope="session", params=["auto", "poll"])
def gateway(request, provider, dead_address, tmp_path_factory):
    """A gateway; once with the sockets that it chooses, once with those that every kernel has."""
    keys = {"TEST_KEY_ALL": KEY, "TEST_KEY_NARROW": NARROW_KEY, "TEST_KEY_PROVIDER": PROVIDER_KEY}
    config = CONFIG.format(provider=provider.address, dead=dead_address)
    running = Gateway(tmp_path_factory.mktemp("gateway"), config, keys, request.param)
    yield running
    panics = running.total("panics_total")
    running.stop()
    assert panics == 0, f"{panics} connections panicked: {running.lines}"


@pytest.fixture(params=["auto", "poll"])
def sockets(request):
    """Both kinds: what the gateway chooses, and what every kernel has."""
    return request.param


@pytest.fixture
def begin(tmp_path, sockets):
    """Starts a gateway with a config and an environment; at the end of the test it ends at rest."""
    running = []

    def begin(config, environment=None):
        running.append(Gateway(tmp_path, config, environment, sockets))
        return running[-1]

    yield begin
    for gateway in running:
        gateway.end()


@pytest.fixture
def client(gateway):
    """The official SDK, unmodified; its own retries are off so that each test sees the first answer."""
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=20) as sdk:
        yield sdk


@pytest.fixture
def asynchronous(gateway):
    """Makes the SDK's asynchronous client, to be used inside the test's own event loop."""
    return lambda: openai.AsyncOpenAI(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def suites() -> pathlib.Path:
    """The shared suites; without them the tests that need them fail, they are not skipped."""
    path = pathlib.Path(os.environ.get("SHARDGATE_SHARED") or ROOT / "../shared") / "reliability"
    assert (path / "run_h1.py").exists(), f"no suites at {path}; set SHARDGATE_SHARED"
    return path.resolve()


def pytest_collection_modifyitems(items):
    """What takes long begins first, so that no file is left alone at the end: the suites, then the files of many tests."""
    counts = collections.Counter(item.path for item in items)
    items.sort(key=lambda item: (item.get_closest_marker("corpus") is None, -counts[item.path], item.path))
