"""The charger's state machine and its interlocks: pure, stepped, no clock and no hardware of its own.

    evse = Evse(Settings(), latches)
    out = evse.step(inputs, now_ms)     # about every 20 ms, with one window of the pilot each time

Letters A to F are those of IEC 61851-1 Annex A: A to D by the car, E a dead line, F held down by the charger; 1 after
the letter means the steady line (nothing offered), 2 that the PWM offers current. Times in ms, currents in A or mA.
A step allocates nothing unless something changes.
"""

from firmware.charger import pilot
from firmware.charger.derating import Derating
from firmware.charger.interlocks import (
    BLANK_SWITCH_MS,
    HOT,
    INTERLOCKS,
    KEEP,
    NAMES,
    NEVER,
    NO,
    NORMAL,
    NOW,
    PULSE,
    SERVICE,
    SOFT,
    UNPLUG,
    WAITS_RANDOMLY,
    X1,
    F,
)
from firmware.charger.proximity import rating_a
from firmware.charger.records import Inputs, Outputs, Settings
from firmware.charger.selftest import SelfTest

# -- Times, ms. Annex A and docs/charger.md give where each one comes from.
OPEN_WINDOWS = 2  # windows that must agree before the contactor is opened on what the pilot says
LOST_LINE_MS = 100  # without one good window
CLOSE_DEBOUNCE_MS = 500  # steady C before closing; some cars send C for 250 ms only
DIODE_PROVEN_MS = 100
DIODE_PROVEN_WINDOWS = 3
BLANK_SWITCH_OPEN_MS = 60  # after the contactor moved, decisions that open
BLANK_LINE_MS = 75  # after the line came back from F
WITHDRAW_MS = 6_000  # from X1 until the contactor opens under load
HOT_MS = 5_000
FAULT_PULSE_MS = 300
MINIMUM_OFF_MS = 15_000  # after a stop of the charger's own doing
WAKE_AFTER_MS = 30_000
WAKE_AGAIN_MS = 90_000
WAKE_F_MS = 4_000
WAKE_X1_MS = 750
WAKE_PULSE_MS = 10_000
RETEST_MS = 60_000
RESIDUAL_RETRY_MS = 900_000
DAY_MS = 86_400_000


class Evse:
    """The machine. `step` is all there is to call; what is readable is what the conditions above read."""

    def __init__(
        self, settings: Settings, latches: "dict[str, int] | None" = None, now_ms: int = 0
    ) -> None:
        """`latches` is what `Outputs.latches` was before the restart. ValueError for a current no pilot can say."""
        pilot.check_amps(settings.max_a)
        self.settings = settings
        self.out = Outputs()
        self.out.latches = dict(latches or {})
        self.now = now_ms
        self.gap_ms = 0
        self._stepped = False
        # What the line says, confirmed.
        self.letter = ""
        self.ready = False  # the car wants power
        self.plugged = False
        self.line_lost = False
        self._candidate = ""
        self._same = 0
        self._contrary = 0  # windows in a row that say the car no longer wants power
        self._good_at = now_ms
        self._unread = 0  # windows in a row that say nothing
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
        self.gap_ms = now_ms - self.now if self._stepped else 0
        self._stepped = True
        self.now = now_ms
        if i.fresh:
            self._see(i)
        elif out.duty == pilot.STEADY_LOW:
            self._good_at = now_ms
        else:
            self._missed()  # the converter itself gives nothing
        self._limits(i)
        self._judge(i)
        self._prove(i)
        self._set_pilot()
        self._set_contactor()
        self._tell(i)
        return out

    # -- The line

    def _missed(self) -> None:
        """Another window without an answer. One alone is a plug that is just going in, however long
        the lane was held up before it."""
        self._unread += 1
        if self._unread >= OPEN_WINDOWS and self.now - self._good_at >= LOST_LINE_MS:
            self.line_lost = True

    def _see(self, i: Inputs) -> None:
        now = self.now
        if self.out.duty == pilot.STEADY_LOW:
            # Held down by ourselves: the car cannot be seen, and did not go.
            self._good_at = self._line_at = now
            self._unread = 0
            self.line_lost = False
            self._same = 0
            return
        letter = i.letter
        if not letter:
            self._missed()
            return
        self._good_at = now
        self._unread = 0
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
        settled = not self.out.contactor or now - self.switched_at >= BLANK_SWITCH_OPEN_MS
        if settled and self._same >= OPEN_WINDOWS and letter != self.letter:
            self._changed(letter, i)
        if self.ready:
            if settled and self._contrary >= OPEN_WINDOWS:
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
        if (
            latches.get("residual_tries")
            and not self.active("residual_current")
            and self.failure == ""
        ):
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
                if (
                    offer > out.offer_a
                    and out.offer_a
                    and now - self.offer_at < self.settings.change_ms
                ):
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
            elif (self._wake == 2 and spent >= WAKE_X1_MS) or (
                self._wake == 3 and spent >= WAKE_PULSE_MS
            ):
                self._wake = 0
                self._asleep_at = -1
            return (KEEP, F, X1, X1)[self._wake]
        if self.letter != "B" or not self.offering or not self.settings.wake_up:
            self._asleep_at = -1
        elif self._asleep_at < 0:
            self._asleep_at = now
        elif self._wakes < 2 and now - self._asleep_at >= (
            WAKE_AGAIN_MS if self._wakes else WAKE_AFTER_MS
        ):
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
        elif (
            (
                contactor_does == KEEP
                and self.proven
                and not self.active("self_test")
                and self.now >= self._lockout_until
            )
            and self.ready
            and self.offering
        ):
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
            out.faults = [
                NAMES[k] for k in range(len(NAMES)) if self._active[k] and NAMES[k] not in NORMAL
            ]
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


__all__ = ("Evse", "Inputs", "Outputs", "Settings")
