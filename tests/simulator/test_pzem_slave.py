"""The PZEM on pymodbus: the data sheet's frames, another master's view, pacing, and its faults."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import minimalmodbus
import pytest

from simulator.pzem_slave import FAULTS, LineThread, Pzem

READ_ALL = "01040000000A700D"


@pytest.fixture
def pzem() -> Pzem:
    return Pzem(1, update_s=0)


@pytest.fixture
def line(pzem: Pzem) -> Iterator[LineThread]:
    with LineThread([pzem], paced=False) as line:
        yield line


def ask(line: LineThread, request: str, wait_s: float = 0.3) -> str:
    """Send a frame, in hex, and collect what comes until the line is silent for 50 ms."""
    fd = os.open(line.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(fd, bytes.fromhex(request))
        got, patience = b"", wait_s
        while select.select([fd], [], [], patience)[0]:
            got += os.read(fd, 256)
            patience = 0.1
        return got.hex().upper()
    finally:
        os.close(fd)


# What the data sheet, drivers' test data and real captures agree on; CRCs checked by hand.
READINGS = [
    ({"voltage_dv": 2200, "current_ma": 1000, "power_dw": 2200, "freq_dhz": 500, "pf_pct": 100}, 0,
     "0104140898 03E80000 08980000 00000000 01F4 0064 0000 63CE"),
    ({"voltage_dv": 2257, "current_ma": 108, "power_dw": 244, "freq_dhz": 500, "pf_pct": 100}, 38,
     "01041408D1 006C0000 00F40000 00260000 01F4 0064 0000 5134"),
    ({"voltage_dv": 2305, "current_ma": 32_000, "power_dw": 73_602, "freq_dhz": 500, "pf_pct": 99}, 12_345,
     "0104140901 7D000000 1F820001 30390000 01F4 0063 FFFF 6135"),
    ({"voltage_dv": 2305, "current_ma": 70_000, "power_dw": 159_737, "freq_dhz": 500, "pf_pct": 99}, 1_234_567,
     "0104140901 11700001 6FF90002 D6870012 01F4 0063 0000 2DB3"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "wh", "frame"), READINGS)
def test_readings(
    line: LineThread, pzem: Pzem, values: dict[str, int], wh: int, frame: str
) -> None:
    pzem.alarm_w = 7000 if wh == 12_345 else 25_000
    pzem.set(**values)
    pzem.energy_wh = wh
    assert ask(line, READ_ALL) == frame.replace(" ", "")


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("010300010002 95CB", "01030459D80001A954"),  # alarm threshold 23,000 W and address 1
        ("0106000108FC DF8B", "0106000108FCDF8B"),  # alarm at 2300 W, echoed
        ("01428011", "01428011"),  # energy to zero
        ("F842C241", "F842C241"),
        ("00428181", ""),  # to all: nobody answers
        ("02040000000A703E", ""),  # somebody else
        ("F8413721B778", None),  # calibration takes seconds
        ("01060002000588 09", ""),  # a wrong CRC
    ],
)
def test_other_functions(line: LineThread, request_: str, answer: str | None) -> None:
    if answer is None:
        began = time.monotonic()
        assert ask(line, request_, 6) == request_
        assert time.monotonic() - began > 3
    else:
        assert ask(line, request_) == answer


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("0104000A0001", 2),  # register 10 does not exist
        ("010400090002", 2),
        ("010300000001", 2),
        ("010300020002", 2),
        ("010600020000", 3),  # an address that cannot be
        ("0106000200F8", 3),
        ("010600030001", 2),
        ("010100000001", 1),  # coils
        ("011000010001020001", 1),
        ("0155", 1),
    ],
)
def test_exceptions(line: LineThread, body: str, code: int) -> None:
    answer = bytes.fromhex(ask(line, body + crc(body)))
    assert answer[:3] == bytes((1, int(body[2:4], 16) | 0x80, code))
    assert answer[-2:].hex().upper() == crc(answer[:-2].hex())


def crc(body: str) -> str:
    """CRC-16/Modbus, low byte first, worked out bit by bit."""
    value = 0xFFFF
    for byte in bytes.fromhex(body):
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little").hex().upper()


def test_another_master_reads_and_writes(line: LineThread, pzem: Pzem) -> None:
    pzem.set(voltage_dv=2311, current_ma=70_123, pf_pct=95)
    pzem.energy_wh = 70_000
    master = minimalmodbus.Instrument(line.path, 1)
    master.serial.baudrate = 9600
    master.serial.timeout = 0.3
    registers = master.read_registers(0, 10, functioncode=4)
    assert registers[0] == 2311
    assert registers[1] | registers[2] << 16 == 70_123
    assert registers[3] | registers[4] << 16 == round(2311 * 70_123 * 95 / 100_000)
    assert registers[5] | registers[6] << 16 == 70_000
    assert registers[7:9] == [500, 95]
    master.write_register(2, 7, functioncode=6)
    with pytest.raises(minimalmodbus.NoResponseError):
        master.read_register(0, functioncode=4)
    master.address = 7
    assert master.read_register(0, functioncode=4) == 2311
    with pytest.raises(minimalmodbus.IllegalRequestError):
        master.read_register(99, functioncode=4)
    master.serial.close()


def test_bytes_take_their_time_on_the_line(pzem: Pzem) -> None:
    with LineThread([pzem], chunk=1) as line:
        began = time.monotonic()
        ask(line, READ_ALL)
        # 8 bytes there, 35 ms of thought, 25 bytes back.
        assert time.monotonic() - began > 0.0083 + 0.035 + 0.026
        assert line.log[-1].right


def test_three_on_one_line() -> None:
    pzems = [Pzem(n, update_s=0) for n in (1, 2, 3)]
    for n, pzem in enumerate(pzems):
        pzem.set(voltage_dv=2300 + n)
    with LineThread(pzems, paced=False) as line:
        for n in (1, 2, 3):
            body = f"0{n}0400000001"
            assert ask(line, body + crc(body))[6:10] == f"{2299 + n:04X}"
        # At the general address all three speak at once.
        assert not crc_fits(ask(line, "F8040000000A6464"))
        assert not line.log[-1].right


def crc_fits(frame: str) -> bool:
    return len(frame) >= 8 and crc(frame[:-4]) == frame[-4:]


def test_two_with_one_address_are_refused() -> None:
    with pytest.raises(ValueError, match="one address"):
        LineThread([Pzem(1), Pzem(1)])
    with pytest.raises(ValueError, match="1 to 247"):
        Pzem(248)


def test_dead_mains_mean_silence(line: LineThread, pzem: Pzem) -> None:
    pzem.powered = False
    assert ask(line, READ_ALL, 0.1) == ""


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_what_they_say(line: LineThread, pzem: Pzem, fault: str) -> None:
    pzem.set(voltage_dv=2300, current_ma=10_000)
    good = ask(line, READ_ALL)
    pzem.set(voltage_dv=2299)
    line.fault_next(fault)
    began = time.monotonic()
    got = ask(line, READ_ALL, 0.7)
    took = time.monotonic() - began
    whole = crc_fits(got)
    assert {
        "crc": len(got) == 50 and not whole,
        "cut": 0 < len(got) < 50,
        "split": took > 0.05,
        "late": whole and took > 0.4,
        "silence": got == "",
        "noise": len(got) > 50 and not whole,
        "exception": whole and got.startswith("018404"),
        "other": whole and got.startswith("64"),
        "zero": whole and got[:6] == "010414" and set(got[6:-4]) == {"0"},
        "stale": got == good,
        "echo": got.startswith(READ_ALL) and crc_fits(got[16:]),
    }[fault]
    assert line.log[-1].fault == fault
    assert line.log[-1].right is (fault == "echo")
    # The next one is good again.
    assert crc_fits(ask(line, READ_ALL))


def test_rates_are_drawn_from_the_seed(pzem: Pzem) -> None:
    drawn = []
    for _ in range(2):
        with LineThread([pzem], paced=False, seed=7) as line:
            line.fault_rates = {"silence": 0.5}
            for asked in range(30):
                ask(line, READ_ALL, 0.02)
                while len(line.log) == asked:
                    time.sleep(0.001)
            drawn.append([exchange.fault for exchange in line.log])
    assert drawn[0] == drawn[1]
    assert 5 < drawn[0].count("silence") < 25


def test_energy_counts_true_power() -> None:
    pzem = Pzem()
    pzem.set(voltage_dv=2300, current_ma=10_000, pf_pct=100)
    pzem.advance(now := time.monotonic())
    pzem.advance(now + 3600)
    assert pzem.energy_wh == pytest.approx(2300, rel=1e-3)


@pytest.mark.parametrize(
    ("step_response", "shown_after_s", "settled_after_s"), [(False, 1.0, 1.0), (True, 1.3, 2.6)]
)
def test_a_step_shows_late(
    step_response: bool, shown_after_s: float, settled_after_s: float
) -> None:
    pzem = Pzem(step_response=step_response)
    pzem._at = pzem._latched = 0.0
    pzem.advance(0.3)
    pzem.true.current_ma = 0
    pzem.advance(0.4)
    pzem.true.current_ma = 20_000
    seen = []
    for k in range(41):
        t = 0.4 + k / 10
        pzem.advance(t)
        seen.append((t - 0.4, pzem._shown.current_ma))
    first = next(t for t, ma in seen if ma)
    settled = next(t for t, ma in seen if ma == 20_000)
    assert 0 < first <= shown_after_s + 1e-6
    assert first <= settled <= settled_after_s + 1e-6
    if step_response:
        assert any(0 < ma < 20_000 for _, ma in seen)
