#!/usr/bin/env python3
"""What the exact cache costs end to end: CPU a request of a stored answer, and of requests that are looked up in vain,
against the same model without a cache.

    python3 bench/cache.py [target/release/shardgate] [repetitions]

"hit" and "stream-hit" ask the same again and again; of the misses each prompt is another one, so that each request is
looked up, put on a tape, and stored. The paced ones are streams of 100 events at 200 a second that begin independently of
one another, so many a second. How it is measured: pairs.py.
"""

import sys

from pairs import CLOSED, compare, measuring

MODELS = """
[models.plain]
targets = [{ provider = "p", model = "sim/events-20" }]

[models.hit]
targets = [{ provider = "p", model = "sim/events-20" }]
cache = { mode = "exact" }

[models.stream]
targets = [{ provider = "p", model = "sim/events-100" }]

[models.stream-hit]
targets = [{ provider = "p", model = "sim/events-100" }]
cache = { mode = "exact" }

[models.stream-miss]
targets = [{ provider = "p", model = "sim/events-100" }]
cache = { mode = "exact" }

[models.paced]
targets = [{ provider = "p", model = "sim/rate-200/events-100" }]

[models.paced-miss]
targets = [{ provider = "p", model = "sim/rate-200/events-100" }]
cache = { mode = "exact" }
"""
STREAMS = ("--stream", "--distinct")
RATES = (16, 64, 150)
PAIRS = [
    ("hit", "hit", "plain", CLOSED),
    ("stream-hit", "stream-hit", "stream", (*CLOSED, "--stream")),
    ("stream-miss", "stream-miss", "stream", (*CLOSED, *STREAMS)),
    *(
        (f"paced-miss, {rate} a second", "paced-miss", "paced", ("-c", "512", "-r", str(rate), "--spread", "random", *STREAMS))
        for rate in RATES
    ),
]


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/release/shardgate"
    repetitions = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with measuring(binary, MODELS) as turn:
        for label, model, against, options in PAIRS:
            compare(turn, label, model, against, repetitions, options)


if __name__ == "__main__":
    main()
