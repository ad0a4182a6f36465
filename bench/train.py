"""Makes a gateway work as gateways do, on loopback, for half a minute: what scripts/build lays its binary out by.

    python3 bench/train.py [--quick] BINARY

BINARY is gateway, provider and load generator. What is not in here counts as rare and is built to be small instead
of fast, so everything that a busy gateway does belongs here: plain answers and streams, one by one and in crowds,
short prompts and long ones, each client's dialect with each provider's, caches, strategies, second attempts, TLS.

Exit code 1: something was refused or cut, or a gateway did not end as it should. --quick: a look of some seconds, whether all of it is.
"""

import argparse
import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import proxies

PROVIDERS = {
    "chat": ("openai", "/v1"),
    "claude": ("anthropic", "/v1"),
    "gemini": ("gemini", "/v1beta"),
    "responses": ("responses", "/v1"),
    "cohere": ("cohere", ""),
    "converse": ("bedrock", ""),
}
CONFIG = """[server]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
shards = 1
{tls}
[[keys]]
name = "training"
secret = {{ env = "{key}" }}

[models."*"]
targets = [{{ provider = "chat" }}]

[models.cached]
targets = [{{ provider = "chat", model = "sim/events-100" }}]
cache = {{ mode = "exact" }}

[models.cached-paced]
targets = [{{ provider = "chat", model = "{paced}" }}]
cache = {{ mode = "exact" }}

[models.meant]
targets = [{{ provider = "chat", model = "sim/events-20" }}]
cache = {{ mode = "semantic" }}

[models.quickest]
strategy = "least_latency"
targets = [{{ provider = "chat", model = "sim/events-20" }}, {{ provider = "chat", model = "sim/events-21" }}]

[models.affine]
strategy = "prefix_affinity"
targets = [{{ provider = "chat", model = "sim/events-20" }}, {{ provider = "chat", model = "sim/events-21" }}]

[models.mended]
strategy = "priority"
targets = [
  {{ provider = "chat", model = "sim/status-503/fail-rate-20" }},
  {{ provider = "claude", model = "sim/events-20" }},
]
"""
PLAIN, BURST, PACED = "sim/events-20", "sim/rate-0/events-100", "sim/rate-100/events-100"
# Seconds, and the options of `load`.
LOADS = [
    (3, "-c", 8, "--model", PLAIN),
    (3, "-c", 64, "--model", PLAIN),
    (2, "-c", 16, "--model", PLAIN, "--prompt-bytes", 32768),
    (3, "-c", 64, "--model", BURST, "--stream"),
    (3, "-c", 100, "--model", PACED, "--stream"),
    (1, "-c", 16, "--model", "cached"),
    (1, "-c", 16, "--model", "cached", "--stream"),
    (1, "-c", 16, "--model", "cached", "--distinct"),
    (1, "-c", 16, "--model", "cached", "--distinct", "--stream"),
    (3, "-c", 100, "--model", "cached-paced", "--distinct", "--stream"),
    (1, "-c", 16, "--model", "meant", "--distinct"),
    (1, "-c", 16, "--model", "quickest"),
    (1, "-c", 16, "--model", "affine"),
    (1, "-c", 16, "--model", "mended"),
    (1, "-c", 16, "--model", "to-claude"),
    (1, "-c", 16, "--model", "to-claude", "--stream"),
    (1, "-c", 16, "--model", "sim/dims-256", "--path", "/v1/embeddings"),
]
MODELS = [f"to-{provider}" for provider in PROVIDERS]
PROMPT = "What do the ships in the harbour carry, and where do they go? " * 8
# How often each question is asked: in the clear, on a connection of its own inside of TLS, and of those how many.
ROUNDS, ROUNDS_TLS, HANDSHAKES = 12, 3, 4


def questions(model):
    """Every route that a model is asked on, with a body, plain and as a stream."""
    said = [{"role": "user", "content": PROMPT}]
    parts = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}
    blocks = {"messages": [{"role": "user", "content": [{"text": PROMPT}]}]}
    for stream in (False, True):
        yield "/v1/chat/completions", {"model": model, "messages": said, "stream": stream}
        yield "/v1/messages", {"model": model, "max_tokens": 500, "messages": said, "stream": stream}
        yield "/v1/responses", {"model": model, "input": PROMPT, "stream": stream}
        yield "/v2/chat", {"model": model, "messages": said, "stream": stream}
    yield f"/v1beta/models/{model}:generateContent", parts
    yield f"/v1beta/models/{model}:streamGenerateContent?alt=sse", parts
    yield f"/model/{model}/converse", blocks
    yield f"/model/{model}/converse-stream", blocks


def converse(connection, models, rounds):
    """Asks all of it, one after the other, on one connection."""
    head = {"authorization": f"Bearer {proxies.KEY}", "content-type": "application/json"}
    for _ in range(rounds):
        for model in models:
            for path, body in questions(model):
                connection.request("POST", path, json.dumps(body), head)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 200 or not said:
                    raise SystemExit(f"train: {path} of {model}: {answer.status} {said[:300]!r}")


def gateway(binary, folder, simulate, name, tls=""):
    """A gateway with every model, and the port it serves on."""
    port, admin = machine.free_ports(2)
    text = CONFIG.format(port=port, admin=admin, key=proxies.KEY_ENV, tls=tls, paced=PACED)
    for provider, (dialect, path) in PROVIDERS.items():
        at = f"http://127.0.0.1:{simulate.ports['plain']}{path}"
        text += f'\n[providers.{provider}]\ndialect = "{dialect}"\nbase_url = "{at}"\n'
        text += f'\n[models.to-{provider}]\ntargets = [{{ provider = "{provider}", model = "{PLAIN}" }}]\n'
    config = folder / f"{name}.toml"
    config.write_text(text)
    return proxies.serve(binary, cpus()[0], config, port, folder, name)


def has_ended(running):
    """A gateway has to go by itself: one that is killed leaves no profile."""
    if running.child.returncode != 0:
        raise SystemExit(f"train: {running.name} ended with {running.child.returncode}")


def cpus():
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]


def load(binary, url, seconds, *options):
    command = [binary, "load", "--url", url, "--cpu", str(cpus()[1]), "--key-env", proxies.KEY_ENV, "-d", f"{seconds}s"]
    subprocess.run([*command, *map(str, options)], stdout=subprocess.DEVNULL, check=True)


def certificate(folder):
    """Paths of a certificate for loopback and its key; None without openssl."""
    if not shutil.which("openssl"):
        return None
    cert, key = folder / "tls.pem", folder / "tls.key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    make += ["-subj", "/CN=localhost", "-out", str(cert), "-keyout", str(key)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


def over_tls(binary, folder, simulate, handshakes, rounds):
    """A little of everything inside of TLS, with a handshake for each model."""
    made = certificate(folder)
    if made is None:
        print("train: no openssl, so nothing over TLS", file=sys.stderr)
        return
    cert, key = made
    running = gateway(binary, folder, simulate, "secure", f'\n[server.tls]\ncert = "{cert}"\nkey = "{key}"\n')
    try:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        for model in MODELS * handshakes:
            connection = http.client.HTTPSConnection("127.0.0.1", running.ports["plain"], context=trust, timeout=30)
            converse(connection, [model], rounds)
            connection.close()
    finally:
        running.end()
    has_ended(running)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does everything work?")
    parser.add_argument("binary", type=os.path.abspath)
    options = parser.parse_args()
    binary, share = options.binary, 0.1 if options.quick else 1
    rounds, rounds_tls, handshakes = (1, 1, 1) if options.quick else (ROUNDS, ROUNDS_TLS, HANDSHAKES)
    with tempfile.TemporaryDirectory(prefix="shardgate-train-") as name:
        folder = Path(name)
        simulate = proxies.simulate(binary, cpus()[1], folder)
        running = None
        try:
            running = gateway(binary, folder, simulate, "gateway")
            for seconds, *more in LOADS:
                load(binary, running.url("plain"), seconds * share, *more)
            connection = http.client.HTTPConnection("127.0.0.1", running.ports["plain"], timeout=30)
            converse(connection, MODELS, rounds)
            connection.close()
            over_tls(binary, folder, simulate, handshakes, rounds_tls)
        finally:
            if running:
                running.end()
            simulate.end()
        has_ended(running)


if __name__ == "__main__":
    main()
