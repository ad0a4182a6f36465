"""What an operator sees: the access log, the metrics, the status."""

import json
import re
import urllib.request

import openai
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from processes import KEY, NARROW_KEY, PROVIDER_KEY, ROOT

CANARY = "canary-7f3a9e-do-not-log"
ASK = [{"role": "user", "content": CANARY}]


def metrics(gateway) -> dict:
    """name -> list of samples; a text that is not Prometheus' raises."""
    samples = {}
    for family in text_string_to_metric_families(gateway.get_admin("/metrics")):
        assert family.documentation, family.name
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    return samples


def total(samples, name) -> float:
    return sum(sample.value for sample in samples.get(name, ()))


def test_each_exchange_has_one_line_and_is_counted_once(client, gateway):
    """Goal: settle runs once. Method: exchanges of every end; then lines, receipts, exchanges
    and the metrics by code agree."""
    gateway.at_rest()
    lines, before = len(gateway.receipts()), metrics(gateway)
    client.chat.completions.create(model="chat", messages=ASK)
    list(client.chat.completions.create(model="chat", messages=ASK, stream=True))
    client.models.list()
    for model in ("nobody", "p/sim/status-429", "unreachable"):
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model=model, messages=ASK)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="p/sim/events-9/cut-3", messages=ASK, stream=True))
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="p/sim/ttft-4s", messages=ASK, timeout=0.3)
    gateway.at_rest()
    after = metrics(gateway)
    for name in ("shardgate_exchanges_total", "shardgate_receipts_total", "shardgate_requests_total"):
        assert total(after, name) - total(before, name) == 8, name
    assert total(after, "shardgate_exchanges_total") == total(after, "shardgate_receipts_total")
    new = gateway.receipts()[lines:]
    assert len(new) == 8
    assert len({line["id"] for line in new}) == 8
    statuses = sorted(line["status"] for line in new)
    assert statuses == [200, 200, 200, 200, 404, 429, 499, 502]
    assert sorted(line["end"] for line in new) == ["cancelled"] + ["done"] * 3 + ["error"] * 4


def test_nothing_is_left_open_at_rest(gateway):
    gateway.at_rest()
    samples = metrics(gateway)
    for name in ("shardgate_exchanges_open", "shardgate_streams_open", "shardgate_in_flight"):
        assert total(samples, name) == 0, name
    leased = [s for s in samples["shardgate_upstream_connections"] if "leased" in str(s.labels)]
    assert leased and all(s.value == 0 for s in leased)
    assert total(samples, "shardgate_panics_total") == 0
    assert total(samples, "shardgate_log_dropped_total") == 0


def test_labels_come_from_the_configuration_and_never_from_a_client(client, gateway):
    """Goal: a client cannot make new series. Method: names that only a client could have said."""
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=CANARY, messages=ASK)
    client.chat.completions.create(model=f"p/{CANARY}", messages=ASK)
    before = {(name, str(s.labels)) for name, all_of in metrics(gateway).items() for s in all_of}
    client.chat.completions.create(model=f"p/{CANARY}-2", messages=ASK)
    gateway.at_rest()
    after = {(name, str(s.labels)) for name, all_of in metrics(gateway).items() for s in all_of}
    assert after - before == set()


def test_no_prompt_no_answer_and_no_key_is_written_anywhere(client, gateway):
    """Goal: neither what was asked, nor what was answered, nor a key is in the log, in the
    metrics or in the status. Method: canaries in the prompt, the model and the header; the
    words of the simulator."""
    client.chat.completions.create(model="chat", messages=ASK)
    list(client.chat.completions.create(model="chat", messages=ASK, stream=True, extra_headers={"x-note": CANARY}))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=f"{CANARY} no name", messages=ASK)
    gateway.at_rest()
    pages = [gateway.get_admin(path) for path in ("/metrics", "/api/status", "/api/config")]
    for text in ["\n".join(gateway.lines), *pages]:
        assert CANARY not in text
        assert not re.search(r"token \d", text)
        for key in (KEY, NARROW_KEY, PROVIDER_KEY):
            assert key not in text
    assert all(isinstance(json.loads(line), dict) for line in gateway.lines)


def test_durations_are_counted_in_histograms(client, gateway):
    client.chat.completions.create(model="chat", messages=ASK)
    gateway.at_rest()
    samples = metrics(gateway)
    buckets = samples["gen_ai_server_request_duration_seconds_bucket"]
    values = [b.value for b in buckets]
    assert buckets[-1].labels["le"] == "+Inf" and values == sorted(values)
    count = total(samples, "gen_ai_server_request_duration_seconds_count")
    assert values[-1] == count > 0
    assert total(samples, "shardgate_overhead_seconds_count") > 0
    assert total(samples, "gen_ai_client_token_usage_sum") > 0
    usage = samples["gen_ai_client_token_usage_count"][0].labels
    assert usage["gen_ai_request_model"] == "chat" and usage["gen_ai_provider_name"] == "p"
    list(client.chat.completions.create(model="chat", messages=ASK, stream=True))
    gateway.at_rest()
    assert total(metrics(gateway), "gen_ai_server_time_per_output_token_seconds_count") > 0


def test_the_metrics_are_open_metrics_for_who_asks(client, gateway):
    """Goal: the text is what its content type says, by a strict parser of OpenMetrics, and has
    the same families as Prometheus' own."""
    client.chat.completions.create(model="chat", messages=ASK)
    gateway.at_rest()
    request = urllib.request.Request(
        f"http://{gateway.admin}/metrics",
        headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        text = answer.read().decode()
    assert text.endswith("# EOF\n")
    strict = {f.name: f.type for f in openmetrics.text_string_to_metric_families(text)}
    plain = text_string_to_metric_families(gateway.get_admin("/metrics"))
    assert strict == {f.name: f.type for f in plain}
    assert strict["gen_ai_server_time_to_first_token_seconds"] == "histogram"
    assert strict["shardgate_breaker_state"] == "gauge"


def test_dashboard_and_alerts_name_only_metrics_that_exist(client, gateway):
    """Goal: no panel stays empty and no alert sleeps for a name that nobody exports. Method:
    every name of a metric in tuning/ is a sample of the scrape."""
    client.chat.completions.create(model="fallback", messages=ASK)
    gateway.at_rest()
    known = set(metrics(gateway)) | {"shardgate_gossip_age_seconds"}  # none on one CPU
    known |= {"shardgate_fallbacks_total"}  # no fallback here
    families = {f.name for f in text_string_to_metric_families(gateway.get_admin("/metrics"))}
    dashboard = json.loads((ROOT / "tuning/grafana.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(asked) >= 12
    alerts = (ROOT / "tuning/alerts.yml").read_text()
    asked += re.findall(r"expr: (.+)", alerts)
    named = [set(re.findall(r"\b(?:shardgate|gen_ai)_[a-z_]+[a-z]\b(?!=)", expr)) for expr in asked]
    labels = {"gen_ai_request_model", "gen_ai_provider_name", "gen_ai_token_type"}
    for expr, names in zip(asked, named):
        assert names - labels, expr
        for name in names - labels:
            assert name in known, f"{name} in {expr}"
            stem = re.sub(r"_(total|bucket|sum|count)$", "", name)
            assert stem in families or name in families, name


def test_the_status_names_every_shard(gateway):
    status = gateway.status()
    assert status["state"] == "ready" and status["version"]
    assert [shard["shard"] for shard in status["shards"]] == list(range(len(status["shards"])))
    for shard in status["shards"]:
        assert {pool["provider"] for pool in shard["pools"]} == {"p", "dead"}
    assert "TEST_KEY_ALL" in gateway.get_admin("/api/config")
