"""The installation's physics: pilot circuit, divider, sensors, monitor and contactor."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.charger import pins_esp32, pins_esp32_poe
from simulator.installation import EV_OHM, BenchError, Installation, Pilot, ntc_uv

TABLES = [pins_esp32, pins_esp32_poe]


# Divider 100 k to the line, 22 k to 3.3 V, 16 k to ground: 1.272 V + 0.0848 per volt.
@pytest.mark.parametrize(
    ("cp_mv", "node_mv"),
    [(12_600, 2340), (12_000, 2289), (9000, 2035), (6000, 1780), (3000, 1526), (0, 1272),
     (-10_000, 424), (-12_000, 254), (-12_600, 203)],
)  # fmt: skip
def test_divider(cp_mv: int, node_mv: int) -> None:
    assert Pilot().node_uv(cp_mv) / 1000 == pytest.approx(node_mv, abs=1.5)


# 1 kOhm source, a diode of 0.7 V and the car's resistor; the divider of 109 kOhm takes 1 %.
@pytest.mark.parametrize(("letter", "volts"), [("A", 12.0), ("B", 8.98), ("C", 5.99), ("D", 2.93)])
def test_plateaus(letter: str, volts: float) -> None:
    mv = Pilot().cp_mv(12_000, EV_OHM[letter], True, False)
    assert mv / 1000 == pytest.approx(volts, abs=0.1)


# What a bench must bear: source 970..1030 Ohm, rails 11.4..12.6 V, resistors of the car 3 %.
@pytest.mark.parametrize(
    ("letter", "low", "high"), [("B", 8.3, 9.6), ("C", 5.4, 6.5), ("D", 2.5, 3.3)]
)
def test_tolerances_stay_in_their_windows(letter: str, low: float, high: float) -> None:
    ohm = EV_OHM[letter]
    assert ohm is not None
    for source, rail, part in itertools.product((970, 1030), (11_400, 12_600), (0.97, 1.03)):
        mv = Pilot(plus_mv=rail, source_ohm=source).cp_mv(rail, ohm * part, True, False)
        assert low < mv / 1000 < high, (source, rail, part)


def test_the_diode_keeps_the_low_plateau_and_its_loss_shows() -> None:
    pilot = Pilot()
    for letter in "BCD":
        ohm = EV_OHM[letter]
        assert pilot.cp_mv(-12_000, ohm, True, False) < -11_700
        high, low = (pilot.cp_mv(mv, ohm, False, False) for mv in (12_000, -12_000))
        # Without it both halves are alike, but for what the divider adds.
        assert high + low == pytest.approx(0, abs=300)
    assert pilot.cp_mv(12_000, 882, True, True) == 0


@given(st.floats(100, 100_000), st.floats(100, 100_000), st.integers(-12_600, 12_600))
def test_more_resistance_is_more_voltage(a: float, b: float, driven: int) -> None:
    low, high = sorted((a, b))
    pilot = Pilot()
    first, second = (abs(pilot.cp_mv(driven, ohm, True, False)) for ohm in (low, high))
    assert first <= second + 1


@pytest.mark.parametrize(("temp_c", "mv"), [(25, 1391), (75, 393), (-20, 2252)])
def test_ntc(temp_c: float, mv: int) -> None:
    assert ntc_uv(temp_c) / 1000 == pytest.approx(mv, abs=60)


def test_an_open_sensor_reads_more_than_any_cold_one() -> None:
    assert ntc_uv(None) > ntc_uv(-40) > ntc_uv(0) > ntc_uv(100) > 0


@pytest.mark.parametrize("pins", TABLES)
def test_every_pin_of_the_table_means_something(pins: object) -> None:
    here = Installation(pins)  # type: ignore[arg-type]
    levels, voltages = here.levels(), here.voltages()
    table = vars(pins)
    for name in ("RCM_TRIP", "PE_PROOF", "MAINS_SENSE"):
        assert table[name] in levels
    assert table["PILOT_ADC"] in voltages
    assert voltages[table["PILOT_ADC"]][0] == table["PILOT_PWM"]
    assert here.drive(table["CONTACTOR"], 1, 0)
    assert here.pwm(table["PILOT_PWM"], 6554, 1000)
    assert not here.drive(99, 1, 0)


# (6 mA DC or 30 mA AC) times 1, 2, 5: less than 480/180, 240/70, 120/20 ms (RCMB104's sheet).
@pytest.mark.parametrize(
    ("ac", "dc", "trips_ms"),
    [(0, 5.9, None), (29, 0, None), (30, 0, 180), (60, 0, 70), (150, 0, 20), (0, 6, 480), (0, 12, 240),
     (0, 30, 120)],
)  # fmt: skip
def test_residual_current_monitor(ac: float, dc: float, trips_ms: int | None) -> None:
    here = Installation(pins_esp32)
    here.set({"residual_ma": {"ac": ac, "dc": dc}}, 0)
    due = here.due_ms()
    if trips_ms is None:
        assert due is None
        return
    assert due is not None
    assert due < trips_ms
    here.tick(due)
    assert here.levels()[pins_esp32.RCM_TRIP] == 1
    # It lets go below half of its threshold.
    here.set({"residual_ma": {"ac": 0, "dc": 0}}, due)
    due = here.due_ms()
    assert due is not None
    here.tick(due)
    assert here.levels()[pins_esp32.RCM_TRIP] == 0


def test_the_monitors_own_test() -> None:
    here = Installation(pins_esp32)
    tripped = []
    for works, level, at in ((True, 1, 0), (True, 0, 100), (False, 1, 200)):
        here.set({"rcm_works": works}, at)
        here.drive(pins_esp32.RCM_TEST, level, at)
        here.tick(at + 100)
        tripped.append(here.rcm_tripped)
    assert tripped == [True, False, False]


@pytest.mark.parametrize(
    ("inputs", "coil", "live"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"weld": True}, False, True),
        ({"contactor_stuck_open": True}, True, False),
        ({"mains_dv": 0}, True, False),
        ({"power": False}, True, False),
    ],
)
def test_contactor(inputs: dict[str, object], coil: bool, live: bool) -> None:
    here = Installation(pins_esp32)
    here.drive(pins_esp32.CONTACTOR, int(coil), 0)
    here.set(dict(inputs), 0)
    here.tick(100)
    assert here.live is live
    assert here.levels()[pins_esp32.MAINS_SENSE] == int(not live)
    here.set({"car_ma": [16_000, 0, 0]}, 100)
    assert here.meter_ma() == ([16_000, 0, 0] if live else [0, 0, 0])


def test_contacts_follow_their_coil_late() -> None:
    here = Installation(pins_esp32)
    live = {}

    def at(ms: int) -> None:
        here.tick(ms)
        live[ms] = here.live

    here.drive(pins_esp32.CONTACTOR, 1, 1000)
    at(1010)
    at(1020)
    here.reset(2000)
    at(2014)
    at(2015)
    assert live == {1010: False, 1020: True, 2014: True, 2015: False}


def test_a_floating_board_is_f_with_an_open_contactor() -> None:
    here = Installation(pins_esp32)
    here.pwm(pins_esp32.PILOT_PWM, 34_952, 1000)
    here.drive(pins_esp32.CONTACTOR, 1, 0)
    here.tick(50)
    here.reset(50)
    assert here.state() == "F"
    assert here.pilot_mv()[0] < -11_000
    assert not here.coil


@pytest.mark.parametrize(
    ("inputs", "duty", "state"),
    [
        ({"ev": "A"}, 65535, "A1"),
        ({"ev": "B"}, 6554, "B2"),
        ({"ev": "C"}, 34_952, "C2"),
        ({"ev": "D"}, 34_952, "D2"),
        ({"ev": "E"}, 34_952, "E"),
        ({"ev": "C"}, 0, "F"),
        ({"ev_ohm": 909}, 65535, "C1"),
        ({"ev_ohm": 2800}, 6554, "B2"),
    ],
)
def test_state_on_the_line(inputs: dict[str, object], duty: int, state: str) -> None:
    here = Installation(pins_esp32)
    here.set(dict(inputs), 0)
    here.pwm(pins_esp32.PILOT_PWM, duty, 1000 if 0 < duty < 65535 else 0)
    assert here.state() == state


NAMES = [
    "ev", "ev_ohm", "diode", "pp_ohm", "residual_ma", "rcm_works", "pe", "weld", "temp_c", "mains_dv",
    "contactor_stuck_open", "car_ma", "card", "card_ndef", "button", "power", "pilot", "reader", "other",
]  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["ac", "dc", "terminal", "plus_mv", "source_ohm", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4))
def test_any_line_is_taken_or_refused_in_words(inputs: dict[str, object]) -> None:
    here = Installation(pins_esp32)
    before = vars(here) | {"pilot": vars(here.pilot).copy()}
    try:
        here.set(inputs, 0)
    except BenchError as e:
        assert str(e)
        assert vars(here) | {"pilot": vars(here.pilot)} == before
    here.tick(1000)
    assert all(level in {0, 1} for level in here.levels().values())
    for _, high, low in here.voltages().values():
        assert 0 <= low <= 3_600_000
        assert 0 <= high <= 3_600_000
    assert len(here.state()) in {1, 2}
