"""An SSD1306 display of 128 x 64 behind I2C: what is on it, as rows of text or a picture.

screen = Oled()
screen.write(bytes)         # what the bus carries to address 0x3C
screen.rows()               # 64 strings of 128 characters, "#" is lit
"""

from __future__ import annotations

import struct
import zlib

I2C_ADDRESS = 0x3C
WIDTH, HEIGHT = 128, 64
# Commands with one more byte; the two of addressing have two.
_ONE_MORE = {0x20, 0x81, 0xA8, 0xD3, 0xD5, 0xD9, 0xDA, 0xDB, 0x8D, 0xAD}
_TWO_MORE = {0x21, 0x22}


class Oled:
    """`on`, `inverted`, and what was drawn. Horizontal addressing, as micropython-lib's driver."""

    def __init__(self) -> None:
        self.on = False
        self.inverted = False
        self.frames = 0  # whole pictures received
        self._memory = bytearray(WIDTH * HEIGHT // 8)
        self._columns = (0, WIDTH - 1)
        self._pages = (0, HEIGHT // 8 - 1)
        self._at = [0, 0]
        self._pending: list[int] = []

    def write(self, data: bytes) -> None:
        """A transfer: a control byte (0x80 one command, 0x00 commands, 0x40 data), then the rest."""
        if not data:
            return
        if data[0] == 0x40:
            for byte in data[1:]:
                self._put(byte)
        elif data[0] == 0x80:
            for k in range(1, len(data), 2):
                self._command(data[k])
        elif data[0] == 0x00:
            for byte in data[1:]:
                self._command(byte)

    def _put(self, byte: int) -> None:
        column, page = self._at
        self._memory[page * WIDTH + column] = byte
        column += 1
        if column > self._columns[1]:
            column = self._columns[0]
            page += 1
            if page > self._pages[1]:
                page = self._pages[0]
                self.frames += 1
        self._at = [column, page]

    def _command(self, byte: int) -> None:
        if self._pending:
            self._pending.append(byte)
            first = self._pending[0]
            if len(self._pending) < (3 if first in _TWO_MORE else 2):
                return
            if first == 0x21:
                self._columns = (self._pending[1] & 127, self._pending[2] & 127)
                self._at[0] = self._columns[0]
            elif first == 0x22:
                self._pages = (self._pending[1] & 7, self._pending[2] & 7)
                self._at[1] = self._pages[0]
            self._pending = []
        elif byte in _ONE_MORE or byte in _TWO_MORE:
            self._pending = [byte]
        elif byte in {0xAE, 0xAF}:
            self.on = byte == 0xAF
        elif byte in {0xA6, 0xA7}:
            self.inverted = byte == 0xA7

    def rows(self) -> list[str]:
        """What is seen, top to bottom."""
        if not self.on:
            return [" " * WIDTH] * HEIGHT
        return [
            "".join(
                "#" if (self._memory[(y >> 3) * WIDTH + x] >> (y & 7) & 1) ^ self.inverted else " "
                for x in range(WIDTH)
            )
            for y in range(HEIGHT)
        ]

    def png(self, scale: int = 3) -> bytes:
        """The same as a picture."""
        lines = b""
        for row in self.rows():
            line = b"\x00" + b"".join((b"\xff" if dot == "#" else b"\x00") * scale for dot in row)
            lines += line * scale
        header = struct.pack(">IIBBBBB", WIDTH * scale, HEIGHT * scale, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            _chunk(*part)
            for part in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
        )


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)
