"""The card reader and the display on a board's I2C: the reader's frames are those of libnfc's and
its users' captures."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.board import micropython
from simulator.oled import Oled
from simulator.pn532 import ACK, Card, FrameError, Pn532, Pn532Spi, content, frame, reversed_bits
from tests.simulator.running_board import RunningBoard, until

FIRMWARE = "0000FF02FED4022A00"
SAM = "0000FF05FBD4140114010200"
RETRIES_1 = "0000FF06FAD43205FF0101F400"
LIST = "0000FF04FCD44A0100E100"


def asked(reader: Pn532, request: str, at_ms: int = 0, wait_ms: int = 1000) -> tuple[str, str]:
    """(what comes first, what comes when it is ready), in hex without the I2C status byte."""
    reader.write(bytes.fromhex(request), at_ms)
    first = reader.read(7, at_ms)[1:7]
    for t in range(at_ms, at_ms + wait_ms):
        if reader.ready(t):
            raw = reader.read(128, t)
            assert raw[0] == 1
            size = raw[4] + 7
            return first.hex().upper(), raw[1 : 1 + size].hex().upper()
    return first.hex().upper(), ""


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (FIRMWARE, "0000FF06FAD50332010607E800"),
        (SAM, "0000FF02FED5151600"),
        (RETRIES_1, "0000FF02FED533F800"),
        ("0000FF03FDD45200DA00", "0000FF03FDD5532" + "7B100"),  # nothing to release
        ("0000FF02FED4FF2D00", "0000FF01FF7F8100"),  # no such command
    ],
)
def test_commands(request_: str, answer: str) -> None:
    first, then = asked(Pn532(), request_)
    assert bytes.fromhex(first) == ACK
    assert then == answer


@pytest.mark.parametrize(
    ("uid", "answer"),
    [
        ("5CBBE5D5", "0000FF0CF4D54B01010004080 45CBBE5D5FD00".replace(" ", "")),  # a real card
        ("04112233445566", "0000FF0FF1D54B010100440007041122334455662A00"),
        ("0102030405060708090A", "0000FF12EED54B01010084080A0102030405060708090A1100"),
    ],
)
def test_cards(uid: str, answer: str) -> None:
    reader = Pn532()
    reader.lay(Card(bytes.fromhex(uid)))
    assert asked(reader, LIST)[1] == answer


def test_no_card() -> None:
    reader = Pn532()
    # Without a limit of tries it searches for ever, and a new command ends that.
    assert asked(reader, LIST) == (ACK.hex().upper(), "")
    asked(reader, RETRIES_1, 2000)
    assert asked(reader, LIST, 3000)[1] == "0000FF03FDD54B00E000"


def test_wrong_frames_are_not_answered() -> None:
    reader = Pn532()
    for wrong in ("", "00", "0000FF02FDD4022A00", "0000FF02FED4022B00", "0000FF05FBD414"):
        reader.write(bytes.fromhex(wrong), 0)
        assert not reader.ready(10_000)


def test_a_host_ack_ends_the_search() -> None:
    reader = Pn532()
    reader.write(bytes.fromhex(LIST), 0)
    reader.write(ACK, 5)
    reader.lay(Card(bytes(4)))
    assert not reader.ready(1000)


def test_an_ntag_424_tells_its_message() -> None:
    reader = Pn532()
    message = bytes(range(60))
    reader.lay(Card(bytes.fromhex("04DE5F1EACC040"), message))

    def exchange(apdu: str) -> bytes:
        return content(
            bytes.fromhex(asked(reader, frame(bytes.fromhex("D44001" + apdu)).hex())[1])
        )[2:]

    assert exchange("00B0000002") == b"\x00\x6a\x82"
    assert exchange("00A4040007D276000085010100") == b"\x00\x90\x00"
    assert exchange("00A4000C02E104") == b"\x00\x90\x00"
    assert exchange("00B0000002") == b"\x00\x00\x3c\x90\x00"
    assert exchange("00B000023C") == b"\x00" + message + b"\x90\x00"


@given(st.binary(max_size=254))
def test_frames_hold_what_was_put_in(data: bytes) -> None:
    assert content(frame(data)) == data


@given(st.binary(min_size=1, max_size=100), st.integers(0, 10_000), st.integers(1, 255))
def test_a_turned_byte_is_noticed(data: bytes, at: int, turn: int) -> None:
    bad = bytearray(frame(data))
    # Bytes between the start and the postamble.
    k = 3 + at % (len(bad) - 4)
    bad[k] ^= turn
    with pytest.raises(FrameError):
        content(bytes(bad))


@pytest.mark.parametrize("lsb_first", [True, False])
def test_the_same_over_spi_in_either_bit_order(lsb_first: bool) -> None:
    spi = Pn532Spi(Pn532())

    def turned(data: bytes) -> bytes:
        return data if lsb_first else reversed_bits(data)

    def talk(out: bytes, t: int) -> bytes:
        spi.select(True, t)
        back = spi.transfer(turned(out), t, lsb_first=lsb_first)
        spi.select(False, t)
        return turned(back)

    talk(b"\x01" + bytes.fromhex(FIRMWARE), 0)
    assert talk(b"\x02\x00", 0)[1] == 1
    assert talk(b"\x03" + bytes(6), 0)[1:] == ACK
    assert talk(b"\x02\x00", 1)[1] == 0
    assert talk(b"\x03" + bytes(13), 5)[1:] == bytes.fromhex("0000FF06FAD50332010607E800")


READER = """
import time
from machine import I2C, Pin
bus = I2C(0, scl=Pin(22), sda=Pin(21), freq=100_000)
def ask(hex):
    bus.writeto(0x24, bytes.fromhex(hex))
    for _ in range(3):
        for _ in range(100):
            if bus.readfrom(0x24, 1)[0]: break
            time.sleep_ms(2)
        raw = bus.readfrom(0x24, 32)[1:]
        if raw[3]: break
    print("got", raw[:raw[3] + 7].hex())
ask("0000FF02FED4022A00")
ask("0000FF06FAD43205FF0101F400")
while True:
    ask("0000FF04FCD44A0100E100")
    time.sleep_ms(100)
"""


@pytest.mark.board
def test_a_card_laid_on_the_bench_is_read(tmp_path: Path) -> None:
    with RunningBoard(tmp_path, READER, config={"id": "c", "nfc": "i2c"}) as board:
        board.said("got 0000ff06fad50332010607e800")
        board.said("got 0000ff03fdd54b00e000")
        board.put(card="5CBBE5D5")
        board.said("got 0000ff0cf4d54b0101000408045cbbe5d5fd00")
        board.put(reader=False)
        board.said("OSError")


SERIAL_READER = """
import time
from machine import UART, Pin
uart = UART(1, baudrate=115200, tx=Pin(18), rx=Pin(19), timeout=20)
deaf = UART(2, baudrate=9600, tx=Pin(18), rx=Pin(19), timeout=20)
def ask(hex):
    uart.write(bytes.fromhex(hex))
    time.sleep_ms(60)
    got = uart.read() or b""
    print("got", got.hex())
ask("0000FF02FED4022A00")
ask("5555" + "00" * 14 + "0000FF02FED4022A00")
while True:
    ask("0000FF04FCD44A0100E100")
"""


@pytest.mark.board
def test_the_reader_on_a_serial_line_wants_to_be_woken(tmp_path: Path) -> None:
    with RunningBoard(tmp_path, SERIAL_READER, config={"id": "c", "nfc": "uart"}) as board:
        board.said("got 0000ff00ff000000ff06fad50332010607e800")
        assert board.printed[0] == "got"
        board.put(card="04112233445566")
        board.said("0000ff0ff1d54b010100440007041122334455662a00")


SCREEN = """
import ssd1306
from machine import Pin, SoftI2C
oled = ssd1306.SSD1306_I2C(128, 64, SoftI2C(scl=Pin(5), sda=Pin(4)))
oled.fill(0)
oled.text("16 A", 0, 0)
oled.fill_rect(0, 56, 128, 8, 1)
oled.show()
print("shown")
"""


@pytest.mark.board
@pytest.mark.skipif(not micropython(), reason="CPython has no framebuf")
def test_the_display_shows_what_was_drawn(tmp_path: Path) -> None:
    with RunningBoard(tmp_path, SCREEN, "energy_meter", oled=True) as board:
        board.said("shown")
        board.put(screen=True)
        rows = until(
            lambda: next((x["screen"] for x in board.lines if "screen" in x), None), 5, "a screen"
        )
        assert rows[60] == "#" * 128
        assert rows[30] == " " * 128
        # Four characters of 8 x 8 dots, and nothing beside them.
        assert all(any("#" in row[k : k + 8] for row in rows[:8]) for k in (0, 8, 24))
        assert {row[32:] for row in rows[:8]} == {" " * 96}


def test_a_display_that_is_off_shows_nothing() -> None:
    screen = Oled()
    screen.write(b"\x40" + b"\xff" * 1024)
    assert set(screen.rows()) == {" " * 128}
    screen.write(b"\x80\xaf")
    assert set(screen.rows()) == {"#" * 128}
    screen.write(b"\x00\xa7")
    assert set(screen.rows()) == {" " * 128}
    assert screen.png().startswith(b"\x89PNG")
