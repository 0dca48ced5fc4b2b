"""New firmware over the network, into the partition a meter runs from: taken whole, tried, and
undone when it does not work."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware.common.update import bundle
from manager import broker as brokers
from shared import protocol
from simulator.pzem_slave import LineThread, Pzem
from tests.firmware.energy_meter.rig import SETTINGS, Manager
from tests.live.running import until
from tests.tools.pretend import Pretend, Start, counts, deploy

pytestmark = [pytest.mark.board, pytest.mark.broker]
_IMAGE = """
import sys
from tools import romfs
from tools.board_kinds import kind
from tools.firmware_files import build
files = {p: c for p, c in build(kind("energy_meter")).items() if p.startswith("/lib/")}
sys.stdout.buffer.write(romfs.image(files))
"""


def partition(tree: Path) -> bytes:
    """The partition's image made of these sources."""
    command = [sys.executable, "-c", _IMAGE]
    return subprocess.run(command, cwd=tree, capture_output=True, check=True, timeout=60).stdout


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


def test_a_partition_is_replaced_and_the_manager_is_told(
    meter: Pretend, manager: Manager, tree: Path
) -> None:
    change(tree / "firmware/energy_meter/settings.py", 'FIRMWARE = "0.1.0"', 'FIRMWARE = "9.9"')
    manager.offer(bundle({"rom.img": partition(tree)}), "9.9")
    new, status = newest(manager, protocol.NEW_COUNTER), newest(manager, protocol.UPDATE_STATUS)
    until("the new firmware is there", lambda: new("firmware") == "9.9", 60)
    until("the update is done", lambda: status("state") == "done", 10)
    count = len(manager.of(protocol.COUNTER_LOAD))
    until("it measures", lambda: len(manager.of(protocol.COUNTER_LOAD)) > count, 10)


def test_firmware_that_does_not_start_is_undone(
    meter: Pretend, manager: Manager, tree: Path
) -> None:
    change(tree / "firmware/energy_meter/app.py", "def run() -> None:", "def walk() -> None:")
    manager.offer(bundle({"rom.img": partition(tree)}), "9.9")
    status = newest(manager, protocol.UPDATE_STATUS)
    until("all of it is there", lambda: status("state") == "ready", 60)
    until("the update is undone", lambda: status("state") == "reverted", 40)
    assert newest(manager, protocol.NEW_COUNTER)("firmware") == "0.1.0"


def test_what_is_not_for_this_board_is_refused(
    meter: Pretend, manager: Manager, tree: Path
) -> None:
    status = newest(manager, protocol.UPDATE_STATUS)
    image = partition(tree)
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
