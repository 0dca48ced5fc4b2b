"""The charger's state machine and its interlocks: pure, stepped, no clock and no hardware of its own.

    evse = Evse(Settings(), latches)
    out = evse.step(inputs, now_ms)     # about every 20 ms, with one window of the pilot each time

Letters A to F are those of IEC 61851-1 Annex A: A to D by the car, E a dead line, F held down by the charger; 1 after
the letter means the steady line (nothing offered), 2 that the PWM offers current. Times in ms, currents in A or mA.
A step allocates nothing unless something changes.
"""

from firmware.charger import pilot
from firmware.charger.derating import Derating
from firmware.charger.proximity import rating_a
from firmware.charger.selftest import SelfTest

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
        self.calibrated = True  # the ADC of the pilot has been


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
        return e.line_lost or e.letter not in ("A", "B")
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


class Evse:
    """The machine. `step` is all there is to call; what is readable is what the conditions above read."""

    def __init__(self, settings: Settings, latches: "dict[str, int] | None" = None, now_ms: int = 0) -> None:
        """`latches` is what `Outputs.latches` was before the restart. ValueError for a current no pilot can say."""
        pilot.check_amps(settings.max_a)
        self.settings = settings
        self.out = Outputs()
        self.out.latches = dict(latches or {})
        self.now = now_ms
        self.gap_ms = 0
        # What the line says, confirmed.
        self.letter = ""
        self.ready = False  # the car wants power
        self.plugged = False
        self.line_lost = False
        self._candidate = ""
        self._same = 0
        self._contrary = 0  # windows in a row that say the car no longer wants power
        self._good_at = now_ms
        self._line_at = now_ms  # the line came back from F
        self._ready_at = 0
        self._diode_at = 0
        self._diodes = 0
        self._direct = False  # the car went from A to C
        self._known = False  # the first letter since start has been seen
        self._start_at = now_ms
        # What was done, and when.
        self.offering = False
        self.duty_at = now_ms
        self.offer_at = now_ms
        self.switched_at = now_ms
        self._pulse_until = now_ms
        self._lockout_until = now_ms
        # Current.
        self.grant_a = 0
        self.cable_a = 0
        self.plug_ohm = 0
        self._withdrawn = False
        self._granted_at = -1
        self._derating = Derating(settings.max_a)
        self.sensor_bad = False
        # Self-test.
        self.test = SelfTest(settings.calibrated)
        self.failure = ""
        self.proven = False
        self._booted = False
        self._retest_at = now_ms
        # Wake-up of a car that sleeps through an offer.
        self._wakes = 0
        self._wake = 0
        self._wake_at = 0
        self._asleep_at = -1
        # Interlocks.
        rows = len(INTERLOCKS)
        self._active = [row[0] in self.out.latches for row in INTERLOCKS]
        self._since = [-1] * rows
        self._gone = [-1] * rows
        self._activated = [now_ms] * rows
        self._day_at = now_ms
        self._pilot_does = KEEP
        self._contactor_does = KEEP

    def active(self, name: str) -> bool:
        """Whether this row of the matrix holds now."""
        return self._active[NAMES.index(name)]

    def step(self, i: Inputs, now_ms: int) -> Outputs:
        """One step: read, judge every interlock, then set pilot and contactor. Gives the machine's own outputs."""
        out = self.out
        self.gap_ms = now_ms - self.now
        self.now = now_ms
        if i.fresh:
            self._see(i)
        self._limits(i)
        self._judge(i)
        self._prove(i)
        self._set_pilot()
        self._set_contactor()
        self._tell(i)
        return out

    # -- The line

    def _see(self, i: Inputs) -> None:
        now = self.now
        if self.out.duty == pilot.STEADY_LOW:
            # Held down by ourselves: the car cannot be seen, and did not go.
            self._good_at = self._line_at = now
            self.line_lost = False
            self._same = 0
            return
        letter = i.letter
        if not letter:
            if now - self._good_at >= LOST_LINE_MS:
                self.line_lost = True
            return
        self._good_at = now
        self.line_lost = False
        if now - self._line_at < BLANK_LINE_MS:
            return
        wants = letter == "C" or (letter == "D" and self.settings.ventilation)
        if wants:
            self._contrary = 0
            if i.diode:
                if not self._diodes:
                    self._diode_at = now
                self._diodes += 1
            else:
                self._diodes = 0
        else:
            self._contrary += 1
            self._diodes = 0
        if letter == self._candidate:
            self._same += 1
        else:
            self._candidate = letter
            self._same = 1
        if self._same >= OPEN_WINDOWS and letter != self.letter:
            if not self.out.contactor or now - self.switched_at >= BLANK_SWITCH_OPEN_MS:
                self._changed(letter, i)
        if self.ready:
            if self._contrary >= OPEN_WINDOWS and (
                not self.out.contactor or now - self.switched_at >= BLANK_SWITCH_OPEN_MS
            ):
                self.ready = False
        elif wants and self._same >= OPEN_WINDOWS:
            self.ready = True
            self._ready_at = now

    def _changed(self, letter: str, i: Inputs) -> None:
        """The confirmed letter is another one."""
        if letter == "A":
            if self.plugged:
                self._unplugged()
            self.plugged = False
        elif letter != "E" and not self.plugged:
            self.plugged = True
            self._direct = letter != "B" and self.letter == "A"
            self.plug_ohm = i.pp_ohm
            self.cable_a = rating_a(i.pp_ohm)
            if not self._known:
                self._start_at = self.now + self.settings.start_delay_ms
        if letter != "E":
            self._known = True
        self.letter = letter
        self._asleep_at = -1

    def _unplugged(self) -> None:
        latches = self.out.latches
        for k in range(len(INTERLOCKS)):
            row = INTERLOCKS[k]
            if row[5] == UNPLUG and self._active[k]:
                if row[0] == "over_current" and latches.get("over_current_today", 0) >= 3:
                    continue
                self._release(k)
        if latches.get("residual_tries") and not self.active("residual_current") and self.failure == "":
            self._forget("residual_tries")
        self.cable_a = 0
        self.plug_ohm = 0
        self._withdrawn = False
        self._direct = False
        self._wakes = 0
        self._wake = 0

    # -- What may be offered

    def _limits(self, i: Inputs) -> None:
        now = self.now
        settings = self.settings
        self._derating.step(i.temperatures_c, now)
        self.sensor_bad = self._derating.broken
        cap = min(settings.max_a, self._derating.cap_a)
        if settings.detachable and self.plugged:
            cap = min(cap, self.cable_a)
        if self._direct and settings.simplified_10a:
            cap = min(cap, 10)
        self.out.cap_a = cap
        grant = min(i.limit_a, cap) if i.allowed else 0
        if i.present:
            self._start_at = now
        if grant < 6:
            grant = 0
            self._granted_at = -1
            if self.out.contactor:
                self._withdrawn = True
        else:
            if self._granted_at < 0:
                self._granted_at = now
            if self._withdrawn:
                if now - self._granted_at >= settings.resume_ms and not self.out.contactor:
                    self._withdrawn = False
                else:
                    grant = 0
            if now < self._start_at:
                grant = 0
        self.grant_a = grant

    # -- The matrix

    def _judge(self, i: Inputs) -> None:
        now = self.now
        pilot_does = KEEP
        contactor_does = KEEP
        for k in range(len(INTERLOCKS)):
            name, condition, held, on_pilot, on_contactor, latched, restart, _ = INTERLOCKS[k]
            active = self._active[k]
            if condition(self, i, active):
                self._gone[k] = -1
                if not active:
                    if self._since[k] < 0:
                        self._since[k] = now
                    if now - self._since[k] >= held:
                        active = True
                        self._activate(k)
            else:
                self._since[k] = -1
                if active:
                    if latched == NO:
                        if self._gone[k] < 0:
                            self._gone[k] = now
                        wait = restart
                        if name in WAITS_RANDOMLY:
                            wait += self.settings.voltage_delay_ms
                        if now - self._gone[k] >= wait:
                            active = False
                            self._release(k)
                    elif self._may_clear(k, i):
                        active = False
                        self._release(k)
            if active:
                if on_pilot == F or now < self._pulse_until:
                    pilot_does = F
                elif pilot_does != F and on_pilot != KEEP:
                    pilot_does = X1
                if on_contactor in (NOW, NEVER):
                    contactor_does = NOW
                elif contactor_does != NOW:
                    # Under load the car is given time to stop by itself, from the moment it was told.
                    patience = HOT_MS if on_contactor == HOT else WITHDRAW_MS
                    contactor_does = NOW if now - self._activated[k] >= patience else SOFT
        self._pilot_does = pilot_does
        self._contactor_does = contactor_does

    def _activate(self, k: int) -> None:
        name, _, _, on_pilot, _, latched, _, lockout = INTERLOCKS[k]
        self._active[k] = True
        self._activated[k] = self.now
        if on_pilot == PULSE:
            self._pulse_until = self.now + FAULT_PULSE_MS
        if name == "ev_not_ready":
            if self.out.contactor:
                self._lockout(lockout)
        elif lockout:
            self._lockout(lockout)
        if latched != NO:
            self.out.latches[name] = 1
            if name == "over_current":
                today = self.out.latches.get("over_current_today", 0)
                if self.now - self._day_at > DAY_MS:
                    today = 0
                if not today:
                    self._day_at = self.now
                self.out.latches["over_current_today"] = today + 1
            self.out.latched += 1

    def _release(self, k: int) -> None:
        name, _, _, _, _, latched, _, lockout = INTERLOCKS[k]
        self._active[k] = False
        self._since[k] = -1
        self._gone[k] = -1
        if lockout and name != "ev_not_ready":
            self._lockout(lockout)
        if latched != NO:
            self._forget(name)
        if name == "residual_self_test":
            self.failure = ""

    def _forget(self, name: str) -> None:
        if name in self.out.latches:
            del self.out.latches[name]
            self.out.latched += 1

    def _lockout(self, ms: int) -> None:
        self._lockout_until = max(self._lockout_until, self.now + ms)

    def _may_clear(self, k: int, i: Inputs) -> bool:
        """Whether a latched row whose condition has gone may end now."""
        row = INTERLOCKS[k]
        name = row[0]
        told = i.clear in (name, "*")
        if row[5] == SERVICE:
            return told and i.service
        if row[5] == UNPLUG:
            if name == "over_current" and told and self.letter == "A":
                self._forget("over_current_today")
                return True
            return False
        if told:
            self._forget("residual_tries")
            return True
        if name == "residual_current" and self.settings.residual_retry:
            tries = self.out.latches.get("residual_tries", 0)
            if tries < 4 and self.now - self._activated[k] >= RESIDUAL_RETRY_MS:
                self.out.latches["residual_tries"] = tries + 1
                return True
        return False

    # -- Self-test

    def _prove(self, i: Inputs) -> None:
        now = self.now
        test = self.test
        if test.running:
            if test.step(i, now):
                self.failure = test.failure
                self._retest_at = now + RETEST_MS
                self.proven = self._booted and not test.failure
                self._booted = self._booted or not test.failure
        elif not self._booted:
            if now >= self._retest_at and not self.active("residual_self_test"):
                test.begin(True, now)
        elif self.proven:
            # A proof is good for the close that follows it at once.
            if not self.out.contactor and not self.ready:
                self.proven = False
        elif self._closable(i) and (not self.failure or now >= self._retest_at):
            test.begin(False, now)

    def _closable(self, i: Inputs) -> bool:
        """Whether only the self-test is left between the car and its power."""
        now = self.now
        for k in range(len(INTERLOCKS)):
            if self._active[k] and INTERLOCKS[k][0] != "self_test":
                return False
        return (
            self.ready
            and self.offering
            and now - self._ready_at >= CLOSE_DEBOUNCE_MS
            and self._diodes >= DIODE_PROVEN_WINDOWS
            and now - self._diode_at >= DIODE_PROVEN_MS
            and now - self.switched_at >= BLANK_SWITCH_MS
            and now >= self._lockout_until
        )

    # -- The pilot

    def _set_pilot(self) -> None:
        out = self.out
        pilot_does = self._pilot_does
        now = self.now
        offer = 0
        duty = pilot.STEADY_HIGH
        if self.test.duty >= 0:
            duty = self.test.duty
        elif pilot_does == F or not self._booted:
            duty = pilot.STEADY_LOW
        elif pilot_does == KEEP and self.plugged and self.letter != "A":
            step = self._wake_up()
            if step == F:
                duty = pilot.STEADY_LOW
            elif step != X1:
                offer = self.grant_a
                if offer > out.offer_a and out.offer_a and now - self.offer_at < self.settings.change_ms:
                    offer = out.offer_a  # a raise waits, a cut never does
                duty = pilot.duty_permille(offer)
        if offer != out.offer_a:
            out.offer_a = offer
            self.offer_at = now
        if duty != out.duty:
            out.duty = duty
            self.duty_at = now
            self._diodes = 0
        self.offering = offer > 0

    def _wake_up(self) -> str:
        """What a car that sleeps in B through an offer is shown: F, X1, or KEEP for the offer itself."""
        now = self.now
        if self._wake:
            spent = now - self._wake_at
            if self._wake == 1 and spent >= WAKE_F_MS:
                self._wake = 2
                self._wake_at = now
            elif (self._wake == 2 and spent >= WAKE_X1_MS) or (self._wake == 3 and spent >= WAKE_PULSE_MS):
                self._wake = 0
                self._asleep_at = -1
            return (KEEP, F, X1, X1)[self._wake]
        if self.letter != "B" or not self.offering or not self.settings.wake_up:
            self._asleep_at = -1
        elif self._asleep_at < 0:
            self._asleep_at = now
        elif self._wakes < 2 and now - self._asleep_at >= (WAKE_AGAIN_MS if self._wakes else WAKE_AFTER_MS):
            self._wakes += 1
            self._wake = 3 if self._wakes == 2 else 1
            self._wake_at = now
            return X1 if self._wake == 3 else F
        return KEEP

    # -- The contactor

    def _set_contactor(self) -> None:
        out = self.out
        contactor_does = self._contactor_does
        out.rcm_test = self.test.rcm_test
        if out.contactor:
            if contactor_does == NOW:
                out.contactor = False
                self.proven = False
                self.switched_at = self.now
                if self.ready:  # the charger's own doing: no quick cycling
                    self._lockout(MINIMUM_OFF_MS)
        elif contactor_does == KEEP and self.proven and not self.active("self_test") and self.now >= self._lockout_until:
            if self.ready and self.offering:
                out.contactor = True
                self.switched_at = self.now

    # -- What is told

    def _tell(self, i: Inputs) -> None:
        out = self.out
        if out.duty == pilot.STEADY_LOW or not self.letter:
            letter, x2 = "F", False
        else:
            letter, x2 = self.letter, self.offering
        if out.state[0] != letter or (out.state[1] == "2") != x2:
            out.state = letter + ("2" if x2 else "1")
        changed = False
        count = 0
        for k in range(len(INTERLOCKS)):
            if self._active[k] and INTERLOCKS[k][0] not in NORMAL:
                if count >= len(out.faults) or out.faults[count] != INTERLOCKS[k][0]:
                    changed = True
                count += 1
        failure = self.failure
        if failure and not (failure in NAMES and self.active(failure)):
            if count >= len(out.faults) or out.faults[count] != failure:
                changed = True
            count += 1
        if changed or count != len(out.faults):
            out.faults = [NAMES[k] for k in range(len(NAMES)) if self._active[k] and NAMES[k] not in NORMAL]
            if failure and failure not in out.faults:
                out.faults.append(failure)
        out.why = self._why(i)

    def _why(self, i: Inputs) -> str:
        if self.out.contactor and self.offering:
            return ""
        if self.out.faults:
            return self.out.faults[0]
        if not self._booted or self.test.running:
            return "self_test"
        if not self.plugged:
            return "no_car"
        if not i.allowed:
            return "card"
        if self._wake:
            return "wake_up"
        if not self.grant_a:
            if self.now < self._start_at:
                return "random_delay"
            return "resume_delay" if self._withdrawn and self._granted_at >= 0 else "no_current"
        if not self.ready:
            return "paused_by_car" if self._wakes >= 2 else "car_not_ready"
        return "lockout" if self.now < self._lockout_until else "closing"
