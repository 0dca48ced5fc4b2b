"""A PN532 card reader and the card that lies on it, as a charger's I2C or SPI sees them. Pure.

    reader = Pn532()
    reader.write(frame, now_ms)     # what the host sends, without the bus' own first byte
    reader.read(size, now_ms)       # what it reads: nothing ready, the ACK, then the answer
    reader.lay(Card(bytes.fromhex("04A1B2C3D4E5F6")))   # None lifts it

Frames as in NXP's user manual (00 00 FF LEN LCS TFI ... DCS 00). A command is acknowledged at
once and answered after its time: 2 ms, a search for a card 8 ms a try. InListPassiveTarget
without RFConfiguration's limit of tries never answers while no card is there. A new command or an
ACK from the host ends the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

ACK = bytes.fromhex("0000FF00FF00")
ERROR = bytes.fromhex("0000FF01FF7F8100")
I2C_ADDRESS = 0x24
_QUICK_MS = 2
_TRY_MS = 8
_SELECT_NDEF = bytes.fromhex("00A4040007D276000085010100")
_SELECT_FILE = bytes.fromhex("00A4000C02E104")


class FrameError(ValueError):
    """Not a PN532 frame: what is wrong with it."""


def frame(data: bytes) -> bytes:
    """A normal information frame around TFI and data (255 bytes at most)."""
    size = len(data)
    return bytes((0, 0, 0xFF, size, -size & 0xFF)) + data + bytes((-sum(data) & 0xFF, 0))


def content(raw: bytes) -> bytes:
    """TFI and data of a frame. FrameError if its sums do not fit."""
    at = raw.find(b"\x00\xff")
    if at < 0 or len(raw) < at + 4:
        raise FrameError("no start")
    size, check = raw[at + 2], raw[at + 3]
    if (size + check) & 0xFF:
        raise FrameError("the length's sum is wrong")
    data = raw[at + 4 : at + 4 + size]
    if len(data) < size or len(raw) < at + 5 + size:
        raise FrameError("cut short")
    if (sum(data) + raw[at + 4 + size]) & 0xFF:
        raise FrameError("the data's sum is wrong")
    return data


@dataclass(frozen=True)
class Card:
    """A card of 4 (MIFARE Classic), 7 (NTAG) or 10 bytes of UID; with `ndef`, an NTAG 424 DNA."""

    uid: bytes
    ndef: bytes = b""

    @property
    def target(self) -> bytes:
        """SENS_RES, SEL_RES, UID and, of ISO 14443-4 cards, the ATS."""
        sens = {4: b"\x00\x04", 7: b"\x00\x44", 10: b"\x00\x84"}[len(self.uid)]
        sel = 0x20 if self.ndef else {4: 0x08, 7: 0x00, 10: 0x08}[len(self.uid)]
        if self.ndef:
            sens = b"\x03\x44"
        ats = bytes.fromhex("067577810280") if self.ndef else b""
        return sens + bytes((sel, len(self.uid))) + self.uid + ats


class Pn532:
    """The reader. `dead`: it says nothing at all."""

    def __init__(self) -> None:
        self.dead = False
        self.commands: list[int] = []  # every command code taken, for tests
        self._card: Card | None = None
        self._tries = 0xFF  # for ever, as after a reset
        self._out: list[tuple[int, bytes]] = []  # (ready at, frame)
        self._searching = False
        self._file = False
        self._on_field: bytes | None = None

    def lay(self, card: Card | None) -> None:
        """Lay a card on the reader; None lifts it."""
        self._card = card
        self._file = False

    def write(self, raw: bytes, now_ms: int) -> None:
        """A frame from the host."""
        if self.dead:
            return
        self._out.clear()
        self._searching = False
        if raw.endswith(ACK) or raw == ACK:
            return
        try:
            data = content(raw)
        except FrameError:
            return  # the chip asks for nothing again: the host's time-out does
        if data[:1] != b"\xd4" or len(data) < 2:
            self._out = [(now_ms, ACK), (now_ms + _QUICK_MS, ERROR)]
            return
        self._out.append((now_ms, ACK))
        self.commands.append(data[1])
        self._obey(data[1], data[2:], now_ms)

    def _reply(self, command: int, data: bytes, at_ms: int) -> None:
        self._out.append((at_ms, frame(bytes((0xD5, command + 1)) + data)))

    def _obey(self, command: int, data: bytes, now_ms: int) -> None:
        soon = now_ms + _QUICK_MS
        if command == 0x02:
            self._reply(command, bytes.fromhex("32010607"), soon)
        elif command == 0x00:
            self._reply(command, data, soon)
        elif command == 0x32:
            if data[:1] == b"\x05" and len(data) >= 4:
                self._tries = data[3]
            self._reply(command, b"", soon)
        elif command in {0x14, 0x12}:
            self._reply(command, b"", soon)
        elif command == 0x4A:
            self._searching = True
            self._began = now_ms
        elif command == 0x40:
            self._reply(command, self._exchange(data[1:]), soon + 5)
        elif command in {0x52, 0x44}:
            self._reply(command, b"\x00" if self._card else b"\x27", soon)
        elif command == 0x16:
            self._reply(command, b"\x00", soon)
        else:
            self._out.append((soon, ERROR))

    def _exchange(self, apdu: bytes) -> bytes:
        card = self._card
        if card is None:
            return b"\x01"  # time-out
        if not card.ndef:
            return b"\x14" if apdu[:1] in {b"\x60", b"\x61"} else b"\x01"
        if apdu.startswith(_SELECT_NDEF[:12]):
            self._file = False
            return b"\x00\x90\x00"
        if apdu.startswith(_SELECT_FILE):
            self._file = True
            return b"\x00\x90\x00"
        if apdu[:2] == b"\x00\xb0" and self._file and len(apdu) >= 5:
            held = len(card.ndef).to_bytes(2, "big") + card.ndef
            at = int.from_bytes(apdu[2:4], "big")
            size = apdu[4] or 256
            if at > len(held):
                return b"\x00\x6b\x00"
            return b"\x00" + held[at : at + size] + b"\x90\x00"
        return b"\x00\x6a\x82"

    def _search(self, now_ms: int) -> None:
        passed = now_ms - self._began
        if self._card is not None and passed >= _TRY_MS:
            self._searching = False
            self._reply(0x4A, b"\x01\x01" + self._card.target, now_ms)
        elif self._tries != 0xFF and passed >= _TRY_MS * (self._tries + 1):
            self._searching = False
            self._reply(0x4A, b"\x00", now_ms)

    @property
    def busy(self) -> bool:
        """Will there be something to read, sooner or later?"""
        return self._searching or bool(self._out)

    def ready(self, now_ms: int) -> bool:
        """Is there something to read?"""
        if self.dead:
            return False
        if self._searching:
            self._search(now_ms)
        return bool(self._out) and self._out[0][0] <= now_ms

    def read(self, size: int, now_ms: int) -> bytes:
        """On I2C: a status byte, 1 when the rest is a frame. What follows it is residue."""
        if not self.ready(now_ms) or size < 1:
            return bytes(size)
        if size == 1:
            return b"\x01"
        found = b"\x01" + self._out.pop(0)[1]
        return (found + b"\x80" * size)[:size]


class Pn532Serial:
    """The same chip on a serial line: asleep until it has heard 0x55 and a while of nothing."""

    def __init__(self, reader: Pn532) -> None:
        self._reader = reader
        self._heard = b""
        self._awake = False

    def heard(self, data: bytes, now_ms: int) -> None:
        """Bytes from the line, in any pieces."""
        self._heard = (self._heard + data)[-600:]
        if b"\x55" in self._heard:
            self._awake = True
        at = self._heard.find(b"\x00\xff")
        if at < 0 or len(self._heard) < at + 4:
            return
        size = self._heard[at + 2]
        # An ACK has no data and no sum of it.
        end = at + 5 if size in {0, 0xFF} else at + 6 + size
        if len(self._heard) < end:
            return
        whole, self._heard = self._heard[:end], self._heard[end:]
        if self._awake:
            self._reader.write(ACK if whole.endswith(ACK) else whole, now_ms)

    def says(self, now_ms: int) -> bytes:
        """What goes out by now."""
        out = b""
        while self._reader.ready(now_ms):
            raw = self._reader.read(300, now_ms)[1:]
            out += raw[:6] if raw.startswith(ACK) else raw[: raw[3] + 7]
        return out


def reversed_bits(data: bytes) -> bytes:
    """Each byte's bits the other way round: the chip's SPI begins with the lowest."""
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


class Pn532Spi:
    """The same chip behind SPI: the first byte after selecting it says what follows."""

    def __init__(self, reader: Pn532) -> None:
        self._reader = reader
        self._selected = False
        self._taken = b""
        self._answer = b""

    def select(self, low: bool, now_ms: int) -> None:
        """Chip select; low is selected."""
        if not low and self._selected and self._taken[:1] == b"\x01":
            self._reader.write(self._taken[1:], now_ms)
        self._selected, self._taken, self._answer = low, b"", b""

    def transfer(self, out: bytes, now_ms: int, *, lsb_first: bool) -> bytes:
        """Bytes both ways, as the host's controller has them."""
        if not lsb_first:
            out = reversed_bits(out)
        back = b""
        for byte in out:
            first = not self._taken
            self._taken += bytes((byte,))
            if first:
                back += b"\x00"
                if byte == 3:
                    self._answer = self._reader.read(256, now_ms)[1:]
                elif byte == 2:
                    self._answer = bytes((int(self._reader.ready(now_ms)),)) * 8
                continue
            back += self._answer[:1] or b"\x00"
            self._answer = self._answer[1:]
        return back if lsb_first else reversed_bits(back)
