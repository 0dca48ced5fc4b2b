"""New firmware over the network, into the partition a meter runs from: taken whole, tried, and
undone when it does not work."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.common.bundle import bundle
from manager import broker as brokers
from shared import protocol
from simulator.pzem_slave import LineThread, Pzem
from tests.firmware.energy_meter.rig import KEY, SETTINGS, Manager
from tests.live.running import Running, until
from tests.tools.pretend import Pretend, Start, counts, deploy

pytestmark = [pytest.mark.board, pytest.mark.broker]
_SITE = """
[site]
limit_a = 30

[[device]]
id = "Counter-1"
key = "%s"
"""


def bundled(tree: Path) -> Path:
    """The bundle made of these sources."""
    out = tree.parent / "meter.bundle"
    command = [sys.executable, "-m", "tools.bundle", "--board", "energy_meter", "--out", str(out)]
    subprocess.run(command, cwd=tree, capture_output=True, check=True, timeout=60)
    return out


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.fixture
def manager(tmp_path: Path, mosquitto: str) -> Iterator[Manager]:
    broker = brokers.start(tmp_path / "broker", kind="mosquitto")
    manager = Manager(broker.port)
    yield manager
    manager.close()
    broker.stop()


@pytest.fixture
def meter(tmp_path: Path, pretend: Start, tree: Path, manager: Manager) -> Iterator[Pretend]:
    """A meter in service, with what `make deploy` put on it."""
    with LineThread([Pzem()]) as line:
        board = pretend("energy_meter", "--uart", line.path)
        file = tmp_path / "meter.json"
        file.write_text(json.dumps({**SETTINGS, "broker_port": manager.port}))
        assert counts(deploy(board.port, board.kind, "--config", str(file), tree=tree))[0] > 0
        until("the meter is there", lambda: manager.of(protocol.COUNTER_LOAD), 20)
        yield board


def newest(manager: Manager, code: int) -> Callable[[str], str]:
    def field(name: str) -> str:
        found = manager.of(code)
        return str(found[-1][name]) if found else ""

    return field


def test_the_manager_hands_out_an_update(
    tmp_path: Path, mosquitto: str, pretend: Start, tree: Path
) -> None:
    system = Running(tmp_path, _SITE % KEY)
    ievcc = [sys.executable, "-m", "manager", "update", "--url", system.url]

    def said(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*ievcc, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    try:
        with LineThread([Pzem()]) as line:
            board = pretend("energy_meter", "--uart", line.path)
            file = tmp_path / "meter.json"
            settings = {**SETTINGS, "site": system.root.split("/")[1]}
            file.write_text(json.dumps({**settings, "broker_port": system.broker.port}))
            assert counts(deploy(board.port, board.kind, "--config", str(file), tree=tree))[0]

            def meter_says(name: str) -> Any:
                meters = system.state()["meters"]
                return meters[0].get(name) if meters else None

            until("the meter is registered", lambda: meter_says("boot"), 20)
            settings_file = tree / "firmware/energy_meter/settings.py"
            change(settings_file, 'FIRMWARE = "0.1.0"', 'FIRMWARE = "9.9"')
            bundle = str(bundled(tree))
            assert "no device" in said("Counter-2", bundle, "--version", "9.9").stderr
            assert "no bundle" in said("Counter-1", str(file), "--version", "9.9").stderr
            done = said("Counter-1", bundle, "--version", "9.9")
            assert done.returncode == 0, done.stderr
            assert "offered" in done.stdout

            def how_far() -> Any:
                return system.post("/api/update", {"device": "Counter-1"})["words"]

            until("it is done", lambda: how_far() == "done", 100)
            assert said("Counter-1").stdout.strip() == "done"
            assert meter_says("boot") == 2
    finally:
        system.stop()


def test_firmware_that_does_not_start_is_undone(
    meter: Pretend, manager: Manager, tree: Path
) -> None:
    change(tree / "firmware/energy_meter/app.py", "def run() -> None:", "def walk() -> None:")
    manager.offer(bundled(tree).read_bytes(), "9.9")
    status = newest(manager, protocol.UPDATE_STATUS)
    until("all of it is there", lambda: status("state") == "ready", 60)
    until("the update is undone", lambda: status("state") == "reverted", 40)
    assert newest(manager, protocol.NEW_COUNTER)("firmware") == "0.1.0"


def test_what_is_not_for_this_board_is_refused(
    meter: Pretend, manager: Manager, tree: Path
) -> None:
    status = newest(manager, protocol.UPDATE_STATUS)
    image = bundled(tree).read_bytes().partition(b"\n")[2].partition(b"\n")[2]
    for data, digest, words in (
        (bundle({"lib/firmware/common/link.mpy": b"x"}), "", "whole partition"),
        (bundle({"rom.img": image[:400]}), "", "no image"),
        (bundle({"rom.img": b"x" * 100}), "", "no image"),
        (bundle({"rom.img": image[:300]}), "00" * 32, "not what was signed"),
    ):
        manager.messages.clear()
        manager.offer(data, "9.9", digest)
        until("it is refused", lambda: status("state") == "failed", 60)
        assert words in status("words")
    assert manager.of(protocol.NEW_COUNTER) == []


def test_no_room_for_what_takes_it_is_said(meter: Pretend, manager: Manager, tree: Path) -> None:
    # Its heap cannot be filled to the byte from here: the next firmware's module runs out as it is loaded.
    change(tree / "firmware/common/update.py", "import gc\n", "import gc\nraise MemoryError\n")
    image = bundled(tree).read_bytes()
    status = newest(manager, protocol.UPDATE_STATUS)
    manager.offer(image, "9.9")
    until("it runs", lambda: status("state") == "done", 60)
    manager.offer(image, "9.9")
    until("it is refused", lambda: status("state") == "failed", 20)
    assert status("words") == "no room"
    seen = len(manager.of(protocol.COUNTER_LOAD))
    until("it measures all the same", lambda: len(manager.of(protocol.COUNTER_LOAD)) > seen, 20)


def test_firmware_that_never_reaches_the_manager_is_undone(
    meter: Pretend, manager: Manager, tree: Path
) -> None:
    """It runs and measures, but three times five minutes pass without a word from the manager."""
    change(tree / "firmware/common/link.py", 'config["broker_port"],', "9,")
    manager.offer(bundled(tree).read_bytes(), "9.9")
    status = newest(manager, protocol.UPDATE_STATUS)
    until("all of it is there", lambda: status("state") == "ready", 60)
    before = meter.resets()
    until("it has changed over", lambda: meter.resets() > before, 40)
    meter.at_speed(60)
    until("the update is undone", lambda: status("state") == "reverted", 90)
    assert meter.resets() >= before + 4  # three tries, and back
