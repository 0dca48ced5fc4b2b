"""The charger's course: start, plug, charge, pause, wake-up; the transitions of IEC 61851-1 Annex
A with their times; and
random walks through everything that can happen."""

from firmware.charger.evse import Settings
from tests.firmware.charger.rig import Rig
from tests.shared.test_protocol import Dice


def test_start_proves_the_rails_with_both_levels_of_the_line():
    rig = Rig(boot=False)
    seen = []
    rig.watch = lambda r: (
        seen.append((r.out.duty, r.out.rcm_test))
        if (r.out.duty, r.out.rcm_test) not in seen
        else None
    )
    rig.run(2000)
    assert (1000, False) in seen
    assert (0, False) in seen
    assert (1000, True) in seen
    assert rig.out.state == "A1"


def test_start_with_a_fault_shows_f_and_tries_again_in_a_minute():
    rig = Rig(boot=False)
    rig.i.pe = False
    rig.run(3000)
    assert rig.out.state == "F1"
    assert rig.out.faults == ["ground_failure"]
    rig.i.pe = True
    rig.run(56_000)
    assert rig.out.state == "F1"
    rig.run(10_000)
    assert rig.out.state == "A1"


def test_start_with_dead_rails():
    for duty, mv in ((1000, 11_300), (1000, 12_700), (0, -11_300), (0, -12_700)):
        rig = Rig(boot=False)
        step = rig.evse.test.step

        def bent(i, now, rig=rig, duty=duty, mv=mv, step=step):
            if rig.out.duty == duty:
                i.high_mv = i.low_mv = mv
            return step(i, now)

        rig.evse.test.step = bent
        rig.run(5000)
        assert rig.out.faults == ["pilot_fault"], (duty, mv)
        assert rig.out.state == "F1"


def test_start_with_a_car_plugged_in_waits_a_random_time_unless_somebody_is_there():
    for present in (False, True):
        settings = Settings()
        settings.start_delay_ms = 300_000
        rig = Rig(settings, boot=False)
        rig.car = "B"
        rig.i.present = present
        rig.run(5000)
        rig.car = "C"
        rig.run(5000)
        assert rig.out.contactor == present
        if not present:
            assert rig.out.why == "random_delay"
            rig.run(280_000)
            assert not rig.out.contactor
            rig.run(20_000)
            assert rig.out.contactor
    # A car that comes later does not wait.
    rig = Rig(settings)
    rig.charge()


# Annex A's sequences, as their numbers go: the car before and then, what is offered before and then (A), state before
# and after, whether the contactor is closed before and after, and from how many to how many ms that may take.
TRANSITIONS = (
    ("1.1 plug in", "A", "B", 16, 16, "A1", "B2", False, False, 0, 100),
    ("1.1 plug in, nothing to offer", "A", "B", 0, 0, "A1", "B1", False, False, 0, 100),
    ("1.2 straight to C", "A", "C", 16, 16, "A1", "C2", False, True, 500, 3100),
    ("1.2 straight to D", "A", "D", 16, 16, "A1", "D2", False, True, 500, 3100),
    ("1.2 straight to C, nothing to offer", "A", "C", 0, 0, "A1", "C1", False, False, 0, 100),
    ("2.1 unplug from B2", "B", "A", 16, 16, "B2", "A1", False, False, 0, 100),
    ("2.1 unplug from B1", "B", "A", 0, 0, "B1", "A1", False, False, 0, 100),
    ("2.1 unplug from C1", "C", "A", 0, 0, "C1", "A1", False, False, 0, 100),
    ("2.2 unplugged under load", "C", "A", 16, 16, "C2", "A1", True, False, 0, 100),
    ("2.2 unplugged under load from D", "D", "A", 16, 16, "D2", "A1", True, False, 0, 100),
    ("3.1 the charger is ready", "B", "B", 0, 16, "B1", "B2", False, False, 0, 100),
    ("3.2 the car was ready first", "C", "C", 0, 16, "C1", "C2", False, True, 0, 3000),
    ("3.2 with ventilation", "D", "D", 0, 16, "D1", "D2", False, True, 0, 3000),
    ("4 the car is ready", "B", "C", 16, 16, "B2", "C2", False, True, 500, 3000),
    ("4 with ventilation", "B", "D", 16, 16, "B2", "D2", False, True, 500, 3000),
    ("4 ready without an offer", "B", "C", 0, 0, "B1", "C1", False, False, 0, 100),
    ("5 another duty", "C", "C", 16, 8, "C2", "C2", True, True, 0, 100),
    ("7 it draws nothing, and stays ready", "C", "C", 16, 16, "C2", "C2", True, True, 0, 100),
    ("7 it asks for ventilation", "C", "D", 16, 16, "C2", "D2", True, True, 0, 100),
    ("7 it asks for no more ventilation", "D", "C", 16, 16, "D2", "C2", True, True, 0, 100),
    ("8.1 it stops", "C", "B", 16, 16, "C2", "B2", True, False, 0, 100),
    ("8.1 it stops from D", "D", "B", 16, 16, "D2", "B2", True, False, 0, 100),
    ("8.2 it stops in C1", "C", "B", 0, 0, "C1", "B1", False, False, 0, 100),
    ("9.1 withdrawn from a car that waits", "B", "B", 16, 0, "B2", "B1", False, False, 0, 100),
    ("10.1 withdrawn, and it stops", "C", "B", 16, 0, "C2", "B1", True, False, 0, 100),
    ("10.1 withdrawn, and it is unplugged", "C", "A", 16, 0, "C2", "A1", True, False, 0, 100),
    ("10.2 withdrawn, and it goes on", "C", "C", 16, 0, "C2", "C1", True, False, 6000, 6100),
    ("10.2 withdrawn in D, and it goes on", "D", "D", 16, 0, "D2", "D1", True, False, 6000, 6100),
    ("11 shorted under load", "C", "E", 16, 16, "C2", "E1", True, False, 0, 100),
    ("11 shorted while it waits", "B", "E", 16, 16, "B2", "E1", False, False, 0, 100),
)


def test_transitions():
    for (
        name,
        car,
        then,
        offer,
        offer_then,
        before,
        after,
        closed,
        closes,
        least,
        most,
    ) in TRANSITIONS:
        settings = Settings()
        settings.ventilation = "D" in car + then
        rig = Rig(settings, limit_a=offer)
        if closed:
            rig.charge(car)
        else:
            rig.car = car
        rig.run(2000)
        assert (rig.out.state, rig.out.contactor) == (before, closed), name
        rig.car = then
        rig.i.limit_a = offer_then
        took = rig.run(
            8000, lambda r=rig, a=after, c=closes: r.out.state == a and r.out.contactor == c
        )
        assert least <= took <= most, (name, took)
        assert rig.out.faults == (["pilot_fault"] if then == "E" else []), name
        rig.run(2000)
        assert (rig.out.state, rig.out.contactor) == (after, closes), name
        if after[1] == "2":
            assert rig.out.offer_a == offer_then, name


def test_a_fault_shows_f_for_300_ms_and_then_the_steady_line():
    """12: from C2 to F at once, and not shorter than Table A.5 says."""
    for fault in ("residual", "diode"):
        rig = Rig().charge()
        rig.run(1000)
        if fault == "residual":
            rig.residual = True
        else:
            rig.diode = False
        rig.run(1000, lambda r=rig: r.out.duty == 0)
        assert rig.out.state == "F1"
        assert not rig.out.contactor
        assert 300 <= rig.run(1000, lambda r=rig: r.out.duty == 1000) <= 340


def test_without_current_the_car_sees_the_steady_line():
    rig = Rig(limit_a=0)
    rig.car = "B"
    rig.run(500)
    assert rig.out.state == "B1"
    assert rig.out.why == "no_current"
    rig.car = "C"
    rig.run(5000)
    assert rig.out.state == "C1"
    assert rig.closed_at is None
    rig.i.limit_a = 16
    assert rig.run(3000, lambda: rig.out.contactor) <= 3000  # 3.2: C1 to C2, power within 3 s


def test_without_a_card_nothing_is_offered():
    rig = Rig()
    rig.i.allowed = False
    rig.car = "C"
    rig.run(5000)
    assert rig.out.state == "C1"
    assert rig.out.why == "card"
    rig.i.allowed = True
    assert rig.run(3000, lambda: rig.out.contactor) <= 3000


def test_half_a_second_of_c_before_closing():
    rig = Rig()
    rig.car = "B"
    rig.run(1000)
    for pulse_ms in (100, 250, 480):
        rig.car = "C"
        rig.run(pulse_ms)
        rig.car = "B"
        rig.run(500)
    assert rig.closed_at is None
    rig.car = "C"
    assert 500 <= rig.run(3000, lambda: rig.out.contactor) <= 1000


def test_a_cut_is_followed_at_once_and_a_raise_after_five_seconds():
    rig = Rig().charge()
    rig.run(10_000)
    rig.i.limit_a = 10
    rig.step()
    assert rig.out.offer_a == 10
    assert rig.out.duty == 167
    rig.i.limit_a = 20
    rig.run(4900)
    assert rig.out.offer_a == 10
    rig.run(200)
    assert rig.out.offer_a == 20


def test_every_limit_becomes_its_duty():
    settings = Settings()
    settings.max_a = 80
    settings.change_ms = 0
    rig = Rig(settings).charge()
    for amps in range(6, 81):
        rig.i.limit_a = amps
        rig.step()
        assert rig.out.offer_a == amps
        assert rig.out.state == "C2"
    settings.max_a = 25
    rig.run(100)
    assert rig.out.offer_a == 25


def test_a_car_straight_into_c_gets_ten_amperes_if_so_set():
    settings = Settings()
    settings.simplified_10a = True
    rig = Rig(settings, limit_a=16)
    rig.car = "C"
    rig.run(3000)
    assert rig.out.contactor
    assert rig.out.offer_a == 10
    assert Rig(settings).charge().out.offer_a == 16


def test_a_sleeping_car_is_woken_twice_and_then_left_alone():
    rig = Rig()
    rig.car = "B"
    rig.run(500)
    line = []
    rig.watch = lambda r: (
        line.append((r.now, r.out.duty)) if not line or line[-1][1] != r.out.duty else None
    )
    rig.run(300_000)
    duties = [d for _, d in line]
    assert duties == [267, 0, 1000, 267, 1000, 267]
    at = [t for t, _ in line]
    assert 30_000 <= at[1] - at[0] + 500 <= 30_600
    assert 4000 <= at[2] - at[1] <= 4040
    assert 750 <= at[3] - at[2] <= 780
    assert 90_000 <= at[4] - at[3] <= 90_100
    assert 10_000 <= at[5] - at[4] <= 10_040
    assert rig.out.why == "paused_by_car"
    rig.watch = None
    rig.car = "C"
    rig.run(3000)
    assert rig.out.contactor
    # A new session has its own two attempts.
    rig.car = "A"
    rig.run(500)
    rig.car = "B"
    rig.run(31_000)
    assert rig.out.duty == 0


def test_a_car_that_sleeps_without_an_offer_is_let_sleep():
    rig = Rig(limit_a=0)
    rig.car = "B"
    rig.run(120_000)
    assert rig.out.state == "B1"


def lawful(rig):
    """What must hold after every step, whatever happened."""
    e = rig.evse
    out = rig.out
    assert out.duty in {0, 1000} or 100 <= out.duty <= 960
    if out.contactor:
        assert not e.active("self_test")
        assert e.proven
        assert e.letter in ("C", "D") or rig.now - rig.left_c < 100, e.letter
        assert not (e.letter == "D" and not rig.settings.ventilation)
        assert rig.i.limit_a >= 6 or rig.now - rig.no_current <= 6100
        assert not rig.residual
        assert out.faults == [] or out.faults[0] in (
            "over_temperature", "temperature_sensor", "under_voltage", "over_voltage", "over_voltage_far", "frequency",
        ), out.faults  # fmt: skip
    if out.offer_a:
        assert 6 <= out.offer_a <= min(out.cap_a, rig.settings.max_a)
    if rig.closed_at == rig.now:
        assert rig.car == "C" or (rig.car == "D" and rig.settings.ventilation)
        assert rig.diode
        assert rig.i.pe
        assert rig.line
        assert out.offer_a >= 6
        assert rig.closed_at - rig.since_c >= 500
        assert not set(out.latches) & LATCHING


LATCHING = {
    "diode_fault", "residual_current", "residual_self_test", "welded_contactor",
    "contactor_missing", "over_current", "proximity_fault", "cable_unrated",
}  # fmt: skip


def walk(seed, steps):
    """A random life: cars come and go, wires break, the manager takes and gives, the power fails."""
    dice = Dice(seed)
    settings = Settings()
    settings.ventilation = bool(dice.roll(2))
    settings.detachable = bool(dice.roll(2))
    rig = Rig(settings)
    rig.left_c = rig.no_current = rig.since_c = rig.now
    closes = 0
    for _ in range(steps):
        what = dice.roll(24)
        car = rig.car
        if what < 8:
            rig.car = "ABCCCCBD"[what]
        elif what == 8:
            rig.car = "E" if dice.roll(4) == 0 else "A"
        elif what == 9:
            rig.diode = dice.roll(3) > 0
        elif what == 10:
            rig.line = dice.roll(3) > 0
        elif what == 11:
            rig.i.limit_a = (0, 5, 6, 16, 32, 32)[dice.roll(6)]
        elif what == 12:
            rig.i.pe = dice.roll(4) > 0
        elif what == 13:
            rig.residual = dice.roll(4) == 0
        elif what == 14:
            rig.i.clear = ("", "*", "residual_current")[dice.roll(3)]
        elif what == 15:
            rig.i.voltages_dv = [(2300, 1900, 2300, 2700)[dice.roll(4)]]
        elif what == 16:
            rig.i.currents_ma = [(0, 6000, 16_000, 40_000)[dice.roll(4)]]
        elif what == 17:
            rig.i.temperatures_c = [(30, 30, 66, 72, 80, None)[dice.roll(6)]]
        elif what == 18:
            rig.i.pp_ohm = (220, 220, 220, -1, 1500)[dice.roll(5)]
        elif what == 19:
            rig.i.allowed = dice.roll(4) > 0
        elif what == 20:
            rig.weld = dice.roll(20) == 0
        elif what == 21 and dice.roll(4) == 0:
            latches = dict(rig.out.latches)
            old = rig
            rig = Rig(settings, latches, boot=False)
            rig.car, rig.diode, rig.line, rig.residual, rig.weld = (
                old.car,
                old.diode,
                old.line,
                old.residual,
                old.weld,
            )
            rig.i.limit_a, rig.i.pe, rig.i.currents_ma = old.i.limit_a, old.i.pe, old.i.currents_ma
            rig.left_c = rig.no_current = rig.since_c = 0
            for name in latches:
                if name in LATCHING:
                    assert rig.evse.active(name)
        else:
            # All well for a while, so that walks reach the inside of charging too.
            rig.diode = rig.line = rig.i.pe = rig.i.allowed = True
            rig.residual = rig.weld = False
            rig.i.service = dice.roll(2) == 0
            rig.i.clear = "*"
            rig.i.temperatures_c = [30]
            rig.i.currents_ma = [0]
            rig.i.voltages_dv = [2300]
            rig.i.pp_ohm = 220
            rig.i.limit_a = 16
        if rig.car != car:
            if rig.car in ("C", "D"):
                if car not in ("C", "D"):
                    rig.since_c = rig.now
            elif car in ("C", "D"):
                rig.left_c = rig.now
        if rig.i.limit_a < 6 and not rig.was_none:
            rig.no_current = rig.now
        rig.was_none = rig.i.limit_a < 6
        length = 20 + dice.roll(150) * (20 if dice.roll(3) else 1)
        end = rig.now + length
        while rig.now < end:
            was = rig.out.contactor
            rig.step()
            lawful(rig)
            if rig.out.contactor and not was:
                closes += 1
    return closes


def test_random_walks():
    closes = 0
    for seed in range(1, 41):
        closes += walk(seed * 7919, 150)
    # A walk that never charges proves nothing.
    assert closes > 40, closes


def test_a_slow_start_is_no_fault():
    """The first window may come late, and was taken with the line still at -12 V."""
    rig = Rig(boot=False)
    rig.step(5000)
    rig.run(3000)
    assert rig.out.faults == []
    assert rig.out.state == "A1"
