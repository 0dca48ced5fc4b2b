"""The firmware of a board as a bundle for an update over the network.

python -m tools.bundle --board energy_meter --out meter.bundle
then, at the manager: ievcc update Counter-1 meter.bundle --version 0.2.0
"""

import argparse
import sys
from pathlib import Path

from firmware.common.bundle import bundle
from tools import romfs
from tools.board_kinds import KINDS, ToolError, kind
from tools.firmware_files import build


def made(board: str, *, partition: bool) -> bytes:
    """The bundle: files below lib/, or the image of the partition the board runs them from.

    Raises:
        ToolError: no such board, or a source that does not compile.
    """
    chosen = kind(board)
    march = "xtensa" if chosen.chip == "esp8266" else "xtensawin"
    files = {p.lstrip("/"): c for p, c in build(chosen, march).items() if p.startswith("/lib/")}
    if partition:
        return bundle({"rom.img": romfs.image(files)})
    # What undoes updates stays as it is on the board.
    return bundle({p: c for p, c in files.items() if "update_start" not in p})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bundle", description=__doc__)
    parser.add_argument("--board", required=True, help=" or ".join(sorted(KINDS)))
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--files",
        action="store_true",
        help="files below /lib even for a board that has a ROMFS partition",
    )
    asked = parser.parse_args(arguments)
    try:
        partition = kind(asked.board).chip == "esp8266" and not asked.files
        content = made(asked.board, partition=partition)
        asked.out.write_bytes(content)
    except (ToolError, OSError) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    what = "partition" if partition else "files"
    print(f"{asked.out}: {len(content)} bytes, {what} of the {asked.board}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
