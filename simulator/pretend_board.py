"""A pretend board: a simulated board with a serial port and a flash, for the tools of real ones.

`python -m simulator.pretend_board charger --flash charger.img` prints the port: a pty on which
MicroPython's REPL answers as a board's does, raw REPL, soft reset and machine.reset() included.
mpremote, `make deploy` and `make repl` work on it. The flash is a littlefs of the board's size in
one file; it holds nothing but what was put on it. Everything else is `ievcc board`: the same
shims, the same bench socket, the same line to a PZEM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import pty
import subprocess
import sys
import termios
import tty
from pathlib import Path

from simulator import board
from simulator.board import Board, BoardError
from simulator.rom import kept

# Room for files in MicroPython's images for the smallest boards sold: 4 MiB ESP32, 2 MiB ESP8266.
FLASH_BYTES = {"charger": 2 * 1024 * 1024, "energy_meter": 1024 * 1024}
# The ROMFS partition of the ESP8266's FLASH_2M_ROMFS image; the ESP32's images have none.
PARTITION_BYTES = 320 * 1024
_CTRL_C = b"\x03"
_PROMPTS = (b">>> ", b"\r\n>", b"\x04>")
_PATIENCE_S = 2.0  # with a program that does not stop at Ctrl-C
_FIFO_BYTES = 128  # of the chips' UARTs
_SOFT_REBOOT = b"MPY: soft reboot\r\n"
_RAW_PROMPT = b"raw REPL; CTRL-B to exit"
_BANNER = b"\nMicroPython "
_ENTER_RAW = b"\x01"


class PretendBoard(Board):
    """A board with a console. `flash` is a file; `port` is what mpremote opens."""

    def __init__(
        self,
        kind: str,
        flash: Path,
        *,
        uart: str | None = None,
        bench: Path | None = None,
        link: Path | None = None,
        romfs: bool = True,
    ) -> None:
        """`link` becomes a symbolic link to the port. Without `romfs` an ESP8266 has the plain
        image, which has no partition for byte code that is read in place.

        Raises:
            BoardError: there is no MicroPython for this computer; CPython has no such REPL.
        """
        super().__init__(kind, {}, flash, uart=uart, bench=bench)
        if self.interpreter is None:
            raise BoardError("a pretend board needs MicroPython; there is none for this computer")
        self.link = link
        has_partition = romfs and self.chip == "esp8266"
        self.partition = flash.with_name(flash.name + ".romfs") if has_partition else None
        self._host, self._host_end = pty.openpty()
        tty.setraw(self._host_end)
        os.set_blocking(self._host, False)
        self.port = os.ttyname(self._host_end)
        self._line = -1
        self._fifo = b""
        self._listens = False
        self._until_prompt: asyncio.TimerHandle | None = None
        self.first_boot = asyncio.Event()
        self._raw = False
        self._heard_last = b""
        self._to_raw = False

    async def start(self) -> None:
        """Open the port and switch on."""
        if self.link is not None:
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(self.port)
        self._loop.add_reader(self._host, self._from_host)
        await super().start()

    async def stop(self) -> None:
        """Switch off and close the port."""
        await super().stop()
        self._release()
        self._loop.remove_reader(self._host)
        for fd in (self._host, self._host_end):
            os.close(fd)
        if self.link is not None:
            self.link.unlink(missing_ok=True)

    def _fill_flash(self) -> None:
        """Nothing of ours is on a new board: an erased flash, and what its image brings along."""
        if not self.flash.exists():
            self.flash.parent.mkdir(parents=True, exist_ok=True)
            self.flash.write_bytes(b"\xff" * FLASH_BYTES[self.kind])
        if self.partition is not None and not self.partition.exists():
            self.partition.write_bytes(b"\xff" * PARTITION_BYTES)
        self._make_lib()

    def _rom(self) -> Path:
        """What is frozen into a board's image: its own modules and umqtt, nothing of ours."""
        frozen = {f"lib/{thing.name}": thing for thing in (board.ROOT / ".deps").iterdir()}
        return kept({"sim": board.SHIMS, **frozen}, board.ROOT / "build" / "boards")

    def _launch(self, env: dict[str, str], fds: list[int]) -> subprocess.Popen[bytes]:
        """Start MicroPython on boot.py with our line as its terminal, and its REPL after that."""
        self._line, end = pty.openpty()
        tty.setraw(end)
        # Ctrl-C must become a signal, for the program that runs; the REPL switches it off.
        mode = termios.tcgetattr(end)
        mode[3] |= termios.ISIG
        mode[6][termios.VQUIT] = mode[6][termios.VSUSP] = b"\xff"
        termios.tcsetattr(end, termios.TCSANOW, mode)
        os.set_blocking(self._line, False)
        env |= {
            "BOARD_FLASH": f"{self.flash.resolve()}:{FLASH_BYTES[self.kind]}",
            "BOARD_ROOT": str(self._work),
            "BOARD_CONSOLE": "raw" if self._to_raw else "friendly",
        }
        if self.partition is not None:
            env["BOARD_PARTITION"] = str(self.partition.resolve())
        self._listens = False
        self._release()
        child = subprocess.Popen(
            self._micropython(env, "-i"),
            env=env,
            stdin=end,
            stdout=end,
            stderr=end,
            pass_fds=fds,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one system call, and no threads here
        )
        os.close(end)
        self._heard_last = b""
        self._loop.add_reader(self._line, self._from_board, self._line)
        return child

    def _typed_soft_reset(self, status: int) -> bool:
        """The unix port ends where a board soft-resets: at Ctrl-D."""
        typed = status == 0
        self._to_raw = typed and self._raw
        if typed:
            self._to_host(_SOFT_REBOOT)
        self._raw = False
        return typed

    def _died(self) -> None:
        line, self._line = self._line, -1
        self._listens = False  # what is typed from now on is for the program that comes
        self._fifo = b""
        if line >= 0:
            self._loop.remove_reader(line)
            while data := _read(line):
                self._pass_on(line, data)
            os.close(line)
        super()._died()

    def _from_board(self, line: int) -> None:
        data = _read(line)
        if data:
            self._pass_on(line, data)
        elif data is not None:
            self._loop.remove_reader(line)  # it has ended; the rest is up to _died

    def _pass_on(self, line: int, data: bytes) -> None:
        self._heard_last = (self._heard_last + data)[-200:]
        raw, friendly = self._heard_last.rfind(_RAW_PROMPT), self._heard_last.rfind(_BANNER)
        if raw >= 0 or friendly >= 0:
            self._raw = raw > friendly
        if self._to_raw:
            # The host waits for the raw REPL; the friendly one that comes first is ours to leave.
            if self._heard_last.endswith(b">>> "):
                self._to_raw = False
                self._heard_last = b""
                os.write(line, _ENTER_RAW)
        else:
            self._to_host(data)
        if self._heard_last.endswith(_PROMPTS):
            self._release()

    def _to_host(self, data: bytes) -> None:
        if not self.repl_attached:
            return
        # Where nobody listens it is lost: a UART waits for nobody.
        with contextlib.suppress(BlockingIOError):
            os.write(self._host, data)

    def _from_host(self) -> None:
        try:
            data = os.read(self._host, 4096)
        except BlockingIOError:
            return
        self._fifo = (self._fifo + data)[-_FIFO_BYTES:] if self._waits() else self._fifo + data
        self._deliver()

    def _waits(self) -> bool:
        return not self._listens or self._until_prompt is not None

    def _deliver(self) -> None:
        """Hand on what was typed. After a Ctrl-C that stops a program the rest waits for the
        prompt: the unix port throws away what came before it, and a board does not."""
        if self._waits():
            return
        typed, self._fifo = self._fifo, b""
        if not self.repl_attached or self._line < 0:
            return
        if _CTRL_C in typed and not self._heard_last.endswith(_PROMPTS):
            at = typed.rindex(_CTRL_C) + 1
            typed, self._fifo = typed[:at], typed[at:]
            self._until_prompt = self._loop.call_later(_PATIENCE_S, self._release)
        # A board's receive buffer overflows as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._line, typed)

    def _release(self) -> None:
        if self._until_prompt is not None:
            self._until_prompt.cancel()
            self._until_prompt = None
            self._deliver()

    def _booted(self) -> None:
        """From here on somebody listens to the line; what its FIFO caught before comes first."""
        self._listens = True
        self.first_boot.set()
        self._deliver()


def _read(line: int) -> bytes | None:
    """What is there; None if nothing is at the moment, empty if nobody is at the other end."""
    try:
        return os.read(line, 4096)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulator.pretend_board", description=__doc__)
    parser.add_argument("kind", choices=sorted(FLASH_BYTES))
    parser.add_argument("--flash", type=Path, required=True, help="file, made where it is missing")
    parser.add_argument("--link", type=Path, help="a symbolic link to the port")
    parser.add_argument("--uart", help="the tty its PZEM hangs on")
    parser.add_argument("--bench", type=Path, help="make the bench socket here")
    parser.add_argument("--no-romfs", action="store_true", help="an ESP8266 with the plain image")
    given = parser.parse_args()

    async def run() -> None:
        pretend = PretendBoard(
            given.kind,
            given.flash,
            uart=given.uart,
            bench=given.bench,
            link=given.link,
            romfs=not given.no_romfs,
        )
        running = asyncio.create_task(board.run(pretend))
        booted = asyncio.create_task(pretend.first_boot.wait())
        await asyncio.wait({running, booted}, return_when=asyncio.FIRST_COMPLETED)
        print(pretend.port, flush=True)
        booted.cancel()
        await running

    try:
        asyncio.run(run())
    except BoardError as error:
        print(f"pretend board: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
