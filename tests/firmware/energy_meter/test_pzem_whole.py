"""Everything the driver can ask of a PZEM, from one that is not ours."""

from collections.abc import Iterator

import pytest

from firmware.common.modbus import GENERAL, Bus, ModbusError
from firmware.common.pzem import Pzem as Driver
from firmware.common.pzem import Reading
from firmware.common.ticks import sleep_ms, ticks_ms
from simulator.pzem_campaign import Tty
from simulator.pzem_slave import LineThread, Pzem


@pytest.fixture
def line() -> Iterator[LineThread]:
    """Two PZEMs, addresses 1 and 2."""
    with LineThread([Pzem(1, update_s=0, energy_wh=500), Pzem(2, update_s=0)]) as line:
        line.pzems[0].set(current_ma=70_000, voltage_dv=2305, pf_pct=99)
        yield line


@pytest.fixture
def bus(line: LineThread) -> Iterator[Bus]:
    tty = Tty(line.path)
    yield Bus(tty, 1500)  # patient: other tests may keep this computer busy
    tty.close()


def ask(pzem: Driver) -> Reading | None:
    """Put the question and wait for what comes of it; None for an address."""
    while not pzem.bus.quiet(ticks_ms()):
        sleep_ms(1)
    pzem.ask(ticks_ms())
    reading = None
    while reading is None and pzem.bus.waiting:
        sleep_ms(1)
        reading = pzem.answer(ticks_ms())
    return reading


def read(pzem: Driver) -> Reading:
    reading = ask(pzem)
    assert reading is not None
    return reading


def test_readings_of_every_length(bus: Bus, line: LineThread) -> None:
    pzem = Driver(bus, 1)
    for _ in range(5):
        r = read(pzem)
        assert (r.voltage_dv, r.current_ma, r.power_dw) == (2305, 70_000, 159_736)
        assert (r.pf_pct, r.freq_dhz) == (99, 500)
        assert (
            500 <= r.energy_wh == int(line.pzems[0].energy_wh)
        )  # 4 Wh a second, as it counted them


def test_each_address_is_its_own_device(bus: Bus, line: LineThread) -> None:
    line.pzems[1].set(current_ma=5000)
    assert read(Driver(bus, 2)).current_ma == 5000
    assert read(Driver(bus, 1)).current_ma == 70_000


def test_alarm(bus: Bus, line: LineThread) -> None:
    pzem = Driver(bus, 1)
    assert pzem.settings() == (23_000, 1)
    pzem.set_alarm(15_000)
    assert line.pzems[0].alarm_w == 15_000
    assert pzem.settings() == (15_000, 1)
    alarms = [r.alarm for r in (read(pzem) for _ in range(4))]
    assert True in alarms  # said in one of the four lengths
    assert False not in alarms


def test_a_new_address(bus: Bus, line: LineThread) -> None:
    pzem = Driver(bus, 1)
    pzem.set_address(7)
    assert pzem.address == 7
    assert line.pzems[0].address == 7
    assert read(pzem).current_ma == 70_000


def test_the_energy_is_set_to_nothing(bus: Bus, line: LineThread) -> None:
    line.pzems[0].set(current_ma=0)
    pzem = Driver(bus, 1)
    assert read(pzem).energy_wh >= 500
    pzem.reset_energy()
    assert read(pzem).energy_wh == 0


def test_a_refusal_is_named(bus: Bus) -> None:
    for body, number in (
        (bytes((1, 4, 0, 5, 0, 10)), 2),  # registers that are not there
        (bytes((1, 6, 0, 9, 0, 1)), 2),
        (bytes((1, 6, 0, 2, 1, 0)), 3),  # address 256
        (bytes((1, 5, 0, 0, 0xFF, 0)), 1),  # write a coil
    ):
        with pytest.raises(ModbusError) as refused:
            bus.transact(body, body[:2] + b"\x00", 25)
        assert (refused.value.what, refused.value.number) == ("exception", number)


def test_nobody_is_at_that_address(bus: Bus) -> None:
    with pytest.raises(ModbusError) as refused:
        Driver(bus, 9).settings()
    assert refused.value.what == "silence"


def test_two_at_the_general_address_are_not_understood(bus: Bus) -> None:
    """Both answer at once; what comes out is nobody's, and is not taken for an address."""
    pzem = Driver(bus, GENERAL)
    with pytest.raises(ModbusError):
        ask(pzem)
    assert pzem.address == GENERAL


def test_one_alone_is_found_at_the_general_address(bus: Bus, line: LineThread) -> None:
    line.pzems[1].powered = False
    line.pzems[0].address = 77
    pzem = Driver(bus, GENERAL)
    assert ask(pzem) is None
    assert pzem.address == 77
    assert read(pzem).current_ma == 70_000
