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


def check_image(path: Path, board: BoardKind) -> None:
    """Refuse what would leave the board without a start; esptool itself only warns of most of it.

    Raises:
        ToolError: not there, not an ESP image, or an ESP32 application without its bootloader.
    """
    try:
        image = path.read_bytes()
    except OSError as error:
        raise ToolError(f"cannot read the firmware {path}: {error.strerror}") from None
    if not image or image[0] != _MAGIC:
        raise ToolError(f"{path} is not an image for an ESP: it does not begin with 0xE9")
    if board.chip == "esp32":
        at = _ESP32_PARTITIONS_AT - board.image_at
        if image[at : at + 2] != _PARTITION_MAGIC:
            raise ToolError(
                f"{path} has no partition table: it is for another chip, or an application for"
                " updates only. Take the .bin meant for a first installation at 0x1000"
            )


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
    check_image(firmware, board)
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
        check_image(Path(given.firmware), board)
        flash(board, port(given.port), Path(given.firmware), erase=given.erase, baud=given.baud)
    except ToolError as error:
        print(f"flash: {error}", file=sys.stderr)
        return 1
    print(f"flash: {given.firmware} is on the {board.name} and was read back. Next: make deploy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
