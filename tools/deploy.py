"""Put our firmware onto a board that runs MicroPython: only what changed, verified, then a reset.

python -m tools.deploy --board charger --port /dev/ttyUSB0 [--config charger.json]
"""

import argparse
import errno
import hashlib
import json
import re
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport
from serial import SerialException

from firmware.common import update_start
from tools import romfs
from tools.board_kinds import BoardKind, ToolError, kind, port
from tools.firmware_files import build

# sys.implementation._mpy >> 10, in the order of MP_NATIVE_ARCH in MicroPython's persistentcode.h
_MARCH = (
    None, "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp",
    "xtensa", "xtensawin", "rv32imc", "rv64imc",
)  # fmt: skip
_MPY_VERSION = 6
# A plan left on the board would put the firmware it replaced back over what we deploy.
_UPDATE = (f"/{update_start.PLAN}", f"/{update_start.COPY}")
_OUR_FOLDERS = ("/lib/shared", "/lib/firmware")
_FULL = "its flash is full: remove what is not needed there (make repl)"
_CONFIG = "/config.json"
# A board whose REPL is off its UART has it back for a moment after a reset (its main.py waits).
_PATIENCE_S = 10.0

# What runs on the board is small and says one line a file, so that an ESP8266 has room for it.
_WHO = """
import sys, os
print(getattr(os, 'uname', lambda: (sys.platform,))()[0], getattr(sys.implementation, '_mpy', 0))
"""
_HASHES = """
import os, hashlib
from binascii import hexlify
def h(p):
    b = bytearray(256)
    v = memoryview(b)
    s = hashlib.sha256()
    f = open(p, 'rb')
    try:
        while True:
            n = f.readinto(b)
            if not n:
                break
            s.update(v[:n])
    finally:
        f.close()
    print(p, str(hexlify(s.digest()), 'ascii'))
def t(d):
    try:
        e = list(os.ilistdir(d))
    except OSError:
        return
    for x in e:
        p = d + '/' + x[0]
        if x[1] & 0x4000:
            t(p)
            print(p + '/', '-')
        else:
            h(p)
def o(p):
    try:
        h(p)
    except OSError:
        pass
"""


class Board:
    """A board's raw REPL, held over one connection: opening the port anew may reset the board."""

    def __init__(self, at: str) -> None:
        try:
            # With a time-out, or a board that falls silent would hold us for ever.
            self._transport = SerialTransport(at, timeout=5)
        except (TransportError, SerialException, OSError) as error:
            raise ToolError(f"cannot open {at}: {error}. Is another program using it?") from None
        self._at = at

    def close(self) -> None:
        """Let go of the port."""
        with suppress(SerialException, OSError):
            self._transport.close()

    def enter(self, patience_s: float = _PATIENCE_S) -> None:
        """Stop what runs on the board and take its raw REPL, by a reset if it does not listen.

        Args:
            patience_s: how long to wait for it after the reset.

        Raises:
            ToolError: nobody answers.
        """
        if not self._prompt_within(1.0):
            print("deploy: the board does not listen. Press its reset button", flush=True)
            self._pulse_reset()
            if not self._prompt_within(patience_s):
                raise ToolError(
                    f"no MicroPython answers at {self._at}. A new board needs `make flash` first"
                )
        try:
            # The soft reset gives the memory of the program that was stopped back.
            with _silence():
                self._transport.enter_raw_repl(soft_reset=True, timeout_overall=20)
        except (TransportError, SerialException, OSError) as error:
            raise ToolError(f"the board at {self._at} does not give its REPL: {error}") from None

    def run(self, code: str) -> str:
        """What `code` prints on the board.

        Raises:
            ToolError: it failed there, or the board was lost.
        """
        try:
            return bytes(self._transport.exec(code)).decode(errors="replace")
        except TransportExecError as error:
            raise ToolError(f"the board refused: {_why(error)}") from None
        except (TransportError, SerialException, OSError, struct.error) as error:
            raise ToolError(f"lost the board at {self._at}: {error}") from None

    def write(self, path: str, content: bytes) -> None:
        """One file: written beside its place, then renamed, so that no half one stands there.

        Raises:
            ToolError: no room, or the board was lost.
        """
        part = path + ".part"
        try:
            self._transport.fs_writefile(part, content, chunk_size=256)
        except TransportExecError as error:
            raise ToolError(f"writing {path} failed: {_why(error)}") from None
        except (TransportError, SerialException, struct.error) as error:
            raise ToolError(f"lost the board while writing {path}: {error}") from None
        except OSError as error:  # the board's own, as mpremote translates it
            why = _FULL if error.errno == errno.ENOSPC else str(error)
            raise ToolError(f"writing {path} failed: {why}") from None
        self.run(f"import os\nos.rename({part!r}, {path!r})")

    def reset(self) -> None:
        """Reset, and let it run."""
        try:
            self._transport.exec_raw_no_follow("import machine\nmachine.reset()")
        except (TransportError, SerialException, OSError, struct.error) as error:
            raise ToolError(f"lost the board at {self._at}: {error}") from None
        time.sleep(0.1)  # the bytes must be out before the port closes

    def _pulse_reset(self) -> None:
        serial = self._transport.serial
        try:
            serial.dtr = False  # GPIO0 stays high: the program, not the boot loader
            serial.rts = True
            time.sleep(0.1)
            serial.rts = False
        except (SerialException, OSError):
            pass  # a pretend board and a bridge have no such lines; the button is left

    def _prompt_within(self, seconds: float) -> bool:
        serial = self._transport.serial
        heard = b""
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                time.sleep(0.05)
                heard = (heard + serial.read(serial.in_waiting))[-64:]
                if heard.endswith((b">>> ", b"\r\n>")):
                    return True
                serial.write(b"\r\x03")
        except (SerialException, OSError) as error:
            raise ToolError(f"lost the board at {self._at}: {error}") from None
        return False


def _why(error: TransportExecError) -> str:
    """The last line of what went wrong on the board; a full flash in words."""
    words = str(error.error_output).strip().splitlines() or ["no reason given"]
    full = re.search(rf"OSError: (\[Errno )?{errno.ENOSPC}\b|ENOSPC", words[-1])
    return _FULL if full else words[-1]


@contextmanager
def _silence() -> Iterator[None]:
    """Keep mpremote from printing what it read when it fails."""
    before, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = before


def identify(device: Board, board: BoardKind) -> str | None:
    """The board's native architecture; also that it is the right chip and reads our byte code.

    Raises:
        ToolError: it is another chip, or its MicroPython is of another generation.
    """
    chip, _, mpy = device.run(_WHO).strip().rpartition(" ")
    # "linux" is MicroPython's unix port: somebody's pretend board, good for either.
    if chip not in {board.chip, "linux"}:
        other = {"esp32": "charger", "esp8266": "energy_meter"}.get(chip)
        advice = f"it is a board for BOARD={other}" if other else "is it the right PORT?"
        raise ToolError(f"the board is an {chip}, {board.name} needs an {board.chip}: {advice}")
    if int(mpy) & 0xFF != _MPY_VERSION:
        raise ToolError(
            f"the board's MicroPython reads byte code {int(mpy) & 0xFF}, ours is {_MPY_VERSION}:"
            " flash it with MicroPython 1.29 first (make flash)"
        )
    if chip == "esp32":
        # The watchdog of the program that was stopped runs on, and would bite while we copy.
        device.run("import machine\nmachine.WDT(timeout=600000)")
    arch = (int(mpy) >> 10) & 0xF
    return _MARCH[arch] if arch < len(_MARCH) else None


def hashes(device: Board, paths: list[str]) -> dict[str, str]:
    """SHA-256 of these files and of all in our folders, read from flash; folders end in "/"."""
    device.run(_HASHES)
    lines: list[str] = []
    for path in paths:
        if not path.startswith(_OUR_FOLDERS):
            lines += device.run(f"o({path!r})").splitlines()
    for folder in _OUR_FOLDERS:
        lines += device.run(f"t({folder!r})").splitlines()
    return dict(line.split() for line in lines)


def deploy(device: Board, wanted: dict[str, bytes]) -> tuple[int, int]:
    """Bring the board's files to `wanted`; how many were written and how many removed.

    Raises:
        ToolError: a file is not on the board as it should be after it was written.
    """
    want = {path: hashlib.sha256(content).hexdigest() for path, content in wanted.items()}
    have = hashes(device, [*wanted, *_UPDATE])
    # First what is in the way, so that its room is free; a .py would be taken before our .mpy.
    folders = {f"{parent}/" for path in wanted for parent in map(str, Path(path).parents)}
    stale = [path for path in have if path not in want and path not in folders]
    for path in stale:
        remove = "rmdir" if path.endswith("/") else "remove"
        device.run(f"import os\nos.{remove}({path.rstrip('/')!r})")
        print(f"deploy: removed {path}", flush=True)
    for folder in sorted(folders - {"//"}):
        make = f"os.mkdir({folder.rstrip('/')!r})"
        device.run(f"import os\ntry:\n {make}\nexcept OSError as e:\n if e.args[0]!=17: raise")
    # main.py last: should the cable come out meanwhile, the old program still starts.
    changed = [path for path in want if have.get(path) != want[path]]
    changed.sort(key=lambda path: (path == "/main.py", path))
    for number, path in enumerate(changed, 1):
        size = len(wanted[path])
        print(f"deploy: [{number}/{len(changed)}] {path}, {size} bytes", flush=True)
        device.write(path, wanted[path])
    if changed:
        now = hashes(device, changed)
        wrong = [path for path in changed if now.get(path) != want[path]]
        if wrong:
            raise ToolError(f"not as sent after writing: {', '.join(wrong)}. Deploy once more")
    return len(changed), len(stale)


def deploy_byte_code(
    device: Board, board: BoardKind, wanted: dict[str, bytes]
) -> tuple[dict[str, bytes], bool]:
    """Put byte code where it is run in place, if this board has room for it there.

    Returns:
        The files that are left for the file system, and whether anything was written.

    Raises:
        ToolError: the partition is too small, or does not hold what was written.
    """
    room = romfs.partition_bytes(device.run)
    if not room:
        if board.chip == "esp8266":
            print(
                "deploy: this MicroPython has no ROMFS partition, and an ESP8266's heap is too"
                " small for our byte code. Flash the image FLASH_2M_ROMFS",
                flush=True,
            )
        return wanted, False
    image = romfs.image({path: data for path, data in wanted.items() if path.endswith(".mpy")})
    left = {path: data for path, data in wanted.items() if not path.endswith(".mpy")}
    if len(image) > room:
        raise ToolError(f"the byte code is {len(image)} bytes, the ROMFS partition {room}")
    if romfs.holds(device.run, image):
        return left, False
    print(f"deploy: /rom, {len(image)} bytes of byte code", end="", flush=True)
    try:
        romfs.write(device.run, image, lambda _: print(".", end="", flush=True))
    except romfs.RomfsError as error:
        raise ToolError(str(error)) from None
    finally:
        print(flush=True)
    if not romfs.holds(device.run, image):
        raise ToolError("the ROMFS partition does not hold what was written. Deploy once more")
    return left, True


def configuration(path: Path) -> bytes:
    """The board's configuration, looked at before it goes onto a board.

    Raises:
        ToolError: not there, or not one JSON object.
    """
    try:
        content = path.read_bytes()
        value = json.loads(content)
    except OSError as error:
        raise ToolError(f"cannot read the configuration {path}: {error.strerror}") from None
    except ValueError as error:
        raise ToolError(f"the configuration {path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ToolError(f"the configuration {path} must be one JSON object")
    return content


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.deploy", description=__doc__)
    parser.add_argument("--board", default="")
    parser.add_argument("--port", default="")
    parser.add_argument("--config", default="", help="JSON file, copied to /config.json")
    parser.add_argument(
        "--patience", type=float, default=_PATIENCE_S, help="seconds to wait for a silent board"
    )
    given = parser.parse_args(arguments)
    device = None
    try:
        board = kind(given.board)
        extra = {_CONFIG: configuration(Path(given.config))} if given.config else {}
        device = Board(port(given.port))
        device.enter(given.patience)
        march = identify(device, board)
        wanted, in_place = deploy_byte_code(device, board, build(board, march))
        written, removed = deploy(device, wanted | extra)
        unchanged = len(wanted) + len(extra) - written
        place = "byte code rewritten, " if in_place else ""
        print(
            f"deploy: {board.name}: {place}{written} written, {removed} removed,"
            f" {unchanged} unchanged, all verified",
            flush=True,
        )
        device.reset()
        print("deploy: the board was reset and runs", flush=True)
    except ToolError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deploy: interrupted; run it again to finish", file=sys.stderr)
        return 1
    finally:
        if device is not None:
            device.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
