"""A process made slower computes for its part of the time, and is let go in the end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.slower import slower

SPIN = """
import time
while True:
    began, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < 0.5:
        pass
    print((time.process_time() - used) / (time.perf_counter() - began), flush=True)
"""


def test_it_computes_for_its_part_of_the_time() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SPIN], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            child.stdout.readline()
            with slower(child.pid, 10):
                child.stdout.readline()  # in part from before
                assert float(child.stdout.readline()) < 0.3
            child.stdout.readline()
            assert max(float(child.stdout.readline()) for _ in range(5)) > 0.3
        finally:
            child.kill()


@pytest.mark.parametrize("words", [[], ["abc", "2"], ["1", "2"], ["999999", "1"], ["99", "nan"]])
def test_what_cannot_be_is_refused_in_words(words: list[str]) -> None:
    command = [sys.executable, "-m", "bench.slower", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
