"""The card reader's frames, byte for byte as published, and a reader that lies, stammers and dies."""

from firmware.charger import pn532
from firmware.charger.pn532 import FrameError, Reader, content, frame, target
from tests.shared.test_protocol import Dice


def h(text):
    return bytes.fromhex(text.replace(" ", ""))


# NXP UM0701-02, libnfc and adafruit_pn532: command and its frame.
FRAMES = (
    ("02", "00 00 FF 02 FE D4 02 2A 00"),
    ("14 01 14 01", "00 00 FF 05 FB D4 14 01 14 01 02 00"),
    ("32 05 FF 01 01", "00 00 FF 06 FA D4 32 05 FF 01 01 F4 00"),
    ("32 01 00", "00 00 FF 04 FC D4 32 01 00 F9 00"),
    ("4A 01 00", "00 00 FF 04 FC D4 4A 01 00 E1 00"),
    ("40 01 00 A4 04 00 07 D2 76 00 00 85 01 01 00",
     "00 00 FF 10 F0 D4 40 01 00 A4 04 00 07 D2 76 00 00 85 01 01 00 6D 00"),
)  # fmt: skip
# A search's answer, number and SEL_RES.
TARGETS = (
    ("00 00 FF 03 FD D5 4B 00 E0 00", "", 0),
    ("00 00 FF 0C F4 D5 4B 01 01 00 04 08 04 5C BB E5 D5 FD 00", "5cbbe5d5", 0x08),
    ("00 00 FF 0C F4 D5 4B 01 01 00 04 08 04 D0 BB E1 1A 48 00", "d0bbe11a", 0x08),
    (
        "00 00 FF 1C E4 D5 4B 01 01 00 04 28 04 FD E6 08 99 10 78 80 90 02 20 90 00 00 00 00 00 FD E6 08 99 5C 00",
        "fde60899",
        0x28,
    ),
    ("00 00 FF 0F F1 D5 4B 01 01 00 44 00 07 04 11 22 33 44 55 66 2A 00", "04112233445566", 0x00),
    (
        "00 00 FF 15 EB D5 4B 01 01 03 44 20 07 04 3B 0F 1A 89 31 80 06 75 77 81 02 80 D9 00",
        "043b0f1a893180",
        0x20,
    ),
    (
        "00 00 FF 12 EE D5 4B 01 01 00 84 08 0A 01 02 03 04 05 06 07 08 09 0A 11 00",
        "0102030405060708090a",
        0x08,
    ),
)


def fails(call, *args):
    try:
        call(*args)
    except FrameError:
        return True
    return False


def test_frames_to_the_reader():
    for command, whole in FRAMES:
        assert frame(h(command)) == h(whole), command


def test_cards():
    for whole, card, sel_res in TARGETS:
        assert target(content(h(whole))) == (card, sel_res), card
        assert target(content(h(whole) + b"\x80" * 20)) == (
            card,
            sel_res,
        )  # residue of a longer frame
        assert target(content(b"\x00" * 3 + h(whole))) == (card, sel_res)


def test_a_telephones_number_is_no_card():
    answer = content(frame_from_reader(h("4B 01 01 00 04 20 04 08 12 34 56")))
    assert target(answer) == ("", 0)


def frame_from_reader(data):
    total = 0xD5
    for b in data:
        total += b
    size = len(data) + 1
    return bytes((0, 0, 0xFF, size, -size & 0xFF, 0xD5)) + data + bytes((-total & 0xFF, 0))


def test_acknowledgement_and_error():
    assert content(pn532.ACK) == b""
    assert fails(content, h("00 00 FF 01 FF 7F 81 00"))


def test_every_altered_byte_is_seen_or_harmless():
    for whole, card, _ in TARGETS:
        raw = h(whole)
        for at in range(len(raw)):
            for bit in range(8):
                bent = bytearray(raw)
                bent[at] ^= 1 << bit
                try:
                    got = target(content(bytes(bent)))[0]
                except FrameError:
                    continue
                assert got == card, (whole, at, bit)
        for cut in range(len(raw) - 1):
            assert fails(lambda r: target(content(r)), raw[:cut])


def test_noise_is_never_a_card():
    dice = Dice(9)
    for _ in range(3000):
        raw = bytes([dice.roll(256) for _ in range(dice.roll(70))])
        try:
            assert target(content(raw)) == ("", 0)
        except FrameError:
            pass


class Bus:
    """Answers like a reader; `wrong` says how often, in 100, it does something it should not."""

    def __init__(self, dice, wrong=0):
        self.dice, self.wrong = dice, wrong
        self.card = None
        self.dead = False
        self.out = []

    def write(self, data):
        if self.dead:
            raise OSError(19)
        self.out = [pn532.ACK]
        code = data[6:7]
        if code == b"\x4a":
            answer = (
                b"\x4b\x00" if self.card is None else b"\x4b\x01\x01\x00\x44\x00\x07" + self.card
            )
        else:
            answer = bytes((code[0] + 1,)) if code else b""
        self.out.append(frame_from_reader(answer))

    def ready(self):
        if self.dead:
            raise OSError(19)
        return bool(self.out) and self.dice.roll(3) > 0

    def read(self):
        data = self.out.pop(0)
        if self.dice.roll(100) < self.wrong:
            what = self.dice.roll(4)
            if what == 0:
                raise OSError(110)
            if what == 1:
                return data[: self.dice.roll(len(data))]
            if what == 2:
                bent = bytearray(data)
                bent[self.dice.roll(len(bent))] ^= 1 << self.dice.roll(8)
                return bytes(bent)
            self.out = []
            return bytes([self.dice.roll(256) for _ in range(40)])
        return data + b"\x80" * 10


def run(reader, now, ms, until=None):
    end = now + ms
    while now < end:
        now += 20
        reader.step(now)
        if until is not None and until():
            break
    return now


CARD = h("04 A1 B2 C3 D4 E5 F6")


def test_a_card_is_one_tap_until_it_is_taken_away():
    bus = Bus(Dice(1))
    reader = Reader(bus)
    now = run(reader, 0, 3000)
    assert reader.online
    assert reader.taps == 0
    bus.card = CARD
    now = run(reader, now, 1500, lambda: reader.taps == 1)
    assert reader.card == "04a1b2c3d4e5f6"
    now = run(reader, now, 20_000)
    assert reader.taps == 1
    bus.card = None
    now = run(reader, now, 3000)
    bus.card = CARD
    run(reader, now, 1500)
    assert reader.taps == 2


def test_a_reader_that_answers_wrongly_is_survived():
    for wrong in (5, 30, 90):
        bus = Bus(Dice(wrong), wrong)
        reader = Reader(bus)
        now = run(reader, 0, 60_000)
        assert reader.errors > 0
        bus.wrong = 0
        now = run(reader, now, 10_000)
        assert reader.online
        taps = reader.taps
        assert taps == 0  # whatever it said, it was no card
        bus.card = CARD
        run(reader, now, 2000)
        assert reader.taps == taps + 1


def test_a_dead_reader_is_known_and_tried_again():
    bus = Bus(Dice(3))
    reader = Reader(bus)
    now = run(reader, 0, 2000)
    bus.dead = True
    now = run(reader, now, 3000)
    assert not reader.online
    bus.dead = False
    now = run(reader, now, 6000)
    assert reader.online
    bus.card = CARD
    run(reader, now, 2000)
    assert reader.taps == 1


def test_a_reader_that_falls_silent():
    bus = Bus(Dice(4))
    reader = Reader(bus)
    now = run(reader, 0, 2000)
    bus.ready = lambda: False
    now = run(reader, now, 3000)
    assert not reader.online
    del bus.ready
    run(reader, now, 7000)
    assert reader.online


class FakeSPI:
    """What a PN532 does on SPI, bit order and all, seen by a master that sends the highest bit first."""

    def __init__(self, answers):
        self.answers = answers
        self.written = []

    def write_readinto(self, out, into):
        out = pn532._reversed(out)
        back = bytearray(len(into))
        if out[0] == 1:
            self.written.append(bytes(out[1:]))
        elif out[0] == 2:
            back[1] = 1 if self.answers else 0
        elif out[0] == 3:
            data = self.answers.pop(0)
            back[1 : 1 + len(data)] = data
        into[:] = pn532._reversed(bytes(back))


class FakePin:
    def on(self):
        pass

    def off(self):
        pass


def test_spi_sends_the_lowest_bit_first():
    spi = FakeSPI([pn532.ACK, frame_from_reader(h("15"))])
    bus = pn532.OverSPI(spi, FakePin())
    bus.write(frame(h("14 01 14 01")))
    assert spi.written == [h("00 00 FF 05 FB D4 14 01 14 01 02 00")]
    assert bus.ready()
    assert content(bus.read()) == b""
    assert content(bus.read()) == b"\x15"
    assert not bus.ready()


class FakeUART:
    def __init__(self):
        self.heard = b""
        self.sent = b""

    def any(self):
        return len(self.heard)

    def read(self, size):
        got, self.heard = self.heard[:size], self.heard[size:]
        return got

    def write(self, data):
        self.sent += data


def test_uart_wakes_the_reader_and_takes_frames_in_pieces():
    uart = FakeUART()
    bus = pn532.OverUART(uart)
    bus.write(frame(h("02")))
    assert uart.sent[:16] == b"\x55\x55" + bytes(14)
    whole = pn532.ACK + h("00 00 FF 06 FA D5 03 32 01 06 07 E8 00")
    got = []
    for b in whole:
        uart.heard += bytes((b,))
        if bus.ready():
            got.append(content(bus.read()))
    assert got == [b"", h("03 32 01 06 07")]


BYTE_US_I2C = 23  # nine bits at 400 kHz
BYTE_US_SPI = 8  # at 1 MHz
UART_FIFO = 128  # bytes an ESP32 takes without waiting for the line
LONGEST_US = 5_000


class OnI2C:
    """A reader behind I2C; `us` is for how long the bus was busy."""

    def __init__(self, chip):
        self.chip = chip
        self.us = 0

    def writeto(self, _address, data):
        self.us += BYTE_US_I2C * (len(data) + 1)
        self.chip.write(data)

    def readfrom(self, _address, size):
        self.us += BYTE_US_I2C * (size + 1)
        if size == 1:
            return bytes((1 if self.chip.ready() else 0,))
        return (b"\x01" + self.chip.read() + bytes(size))[:size]


class OnSPI:
    """The same behind SPI."""

    def __init__(self, chip):
        self.chip = chip
        self.us = 0

    def write_readinto(self, out, into):
        self.us += BYTE_US_SPI * len(out)
        out = pn532._reversed(out)
        back = bytearray(len(into))
        if out[0] == 1:
            self.chip.write(out[1:])
        elif out[0] == 2:
            back[1] = 1 if self.chip.ready() else 0
        else:
            data = self.chip.read()[: len(back) - 1]
            back[1 : 1 + len(data)] = data
        into[:] = pn532._reversed(bytes(back))


class OnUART:
    """The same behind a serial line, whose driver takes and gives without waiting."""

    def __init__(self, chip):
        self.chip = chip
        self.us = 0
        self.line = b""

    def write(self, data):
        assert len(data) <= UART_FIFO
        at = data.find(b"\x00\x00\xff")
        self.chip.write(data[at:])

    def any(self):
        if not self.line and self.chip.ready():
            self.line = self.chip.read()
        return len(self.line)

    def read(self, size):
        got, self.line = self.line[:size], self.line[size:]
        return got


def test_no_step_holds_the_safety_lane_up_for_five_milliseconds():
    for wrong in (0, 20):
        for wire in (OnI2C, OnSPI, OnUART):
            chip = Bus(Dice(6), wrong)
            line = wire(chip)
            if wire is OnI2C:
                bus = pn532.OverI2C(line)
            elif wire is OnSPI:
                bus = pn532.OverSPI(line, FakePin())
            else:
                bus = pn532.OverUART(line)
            reader = Reader(bus, True)
            longest = now = 0
            while now < 40_000:
                now += 20
                chip.card = CARD if now // 5000 % 2 else None
                line.us = 0
                reader.step(now)
                longest = max(longest, line.us)
            assert longest <= LONGEST_US, (wire, longest)
            assert wrong or reader.taps == 4, (wire, reader.taps)
