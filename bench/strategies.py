#!/usr/bin/env python3
"""What routing costs end to end: CPU a request of models with three targets, by strategy, against one target.

    python3 bench/strategies.py [target/release/shardgate] [repetitions] [STRATEGY …]

How it is measured: pairs.py.
"""

import sys

from pairs import compare, measuring

STRATEGIES = ("weighted", "round_robin", "least_latency", "least_tokens", "prefix_affinity", "cheapest", "priority")
TARGETS = ", ".join(
    f'{{ provider = "p", model = "{name}" }}'
    for name in ("sim/events-20", "sim/ttft-0ms/events-20", "sim/events-20/ttft-0ms")
)
ONE = """
[models.one]
targets = [{ provider = "p", model = "sim/events-20" }]
"""


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/release/shardgate"
    repetitions = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    models = [f'\n[models.{one}]\nstrategy = "{one}"\ntargets = [{TARGETS}]\n' for one in STRATEGIES]
    with measuring(binary, ONE + "".join(models)) as turn:
        for strategy in sys.argv[3:] or STRATEGIES:
            compare(turn, strategy, strategy, "one", repetitions)


if __name__ == "__main__":
    main()
