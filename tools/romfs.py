"""Byte code in a board's ROMFS partition, where it is run in place instead of from the heap.

An ESP8266 has 38 KiB of heap and our meter's byte code alone is about as large, so it needs
MicroPython's FLASH_2M_ROMFS image. The partition is one image, erased and written as a whole.
"""

import binascii
import hashlib
from collections.abc import Callable

from mpremote.romfs import VfsRomWriter

_CHUNK = 1024  # bytes a command; a multiple of every board's smallest write
_DIGEST = """
import hashlib
from binascii import hexlify
m = memoryview(vfs.rom_ioctl(2, 0))
s = hashlib.sha256()
for i in range(0, {0}, 256):
    s.update(m[i:min(i + 256, {0})])
print(str(hexlify(s.digest()), 'ascii'))
"""

Run = Callable[[str], str]


def partition_bytes(run: Run) -> int:
    """How large the board's ROMFS partition is; 0 if it has none. `run` runs code on the board."""
    return int(
        run(
            "import vfs\n"
            "r = getattr(vfs, 'rom_ioctl', lambda *a: 0)\n"
            "m = r(2, 0) if r(1) > 0 else -1\n"
            # Where it is a block device and not memory it is no partition to run code in.
            "print(0 if isinstance(m, int) or hasattr(m, 'ioctl') else len(m))"
        )
    )


def image(files: dict[str, bytes]) -> bytes:
    """A ROMFS image of these files, each under its path below /rom."""
    writer = VfsRomWriter()
    _fill(writer, {tuple(path.strip("/").split("/")): data for path, data in files.items()})
    return bytes(writer.finalise())


def _fill(writer: VfsRomWriter, files: dict[tuple[str, ...], bytes]) -> None:
    for first in sorted({path[0] for path in files}):
        if (first,) in files:
            writer.mkfile(first, files[first,])
        else:
            writer.opendir(first)
            _fill(writer, {path[1:]: data for path, data in files.items() if path[0] == first})
            writer.closedir()


def holds(run: Run, content: bytes) -> bool:
    """Is this image in the partition, to the last bit?"""
    on_board = run(_DIGEST.format(len(content))).strip()
    return on_board == hashlib.sha256(content).hexdigest()


def write(run: Run, content: bytes, progress: Callable[[int], None]) -> None:
    """Erase and write the partition; `progress` is told the bytes written so far."""
    run("try:\n vfs.umount('/rom')\nexcept OSError: pass")
    padded = content + bytes(-len(content) % _CHUNK)
    _must(run(f"print(vfs.rom_ioctl(3, 0, {len(padded)}))"), "erasing")
    run("from binascii import a2b_base64")
    for at in range(0, len(padded), _CHUNK):
        text = binascii.b2a_base64(padded[at : at + _CHUNK], newline=False)
        _must(run(f"print(vfs.rom_ioctl(4, 0, {at}, a2b_base64({text!r})))"), "writing")
        progress(min(at + _CHUNK, len(content)))
    _must(run("print(vfs.rom_ioctl(5, 0))"), "finishing")


class RomfsError(Exception):
    """The board refused to erase or write its partition."""


def _must(answer: str, what: str) -> None:
    # None, 0 or a positive number of bytes is well; below zero is an errno.
    if answer.strip().startswith("-"):
        raise RomfsError(f"{what} the ROMFS partition failed: error {answer.strip()}")
