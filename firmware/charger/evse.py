"""The charger's state machine and its interlocks: pure, stepped, no clock and no hardware of its own.

    evse = Evse(Settings(), latches)
    out = evse.step(inputs, now_ms)     # about every 20 ms, with one window of the pilot each time

Letters A to F are those of IEC 61851-1 Annex A: A to D by the car, E a dead line, F held down by the charger; 1 after
the letter means the steady line (nothing offered), 2 that the PWM offers current. Times in ms, currents in A or mA.
A step allocates nothing unless something changes.
"""

from firmware.charger import pilot
from firmware.charger.selftest import SelfTest

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

# -- Times, ms. Annex A and docs/charger.md give where each one comes from.
OPEN_WINDOWS = 2  # windows that must agree before the contactor is opened on what the pilot says
LOST_LINE_MS = 100  # without one good window
CLOSE_DEBOUNCE_MS = 500  # steady C before closing; some cars send C for 250 ms only
DIODE_PROVEN_MS = 100
DIODE_PROVEN_WINDOWS = 3
BLANK_SWITCH_OPEN_MS = 60  # after the contactor moved, decisions that open
BLANK_SWITCH_MS = 200  # after the contactor moved, all others
BLANK_DUTY_MS = 550  # after the duty changed, faults
BLANK_LINE_MS = 75  # after the line came back from F
LEFT_C_LOCKOUT_MS = 5_000
FAULT_LOCKOUT_MS = 30_000
WITHDRAW_MS = 6_000  # from X1 until the contactor opens under load
HOT_MS = 5_000
FAULT_PULSE_MS = 300
MINIMUM_OFF_MS = 15_000  # after a stop of the charger's own doing
FOLLOW_MS = 6_000  # what a car may need to follow a new duty, and a second
STARVED_MS = 2_000
WAKE_AFTER_MS = 30_000
WAKE_AGAIN_MS = 90_000
WAKE_F_MS = 4_000
WAKE_X1_MS = 750
WAKE_PULSE_MS = 10_000
RETEST_MS = 60_000
RESIDUAL_RETRY_MS = 900_000
DAY_MS = 86_400_000

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


class Settings:
    """What does not change while the charger runs. Attributes may be set after making it."""

    def __init__(self) -> None:
        self.max_a = 32  # A: cable, contactor and circuit, 6..80
        self.ventilation = False  # whether a car that asks for ventilation (D) gets power
        self.detachable = False  # a socket: the cable's rating is read from its proximity resistor
        self.mains_sense = True  # whether the voltage after the contactor is sensed
        self.nominal_dv = 2300
        self.resume_ms = 60_000  # current must be there so long before a stopped car is offered it again
        self.change_ms = 5_000  # least time between a change of the offer and the next raise
        self.start_delay_ms = 0  # after a start with a car already plugged in (drawn at random by the caller)
        self.voltage_delay_ms = 0  # the same after a voltage out of range
        self.residual_retry = False  # try again 15 min after a residual current, at most 4 times
        self.simplified_10a = False  # a car that goes from A to C directly gets at most 10 A
        self.wake_up = True


class Inputs:
    """What the board measured for this step. The caller keeps one and changes it."""

    def __init__(self) -> None:
        self.fresh = True  # a new window of the pilot came with this step
        self.letter = ""  # of this window: A..E, "" if it could not be told
        self.high_mv = 0
        self.low_mv = 0
        self.diode = False
        self.rcm = False  # residual current monitor has tripped
        self.pe = False  # protective earth is proven
        self.mains: bool | None = None  # voltage after the contactor; None: not sensed
        self.pp_ohm = -1  # of the cable; -1: open or not read
        self.temperatures_c: "list[int | None]" = []  # None: sensor broken
        self.currents_ma: "list[int]" = []  # own meter, per phase; empty: no reading
        self.voltages_dv: "list[int]" = []
        self.freq_mhz = 0  # 0: no reading
        self.limit_a = 0  # lease, own rule or fixed current
        self.allowed = True  # a card, or nobody needs to ask
        self.present = False  # a user is at the charger: no random delay
        self.clear = ""  # a latched fault its user has looked after ("*": all)
        self.service = False  # and service is there


class Outputs:
    """What the board has to do now. The state machine keeps one and changes it."""

    def __init__(self) -> None:
        self.duty = pilot.STEADY_HIGH  # per mille
        self.offer_a = 0
        self.contactor = False
        self.rcm_test = False
        self.state = "F1"
        self.faults: "list[str]" = []
        self.cap_a = 0  # most it could offer now
        self.why = "self_test"  # why no current flows, "" while the contactor is closed
        self.latches: "dict[str, int]" = {}  # to be kept in flash: latched faults and counts
        self.latched = 0  # raised by one whenever `latches` changed


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
        return e.letter not in ("A", "B")
    return e.letter == "E" or e.line_lost


def _ventilation(e: "Evse", i: Inputs, active: bool) -> bool:
    return e.letter == "D" and not e.settings.ventilation


def _residual(e: "Evse", i: Inputs, active: bool) -> bool:
    return i.rcm and not e.test.testing_rcm


def _residual_test(e: "Evse", i: Inputs, active: bool) -> bool:
    return e.failure == "residual_self_test"


def _welded(e: "Evse", i: Inputs, active: bool) -> bool:
    # The far side may hold voltage for a moment (motor, capacitor): a second after opening, and a second long.
    if e.out.contactor or e.now - e.switched_at < 1000:
        return False
    if i.mains:
        return True
    if e.now - e.switched_at >= 4000:  # the meter needs 2.7 s to show that a current has gone
        for ma in i.currents_ma:
            if ma > 200:
                return True
    return e.failure == "welded_contactor"


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
# name                  condition          held   pilot  contactor latched  restart  lock-out   (ms)
INTERLOCKS = (
    ("ev_not_ready",       _not_ready,         0,  KEEP,  NOW,   NO,      0,      LEFT_C_LOCKOUT_MS),
    ("no_current",         _no_current,        0,  X1,    SOFT,  NO,      0,      0),
    ("self_test",          _self_test,         0,  KEEP,  NOW,   NO,      0,      0),
    ("diode_fault",        _diode,           100,  PULSE, NOW,   UNPLUG,  0,      FAULT_LOCKOUT_MS),
    ("pilot_fault",        _pilot,             0,  X1,    NOW,   NO,      2_000,  FAULT_LOCKOUT_MS),
    ("ventilation",        _ventilation,       0,  X1,    NOW,   NO,      0,      0),
    ("residual_current",   _residual,          0,  PULSE, NOW,   USER,    0,      FAULT_LOCKOUT_MS),
    ("residual_self_test", _residual_test,     0,  F,     NOW,   USER,    0,      FAULT_LOCKOUT_MS),
    ("welded_contactor",   _welded,         1000,  F,     NOW,   SERVICE, 0,      FAULT_LOCKOUT_MS),
    ("contactor_missing",  _missing,        3000,  X1,    NOW,   UNPLUG,  0,      FAULT_LOCKOUT_MS),
    ("ground_failure",     _ground,           40,  X1,    NOW,   NO,      60_000, FAULT_LOCKOUT_MS),
    ("over_current",       _over_current,   7000,  PULSE, NOW,   UNPLUG,  0,      FAULT_LOCKOUT_MS),
    ("over_temperature",   _hot,               0,  X1,    HOT,   NO,      60_000, 0),
    ("temperature_sensor", _sensor,       60_000,  X1,    SOFT,  NO,      60_000, 0),
    ("under_voltage",      _under_voltage,  3000,  X1,    SOFT,  NO,      60_000, 0),
    ("over_voltage",       _over_voltage,   3000,  X1,    SOFT,  NO,      60_000, 0),
    ("over_voltage_far",   _far_over_voltage, 1000, X1,   SOFT,  NO,      60_000, 0),
    ("frequency",          _frequency,      3000,  X1,    SOFT,  NO,      60_000, 0),
    ("proximity_fault",    _proximity,        20,  X1,    NOW,   UNPLUG,  0,      FAULT_LOCKOUT_MS),
    ("cable_unrated",      _no_rating,         0,  X1,    NEVER, UNPLUG,  0,      0),
    ("starvation",         _starved,           0,  X1,    NOW,   NO,      5_000,  FAULT_LOCKOUT_MS),
)
NAMES = tuple([row[0] for row in INTERLOCKS])
# Rows that are the normal course of charging, not faults.
NORMAL = ("ev_not_ready", "no_current", "self_test")
WAITS_RANDOMLY = ("under_voltage", "over_voltage", "over_voltage_far", "frequency")
