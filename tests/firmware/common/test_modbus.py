"""Modbus-RTU framing: checksums, and finding an answer in whatever the line brought."""

from firmware.common import modbus
from firmware.common.modbus import Bus, ModbusError, crc16, find_reply, frame

# Published requests and answers of the PZEM-004T v3 (datasheet examples and drivers' captures).
FRAMES = (
    "01040000000a700d",
    "02040000000a703e",
    "03040000000a71ef",
    "f8040000000a6464",
    "f8040000000125a3",
    "010400000009300c",
    "0106000108fcdf8b",
    "010600020005e809",
    "f80600020001fda3",
    "01030001000295cb",
    "01030459d80001a954",
    "f8030002000131a3",
    "01428011",
    "024280e1",
    "03428171",
    "f842c241",
    "00428181",
    "018402c2c1",
    "0186030261",
    "018302c0f1",
    "01c201b0a0",
    "f8c103e1a0",
    "f8413721b778",
)
READING = bytes.fromhex("01041408d1006c000000f400000026000001f4006400005134")
HEAD = bytes((1, 4, 20))


class Wire:
    """A UART whose other end is this test."""

    def __init__(self):
        self.waiting = b""
        self.sent = b""

    def any(self):
        return len(self.waiting)

    def read(self, size):
        part, self.waiting = self.waiting[:size], self.waiting[size:]
        return part or None

    def write(self, data):
        self.sent += data


def raised(call, *args):
    try:
        call(*args)
    except ModbusError as e:
        return e
    return None


def test_every_published_frame_carries_its_checksum():
    for text in FRAMES:
        whole = bytes.fromhex(text)
        assert crc16(whole) == 0, text
        assert frame(whole[:-2]) == whole, text


def test_one_altered_bit_is_noticed_wherever_it_is():
    for at in range(8 * len(READING)):
        bad = bytearray(READING)
        bad[at // 8] ^= 1 << at % 8
        assert crc16(bad) != 0, at


def test_an_answer_is_found_behind_noise_and_before_it():
    for noise in (b"", b"\x00", b"\xff\x01", b"\x01\x04", b"\x01\x04\x14", bytes(30)):
        assert find_reply(noise + READING + noise, HEAD, 25) == READING, noise


def test_an_answer_is_not_found_before_it_is_whole():
    for size in range(len(READING)):
        assert find_reply(READING[:size], HEAD, 25) is None, size


def test_what_is_not_the_answer_is_stepped_over():
    other = frame(b"\x02" + READING[1:-2])
    shorter = frame(b"\x01\x04\x12" + bytes(18))
    echo = bytes.fromhex("01040000000a700d")
    for wrong in (other, shorter, echo):
        assert find_reply(wrong, HEAD, 25) is None
        assert find_reply(wrong + READING, HEAD, 25) == READING


def test_a_refusal_names_its_number():
    for number in (1, 2, 3, 4):
        e = raised(find_reply, b"\x55" + frame(bytes((1, 0x84, number))), HEAD, 25)
        assert e is not None
        assert (e.what, e.number) == ("exception", number)
    assert find_reply(bytes.fromhex("018402c2c0"), HEAD, 25) is None  # its checksum is wrong
    assert find_reply(bytes.fromhex("028402c284"), HEAD, 25) is None  # somebody else's


def test_asked_at_the_general_address_anybody_may_answer():
    answer = frame(bytes((7, 3, 2, 0, 7)))
    assert find_reply(answer, bytes((modbus.GENERAL, 3, 2)), 7) == answer


def test_a_bus_throws_away_what_was_there_before_the_question():
    wire = Wire()
    bus = Bus(wire, 250)
    wire.waiting = READING
    bus.ask(READING[:6], HEAD, 25, 1000)
    assert bus.answer(1001) is None
    wire.waiting = READING[:10]
    assert bus.answer(1020) is None
    wire.waiting = READING[10:]
    assert bus.answer(1040) == READING
    assert not bus.waiting
    assert not bus.quiet(1042)
    assert bus.quiet(1045)  # 3.5 characters at 9600 baud are 3.65 ms


def test_what_did_not_come_is_named():
    for heard, what in (
        (b"", "silence"),
        (READING[:12], "cut"),
        (READING[:-1] + b"\x00", "crc"),
    ):
        wire = Wire()
        bus = Bus(wire, 250)
        bus.ask(READING[:6], HEAD, 25, 0)
        wire.waiting = heard
        assert bus.answer(249) is None
        e = raised(bus.answer, 250)
        assert e is not None
        assert e.what == what
        assert not bus.waiting


def test_endless_noise_fills_no_memory():
    wire = Wire()
    bus = Bus(wire, 250)
    bus.ask(READING[:6], HEAD, 25, 0)
    for _ in range(50):
        wire.waiting = b"\x01\x04\x55" * 20
        assert bus.answer(100) is None
    assert len(bus._heard) <= 160
    wire.waiting = READING
    assert bus.answer(101) == READING
