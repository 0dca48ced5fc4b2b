"""Modbus-RTU as a master on a serial line: one question at a time, never waiting, never trusting a
byte.

Modbus over serial line V1.02: CRC-16 with polynomial 0xA001 and start 0xFFFF, low byte first; a
silence of 3.5 characters (3.65 ms at 9600 baud) between frames.
"""

from firmware.common.ticks import sleep_ms, ticks_add, ticks_diff, ticks_ms

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

READ_HOLDING = 0x03
READ_INPUT = 0x04
WRITE_SINGLE = 0x06
GENERAL = 0xF8  # the PZEM's general address: whichever single device is on the line answers

_GAP_MS = 5  # 3.5 characters at 9600 baud, rounded up to whole ticks
_MOST = 160  # bytes kept while looking for an answer: several frames' worth of noise

# CRC of every half byte: two steps a byte instead of eight, in 16 numbers instead of 256.
_NIBBLES = (
    0x0000, 0xCC01, 0xD801, 0x1400, 0xF001, 0x3C00, 0x2800, 0xE401,
    0xA001, 0x6C00, 0x7800, 0xB401, 0x5000, 0x9C01, 0x8801, 0x4400,
)  # fmt: skip


class ModbusError(Exception):
    """No good answer. `what`: silence (nothing came), cut (not enough came), crc (it came
    altered), exception (the device refused; `number` 1 function, 2 address, 3 value, 4 failure),
    impossible (a value the device cannot mean)."""

    def __init__(self, what: str, number: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.number = number


def crc16(data: "bytes | bytearray | memoryview") -> int:
    """The checksum of these bytes; 0 over a frame that ends in its own checksum."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 4) ^ _NIBBLES[(crc ^ byte) & 15]
        crc = (crc >> 4) ^ _NIBBLES[(crc ^ (byte >> 4)) & 15]
    return crc


def frame(body: bytes) -> bytes:
    """The body with its checksum."""
    crc = crc16(body)
    return body + bytes((crc & 0xFF, crc >> 8))


def find_reply(heard: "bytes | bytearray", head: bytes, size: int) -> bytes | None:
    """The first whole good frame of `size` bytes that begins with `head`, wherever in what was
    heard it lies.

    None while there is none. ModbusError "exception" if instead the device refused. A frame from
    another address, one of another length, an echo and noise are stepped over; asked at the
    general address, any device's answer is taken.
    """
    last = len(heard)
    for at in range(last - 4 + 1):
        if heard[at] != head[0] and head[0] != GENERAL:
            continue
        if heard[at + 1] == head[1]:
            if at + size <= last and bytes(heard[at + 1 : at + len(head)]) == head[1:]:
                whole = bytes(heard[at : at + size])
                if crc16(whole) == 0:
                    return whole
        elif heard[at + 1] == head[1] | 0x80 and at + 5 <= last and crc16(heard[at : at + 5]) == 0:
            raise ModbusError("exception", heard[at + 2])
    return None


class Bus:
    """The line. `uart` is a machine.UART with time-out 0 and room for 64 received bytes, or
    anything like it.

    Either `ask`, then `answer` again and again; or `transact`, which waits.
    """

    def __init__(self, uart: "Any", timeout_ms: int = 250) -> None:
        """`timeout_ms`: from the question to the end of its answer. A PZEM needs 110 to 160 at
        9600 baud."""
        self._uart = uart
        self._timeout_ms = timeout_ms
        self._heard = bytearray()
        self._head = b""
        self._size = 0
        self._until = 0
        self._quiet_at: int | None = None
        self.asked = 0  # ticks of the last question
        self.waiting = False

    def quiet(self, now_ms: int) -> bool:
        """Has the line been silent long enough for the next question?"""
        return self._quiet_at is None or ticks_diff(now_ms, self._quiet_at) >= _GAP_MS

    def ask(self, body: bytes, head: bytes, size: int, now_ms: int) -> None:
        """Send a question whose answer begins with `head` and has `size` bytes, checksum
        included."""
        while self._uart.any():  # what is still there answers nobody any more
            self._uart.read(self._uart.any())
        self._heard = bytearray()
        self._head = head
        self._size = size
        self.asked = now_ms
        self._until = ticks_add(now_ms, self._timeout_ms)
        self.waiting = True
        self._uart.write(frame(body))

    def answer(self, now_ms: int) -> bytes | None:
        """The answer, None while it is still to come, ModbusError if it did not come in time or is
        a refusal."""
        count = self._uart.any()
        if count:
            got = self._uart.read(count)
            if got:
                self._quiet_at = now_ms
                self._heard = self._heard + got
                if len(self._heard) > _MOST:
                    self._heard = self._heard[-_MOST:]
                if len(self._heard) >= min(self._size, 5):
                    try:
                        whole = find_reply(self._heard, self._head, self._size)
                    except ModbusError:
                        self.waiting = False
                        raise
                    if whole is not None:
                        self.waiting = False
                        return whole
        if ticks_diff(self._until, now_ms) > 0:
            return None
        self.waiting = False
        if not self._heard:
            raise ModbusError("silence")
        raise ModbusError("crc" if len(self._heard) >= self._size else "cut")

    def transact(self, body: bytes, head: bytes, size: int) -> bytes:
        """Ask and wait for the answer; ModbusError as `answer`."""
        while not self.quiet(ticks_ms()):
            sleep_ms(1)
        self.ask(body, head, size, ticks_ms())
        while True:
            whole = self.answer(ticks_ms())
            if whole is not None:
                return whole
            sleep_ms(2)
