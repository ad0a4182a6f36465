"""The official SDKs of Node at their fronts: one script each, what it prints is checked here."""

import json
import pathlib
import shutil
import subprocess

import pytest

from fronts import FRONTS
from processes import KEY, Provider
from test_dialects import KEYS, start
from test_matrix import words

NODE = pathlib.Path(__file__).parent / "node"
RESULT = "The result of get_weather is: sunny."


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    if not shutil.which("node") or not (NODE / "node_modules").exists():
        pytest.skip("no node, or no packages: npm ci --prefix tests/sdk/node (scripts/setup does it)")
    simulated = Provider()
    gateway = start(tmp_path_factory.mktemp("node"), simulated, KEYS)
    yield gateway.address
    panics = gateway.total("panics_total")
    gateway.stop()
    simulated.stop()
    assert panics == 0


def run(script, address, provider) -> dict:
    """What a script prints."""
    asked = json.dumps({"base": f"http://{address}", "key": KEY, "provider": provider})
    done = subprocess.run(["node", script, asked], cwd=NODE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("provider", FRONTS)
def test_openai(address, provider):
    got = run("openai.mjs", address, provider)
    text, finish, tokens = got["plain"]
    assert (text.strip(), finish, tokens) == (words(5).strip(), "stop", 5)
    assert (got["stream"][0].strip(), got["stream"][1]) == (words(5).strip(), "stop")
    assert got["tools"] == got["responsesTools"] and got["tools"][0] == "get_weather"
    assert got["tools"][1]["city"] == "city 1" and got["result"].startswith(RESULT)
    assert got["runner"][1] == ["city 1"] and got["runner"][0].startswith(RESULT)
    assert got["parsed"] == ["city", "days"]
    text, status, tokens = got["responses"]
    assert (text.strip(), status, tokens) == (words(5).strip(), "completed", 5)
    assert got["responsesStream"][0].strip() == words(5).strip()
    errors = got["errors"]
    assert errors["key"] == {"name": "AuthenticationError", "status": 401, "code": "invalid_api_key"}
    assert errors["model"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}
    if provider != "chat":  # there the provider itself judges
        assert (errors["field"]["name"], errors["field"]["status"]) == ("BadRequestError", 400)
    assert (errors["rate"]["name"], errors["rate"]["status"]) == ("RateLimitError", 429)
    assert errors["server"]["name"] == "InternalServerError"
    assert errors["broken"] and errors["brokenResponses"], errors


@pytest.mark.parametrize("provider", FRONTS)
def test_anthropic(address, provider):
    got = run("anthropic.mjs", address, provider)
    text, stop, tokens = got["plain"]
    assert (text.strip(), stop, tokens) == (words(5).strip(), "end_turn", 5)
    assert got["requestId"]
    assert got["stream"][0] == got["stream"][1] and got["stream"][2] == "end_turn"
    assert got["thinking"].strip() == "thought 0 thought 1"
    assert got["tools"][0] == "get_weather" and got["tools"][1]["city"] == "city 1"
    assert got["tools"][2] == "tool_use" and got["result"].startswith(RESULT)
    assert got["count"] > 0
    errors = got["errors"]
    assert errors["key"] == {"name": "AuthenticationError", "status": 401, "type": "authentication_error"}
    assert errors["model"] == {"name": "NotFoundError", "status": 404, "type": "not_found_error"}
    if provider != "anthropic":
        assert (errors["field"]["name"], errors["field"]["type"]) == ("BadRequestError", "invalid_request_error")
    assert errors["rate"] == {"name": "RateLimitError", "status": 429, "type": "rate_limit_error"}
    assert (errors["server"]["name"], errors["server"]["type"]) == ("InternalServerError", "api_error")
    assert (errors["overloaded"]["status"], errors["overloaded"]["type"]) == (529, "overloaded_error")
    assert errors["broken"]


@pytest.mark.parametrize("provider", FRONTS)
def test_google(address, provider):
    got = run("gemini.mjs", address, provider)
    text, finish, tokens = got["plain"]
    assert (text.strip(), finish, tokens) == (words(5).strip(), "STOP", 5)
    assert got["stream"]["text"].strip() == words(5).strip() and got["stream"]["finish"] == "STOP"
    assert got["tools"]["calls"] == [["get_weather", {"city": "city 1"}]]
    errors = got["errors"]
    assert {name: error["name"] for name, error in errors.items() if name != "broken"} == dict.fromkeys(
        ("key", "model", "rate", "server"), "ApiError"
    )
    assert [errors[name]["status"] for name in ("key", "model", "rate")] == [401, 404, 429]
    assert errors["server"]["status"] in (500, 502) and errors["broken"]
