"""Put a MicroPython image onto a board with esptool, and read it back to be sure.

python -m tools.flash --board charger --port /dev/ttyUSB0 --firmware ESP32_GENERIC-v1.29.0.bin
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tools.board_kinds import BoardKind, ToolError, kind, port

_MAGIC = 0xE9  # first byte of every ESP image
_ESP32_PARTITIONS_AT = 0x8000
_PARTITION_MAGIC = b"\xaa\x50"
# What people take for an image by mistake, by how it begins.
_OTHERS = {
    b"\x7fELF": "an ELF file; take the .bin beside it",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"UF2\n": "a UF2 file, for other chips",
}


def doubts(path: Path, board: BoardKind) -> str:
    """What speaks against this image, in words; empty if nothing does.

    Raises:
        ToolError: it cannot be read, or is certainly no image.
    """
    try:
        image = path.read_bytes()
    except OSError as error:
        raise ToolError(f"cannot read the firmware {path}: {error.strerror}") from None
    for beginning, what in _OTHERS.items():
        if image.startswith(beginning):
            raise ToolError(f"{path} is {what}")
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in image):
        raise ToolError(f"{path} is {'text' if image else 'empty'}, not an image for an ESP")
    if image[0] != _MAGIC:
        return "it does not begin with 0xE9, as images for ESPs do"
    at = _ESP32_PARTITIONS_AT - board.image_at
    if board.chip == "esp32" and image[at : at + 2] != _PARTITION_MAGIC:
        return "it has no partition table: an image for another chip, or for updates only"
    return ""


def esptool(board: BoardKind, at: str, baud: int, *command: str) -> None:
    """Run one esptool command on the board.

    Raises:
        ToolError: esptool failed; its own words are on the terminal above.
    """
    line = [sys.executable, "-m", "esptool", "--chip", board.chip, "--port", at]
    done = subprocess.run([*line, "--baud", str(baud), *command], check=False)
    if done.returncode != 0:
        raise ToolError(f"esptool {command[0]} failed (status {done.returncode}), see above")


def flash(board: BoardKind, at: str, firmware: Path, *, erase: bool, baud: int) -> None:
    """Erase if asked to, write, verify.

    Raises:
        ToolError: the image or the board is the wrong one, or esptool failed.
    """
    doubt = doubts(firmware, board)
    if doubt:
        # Not refused: a board can always be flashed again, and odd images exist.
        print(f"flash: WARNING: {firmware}: {doubt}. The board may not start", flush=True)
    if erase:
        esptool(board, at, baud, "erase-flash")
    where = (*board.flash_options, hex(board.image_at), str(firmware))
    esptool(board, at, baud, "write-flash", *where)
    esptool(board, at, baud, "verify-flash", *where)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.flash", description=__doc__)
    parser.add_argument("--board", default="")
    parser.add_argument("--port", default="")
    parser.add_argument("--firmware", default="")
    parser.add_argument("--erase", action="store_true", help="the files on the board too")
    parser.add_argument("--baud", type=int, default=460800)
    given = parser.parse_args(arguments)
    try:
        board = kind(given.board)
        if not given.firmware:
            raise ToolError("no firmware is named: FIRMWARE=file.bin (MicroPython for the board)")
        doubts(Path(given.firmware), board)
        flash(board, port(given.port), Path(given.firmware), erase=given.erase, baud=given.baud)
    except ToolError as error:
        print(f"flash: {error}", file=sys.stderr)
        return 1
    print(f"flash: {given.firmware} is on the {board.name} and was read back. Next: make deploy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
