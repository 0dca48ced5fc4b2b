"""`vfs` of a board that has a ROMFS partition; boot.py puts it in the place of the computer's."""

import host
import uctypes
from vfs import *  # noqa: F403

_BLOCK = 4096
_MIN_WRITE = 4  # bytes: the ESP8266's flash is written by the word
_at, _size = [int(n) for n in host.getenv("BOARD_PARTITION").split(":")]
_flash = uctypes.bytearray_at(_at, _size)


def rom_ioctl(request, *arguments):
    """1: how many partitions. With a partition's number first: 2: its memory, 3, bytes: erase so
    many, 4, offset, data: write, 5: done. Below 0: it cannot be."""
    if request == 1:
        return 1
    if arguments[0] != 0:
        return -22
    if request == 2:
        return _flash
    if request == 3:
        end = (arguments[1] + _BLOCK - 1) // _BLOCK * _BLOCK
        if end > _size:
            return -22
        blank = b"\xff" * _BLOCK
        for offset in range(0, end, _BLOCK):
            _flash[offset : offset + _BLOCK] = blank
        return _MIN_WRITE
    if request == 4:
        offset, data = arguments[1:]
        if offset % _MIN_WRITE or len(data) % _MIN_WRITE or offset + len(data) > _size:
            return -22
        for n, byte in enumerate(data):
            _flash[offset + n] &= byte  # writing takes ones away; only erasing brings them back
        return 0
    return 0 if request == 5 else -22
