"""The retry budget: an outage of providers is not multiplied."""

import pytest

from processes import Gateway, Provider, fixture_of
from test_breaker import ask, connect

CONFIG = """shards = 1

[retry]
budget = "{budget}"

[breaker]
mode = "off"

[providers.p]
dialect = "openai"
base_url = "http://{provider}/v1"

[models.pair]
strategy = "priority"
targets = [{{ provider = "p", model = "sim/status-503" }}, {{ provider = "p", model = "sim/events-1" }}]
"""


provider = fixture_of(Provider, "module")


@pytest.fixture
def gateway(request, provider, tmp_path):
    running = Gateway(tmp_path, CONFIG.format(provider=provider.address, budget=request.param))
    yield running
    assert running.total("panics_total") == 0
    running.stop()


def outcomes(gateway, count):
    connection = connect(gateway)
    answers = [ask(connection, "pair") for _ in range(count)]
    return [(answer.status, answer.headers["x-shardgate-attempts"]) for answer in answers]


@pytest.mark.parametrize("gateway", ["1%"], indirect=True)
def test_a_budget_that_is_spent_ends_the_attempts(gateway):
    """Goal: the reserve of ten seconds, a hundred attempts, is there at once; then the client gets the
    provider's own refusal, and each request costs one attempt."""
    seen = outcomes(gateway, 600)
    assert seen[:90] == [(200, "2")] * 90
    assert (503, "1") in seen
    spent = seen.count((503, "1"))
    line = f"shardgate_retry_budget_spent_total {spent}"
    assert line in gateway.get_admin("/metrics").splitlines()


@pytest.mark.parametrize("gateway", ["off"], indirect=True)
def test_without_a_budget_all_attempts_are_made(gateway):
    assert outcomes(gateway, 200) == [(200, "2")] * 200
