"""Temperature and cable as the ADC shows them."""

import math

from firmware.charger import proximity
from tests.firmware.charger.test_safety_lane import board, board_module  # noqa: F401 - fixtures


def ntc_mv(celsius: float) -> float:
    """Over a 10 k NTC (B 3950) beside 27 k, under 10 k to 3.3 V."""
    ohm = 10_000 * math.exp(3950 * (1 / (celsius + 273.15) - 1 / 298.15))
    ohm = ohm * 27_000 / (ohm + 27_000)
    return 3300 * ohm / (ohm + 10_000)


def test_temperatures(board_module) -> None:  # noqa: F811
    module = board_module
    for celsius in range(-25, 100):
        got = module.ntc_c(round(ntc_mv(celsius)))
        assert got is not None
        assert abs(got - celsius) <= 2, celsius
    for celsius in range(60, 81):  # where it decides
        assert abs(module.ntc_c(round(ntc_mv(celsius))) - celsius) <= 1
    for mv in (0, 100, 2400, 2408, 3300):  # shorted, open
        assert module.ntc_c(mv) is None


def test_one_spike_is_no_temperature(board) -> None:  # noqa: F811
    for spike in range(3):
        values = [round(ntc_mv(30)) * 1000] * 3
        values[spike] = 3_000_000
        board._ntcs[0].read_uv = iter(values).__next__
        (got,) = board.temperatures_c()
        assert abs(got - 30) <= 1


def test_cables() -> None:
    for ohm, amps in ((100, 63), (220, 32), (680, 20), (1500, 13), (-1, 0), (10, 0), (6000, 0)):
        assert proximity.rating_a(ohm) == amps
    for ohm in (100, 220, 680, 1500, 4000):
        mv = round(3300 * ohm / (ohm + 1000))
        assert abs(proximity.ohm(mv) - ohm) * 100 <= ohm * 3, ohm
    assert proximity.ohm(3300) == -1
