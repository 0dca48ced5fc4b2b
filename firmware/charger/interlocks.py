"""The interlock matrix: what makes the charger refuse or stop, row by row, and what each row does.

A row: name, condition, how long it must hold, what the pilot and the contactor do, whether it latches, how long the
condition must be gone before an unlatched row ends, and how long no contactor closes after it. Times in ms.
"""

from firmware.charger.records import Inputs

try:
    from typing import TYPE_CHECKING  # for type checkers; the boards have no typing

    if TYPE_CHECKING:
        from firmware.charger.evse import Evse
except ImportError:
    pass

LEFT_C_LOCKOUT_MS = 5_000
FAULT_LOCKOUT_MS = 30_000
FOLLOW_MS = 6_000  # what a car may need to follow a new duty, and a second
STARVED_MS = 2_000
METER_SHOWS_MS = 3_000  # the own meter shows 2.7 s later that a current has gone
BLANK_DUTY_MS = 550  # after the duty changed, faults
BLANK_SWITCH_MS = 200  # after the contactor moved, everything but opening

# -- What a row of the interlock matrix does to the pilot, ...
KEEP = "keep"
X1 = "x1"  # steady +12 V
PULSE = "f-x1"  # F for 300 ms, then X1
F = "f"  # -12 V while it lasts
# ... to the contactor, ...
NOW = "now"
SOFT = "soft"  # when the car has left C, at the latest after 6 s
HOT = "hot"  # the same, at the latest after 5 s
NEVER = "never close"
# ... and what ends it.
NO = "no"  # its condition has been gone long enough
UNPLUG = "unplug"
USER = "user"
SERVICE = "service"


# -- Conditions of the interlock matrix. Each gets the machine, the inputs, and whether its row is active already.


def _not_ready(e: "Evse", i: Inputs, active: bool) -> bool:
    return not e.ready


def _no_current(e: "Evse", i: Inputs, active: bool) -> bool:
    return e.grant_a < 6


def _diode(e: "Evse", i: Inputs, active: bool) -> bool:
    return (
        i.letter in ("B", "C", "D")
        and not i.diode
        and e.offering
        and e.now - e.duty_at >= BLANK_DUTY_MS
        and e.now - e.switched_at >= BLANK_SWITCH_MS
    )


def _pilot(e: "Evse", i: Inputs, active: bool) -> bool:
    if active:
        return e.line_lost or e.letter not in ("A", "B")
    return e.letter == "E" or e.line_lost


def _ventilation(e: "Evse", i: Inputs, active: bool) -> bool:
    return e.letter == "D" and not e.settings.ventilation


def _residual(e: "Evse", i: Inputs, active: bool) -> bool:
    return i.rcm and not e.test.testing_rcm


def _residual_test(e: "Evse", i: Inputs, active: bool) -> bool:
    # A user ends it, and the next test tells whether that was right: nothing closes without one.
    return not active and e.failure == "residual_self_test"


def _welded(e: "Evse", i: Inputs, active: bool) -> bool:
    # The far side may hold voltage for a moment (motor, capacitor): a second after opening, and a second long.
    if e.out.contactor or e.now - e.switched_at < 1000:
        return False
    if i.mains:
        return True
    # By when it was asked: what it said before, and has not said again since, is no sign of anything.
    if e.now - e.switched_at >= 4000 and i.asked_ms - e.switched_at >= METER_SHOWS_MS:
        for ma in i.currents_ma:
            if ma > 200:
                return True
    return False


def _missing(e: "Evse", i: Inputs, active: bool) -> bool:
    return e.out.contactor and i.mains is False


def _ground(e: "Evse", i: Inputs, active: bool) -> bool:
    return not i.pe


def _over_current(e: "Evse", i: Inputs, active: bool) -> bool:
    if e.now - e.offer_at < FOLLOW_MS or not e.out.contactor:
        return False
    for ma in i.currents_ma:
        if ma > (e.out.offer_a * 1000 + 500) * 11 // 10:
            return True
    return False


def _hot(e: "Evse", i: Inputs, active: bool) -> bool:
    for c in i.temperatures_c:
        if c is not None and c >= (60 if active else 75):
            return True
    return False


def _sensor(e: "Evse", i: Inputs, active: bool) -> bool:
    return e.sensor_bad


def _under_voltage(e: "Evse", i: Inputs, active: bool) -> bool:
    for dv in i.voltages_dv:
        if dv * 100 < e.settings.nominal_dv * (90 if active else 85):
            return True
    return False


def _over_voltage(e: "Evse", i: Inputs, active: bool) -> bool:
    for dv in i.voltages_dv:
        if dv * 100 > e.settings.nominal_dv * (109 if active else 110):
            return True
    return False


def _far_over_voltage(e: "Evse", i: Inputs, active: bool) -> bool:
    for dv in i.voltages_dv:
        if dv * 100 > e.settings.nominal_dv * 115:
            return True
    return False


def _frequency(e: "Evse", i: Inputs, active: bool) -> bool:
    return i.freq_mhz != 0 and not 47_500 <= i.freq_mhz <= 51_500


def _proximity(e: "Evse", i: Inputs, active: bool) -> bool:
    if not e.settings.detachable or e.plug_ohm <= 0 or e.letter == "A":
        return False
    return i.pp_ohm < 0 or abs(i.pp_ohm - e.plug_ohm) * 5 > e.plug_ohm


def _no_rating(e: "Evse", i: Inputs, active: bool) -> bool:
    return e.settings.detachable and e.plugged and e.cable_a == 0


def _starved(e: "Evse", i: Inputs, active: bool) -> bool:
    return e.gap_ms > STARVED_MS


def _self_test(e: "Evse", i: Inputs, active: bool) -> bool:
    return not e.proven


# The interlock matrix. Of the active rows the strictest word for pilot and contactor counts.
#
# fmt: off
# name                  condition          held   pilot  contactor latched  restart  lock-out   (ms)
INTERLOCKS = (
    ("ev_not_ready", _not_ready, 0, KEEP, NOW, NO, 0, LEFT_C_LOCKOUT_MS),
    ("no_current", _no_current, 0, X1, SOFT, NO, 0, 0),
    ("self_test", _self_test, 0, KEEP, NOW, NO, 0, 0),
    ("diode_fault", _diode, 100, PULSE, NOW, UNPLUG, 0, FAULT_LOCKOUT_MS),
    ("pilot_fault", _pilot, 0, X1, NOW, NO, 2_000, FAULT_LOCKOUT_MS),
    ("ventilation", _ventilation, 0, X1, NOW, NO, 0, 0),
    ("residual_current", _residual, 0, PULSE, NOW, USER, 0, FAULT_LOCKOUT_MS),
    ("residual_self_test", _residual_test, 0, F, NOW, USER, 0, FAULT_LOCKOUT_MS),
    ("welded_contactor", _welded, 1000, F, NOW, SERVICE, 0, FAULT_LOCKOUT_MS),
    ("contactor_missing", _missing, 3000, X1, NOW, UNPLUG, 0, FAULT_LOCKOUT_MS),
    ("ground_failure", _ground, 40, X1, NOW, NO, 60_000, FAULT_LOCKOUT_MS),
    ("over_current", _over_current, 7000, PULSE, NOW, UNPLUG, 0, FAULT_LOCKOUT_MS),
    ("over_temperature", _hot, 0, X1, HOT, NO, 60_000, 0),
    ("temperature_sensor", _sensor, 60_000, X1, SOFT, NO, 60_000, 0),
    ("under_voltage", _under_voltage, 3000, X1, SOFT, NO, 60_000, 0),
    ("over_voltage", _over_voltage, 3000, X1, SOFT, NO, 60_000, 0),
    ("over_voltage_far", _far_over_voltage, 1000, X1, SOFT, NO, 60_000, 0),
    ("frequency", _frequency, 3000, X1, SOFT, NO, 60_000, 0),
    ("proximity_fault", _proximity, 20, X1, NOW, UNPLUG, 0, FAULT_LOCKOUT_MS),
    ("cable_unrated", _no_rating, 0, X1, NEVER, UNPLUG, 0, 0),
    ("starvation", _starved, 0, X1, NOW, NO, 5_000, FAULT_LOCKOUT_MS),
)
# fmt: on
NAMES = tuple([row[0] for row in INTERLOCKS])
# Rows that are the normal course of charging, not faults.
NORMAL = ("ev_not_ready", "no_current", "self_test")
WAITS_RANDOMLY = ("under_voltage", "over_voltage", "over_voltage_far", "frequency")
