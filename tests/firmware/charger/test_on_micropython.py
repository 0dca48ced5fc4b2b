"""The pure parts' tests again, under MicroPython."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PURE = (
    "test_pilot.py",
    "test_lease.py",
    "test_interlocks.py",
    "test_evse.py",
    "test_recorded_night.py",
    "test_recorded_charging.py",
    "test_sessions.py",
    "test_attendant.py",
    "test_own_meter.py",
    "test_access.py",
    "test_pn532.py",
    "on_micropython_ntag424.py",
)


@pytest.mark.board
@pytest.mark.parametrize("file", PURE)
def test_the_charger_on_micropython(micropython: str, file: str) -> None:
    done = subprocess.run(
        [micropython, "-X", "heapsize=300wk", "tests/run_micropython.py", str(ROOT), str(HERE / file)],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
