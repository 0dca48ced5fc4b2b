"""A process on a slower processor: it runs for a moment, is stopped for so many times as long, and so on.

What it computes takes by so much longer, and what it waits for does not, as on a slow core; the moments are
short beside anything that is measured. One moment that came out long is made up for by the stop after it.

    python -m bench.slower PID FACTOR      until PID ends
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.table import UnavailableError

MOMENT_S = 100e-6


@contextlib.contextmanager
def slower(pid: int, factor: float) -> Iterator[None]:
    """This process (all its threads) so many times slower, until the end. UnavailableError if it was not."""
    beside = subprocess.Popen([sys.executable, "-m", "bench.slower", str(pid), str(factor)])
    try:
        yield
        if beside.poll() is not None:
            raise UnavailableError("what makes the process slower has ended")
    finally:
        beside.kill()
        beside.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _turn(pid: int, factor: float) -> None:
    while True:
        begin = time.perf_counter()
        os.kill(pid, signal.SIGCONT)
        while time.perf_counter() - begin < MOMENT_S:
            pass
        os.kill(pid, signal.SIGSTOP)
        ran_s = time.perf_counter() - begin
        time.sleep(ran_s * (factor - 1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pid", type=int, help="of a process that is yours")
    parser.add_argument("factor", type=float, help="so many times slower, above 1")
    asked = parser.parse_args()
    if asked.pid <= 1 or not asked.factor > 1:
        parser.error("a process of yours, and a factor above 1")
    try:
        _turn(asked.pid, asked.factor)
    except ProcessLookupError:
        pass  # it has ended
    except PermissionError:
        parser.error(f"process {asked.pid} is not yours")
