"""One connector of somebody else's charger, as the core knows it: the charger's part of our wire, played for it. Pure.

Our own chargers hold leases and let them run out by themselves. Another's charger holds charging
profiles. So that the lease law holds for it as well, this keeps account of every profile that may
be in force there (`held_a`), says to the core only what is known, and speaks for the charger while
it cannot be reached:

- a lease is confirmed when the charger has accepted a profile no higher than it;
- profiles end in a period of 0 A where the charger takes such, so they run out by themselves too;
- a cut that is not accepted, a charger that draws more than it accepted, or one that is gone, is
  reported as going by its own rule, at the most it may draw; the core then counts it at that;
- one that has to stop and does not is told to in ever plainer words (`Stop`).

Times are the manager's monotonic milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from manager.core.leases import FOLLOW_MS
from manager.core.site import Charger, Site
from manager.ocpp.measures import Measured
from shared import protocol

Message = dict[str, Any]

SETTLE_MS = 12_000  # after a profile was accepted: the car's 6 s and one or two readings
UNRESOLVED_MS = 8_000  # a cut not confirmed for so long: what it superseded may outlive its lease
RETRY_MS = 5_000  # a charger that did not answer is asked again
REFUSED_MS = 60_000  # one that refused every form is asked again
STOP_STEP_MS = 20_000  # to each way of stopping
SPEAK_MS = 4_000  # the core takes a charger for silent after 12 s
STALE_MS = 60_000  # a transaction's meter that says nothing for so long has nothing to say
_EARLY_MS = 3_000  # after a transaction began
_OVER_MA = 1_000  # above its limit by this much, or a twentieth, is no inaccuracy of its meter

# 1.6's words, to which 2.0.1's are brought: state of IEC 61851-1, whether there may be current.
_STATES = {
    "Available": ("A1", False),
    "Reserved": ("A1", False),
    "Preparing": ("B1", False),
    "Charging": ("C2", True),
    "SuspendedEV": ("B2", True),
    "SuspendedEVSE": ("B1", True),
    "Finishing": ("B1", False),
    "Unavailable": ("F1", False),
    "Faulted": ("F1", False),
}
STATUSES = tuple(_STATES)


@dataclass(frozen=True, slots=True)
class Form:
    """In which words a charger is told its limit. `ends`: with a second period of 0 A."""

    purpose: str  # TxProfile, TxDefaultProfile, max
    unit: str  # A or W
    ends: bool


def forms(units: tuple[str, ...]) -> tuple[Form, ...]:
    """Every form a charger of these units may take, best first."""
    purposes = ("TxProfile", "TxDefaultProfile", "max")
    return tuple(Form(p, u, e) for p, u, e in product(purposes, units, (True, False)))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the site file says of a connector."""

    name: str
    number: int  # its own, from 1
    counter: str
    phases: int
    wiring: tuple[int, ...]
    min_a: int = 6
    max_a: int = 32
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction at a connector. `id` is ours and whole; `theirs` what the charger calls it."""

    id: int
    theirs: str
    tag: str
    card: str
    began_ms: int  # UTC
    begin_wh: int
    authorised: bool = True


@dataclass(frozen=True, slots=True)
class Held:
    """A profile that may be in force. `until_ms` None: it does not end by itself."""

    limit_a: int
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Lease:
    number: int
    limit_a: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class SetLimit:
    """Have the charger go by `limit_a`; `number` is the lease this fulfils (0: none)."""

    limit_a: int
    number: int
    form: Form


@dataclass(frozen=True, slots=True)
class Stop:
    """End what is drawn there. `step` 0: the transaction; 1: the connector; 2: the charger."""

    step: int


class Connector:
    """The account of one connector; see the module."""

    def __init__(self, facts: Facts, boot: int, seq: int, held: Held | None = None) -> None:
        """`held`: what it may still go by from before the manager started; None: nobody knows."""
        self.facts = facts
        self.boot = boot
        self.seq = seq
        self.model = ""
        self.firmware = ""
        self.forms = forms(("A", "W"))
        self.form = 0
        self.connected = False
        self.ready = False  # the charger has been set up since it last connected
        self.fresh = False  # and has accepted a profile since
        self.safe_a: int | None = None  # what it goes by with no profile of ours; None: unknown
        self.unsafe = False  # it would not take such a default
        self.status = "Available"
        self.faults: tuple[str, ...] = ()
        self.transaction: Transaction | None = None
        self.lease = Lease(0, 0, 0)
        self.confirmed = 0
        self.held: tuple[Held, ...] = () if held is None else (held,)
        self.accepted_ms = -1
        self.accepted_a = 0
        self.cut_ms = -1  # a lower limit is being asked for since
        self.told_ms = -(10**9)  # when it last accepted one
        self.wait_ms = -(10**9)  # not to be asked before
        self.refuses = False  # every form
        self.deaf = False
        self.overs = 0
        self.drawn_ma = 0
        self.peak_ma = 0
        self.metered_ms = -(10**9)
        self.energy_wh: int | None = None
        self.volts_dv = 0
        self.stop_step = -1
        self.stop_ms = -1
        self.spoke_ms = -(10**9)
        self.started_ms = -1
        self.unanswered = False  # the transaction's start is: the charger does not know its number
        self.twice = False  # a form was refused at the very beginning and is tried once more

    # What the charger says.

    def gone(self) -> None:
        """The connection ended: it goes on as it last was told."""
        self.connected = self.ready = False

    def came(self) -> None:
        """The connection is there; what it holds is as before until it has accepted anew."""
        self.connected = True
        self.fresh = self.unanswered = False
        self.form = 0
        self.refuses = False

    def said(self, status: str, faults: tuple[str, ...] = ()) -> None:
        """A status in 1.6's words; one that is none is let be."""
        if status in _STATES:
            self.status = status
            self.faults = faults if status == "Faulted" else ()

    def began(self, transaction: Transaction, now_ms: int) -> None:
        """A transaction runs here."""
        self.transaction = transaction
        self.started_ms = now_ms
        self.peak_ma = 0
        self.overs = 0
        self.deaf = self.refuses = False
        self.form = 0
        self.stop_step = -1
        self.twice = False
        self.energy_wh = max(self.energy_wh or 0, transaction.begin_wh)

    def ended(self) -> None:
        """The transaction is over: its profile went with it."""
        self.transaction = None
        self.deaf = False
        self.stop_step = -1
        self.drawn_ma = self.peak_ma = 0
        if self.forms[self.form].purpose == "TxProfile":
            self.held = ()
            self.accepted_ms = -1

    def metered(self, measured: Measured, now_ms: int, age_ms: int = 0) -> Message | None:
        """A reading of its meter; the charger_load for the core, None if it tells no current."""
        if measured.energy_wh is not None:
            self.energy_wh = measured.energy_wh
        if measured.voltage_dv is not None:
            self.volts_dv = max(measured.voltage_dv)
        if measured.current_ma is None:
            return None
        self.metered_ms = now_ms
        self.drawn_ma = max(measured.current_ma)
        if self.transaction is not None:
            self.peak_ma = max(self.peak_ma, self.drawn_ma)
        self._heeds(now_ms - age_ms)
        volts = measured.voltage_dv or (0,) * len(measured.current_ma)
        watts = measured.power_w or tuple(
            ma * (dv or 2300) // 10_000 for ma, dv in zip(measured.current_ma, volts, strict=False)
        )
        energy = [min(self.energy_wh or 0, 2**31 - 1)] + [0] * (len(measured.current_ma) - 1)
        message: Message = {
            **self._head(protocol.CHARGER_LOAD),
            "current_ma": list(measured.current_ma),
            "voltage_dv": list(volts),
            "power_w": list(watts),
            "energy_wh": energy,
            "age_ms": max(0, min(600_000, age_ms)),
        }
        if self.transaction is not None:
            message["session"] = self.transaction.id
            done = (self.energy_wh or 0) - self.transaction.begin_wh
            message["session_wh"] = max(0, min(2**31 - 1, done))
        return message

    def _heeds(self, at_ms: int) -> None:
        """Whether it keeps to what it accepted, by two readings one after the other."""
        if self.accepted_ms < 0 or at_ms - self.accepted_ms < SETTLE_MS:
            return
        limit_ma = self.accepted_a * 1000
        over = self.drawn_ma > limit_ma + max(_OVER_MA, limit_ma // 20)
        self.overs = max(0, self.overs) + 1 if over else min(0, self.overs) - 1
        if self.overs >= 2:
            self.deaf = True
        elif self.overs <= -2:
            self.deaf = False

    # What the core says.

    def leased(self, message: Message, now_ms: int) -> None:
        """A lease, as our own chargers get them."""
        if message["lease"] <= self.lease.number:
            return
        before = self.lease.limit_a
        ttl = int(message["ttl_ms"])
        self.lease = Lease(int(message["lease"]), int(message["limit_a"]), now_ms + ttl)
        if self.lease.limit_a < before and self.cut_ms < 0:
            self.cut_ms = now_ms

    # What became of what it was asked.

    def asked(self, now_ms: int, limit_a: int, until_ms: int | None) -> None:
        """A profile is under way: from now on it may be in force, answered or not."""
        self.wait_ms = now_ms + RETRY_MS
        self.held = (*self._alive(now_ms - FOLLOW_MS), Held(limit_a, until_ms))

    def accepted(self, what: SetLimit, now_ms: int, until_ms: int | None) -> None:
        """The charger goes by this profile and by no other."""
        self.held = (Held(what.limit_a, until_ms),)
        if self.accepted_ms < 0 or what.limit_a != self.accepted_a:
            self.accepted_ms = now_ms
            self.accepted_a = what.limit_a
            self.overs = 0
        self.told_ms = self.wait_ms = now_ms
        self.refuses = False
        self.fresh = True
        self.cut_ms = -1
        self.confirmed = max(self.confirmed, what.number)

    def refused(self, what: SetLimit, now_ms: int) -> None:
        """It will not take it in this form: the next one is tried at once."""
        self.held = self.held[:-1] if self.held[-1:] else ()
        if now_ms - self.started_ms < _EARLY_MS and not self.twice:
            # Some take a while to know their own transaction.
            self.twice = True
            self.wait_ms = now_ms + 1_000
            return
        if self.forms[self.form] == what.form:
            self.form += 1
            self.wait_ms = now_ms
        if self.form >= len(self.forms):
            self.form = 0
            self.refuses = True
            self.wait_ms = now_ms + REFUSED_MS

    # What is to be done.

    def wanted_a(self, now_ms: int) -> int:
        """What it should go by now: its lease while that lives; without one, when it comes back, what it was
        counted at all the while, so that no car is paused for a connection that was lost.
        """
        if now_ms < self.lease.until_ms:
            return self.lease.limit_a
        alive = self._alive(now_ms)
        return 0 if self.fresh or not alive else max(h.limit_a for h in alive)

    def next(self, now_ms: int, renew_ms: int) -> SetLimit | None:
        """What to ask of the charger now. A lease that it fulfils already is confirmed here."""
        if not (self.connected and self.ready) or self.unanswered:
            return None
        form = self.forms[self.form]
        want = self.wanted_a(now_ms)
        if self.transaction is None and (self.safe_a == 0 or form.purpose == "TxProfile"):
            self.cut_ms = -1
            self.confirmed = self.lease.number
            return None
        alive = self._alive(now_ms)
        one = alive[0] if len(alive) == 1 else None
        if one is not None and self.accepted_ms >= 0 and one.limit_a == want:
            left = None if one.until_ms is None else one.until_ms - now_ms
            if want == 0 or left is None or left > renew_ms:
                self.confirmed = self.lease.number
                self.cut_ms = -1
                if not self.deaf or now_ms - self.told_ms < REFUSED_MS:
                    return None
        if not alive and want == 0 and self.accepted_ms >= 0 and self.safe_a == 0:
            self.confirmed = self.lease.number
            self.cut_ms = -1
            return None
        if now_ms < self.wait_ms:
            return None
        return SetLimit(want, self.lease.number, form)

    def stop(self, now_ms: int, fits: bool) -> Stop | None:
        """The next way of stopping it, if it neither heeds nor fits."""
        if not self.connected or self.transaction is None or not (self.deaf or self.refuses):
            return None
        if self.stop_step < 0 and (fits or self.drawn_ma < _OVER_MA):
            return None
        if self.stop_step >= 2 or (self.stop_step >= 0 and now_ms - self.stop_ms < STOP_STEP_MS):
            return None
        self.stop_step += 1
        self.stop_ms = now_ms
        return Stop(self.stop_step)

    # What the core is told.

    def _alive(self, now_ms: int) -> tuple[Held, ...]:
        alive: dict[tuple[int, bool], Held] = {}
        for h in self.held:
            if h.until_ms is None or now_ms < h.until_ms:
                alive[h.limit_a, h.until_ms is None] = h  # the later one of the same limit
        return tuple(alive.values())

    def held_a(self, now_ms: int) -> int:
        """The most it may be drawing by what it may have been told, the car's time to follow included."""
        most = self._unled_a()
        if self.held:
            # A profile that has ended leaves 0 A; one without an end never does.
            most = 0 if self.accepted_ms >= 0 else most
            for h in self.held:
                if h.until_ms is None or now_ms < h.until_ms + FOLLOW_MS:
                    most = max(most, h.limit_a)
        return most

    def _unled_a(self) -> int:
        """What it may take without any profile of ours."""
        if self.safe_a is not None:
            return self.safe_a
        idle = self.transaction is None and self.status in ("Available", "Reserved", "Unavailable")
        # One that has no car, and has not refused to be made safe, asks before it begins anything.
        return 0 if idle and not self.unsafe else self.facts.max_a

    def mode(self, now_ms: int) -> tuple[str, int | None]:
        """managed, or manual with the most it is to be counted at."""
        if self.refuses or self.deaf:
            known = now_ms - self.metered_ms < STALE_MS and self.started_ms < self.metered_ms
            most = -(-self.peak_ma // 1000) if known else self.facts.max_a
            return "manual", max(most, self.held_a(now_ms) if self.deaf else 0)
        held = self.held_a(now_ms)
        if self.cut_ms >= 0:  # what was granted before still counts in the core, for a while
            return ("manual", held) if now_ms - self.cut_ms > UNRESOLVED_MS else ("managed", None)
        leased = self.lease.limit_a if now_ms < self.lease.until_ms else 0
        led = self.connected and self.ready and self.fresh
        if not led and held > leased and (not self.connected or self.transaction is not None):
            return "manual", held
        return "managed", None

    def out_of_reach(self, now_ms: int) -> bool:
        """Whether it is gone, and what it was told has safely ended."""
        return not self.connected and self.held_a(now_ms) == 0

    def state(self, now_ms: int) -> tuple[str, bool]:
        """The state of IEC 61851-1, and whether there may be current."""
        state, closed = _STATES[self.status]
        closed = closed or self.drawn_ma > _OVER_MA
        if self.transaction is not None and state[0] == "A":
            state, closed = "B1", True  # its status is late
        if not self.connected and self.held_a(now_ms) and state[0] in "AF":
            state, closed = "B1", True  # a car may have come since
        return state, closed

    def status_message(self, now_ms: int) -> Message:
        """The charger_status for the core."""
        self.spoke_ms = now_ms
        mode, cap = self.mode(now_ms)
        state, closed = self.state(now_ms)
        offer = self.held_a(now_ms) if self.transaction is not None else 0
        faults = list(self.faults)
        if self.status == "Unavailable":
            faults = ["unavailable"]
        if self.deaf:
            faults_told = ["ignores_its_limit"]
        elif self.refuses:
            faults_told = ["refuses_limits"]
        else:
            faults_told = []
        message: Message = {
            **self._head(protocol.CHARGER_STATUS),
            "state": state,
            "offer_a": min(80, offer),
            "lease": self.confirmed,
            "lease_ms": max(0, min(600_000, self.lease.until_ms - now_ms)),
            "contactor": int(closed),
            "mode": mode,
            "faults": (faults + faults_told)[:6],
            "rejected": 0,
            "uptime_s": 0,
            "authorised": int(self.transaction is not None and self.transaction.authorised),
        }
        if cap is not None:
            message["cap_a"] = min(80, cap)
        return message

    def hello(self) -> Message:
        """The new_charger for the core."""
        facts = self.facts
        return {
            **self._head(protocol.NEW_CHARGER),
            "id": facts.name,
            "counter": facts.counter,
            "model": self.model[:24],
            "firmware": self.firmware[:16],
            "min_a": facts.min_a,
            "max_a": facts.max_a,
            "phases": facts.phases,
            "wiring": list(facts.wiring),
            "failsafe_a": 0,
            "meter": 1,
        }

    def card_read(self, card: str) -> Message:
        """The card_read for a card held to it."""
        return {**self._head(protocol.CARD_READ), "card": card}

    def session_begin(self, how: str, age_s: int) -> Message:
        """The session_begin of the transaction that runs."""
        assert self.transaction is not None
        message = {
            **self._head(protocol.SESSION_BEGIN),
            "session": self.transaction.id,
            "how": how,
            "energy_wh": self.transaction.begin_wh,
            "age_s": max(0, age_s),
        }
        if self.transaction.card:
            message["card"] = self.transaction.card
        return message

    def session_end(self, energy_wh: int, duration_s: int, age_s: int, why: str) -> Message:
        """The session_end of the transaction that runs."""
        assert self.transaction is not None
        message = {
            **self._head(protocol.SESSION_END),
            "session": self.transaction.id,
            "energy_wh": max(0, energy_wh),
            "duration_s": max(0, duration_s),
            "age_s": max(0, age_s),
            "why": why,
        }
        if self.transaction.card:
            message["card"] = self.transaction.card
        return message

    def _head(self, code: int) -> Message:
        self.seq += 1
        return {"code": code, "boot": self.boot, "seq": self.seq}


def fits(site: Site, name: str, drawn_ma: int) -> bool:
    """Whether the site could bear what this charger draws if all that heed gave up all but their failsafe."""
    charger = site.chargers.get(name)
    if charger is None or not site.headroom_ma:
        return False
    for feeder in site.above(charger.feeder):
        for phase in charger.phases:
            left = site.headroom_ma.get(feeder, ())
            if phase >= len(left):
                continue
            room = left[phase] - sum(
                _least_ma(c)
                for c in site.chargers.values()
                if c.id != name and phase in c.phases and feeder in site.above(c.feeder)
            )
            if drawn_ma > room:
                return False
    return True


def _least_ma(charger: Charger) -> int:
    return 1000 * (charger.failsafe_a if charger.mode == "managed" else charger.worst_a)
