"""The shared tier as a process has it: connected where the configuration says so, shown, counted, reloaded.
What it does with a server that is slow, gone or mad is in tests/remote."""

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from processes import PATIENCE, PROVIDER_KEY, Gateway
from redis_server import RedisServer

CONFIG = """
[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"
api_key = {{ env = "TEST_KEY_PROVIDER" }}
[cache]
mode = "{mode}"
"""
REMOTE = """
[cache.remote]
url = "redis://{host}:{port}/2"
password = {{ env = "{password}" }}
prefix = "{prefix}"
"""
SECRETS = {"TEST_KEY_PROVIDER": PROVIDER_KEY, "TEST_REDIS": "redis-5ec2e7", "TEST_WRONG": "redis-wr0n6"}


@pytest.fixture
def server(tmp_path):
    running = RedisServer(tmp_path, "--requirepass", SECRETS["TEST_REDIS"])
    yield running
    running.resume()
    running.kill()


def tiers(gateway) -> list:
    return [shard["cache_remote"] for shard in gateway.status()["shards"]]


def wait_until(gateway, is_so) -> list:
    """The shards' tiers, as soon as `is_so` of each."""
    until = time.monotonic() + PATIENCE
    while True:
        now = tiers(gateway)
        if all(is_so(tier) for tier in now):
            return now
        assert time.monotonic() < until, now
        time.sleep(0.02)


def is_up(tier) -> bool:
    return tier is not None and (tier["connections_up"], tier["connections"]) == (2, 2)


def events(gateway) -> dict:
    text = gateway.get_admin("/metrics")
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    name = "shardgate_cache_remote_events_total"
    return {sample.labels["event"]: sample.value for sample in samples if sample.name == name}


def reload(gateway, config: str) -> None:
    text = gateway.config_path.read_text()
    server, retry = text.split("[providers.p]")[0], text[text.rindex("[retry]"):]
    gateway.config_path.write_text(server + config + retry)
    request = urllib.request.Request(f"http://{gateway.admin}/api/reload", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_each_shard_is_connected_and_a_reload_is_heeded(provider, server, sockets, tmp_path):
    """Goal: a name is resolved, a password is given, each shard has its connections; a server that dies is shown
    and found again; a reload that changes nothing of it keeps the connections, one that does makes others, one
    without it ends them; a wrong password is told without showing any."""
    def config(mode="exact", **remote):
        base = CONFIG.format(provider=provider.address, mode=mode)
        words = {"host": "localhost", "port": server.port, "password": "TEST_REDIS", "prefix": "a", **remote}
        return base + REMOTE.format(**words)

    gateway = Gateway(tmp_path, config(), SECRETS, sockets)
    try:
        wait_until(gateway, is_up)
        shards = len(tiers(gateway))
        assert events(gateway)["connected"] == 2 * shards

        server.kill()
        down = wait_until(gateway, lambda tier: tier["connections_up"] == 0)
        assert all(tier["last_trouble"] for tier in down)
        server.start()
        wait_until(gateway, is_up)
        before = events(gateway)["connected"]

        reload(gateway, config() + "[stream]\nkeepalive = \"15s\"\n")
        wait_until(gateway, is_up)
        assert events(gateway)["connected"] == before

        reload(gateway, config(prefix="b"))
        wait_until(gateway, is_up)
        assert events(gateway)["connected"] == before + 2 * shards

        reload(gateway, config(password="TEST_WRONG"))
        refused = wait_until(gateway, lambda tier: tier["last_trouble"] is not None)
        for tier in refused:
            assert "WRONGPASS" in tier["last_trouble"] and "redis-" not in tier["last_trouble"]

        reload(gateway, config(mode="off"))
        assert tiers(gateway) == [None] * shards
        assert events(gateway)["connected"] == before + 2 * shards, "what was counted stays"
    finally:
        gateway.stop()
    assert not any(secret in line for line in gateway.lines for secret in SECRETS.values())
