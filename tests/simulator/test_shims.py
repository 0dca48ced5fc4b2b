"""The shims are as strict as the boards: the same checks on both Pythons, run on the board itself."""

from __future__ import annotations

import os
import pty
import threading
import tty
from pathlib import Path

import pytest

from simulator.board import micropython
from tests.simulator.running_board import RunningBoard

pytestmark = pytest.mark.board
HERE = Path(__file__).parent
_RUN = """

passed = failed = 0
for name in sorted(globals()):
    if name.startswith("test_"):
        try:
            globals()[name]()
            passed += 1
        except BaseException as e:
            failed += 1
            print("FAILED", name)
            sys.print_exception(e)
print("%d passed, %d failed" % (passed, failed))
"""
PYTHONS = [
    pytest.param(
        False,
        id="micropython",
        marks=pytest.mark.skipif(not micropython(), reason="no unix port here"),
    ),
    pytest.param(True, id="cpython"),
]


def _program(name: str) -> tuple[str, str]:
    source = (HERE / name).read_text()
    return source + _RUN, f"{source.count('def test_')} passed, 0 failed"


@pytest.mark.parametrize("cpython", PYTHONS)
def test_esp32(tmp_path: Path, cpython: bool) -> None:
    program, expected = _program("on_board_esp32.py")
    with RunningBoard(tmp_path, program, cpython=cpython) as board:
        board.said(" passed, ", 30)
        assert expected in board.printed, "\n".join(board.printed)


@pytest.mark.parametrize("cpython", PYTHONS)
def test_esp8266(tmp_path: Path, cpython: bool) -> None:
    program, expected = _program("on_board_esp8266.py")
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        with RunningBoard(
            tmp_path, program, "energy_meter", cpython=cpython, uart=os.ttyname(slave)
        ) as board:
            ended = threading.Event()

            def answer() -> None:
                done = 0
                while not ended.wait(0.02):
                    for line in board.printed[done:]:
                        if line == "send":
                            os.write(master, b"0123456789abcdefghijklmno")
                        elif line == "interrupt":
                            os.write(master, b"\x03")
                    done = len(board.printed)

            helper = threading.Thread(target=answer)
            helper.start()
            try:
                board.said(" passed, ", 30)
            finally:
                ended.set()
                helper.join()
            assert expected in board.printed, "\n".join(board.printed)
    finally:
        os.close(master)
        os.close(slave)
