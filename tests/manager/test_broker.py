"""The broker as a child process: both kinds answer, and neither outlives whoever started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker
from manager.process import Child, ProcessError, wait_until_ended

pytestmark = pytest.mark.broker

KINDS = pytest.mark.parametrize("kind", ["mosquitto", "iotcore"])


def gone(pid: int, within_s: float = 5) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@KINDS
def test_a_message_passes(kind: str, tmp_path: Path, mosquitto: str) -> None:
    running = broker.start(tmp_path, kind=kind)
    try:
        assert running.name.startswith(kind)
        heard, up = threading.Event(), threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, "one")
        client.on_message = lambda *_: heard.set()
        client.on_subscribe = lambda *_: up.set()
        client.connect(running.host, running.port)
        client.loop_start()
        client.subscribe("ievcc/home/+/up", 1)
        assert up.wait(5)
        client.publish("ievcc/home/Charger-1/up", b"{}", 1)
        assert heard.wait(5)
        client.disconnect()
        client.loop_stop()
    finally:
        running.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((running.host, running.port), 1)


@KINDS
def test_it_ends_with_its_parent_even_if_that_is_killed(
    kind: str, tmp_path: Path, mosquitto: str
) -> None:
    program = (
        "import sys, time; from pathlib import Path; from manager import broker\n"
        "b = broker.start(Path(sys.argv[1]), kind=sys.argv[2])\n"
        "print(b.child.pid, flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    assert gone(pid)


@KINDS
def test_a_port_that_is_taken_is_named(kind: str, tmp_path: Path, mosquitto: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(broker.BrokerError, match=rf"{port} is taken.*another port"):
            broker.start(tmp_path, port=port, kind=kind)


def test_without_mosquitto_it_is_the_one_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "mosquitto", lambda: None)
    running = broker.start(tmp_path)
    running.stop()
    assert "iotcore" in running.name
    assert "no access control" in running.name
    with pytest.raises(broker.BrokerError, match="apt install mosquitto"):
        broker.start(tmp_path, kind="mosquitto")


class TestChild:
    def test_how_it_ended_is_told_with_its_last_lines(self, tmp_path: Path) -> None:
        program = "for n in range(30): print('line', n)\nraise SystemExit(3)"
        child = Child("worker", [sys.executable, "-c", program], tmp_path / "log")
        while child.status() is None:
            time.sleep(0.01)
        words = child.words()
        assert words.startswith("worker ended with status 3\n")
        assert words.endswith("    line 29")
        assert "line 10\n" not in words

    def test_a_signal_is_named(self, tmp_path: Path) -> None:
        child = Child("sleeper", ["sleep", "60"], tmp_path / "log")
        os.kill(child.pid, signal.SIGKILL)
        while child.status() is None:
            time.sleep(0.01)
        assert child.words() == "sleeper was ended by SIGKILL"

    def test_what_is_not_there_cannot_be_started(self, tmp_path: Path) -> None:
        with pytest.raises(ProcessError, match="ghost: cannot start no-such-program"):
            Child("ghost", ["no-such-program"], tmp_path / "log")

    def test_grandchildren_end_too_and_the_stubborn_are_killed(self, tmp_path: Path) -> None:
        stubborn = "trap '' TERM; sleep 60 & echo $!; wait; wait"
        child = Child("stubborn", ["sh", "-c", stubborn], tmp_path / "log")
        while not (text := (tmp_path / "log").read_text()):
            time.sleep(0.01)
        began = time.monotonic()
        child.end(0.2)
        assert time.monotonic() - began < 2
        assert gone(int(text))

    def test_many_end_in_the_time_of_one(self, tmp_path: Path) -> None:
        slow = "trap 'sleep 0.3; exit 0' TERM; echo up; while :; do sleep 0.05; done"
        children = [Child(f"n{n}", ["sh", "-c", slow], tmp_path / f"{n}") for n in range(5)]
        while not all((tmp_path / f"{n}").read_text() for n in range(5)):
            time.sleep(0.01)
        began = time.monotonic()
        wait_until_ended(children, 3)
        assert time.monotonic() - began < 1.4
        assert all(c.status() == 0 for c in children)
