"""The work by whose profile scripts/build lays the release out: all of it is answered."""

import subprocess
import sys

from processes import BINARY, ROOT


def test_everything_that_is_trained_with_is_answered():
    command = [sys.executable, ROOT / "bench/train.py", "--quick", BINARY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_load_that_fails_ends_it(tmp_path):
    """A profile of nothing must not pass for one of work."""
    broken = tmp_path / "shardgate"
    broken.write_text(f'#!/bin/sh\n[ "$1" = load ] && exit 1\nexec {BINARY} "$@"\n')
    broken.chmod(0o755)
    command = [sys.executable, ROOT / "bench/train.py", "--quick", broken]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "load" in done.stderr
