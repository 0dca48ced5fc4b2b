"""Energy counts up only, whatever the PZEM does."""

import os

from firmware.energy_meter.energy import EnergyTotal


def fresh():
    for name in ("energy1", "energy1.tmp"):
        try:
            os.remove(name)
        except OSError:
            pass
    return EnergyTotal("energy1")


def counted(total, values):
    return [total.count(wh) for wh in values]


def test_it_follows_the_device():
    assert counted(fresh(), [100, 100, 101, 250]) == [100, 100, 101, 250]


def test_a_reset_must_be_said_twice():
    total = fresh()
    assert counted(total, [500, 3, 500, 501]) == [500, 500, 500, 501]
    assert counted(total, [0, 0, 5]) == [501, 501, 506]


def test_it_goes_on_where_the_device_turns_over():
    total = fresh()
    assert counted(total, [9_999_990, 9_999_999, 0, 1]) == [
        9_999_990,
        9_999_999,
        9_999_999,
        10_000_000,
    ]


def test_it_survives_a_restart():
    total = fresh()
    counted(total, [5000, 0, 0, 1500])
    again = EnergyTotal("energy1")
    assert counted(again, [1600]) == [6600]


def test_the_flash_is_written_once_a_kilowatt_hour():
    total = fresh()
    writes = 0
    last = None
    for wh in range(0, 5000, 7):
        total.count(wh)
        try:
            with open("energy1") as f:
                now = f.read()
        except OSError:
            now = None
        writes += now != last
        last = now
    assert writes == 4


def test_a_file_that_is_none_begins_anew():
    for text in ("", "{", "[1]", "[-1, 5]", '["a", 1]'):
        fresh()
        with open("energy1", "w") as f:
            f.write(text)
        assert EnergyTotal("energy1").count(7) == 7, text
