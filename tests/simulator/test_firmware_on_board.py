"""The boards' own firmware on the simulated boards, on both Pythons, and as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from simulator.board import micropython
from simulator.pzem_slave import LineThread, Pzem
from tests.simulator.running_board import RunningBoard, until

pytestmark = pytest.mark.board
ROOT = Path(__file__).resolve().parents[2]
PYTHONS = [
    pytest.param(
        False,
        id="micropython",
        marks=pytest.mark.skipif(not micropython(), reason="no unix port here"),
    ),
    pytest.param(True, id="cpython"),
]
# Port 9 discards: no broker, and nothing of what follows needs one.
ALONE: dict[str, Any] = {
    "id": "Charger-1", "site": "home", "broker_host": "127.0.0.1", "broker_port": 9,
    "wifi_ssid": "home", "wifi_password": "not a real one", "repl_window_ms": 0,
}  # fmt: skip
MANUAL = {**ALONE, "mode": "manual", "manual_a": 13, "start_delay_s": 0, "resume_s": 0}


@pytest.mark.parametrize("cpython", PYTHONS)
@pytest.mark.parametrize("table", ["esp32", "esp32_poe"])
def test_a_charger_charges_a_car(tmp_path: Path, cpython: bool, table: str) -> None:
    with RunningBoard(tmp_path, None, cpython=cpython, config={**MANUAL, "board": table}) as board:
        board.said('"no_car"')
        board.put(ev="B")
        until(lambda: board.get()["offer_a"] == 13, 20, "13 A offered")
        board.put(ev="C")
        until(lambda: board.get()["mains_out"], 20, "the contactor closed")
        board.put(ev="B")
        until(lambda: not board.get()["mains_out"], 5, "the contactor open")
        opened = next(
            x for x in board.lines if x["state"] == "B2" and not x["contactor"] and x["t_ms"] > 500
        )
        assert opened["offer_a"] == 13
        assert board.get()["resets"] == {}


@pytest.mark.parametrize("cpython", PYTHONS)
def test_a_meter_asks_its_pzem(tmp_path: Path, cpython: bool) -> None:
    pzem = Pzem()
    pzem.set(current_ma=5000)
    with (
        LineThread([pzem]) as line,
        RunningBoard(
            tmp_path, None, "energy_meter", cpython=cpython, uart=line.path,
            config={**ALONE, "id": "Counter-1"},
        ) as board,
    ):  # fmt: skip
        until(lambda: sum(exchange.right for exchange in line.log) >= 10, 30, "ten right answers")
        assert board.get()["resets"] == {}


def start(folder: Path, kind: str = "charger") -> subprocess.Popen[bytes]:
    (folder / "board.json").write_text(json.dumps(MANUAL))
    return subprocess.Popen(
        [sys.executable, "-m", "manager", "board", kind, "--config", "board.json", "--bench", "b.sock"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
    )  # fmt: skip


def running_child(board: subprocess.Popen[bytes], folder: Path) -> int:
    """Wait until the bench says that the board runs; the process of its interpreter."""
    until((folder / "b.sock").exists, 30, "a bench socket")
    with socket.socket(socket.AF_UNIX) as bench, bench.makefile("rb") as lines:
        # The socket of a board that was killed lies there until the next one takes its place.
        path = str(folder / "b.sock")
        until(lambda: bench.connect_ex(path) == 0, 30, "somebody at the bench socket")
        bench.sendall(b'{"get": true}\n')
        while not json.loads(lines.readline())["running"]:
            time.sleep(0.1)
            bench.sendall(b'{"get": true}\n')
    found = [
        int(stat.split()[0])
        for stat in (p.read_text() for p in Path("/proc").glob("[0-9]*/stat") if p.exists())
        if int(stat.rpartition(")")[2].split()[1]) == board.pid
    ]
    assert len(found) == 1
    return found[0]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_3_s_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path) as running:
        child = running_child(running, tmp_path)
        began = time.monotonic()
        running.send_signal(number)
        assert running.wait(10) == 0
        assert time.monotonic() - began < 3
    assert not is_alive(child)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["board.json"]


def test_killed_it_takes_its_board_along(tmp_path: Path) -> None:
    with start(tmp_path) as running:
        child = running_child(running, tmp_path)
        running.kill()
    until(lambda: not is_alive(child), 10, "the interpreter gone")
    # And the next one takes its socket over.
    with start(tmp_path) as running:
        running_child(running, tmp_path)
        running.terminate()
