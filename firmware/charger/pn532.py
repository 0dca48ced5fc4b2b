"""PN532 card reader: frames, three buses, and a reader that is stepped and never waits.

A step does at most one bus transfer of 64 bytes: 1.5 ms on I2C at 400 kHz, 0.6 ms on SPI at 1 MHz.
Frames are those of NXP's
user manual: 00 00 FF LEN LCS TFI data DCS 00, an ACK 00 00 FF 00 FF 00 before every answer.
"""

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

I2C_ADDRESS = 0x24
ACK = b"\x00\x00\xff\x00\xff\x00"
_READ = 64  # bytes of one transfer; every answer asked for here is shorter
_TO_READER, _TO_HOST = 0xD4, 0xD5

_SAM = b"\x14\x01\x14\x01"  # normal mode, 1 s, interrupt line
_RETRIES = b"\x32\x05\xff\x01\x01"  # a search without a card ends after two tries, and not never
_SEARCH = b"\x4a\x01\x00"  # one card, ISO 14443 A at 106 kbit/s
_FIELD_OFF = b"\x32\x01\x00"  # spares heat and current between two searches
_SELECT_NDEF = b"\x40\x01\x00\xa4\x04\x00\x07\xd2\x76\x00\x00\x85\x01\x01\x00"
_SELECT_FILE = b"\x40\x01\x00\xa4\x00\x0c\x02\xe1\x04"
_READ_NDEF = b"\x40\x01\x00\xb0\x00"  # + offset, length
_PIECE = 48
_NDEF_MOST = 240

SEARCH_EVERY_MS = 250
ANSWER_MS = 200  # after this a command is given up
OFFLINE_AFTER = 3  # commands in a row
RETRY_MS = 5_000  # a dead reader is tried again
MISSES = 2  # searches without it before a card counts as taken away


class FrameError(ValueError):
    """Bytes that are no frame: start, length, sum, error (the reader refused)."""


def frame(data: bytes) -> bytes:
    """The frame around command and parameters."""
    size = len(data) + 1
    total = _TO_READER
    for b in data:
        total += b
    return bytes((0, 0, 0xFF, size, -size & 0xFF, _TO_READER)) + data + bytes((-total & 0xFF, 0))


def content(raw: bytes) -> bytes:
    """Answer code and data of a frame from the reader, b"" for an ACK. FrameError whatever else it is.

    LEN is obeyed: after a short frame the chip's buffer still holds the rest of a longer one before it.
    """
    at = raw.find(b"\x00\xff")
    if at < 0 or len(raw) < at + 4:
        raise FrameError("start")
    size = raw[at + 2]
    if size == 0 and raw[at + 3] == 0xFF:
        return b""
    if (size + raw[at + 3]) & 0xFF or size < 2 or len(raw) < at + 5 + size:
        if raw[at + 2 : at + 5] == b"\x01\xff\x7f":
            raise FrameError("error")
        raise FrameError("length")
    total = 0
    for k in range(at + 4, at + 5 + size):
        total += raw[k]
    if total & 0xFF or raw[at + 4] != _TO_HOST:
        raise FrameError("sum")
    return raw[at + 5 : at + 4 + size]


def target(data: bytes) -> "tuple[str, int]":
    """(number in hex, SEL_RES) of the card in an answer to a search; ("", 0) if there is none.

    A number of 4 bytes that begins with 08 is a telephone's, drawn anew each time: no credential. FrameError if cut.
    """
    if len(data) < 2 or data[0] != 0x4B:
        raise FrameError("length")
    if data[1] == 0:
        return "", 0
    if len(data) < 7 or len(data) < 7 + data[6] or data[6] not in (4, 7, 10):
        raise FrameError("length")
    uid = data[7 : 7 + data[6]]
    if len(uid) == 4 and uid[0] == 0x08:
        return "", 0
    return "".join(["%02x" % b for b in uid]), data[5]


class OverI2C:
    """The reader on an I2C bus."""

    def __init__(self, bus: "Any") -> None:
        self._bus = bus

    def write(self, data: bytes) -> None:
        """A frame."""
        self._bus.writeto(I2C_ADDRESS, data)

    def ready(self) -> bool:
        """Whether there is something to read. OSError if nobody answers."""
        return bool(self._bus.readfrom(I2C_ADDRESS, 1)[0] & 1)

    def read(self) -> bytes:
        """What there is, and residue after it."""
        return bytes(self._bus.readfrom(I2C_ADDRESS, _READ + 1)[1:])


def _reversed(data: bytes) -> bytes:
    out = bytearray(len(data))
    for k in range(len(data)):
        b = data[k]
        b = (b & 0x0F) << 4 | b >> 4
        b = (b & 0x33) << 2 | (b >> 2) & 0x33
        out[k] = (b & 0x55) << 1 | (b >> 1) & 0x55
    return bytes(out)


class OverSPI:
    """The reader on SPI, mode 0; it begins with the lowest bit, which an ESP32's driver cannot."""

    def __init__(self, bus: "Any", select: "Any") -> None:
        self._bus = bus
        self._select = select
        select.on()

    def _transfer(self, data: bytes) -> bytes:
        back = bytearray(len(data))
        self._select.off()
        try:
            self._bus.write_readinto(_reversed(data), back)
        finally:
            self._select.on()
        return _reversed(bytes(back))

    def write(self, data: bytes) -> None:
        """A frame."""
        self._transfer(b"\x01" + data)

    def ready(self) -> bool:
        """Whether there is something to read. OSError if the bus floats."""
        status = self._transfer(b"\x02\x00")[1]
        if status == 0xFF:
            raise OSError(19)
        return bool(status & 1)

    def read(self) -> bytes:
        """What there is, and residue after it."""
        return self._transfer(b"\x03" + bytes(_READ))[1:]


class OverUART:
    """The reader on a serial line, 115200 8N1; it sleeps until it has heard something long enough."""

    _WAKE = b"\x55\x55" + bytes(14)

    def __init__(self, uart: "Any") -> None:
        self._uart = uart
        self._heard = b""

    def write(self, data: bytes) -> None:
        """A frame."""
        while self._uart.any():
            self._uart.read(self._uart.any())
        self._heard = b""
        self._uart.write(self._WAKE + data)

    def ready(self) -> bool:
        """Whether a whole frame has come."""
        if self._uart.any():
            self._heard = (self._heard + (self._uart.read(self._uart.any()) or b""))[-4 * _READ :]
        at = self._heard.find(b"\x00\xff")
        if at < 0 or len(self._heard) < at + 4:
            return False
        return len(self._heard) >= at + (
            4 if self._heard[at + 2] == 0 else 6 + self._heard[at + 2]
        )

    def read(self) -> bytes:
        """The frame; what came behind it is kept."""
        at = self._heard.find(b"\x00\xff")
        end = at + (4 if self._heard[at + 2] == 0 else 6 + self._heard[at + 2])
        whole = self._heard[:end]
        self._heard = self._heard[end:]
        return whole


class Reader:
    """`step` often. `taps` is raised when a card has been laid down: then `card` is its number in
    hex and `text` what an
    NTAG 424 DNA holds to be read (b"" for others). `online`: the reader answers."""

    def __init__(self, bus: "Any", secure: bool = False) -> None:
        """`secure`: read the text of cards that have one, for their signature is in it."""
        self._bus = bus
        self._secure = secure
        self._todo: "list[bytes]" = []
        self._sent = b""
        self._acknowledged = False
        self._sent_at = 0
        self._next_at = 0
        self._failed = 0
        self._present = ""
        self._misses = 0
        self._coming = ""
        self._text = b""
        self.online = False
        self.card = ""
        self.text = b""
        self.taps = 0
        self.errors = 0

    def step(self, now_ms: int) -> None:
        """One short transfer, or nothing."""
        try:
            if self._sent:
                self._listen(now_ms)
            elif now_ms >= self._next_at:
                self._send(now_ms)
        except (OSError, FrameError):
            self._fail(now_ms)

    def _send(self, now_ms: int) -> None:
        if not self._todo:
            self._todo = [_SEARCH] if self.online else [_SAM, _RETRIES]
        self._sent = self._todo[0]
        self._sent_at = now_ms
        self._acknowledged = False
        self._bus.write(frame(self._sent))

    def _listen(self, now_ms: int) -> None:
        if not self._bus.ready():
            if now_ms - self._sent_at > ANSWER_MS:
                self._bus.write(ACK)  # the host's ACK ends what the reader is at
                raise FrameError("silence")
            return
        data = content(self._bus.read())
        if not data:
            self._acknowledged = True
            return
        if data[0] != self._sent[0] + 1:
            raise FrameError("length")  # an answer to something else
        self._todo.pop(0)
        sent = self._sent
        self._sent = b""
        self._failed = 0
        self._answer(sent, data, now_ms)

    def _fail(self, now_ms: int) -> None:
        self.errors += 1
        self._failed += 1
        self._sent = b""
        self._todo = []
        self._coming = ""
        self._next_at = now_ms + 20
        if self._failed >= OFFLINE_AFTER:
            self.online = False
            self._failed = 0
            self._next_at = now_ms + RETRY_MS

    def _answer(self, sent: bytes, data: bytes, now_ms: int) -> None:
        if sent == _RETRIES:
            self.online = True
        elif sent == _SEARCH:
            self._found(*target(data))
        elif sent[0] == 0x40:
            self._exchanged(sent, data)
        if not self._todo:
            if sent[0] in (0x4A, 0x40):
                self._todo = [_FIELD_OFF]
            elif sent == _FIELD_OFF:
                self._next_at = now_ms + SEARCH_EVERY_MS

    def _found(self, card: str, sel_res: int) -> None:
        if not card:
            self._misses += 1
            if self._misses >= MISSES:
                self._present = ""
            return
        self._misses = 0
        if card == self._present:
            return
        self._present = card
        if self._secure and sel_res & 0x20:
            self._coming = card
            self._text = b""
            self._todo = [_SELECT_NDEF, _SELECT_FILE, _READ_NDEF + bytes((0, _PIECE))]
        else:
            self._tap(card, b"")

    def _exchanged(self, sent: bytes, data: bytes) -> None:
        """A step of reading the card's text. A card that refuses has none."""
        if data[1:2] != b"\x00" or data[-2:] != b"\x90\x00":
            self._todo = []
            self._tap(self._coming, b"")
            return
        if sent[3] != 0xB0:
            return
        self._text += data[2:-2]
        whole = (self._text[0] << 8 | self._text[1]) + 2 if len(self._text) >= 2 else 0
        if len(data) - 4 < _PIECE or len(self._text) >= min(whole, _NDEF_MOST):
            self._todo = []
            self._tap(self._coming, self._text[2:])
        else:
            self._todo = [_READ_NDEF + bytes((len(self._text), _PIECE))]

    def _tap(self, card: str, text: bytes) -> None:
        self._coming = ""
        self.card = card
        self.text = text
        self.taps += 1
