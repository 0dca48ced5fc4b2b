"""The two boards: which chip, where its image goes, how to tell that it is the right one."""

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class ToolError(Exception):
    """Something the person at the keyboard can mend; the words say what and how."""


@dataclass(frozen=True)
class BoardKind:
    """One kind of board, named as its folder in firmware/."""

    name: str
    chip: str  # as esptool's --chip and os.uname().sysname on the board say
    image_at: int  # flash offset of a MicroPython image, `flash_offset` in its port's board.json
    flash_options: tuple[str, ...]
    littlefs_bytes: int  # room for files on the smallest board sold: 4 MiB ESP32, 2 MiB ESP8266
    heap: str  # micropython -X heapsize=: words, so that 64-bit hosts have a board's room

    @property
    def sources(self) -> Path:
        """Where its firmware lies."""
        return ROOT / "firmware" / self.name


KINDS = {
    "charger": BoardKind("charger", "esp32", 0x1000, (), 2 * 1024 * 1024, "100wk"),
    "energy_meter": BoardKind(
        "energy_meter", "esp8266", 0, ("--flash-size", "detect"), 1024 * 1024, "38wk"
    ),
}


def kind(name: str) -> BoardKind:
    """The kind called `name`.

    Raises:
        ToolError: no such board, or none named.
    """
    if name not in KINDS:
        said = f"there is no board {name!r}" if name else "no board is named"
        raise ToolError(f"{said}: BOARD=charger (ESP32) or BOARD=energy_meter (ESP8266)")
    return KINDS[name]


def port(name: str) -> str:
    """The serial port, looked at before anything is done with it.

    Raises:
        ToolError: none named, not there, or not ours to use.
    """
    if not name:
        raise ToolError("no port is named: PORT=/dev/ttyUSB0 (plug the board in, then `dmesg`)")
    if "://" in name:  # socket://host:port, rfc2217://host:port
        return name
    if not Path(name).exists():
        raise ToolError(f"no board at {name}: is it plugged in, with a cable that carries data?")
    if not os.access(name, os.R_OK | os.W_OK):
        raise ToolError(f"{name} may not be used by you: sudo usermod -aG dialout $USER, log in")
    # mpremote knows a pretend board by its /dev/pts/N, not by a link to it.
    return str(Path(name).resolve())
