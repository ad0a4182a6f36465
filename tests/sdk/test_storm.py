"""A provider that refuses everything for a while: the outage is not multiplied, and leaves nothing behind.

`STORM_SECONDS=60 STORM_RATE=2000` with a release binary is the whole measurement; it prints its figures.
"""

import json
import os
import subprocess

import pytest

from processes import BINARY, Gateway, Provider, free_port

SECONDS = int(os.environ.get("STORM_SECONDS", "4"))
RATE = int(os.environ.get("STORM_RATE", "100"))

CONFIG = """shards = 1

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[models.m]
targets = [{{ provider = "p", model = "m" }}]

[retry]
attempts_max = 4
"""


class Weather:
    """A provider of a fixed address that is well, or refuses all."""

    def __init__(self):
        self.address = f"127.0.0.1:{free_port()}"
        self.running = None

    def turn(self, *sets):
        self.stop()
        self.running = Provider("--ttft", "20ms", "--events", "4", *sets, listen=self.address)

    def stop(self):
        if self.running:
            self.running.stop()
            self.running = None

    def asked(self) -> int:
        return self.running.stats()["requests"]


@pytest.fixture
def weather():
    playing = Weather()
    yield playing
    playing.stop()


@pytest.fixture(params=["auto", "poll"])
def gateway(request, weather, tmp_path):
    weather.turn()
    running = Gateway(tmp_path, CONFIG.format(provider=weather.address), sockets=request.param)
    yield running
    assert running.total("panics_total") == 0
    running.stop()


def load(gateway, folder, seconds) -> tuple[int, int]:
    """So many requests were sent, so many got a whole stream."""
    report = folder / "load.json"
    subprocess.run(
        [BINARY, "load", "--url", f"http://{gateway.address}", "--model", "m", "--stream", "--rate", str(RATE), "-c", "256",
         "--duration", f"{seconds}s", "--tolerate-errors", "--json", report],
        check=True, stdout=subprocess.DEVNULL, timeout=seconds + 60,
    )  # fmt: skip
    found = json.loads(report.read_text())
    return found["ok"] + found["failed"], found["ok"]


def test_a_storm_is_not_multiplied_and_passes(gateway, weather, tmp_path):
    """Goal: at most 1.2 attempts a request while all is refused; after it as much is answered as before."""
    asked, answered = load(gateway, tmp_path, SECONDS)
    assert answered == asked
    weather.turn("--set", "status=529")
    asked, answered = load(gateway, tmp_path, SECONDS)
    attempts = weather.asked()
    print(f"{asked} requests in the storm, {attempts} attempts, {attempts / asked:.3f} a request")
    assert answered == 0
    assert attempts <= 1.2 * asked + 100, "the reserve of ten seconds"
    weather.turn()
    load(gateway, tmp_path, min(SECONDS, 25))
    asked, answered = load(gateway, tmp_path, 5)
    print(f"{answered} of {asked} answered after it")
    assert answered >= 0.95 * asked
