"""Names to addresses with a limit: a board's own look-up blocks for as long as it likes.

One question for an A record over UDP (RFC 1035), asked again after a second. Names in digits and
"localhost" need no question.
"""

import random
import socket

from firmware.common.ticks import sleep_ms, ticks_add, ticks_diff, ticks_ms

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_AGAIN_MS = 1000
_NO_NAME = -2


def is_address(host: str) -> bool:
    """Is it four numbers with dots?"""
    parts = host.split(".")
    if len(parts) != 4:
        return False
    for part in parts:
        if not part or len(part) > 3:
            return False
        for c in part:
            if not "0" <= c <= "9":
                return False
        if int(part) > 255:
            return False
    return True


def question(host: str, number: int) -> bytes:
    """The packet that asks for a host's address. ValueError for what cannot be a name."""
    out = bytes((number >> 8, number & 255)) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    for label in host.encode().split(b"."):
        if not 1 <= len(label) <= 63:
            raise ValueError("not a host name: " + host)
        out += bytes((len(label),)) + label
    return out + b"\x00\x00\x01\x00\x01"


def _after_name(data: bytes, at: int) -> int:
    while True:
        size = data[at]
        if size >= 0xC0:
            return at + 2
        at += 1
        if not size:
            return at
        at += size


def answer(data: bytes, number: int) -> str:
    """The first address in an answer to question `number`; "" if it is not one. OSError(-2): the
    server knows no such name."""
    try:
        if data[0] << 8 | data[1] != number or not data[2] & 0x80:
            return ""
        if data[3] & 15:
            raise OSError(_NO_NAME)
        at = _after_name(data, 12) + 4
        for _ in range(data[6] << 8 | data[7]):
            at = _after_name(data, at)
            kind, size = data[at] << 8 | data[at + 1], data[at + 8] << 8 | data[at + 9]
            at += 10
            if kind == 1 and size == 4:
                return "%d.%d.%d.%d" % (data[at], data[at + 1], data[at + 2], data[at + 3])
            at += size
    except IndexError:
        return ""
    raise OSError(_NO_NAME)


class Lookup:
    """One look-up under way; ask `step` for its result, and `close` it."""

    def __init__(self, host: str, server: str) -> None:
        """`server`: the name server's address, as the network interface has it."""
        self._sock: "Any" = None
        self._found = "127.0.0.1" if host == "localhost" else host if is_address(host) else ""
        self._asked: int | None = None
        if not self._found:
            self._number = random.getrandbits(16)
            self._question = question(host, self._number)
            self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._sock.setblocking(False)
            self._server = socket.getaddrinfo(server, 53)[0][-1]  # digits: no look-up

    def step(self, now_ms: int) -> str:
        """The address, "" while there is none. OSError: no such name, or no network."""
        if self._found:
            return self._found
        if self._asked is None or ticks_diff(now_ms, self._asked) >= _AGAIN_MS:
            self._asked = now_ms
            self._sock.sendto(self._question, self._server)
        try:
            data = self._sock.recv(512)
        except OSError as e:
            if e.args[0] in (11, 35, 110, 116):
                return ""
            raise
        if data:
            self._found = answer(data, self._number)
        return self._found

    def close(self) -> None:
        """Give the socket back."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def resolve(host: str, server: str, limit_ms: int) -> str:
    """The address of a host, waited for at most so long. OSError: unknown, or no answer."""
    lookup = Lookup(host, server)
    try:
        until = ticks_add(ticks_ms(), limit_ms)
        while True:
            found = lookup.step(ticks_ms())
            if found:
                return found
            if ticks_diff(until, ticks_ms()) <= 0:
                raise OSError(110)
            sleep_ms(5)
    finally:
        lookup.close()
