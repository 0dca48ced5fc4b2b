"""One of our charge points, as a central system sees it: what is the same in both versions.

`point16` and `point201` put it into words. A point has one connector for each of its chargers. It
queues what must not be lost (transactions) on disk, and delivers that in order, each once answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import uuid
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from manager.core.site import Charger
from manager.ocpp import kept, profiles, quirks
from manager.ocpp.errands import Errands
from manager.ocpp.frames import CALL_S, CallFailed, Payload, Refused, Talk
from manager.ocpp.measures import WANTED, sampled
from manager.ocpp.profiles import Place, Profile
from manager.ocpp.signing import Signer
from manager.run import Manager
from manager.store import Row
from shared import protocol

log = logging.getLogger(__name__)

QUEUE_MOST = (
    20_000  # rows of one point; a meter value more than that is let go, a start or stop never
)
ATTEMPTS = 3  # at a message the central system answers with an error
_RETRY_S = 5.0
_START_S = 120.0  # so long a remote start's tag waits for its session
LIST_MOST = 1_000
LIST_PART = 200  # in one message

# Variables with a word for each version: (1.6's key, 2.0.1's component, variable, first value, may be changed).
Variable = tuple[str, str, str, str, bool]
VARIABLES: tuple[Variable, ...] = (
    ("HeartbeatInterval", "OCPPCommCtrlr", "HeartbeatInterval", "300", True),
    ("WebSocketPingInterval", "OCPPCommCtrlr", "WebSocketPingInterval", "20", False),
    ("TransactionMessageAttempts", "OCPPCommCtrlr", "MessageAttempts", str(ATTEMPTS), False),
    ("TransactionMessageRetryInterval", "OCPPCommCtrlr", "MessageAttemptInterval", "5", False),
    ("MeterValueSampleInterval", "SampledDataCtrlr", "TxUpdatedInterval", "60", True),
    ("MeterValuesSampledData", "SampledDataCtrlr", "TxUpdatedMeasurands", ",".join(WANTED), True),
    ("SampledDataSignReadings", "SampledDataCtrlr", "SignReadings", "false", True),
    ("SampledDataSignUpdatedReadings", "SampledDataCtrlr", "SignUpdatedReadings", "true", True),
    ("PublicKeyWithSignedMeterValue", "OCPPCommCtrlr", "PublicKeyWithSignedMeterValue", "EveryMeterValue", True),
    ("AuthorizeRemoteTxRequests", "AuthCtrlr", "AuthorizeRemoteStart", "false", True),
    ("LocalPreAuthorize", "AuthCtrlr", "LocalPreAuthorize", "false", True),
    ("LocalAuthorizeOffline", "AuthCtrlr", "LocalAuthorizeOffline", "true", True),
    ("LocalAuthListEnabled", "LocalAuthListCtrlr", "Enabled", "true", True),
    ("LocalAuthListMaxLength", "LocalAuthListCtrlr", "Storage", str(LIST_MOST), False),
    ("SendLocalListMaxLength", "LocalAuthListCtrlr", "ItemsPerMessage", str(LIST_PART), False),
    ("ChargeProfileMaxStackLevel", "SmartChargingCtrlr", "ProfileStackLevel", "8", False),
    ("ChargingScheduleAllowedChargingRateUnit", "SmartChargingCtrlr", "RateUnit", "Current,Power", False),
    ("ChargingScheduleMaxPeriods", "SmartChargingCtrlr", "PeriodsPerSchedule", "24", False),
    ("MaxChargingProfilesInstalled", "SmartChargingCtrlr", "Entries", "20", False),
    ("ReserveConnectorZeroSupported", "ReservationCtrlr", "NonEvseSpecific", "false", False),
    ("ConnectionTimeOut", "TxCtrlr", "EVConnectionTimeOut", "120", True),
    ("StopTransactionOnEVSideDisconnect", "TxCtrlr", "StopTxOnEVSideDisconnect", "true", False),
    ("StopTransactionOnInvalidId", "TxCtrlr", "StopTxOnInvalidId", "true", True),
    ("UnlockConnectorOnEVSideDisconnect", "TxCtrlr", "UnlockOnEVSideDisconnect", "false", False),
    ("ResetRetries", "OCPPCommCtrlr", "ResetRetries", "0", False),
    ("GetConfigurationMaxKeys", "DeviceDataCtrlr", "ItemsPerMessage", "100", False),
    ("SupportedFeatureProfiles", "DeviceDataCtrlr", "Profiles",
     "Core,FirmwareManagement,LocalAuthListManagement,Reservation,SmartCharging,RemoteTrigger", False),
    ("StopTxnSampledData", "SampledDataCtrlr", "TxEndedMeasurands", "Energy.Active.Import.Register", False),
    ("ClockAlignedDataInterval", "AlignedDataCtrlr", "Interval", "0", False),
    ("MeterValuesAlignedData", "AlignedDataCtrlr", "Measurands", "", False),
    ("StopTxnAlignedData", "AlignedDataCtrlr", "TxEndedMeasurands", "", False),
    ("ConnectorPhaseRotation", "DeviceDataCtrlr", "PhaseRotation", "0.Unknown", False),
)  # fmt: skip
_KEY_SENT = ("EveryMeterValue", "Never")
_WHOLE = {"HeartbeatInterval", "MeterValueSampleInterval", "ConnectionTimeOut"}


@dataclass
class Running:
    """A session as the central system knows it."""

    session: int
    began_ms: int  # UTC
    tag: str
    number: str  # the central system's (1.6, "" until it has answered) or ours (2.0.1)
    begin_wh: int
    remote: int = 0  # the remote start it came from
    sequence: int = 0  # of its events (2.0.1)
    reservation: int = 0  # the one it was made for
    kind: str = ""  # of its tag, where the central system has said (2.0.1)


@dataclass(frozen=True)
class Asked:
    """A start from afar that waits for its session."""

    since: float  # of the loop's clock
    tag: str
    kind: str  # of the tag (2.0.1)
    number: int  # the central system's, 0 for none
    profile: Payload | None


@dataclass
class Outlet:
    """One of the point's connectors: a charger of ours."""

    charger: str
    number: int
    running: Running | None = None
    told: str = ""  # status last said
    load: Mapping[str, Any] | None = None
    sampled_s: float = 0.0
    ended: bool = False  # its session is over, the car is still there
    out: bool = False  # taken out of service by the central system
    out_later: bool = False
    reset_later: bool = False
    last: int = 0  # newest session that is over
    remote_stop: bool = False
    asked: deque[Asked] = field(default_factory=deque)


class Point(ABC):
    """One charge point: its connectors, what was set there, and what waits to be said."""

    version = ""

    def __init__(
        self,
        name: str,
        manager: Manager,
        connectors: Mapping[str, int],
        signer: Signer,
        numbers: Iterator[int],
    ) -> None:
        """`connectors`: charger -> its number here. `numbers`: of what is queued, rising for ever, all points
        together.
        """
        self._numbers = numbers
        self.name = name
        self.manager = manager
        self.signer = signer
        self.outlets = {c: Outlet(c, n) for c, n in connectors.items()}
        self.refused: Counter[str] = Counter()
        self.talk: Talk | None = None
        self.accepted = False
        self.interval_s = 300.0
        self.offline_since = 0.0
        self.delivered = 0
        self.queue: deque[tuple[int, str, str, Payload]] = deque()
        self.variables = {row[0]: row[3] for row in VARIABLES}
        self.profiles: tuple[Profile, ...] = ()
        self.cards: dict[str, Payload] = {}  # the local list: tag -> its info
        self.list_version = 0
        self.reservations: dict[int, Payload] = {}
        self.groups: dict[str, str] = {}  # tag -> its group, as far as the central system has said
        self.tasks: set[asyncio.Task[None]] = set()
        self.ids: dict[str, str] = {}  # session -> the central system's number (1.6)
        self._held: list[Row] | None = None  # rows that are to be written as one
        self._kept = 0  # rows so far
        self._wake = asyncio.Event()
        self._boot_now = asyncio.Event()
        self._load()
        self.errands = Errands(self)

    def add(self, charger: str, number: int) -> Outlet:
        """One more of our chargers is here: one more connector, whatever waits to be said of the others."""
        self.outlets[charger] = Outlet(charger, number)
        return self.outlets[charger]

    # What is on disk.

    def _load(self) -> None:
        path = self.manager.store.path
        found = kept.settings(path, self.name)
        self.variables.update(found.get("variable", {}))
        self.profiles = tuple(_profile(p) for p in found.get("profile", {}).values())
        self.cards = dict(found.get("card", {}))
        self.list_version = int(found.get("list", {}).get("version", 0))
        self.reservations = {int(k): v for k, v in found.get("reservation", {}).items()}
        self.ids = dict(found.get("number", {}))
        for charger, value in found.get("running", {}).items():
            if charger in self.outlets:
                self.outlets[charger].running = Running(**value)
        for charger, value in found.get("last", {}).items():
            if charger in self.outlets:
                self.outlets[charger].last = int(value)
        for charger in found.get("out", {}):
            if charger in self.outlets:
                self.outlets[charger].out = True
        for i, point, message, action, payload in kept.queued(path):
            if point == self.name:
                self.queue.append((i, message, action, payload))

    def keep(self, *rows: Row) -> None:
        """Write what must outlive a restart."""
        self._kept += len(rows)
        if self._held is None:
            self.manager.store.write(list(rows))
        else:
            self._held += rows

    @contextlib.contextmanager
    def as_one(self) -> Iterator[None]:
        """What is kept meanwhile is on disk all of it or not at all: a session that had been queued, but
        not yet taken for begun, would be queued again when its charger tells it again."""
        if self._held is not None:
            yield  # as one with what it is part of
            return
        rows: list[Row] = []
        self._held = rows
        try:
            yield
        finally:
            self._held = None
            if rows:
                self.manager.store.write(rows)

    def keep_one(self, kind: str, name: str, value: object) -> None:
        """Keep one setting; None forgets it."""
        if value is None:
            self.keep((kept.UNSET, (self.name, kind, name)))
        else:
            self.keep(kept.setting(self.name, kind, name, value))

    def set_profiles(self, new: tuple[Profile, ...]) -> None:
        """These and no others are installed from now on."""
        self.profiles = new
        rows: list[Row] = [(kept.UNSET_KIND, (self.name, "profile"))]
        rows += [kept.setting(self.name, "profile", str(p.id), asdict(p)) for p in new]
        self.keep(*rows)
        self.limit()

    def keep_running(self, outlet: Outlet) -> None:
        """Keep the session that runs, for a manager that is started anew."""
        value = None if outlet.running is None else asdict(outlet.running)
        self.keep_one("running", outlet.charger, value)

    # The queue.

    def put(self, action: str, payload: Payload, *, may_go: bool = False) -> None:
        """Queue what must be delivered, once and in order. `may_go`: unless there is too much already."""
        if may_go and len(self.queue) >= QUEUE_MOST:
            self.refused["queue_full"] += 1
            return
        number = next(self._numbers)
        message = str(uuid.uuid4())
        self.queue.append((number, message, action, payload))
        row = (number, self.name, message, action, json.dumps(payload))
        self.keep((kept.QUEUED, row))
        self._wake.set()

    async def deliver(self) -> None:
        """Deliver what is queued, while this connection lasts. CallFailed when it does not."""
        attempts = 0
        while True:
            if not self.queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            number, message, action, payload = self.queue[0]
            call = self.filled(action, payload)
            if call is not None:
                try:
                    answer = await self.say(action, call, message)
                except CallFailed as e:
                    if e.code in ("Gone", "Timeout"):
                        raise
                    attempts += 1
                    self.refused["undelivered"] += 1
                    if attempts < ATTEMPTS:
                        await asyncio.sleep(_RETRY_S * attempts)
                        continue
                    self.manager.note("ocpp", self.name, f"{action} was not taken: {e}"[:200])
                else:
                    await self.answered(action, payload, answer)
            attempts = 0
            self.queue.popleft()
            self.delivered += 1
            await kept.committed(self.manager.store, [(kept.DELIVERED, (number,))])

    async def say(self, action: str, payload: Payload, message: str = "") -> Payload:
        """Call the central system. CallFailed if it is not there."""
        if self.talk is None:
            raise CallFailed("Gone", "not connected")
        return await self.talk.call(action, payload, CALL_S, message)

    # The connection.

    async def connected(self, talk: Talk) -> None:
        """Be a charge point on this connection until it ends."""
        self.talk = talk
        self.accepted = False
        serving = asyncio.create_task(talk.serve())
        work = asyncio.create_task(self._work())
        try:
            await asyncio.wait((serving, work), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.talk = None
            self.accepted = False
            for task in (serving, work):
                task.cancel()
            for result in await asyncio.gather(serving, work, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, CallFailed):
                    log.error("%s: %r", self.name, result)
            await talk.close()

    async def _work(self) -> None:
        while True:
            answer = await self.say("BootNotification", self.hello())
            self.interval_s = max(1.0, float(answer["interval"] or 60))
            if answer["status"] == "Accepted":
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.interval_s):
                    await self._boot_now.wait()
            self._boot_now.clear()
        self.accepted = True
        self.variables["HeartbeatInterval"] = str(round(self.interval_s))
        for outlet in self.outlets.values():
            outlet.told = ""
        await self.say_status()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.deliver())
                group.create_task(self._heartbeat())
                group.create_task(self._statuses())
        except* CallFailed as e:
            log.info("%s: %s", self.name, e.exceptions[0])

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(max(1.0, float(self.variables["HeartbeatInterval"])))
            await self.say("Heartbeat", {})

    async def _statuses(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            await self.say_status()

    def boot_again(self) -> None:
        """Asked for another boot notification."""
        self._boot_now.set()
        if self.accepted:
            self.beside(self._boot_once())

    async def _boot_once(self) -> None:
        with contextlib.suppress(CallFailed):
            await self.say("BootNotification", self.hello())

    def beside(self, work: Any) -> asyncio.Task[None]:
        """Do this beside what else is done, errors of the connection aside."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def say_quietly(self, action: str, payload: Payload) -> None:
        """Say what is not worth saying later, if it cannot be said now."""
        try:
            await self.say(action, payload)
        except CallFailed:
            self.refused["unsaid"] += 1

    async def say_status(self, outlet: Outlet | None = None) -> None:
        """Say every connector's status that has changed; that of `outlet` in any case."""
        for one in self.outlets.values():
            word = self.status(one)
            if word != one.told or one is outlet:
                one.told = word
                await self.say("StatusNotification", self.status_payload(one, word))

    # Our chargers.

    def charger(self, outlet: Outlet) -> Charger | None:
        """The charger as the site knows it."""
        return self.manager.site.chargers.get(outlet.charger)

    def status(self, outlet: Outlet) -> str:
        """In 1.6's words."""
        charger = self.charger(outlet)
        if charger is None or not charger.online or not charger.state:
            return "Unavailable"
        if charger.faults or charger.state[0] == "E":
            return "Faulted"
        if charger.state[0] == "F" or outlet.out:
            return "Unavailable"
        if charger.state[0] == "A":
            return "Reserved" if self.reserved(outlet) else "Available"
        if outlet.running is None:
            return "Finishing" if outlet.ended else "Preparing"
        if charger.state in ("C2", "D2"):
            return "Charging"
        if charger.limit_a == 0:
            return "SuspendedEVSE"
        return "SuspendedEV"

    def heard(self, outlet: Outlet, message: Mapping[str, Any]) -> None:
        """A message of this connector's charger."""
        code = message["code"]
        if code == protocol.CHARGER_LOAD:
            outlet.load = message
            self._sample(outlet, message)
        elif code == protocol.CHARGER_STATUS:
            if message["state"][0] == "A":
                outlet.ended = False
        elif code == protocol.SESSION_BEGIN:
            with self.as_one():
                self._begins(outlet, message)
        elif code == protocol.SESSION_END:
            with self.as_one():
                self._ends(outlet, message)
        elif code == protocol.UPDATE_STATUS:
            self.errands.board_says(outlet.charger, str(message["state"]))

    def _begins(self, outlet: Outlet, message: Mapping[str, Any]) -> None:
        session = int(message["session"])
        if outlet.running is not None and outlet.running.session == session:
            return  # told again
        if session <= outlet.last:
            return  # over already
        if outlet.running is not None:
            # Its end was lost. The meter has counted since: what the new one begins at, the old one ended at.
            end = max(outlet.running.begin_wh, int(message["energy_wh"]))
            self.end_of(outlet, end, self.utc_ms(), "PowerLoss")
        began = self.utc_ms() - int(message["age_s"]) * 1000
        now = asyncio.get_running_loop().time()
        asked = Asked(now, str(message.get("card", "")).upper(), "", 0, None)
        while outlet.asked:
            one = outlet.asked.popleft()
            asked = one if now - one.since < _START_S else asked
        tag = asked.tag
        number = "" if self.version == "1.6" else str(uuid.uuid4())
        begin = int(message["energy_wh"])
        outlet.running = Running(session, began, tag or "UNKNOWN", number, begin, asked.number)
        outlet.running.kind = asked.kind
        outlet.ended = False
        for number_, kept_ in self._reserved_at(outlet):
            if self._is_for(kept_, tag):  # another's stays, and with it the ceiling of 0 A
                outlet.running.reservation = number_
                self.forget_reservation(number_)
        self.begin_of(outlet, outlet.running)
        if asked.profile is not None:
            with contextlib.suppress(profiles.ProfileError):
                new = profiles.parsed(asked.profile, outlet.number, self.key(outlet))
                self.set_profiles(profiles.installed(self.profiles, new))
        self.keep_running(outlet)
        self.limit()

    def _ends(self, outlet: Outlet, message: Mapping[str, Any]) -> None:
        running = outlet.running
        if running is None or running.session != int(message["session"]):
            return
        ended = self.utc_ms() - int(message["age_s"]) * 1000
        end_wh = running.begin_wh + int(message["energy_wh"])
        self.end_of(outlet, end_wh, ended, str(message["why"]))

    def end_of(self, outlet: Outlet, end_wh: int, ended_ms: int, why: str) -> None:
        """The session at this connector is over."""
        running = outlet.running
        assert running is not None
        self.finish(outlet, running, end_wh, ended_ms, why)
        key = self.key(outlet)
        outlet.running, outlet.ended, outlet.remote_stop = None, True, False
        outlet.last = running.session
        self.keep_one("last", outlet.charger, outlet.last)
        self.keep_running(outlet)
        self.set_profiles(profiles.ended(self.profiles, key))
        if outlet.out_later:
            outlet.out_later = False
            self.out_of_service(outlet, out=True)
        if outlet.reset_later:
            outlet.reset_later = False
            self.manager.command(outlet.charger, "reset")

    def key(self, outlet: Outlet) -> str:
        """What a transaction's profiles are kept under: known before the central system has numbered it."""
        return "" if outlet.running is None else f"{outlet.charger}/{outlet.running.session}"

    def _sample(self, outlet: Outlet, message: Mapping[str, Any]) -> None:
        every = float(self.variables["MeterValueSampleInterval"])
        now = asyncio.get_running_loop().time()
        if outlet.running is None or every <= 0 or now - outlet.sampled_s < every:
            return
        outlet.sampled_s = now
        self.meter(outlet, outlet.running, self.values(outlet, message))

    @property
    def signs(self) -> bool:
        """Whether readings are wanted signed."""
        return self.variables["SampledDataSignReadings"] == "true"

    def signed(self, outlet: Outlet, energy_wh: int, at_ms: int, context: str) -> Payload:
        """A signed reading of this connector's charger, as a sampled value."""
        key = self.variables["PublicKeyWithSignedMeterValue"] == "EveryMeterValue"
        new = self.version != "1.6"
        return self.signer.signed(outlet.charger, energy_wh, at_ms, context, new=new, key=key)

    def signed_ends(
        self, outlet: Outlet, running: Running, end_wh: int, ended_ms: int
    ) -> list[Payload]:
        """What a session began and ended with, signed; none where that is not asked for."""
        if not self.signs:
            return []
        return [
            self.signed(outlet, running.begin_wh, running.began_ms, "Transaction.Begin"),
            self.signed(outlet, end_wh, ended_ms, "Transaction.End"),
        ]

    def values(self, outlet: Outlet, message: Mapping[str, Any]) -> list[Payload]:
        """Our reading as sampled values, signed where that was asked for."""
        new = self.version != "1.6"
        wanted = tuple(self.variables["MeterValuesSampledData"].split(","))
        found = sampled(message, wanted, new=new)
        if self.signs and self.variables["SampledDataSignUpdatedReadings"] == "true":
            energy = sum(message["energy_wh"])
            when = self.utc_ms()
            found.append(self.signed(outlet, energy, when, "Sample.Periodic"))
        return found or sampled(message, ("Energy.Active.Import.Register",), new=new)

    # What the central system may ask.

    def limit(self) -> None:
        """Hold our chargers to what all profiles allow, to reservations and to being out of service."""
        self.manager.ceiling(f"ocpp {self.name}", self._ceilings())

    def _ceilings(self) -> dict[str, int]:
        now = self.utc_ms()
        for number, one in list(self.reservations.items()):
            if now >= one["until_ms"]:
                with self.as_one():
                    self.forget_reservation(number)
                    self.reservation_over(number, "Expired")
        whole = [p for p in self.profiles if p.purpose in ("max", "external")]
        own = [p for p in self.profiles if p.purpose not in ("max", "external")]
        running = sum(1 for o in self.outlets.values() if o.running is not None)
        found: dict[str, int] = {}
        for outlet in self.outlets.values():
            place = self.place(outlet)
            limits = [profiles.limit_a(own, place, now)]
            most = profiles.limit_a(whole, place, now)
            # What the whole point may take is shared evenly by those that charge.
            limits.append(None if most is None else most / max(1, running))
            said = [a for a in limits if a is not None]
            # A session a reservation was made for has ended it; one that goes on is against it.
            if outlet.out or self.reserved(outlet):
                said.append(0.0)
            if said:
                found[outlet.charger] = max(0, int(min(said) + 1e-6))
        return found

    def place(self, outlet: Outlet) -> Place:
        """What a schedule at this connector is worked out for."""
        charger = self.charger(outlet)
        began = None if outlet.running is None else outlet.running.began_ms
        phases = 1 if charger is None else len(charger.phases)
        # Watts are more amperes at less volts; what is measured there now says how many.
        seen = max((outlet.load or {}).get("voltage_dv", (0,))) / 10
        volts = seen if 207 <= seen <= 253 else float(profiles.VOLTS)
        return Place(outlet.number, self.key(outlet), began, phases, volts)

    def _reserved_at(self, outlet: Outlet) -> list[tuple[int, Payload]]:
        mine = self.reservations.items()
        return [(n, r) for n, r in mine if r["charger"] == outlet.charger]

    def _is_for(self, reservation: Payload, tag: str) -> bool:
        group = reservation.get("group", "")
        if group and group in (tag, self.groups.get(tag, "")):
            return True
        return bool(tag) and reservation["tag"] == tag

    def reserved(self, outlet: Outlet) -> bool:
        """Whether somebody has reserved this connector."""
        return bool(self._reserved_at(outlet))

    def kept_for_another(self, outlet: Outlet, tag: str) -> bool:
        """Whether somebody other than this tag, and not of its group, has reserved this connector."""
        mine = self._reserved_at(outlet)
        return bool(mine) and not any(self._is_for(r, tag.upper()) for _, r in mine)

    def reserve(
        self, outlet: Outlet, number: int, tag: str, until: object, group: str = ""
    ) -> str:
        """Keep a connector for a tag or its group; the status in the standard's words.

        One of the same number goes for it.
        """
        word = self.status(outlet)
        others = [n for n, _ in self._reserved_at(outlet) if n != number]
        free = word == "Available" or (word == "Reserved" and not others)
        if not free:
            return {"Faulted": "Faulted", "Unavailable": "Unavailable"}.get(word, "Occupied")
        until_ms = quirks.utc_ms(until)
        if until_ms is None or until_ms <= self.utc_ms():
            return "Rejected"
        one = {"charger": outlet.charger, "tag": tag.upper(), "until_ms": until_ms}
        one["group"] = group.upper()
        self.reservations[number] = one
        self.keep_one("reservation", str(number), one)
        self.limit()
        return "Accepted"

    def unreserve(self, number: int) -> str:
        """Take a reservation back."""
        if number not in self.reservations:
            return "Rejected"
        self.forget_reservation(number)
        self.limit()
        return "Accepted"

    def forget_reservation(self, number: int) -> None:
        """It is over."""
        self.reservations.pop(number)
        self.keep_one("reservation", str(number), None)

    def out_of_service(self, outlet: Outlet, *, out: bool) -> str:
        """Take a connector out of service, or back."""
        if out and outlet.running is not None:
            outlet.out_later = True
            return "Scheduled"
        outlet.out, outlet.out_later = out, False
        with self.as_one():
            self.keep_one("out", outlet.charger, True if out else None)
            for number, _ in self._reserved_at(outlet) if out else ():
                self.forget_reservation(number)
                self.reservation_over(number, "Removed")
        self.limit()
        return "Accepted"

    def start(
        self, outlet: Outlet, tag: str, profile: Payload | None, number: int = 0, kind: str = ""
    ) -> str:
        """Start a session from afar."""
        charger = self.charger(outlet)
        busy = charger is None or not charger.online or outlet.running is not None or outlet.out
        if busy or charger is None or charger.faults:
            return "Rejected"
        if self.kept_for_another(outlet, tag):
            return "Rejected"
        if profile is not None:
            try:
                profiles.parsed(profile, outlet.number, "new")
            except profiles.ProfileError:
                return "Rejected"
        now = asyncio.get_running_loop().time()
        outlet.asked.append(Asked(now, tag.upper(), kind, number, profile))
        self.manager.command(outlet.charger, "start")
        return "Accepted"

    def stop(self, number: str) -> str:
        """Stop the session of this number from afar."""
        for outlet in self.outlets.values():
            if outlet.running is not None and self.number(outlet.running) == number:
                outlet.remote_stop = True
                self.manager.command(outlet.charger, "stop")
                return "Accepted"
        return "Rejected"

    def number(self, running: Running) -> str:
        """The central system's number of a session, "" if it has none yet."""
        return running.number

    def reset(self) -> str:
        """Start every charger of this point anew."""
        for outlet in self.outlets.values():
            self.manager.command(outlet.charger, "reset")
        return "Accepted"

    async def unlock(self, outlet: Outlet) -> bool:
        """Whether the plug was let go: our own cables are fixed ones."""
        unlock = self.manager.unlocks.get(outlet.charger)
        return unlock is not None and await unlock()

    def set_variable(self, key: str, value: str) -> str:
        """Accepted, Rejected, NotSupported (1.6's words)."""
        for name, _, _, first, may in VARIABLES:
            if name != key:
                continue
            if not may:
                return "Rejected"
            if name in _WHOLE and not (value.isdigit() and int(value) <= 86_400):
                return "Rejected"
            if first in ("true", "false"):
                value = value.lower()
                if value not in ("true", "false"):
                    return "Rejected"
            if name == "PublicKeyWithSignedMeterValue" and value not in _KEY_SENT:
                return "Rejected"
            if name == "MeterValuesSampledData" and not set(value.split(",")) <= set(WANTED):
                return "Rejected"
            self.variables[key] = value
            self.keep_one("variable", key, value)
            return "Accepted"
        return "NotSupported"

    def new_list(self, version: int, full: bool, rows: list[tuple[str, Payload | None]]) -> str:
        """A local list, or changes to it; None takes a tag off it."""
        if self.variables["LocalAuthListEnabled"] != "true":
            return "NotSupported"
        if not full and version <= self.list_version:
            return "VersionMismatch"
        if len(rows) > LIST_PART or (full and any(info is None for _, info in rows)):
            return "Failed"
        cards = {} if full else dict(self.cards)
        for tag, info in rows:
            if info is None:
                cards.pop(tag.upper(), None)
            else:
                cards[tag.upper()] = info
        if len(cards) > LIST_MOST:
            return "Failed"
        self.cards, self.list_version = cards, version if cards else 0
        out: list[Row] = [(kept.UNSET_KIND, (self.name, "card"))]
        out += [kept.setting(self.name, "card", tag, info) for tag, info in cards.items()]
        out.append(kept.setting(self.name, "list", "version", self.list_version))
        with self.as_one():
            self.keep(*out)
        return "Accepted"

    def by_list(self, tag: str) -> str:
        """What the local list says of a tag; "" if it does not know it."""
        if self.variables["LocalAuthListEnabled"] != "true":
            return ""
        info = self.cards.get(tag.upper())
        if info is None:
            return ""
        until = quirks.utc_ms(info.get("expiryDate") or info.get("cacheExpiryDateTime"))
        if until is not None and until < self.utc_ms():
            return "Expired"
        self.in_group(tag, info)
        return str(info.get("status", "Invalid"))

    def in_group(self, tag: str, info: Payload) -> None:
        """Remember the group the central system says a tag is of."""
        group = info.get("parentIdTag") or (info.get("groupIdToken") or {}).get("idToken", "")
        if group:
            self.groups[tag.upper()] = str(group).upper()

    async def authorised(self, outlet: Outlet, tag: str) -> bool:
        """Whether the central system, or its local list while it is away, lets this tag charge here."""
        return await self._good(tag.upper()) and not self.kept_for_another(outlet, tag)

    async def _good(self, tag: str) -> bool:
        listed = self.by_list(tag)
        if listed == "Accepted" and self.variables["LocalPreAuthorize"] == "true":
            return True
        alone = listed == "Accepted" and self.variables["LocalAuthorizeOffline"] == "true"
        if self.talk is None or not self.accepted:
            return alone
        try:
            info = await self.ask_central(tag)
        except CallFailed as e:
            return alone and e.code in ("Gone", "Timeout")
        self.in_group(tag, info)
        return info.get("status") == "Accepted"

    def schedule(
        self, outlet: Outlet | None, seconds: int, unit: str
    ) -> tuple[str, list[Payload]]:
        """What the profiles of a connector make together: (its beginning, periods)."""
        now = self.utc_ms()
        one = outlet or next(iter(self.outlets.values()))
        place = self.place(one)
        charger = self.charger(one)
        most = float(charger.max_a if charger is not None else 32)
        periods: list[Payload] = []
        for start, amps in profiles.composite(self.profiles, place, now, seconds):
            a = most if amps is None else min(most, amps)
            value = a if unit == "A" else a * place.volts * place.phases
            limit = int(value * 10 + 1e-6) / 10
            periods.append({"startPeriod": start, "limit": limit, "numberPhases": place.phases})
        return quirks.time_text(now), periods

    def outlet(self, number: object) -> Outlet | None:
        """The connector of this number."""
        return next((o for o in self.outlets.values() if o.number == number), None)

    def utc_ms(self) -> int:
        """Now."""
        return self.manager.clock.utc_ms()

    def time(self) -> str:
        """Now, as OCPP writes it."""
        return quirks.time_text(self.utc_ms())

    def shown(self) -> Payload:
        """For the page and for programs."""
        return {
            "id": self.name,
            "version": self.version,
            "connected": self.talk is not None,
            "accepted": self.accepted,
            "queued": len(self.queue),
            "delivered": self.delivered,
            "refused": dict(self.refused),
            "profiles": len(self.profiles),
            "chargers": list(self.outlets),
        }

    async def answer(self, action: str, payload: Payload) -> Payload:
        """Answer a call of the central system's. What it has set is on disk by then."""
        handler = getattr(self, f"_on_{_snake(action)}", None)
        if handler is None:
            raise Refused("NotImplemented", f"{action} is not for a charge point")
        before = self._kept
        answer: Payload = await handler(payload)
        if self._kept != before:
            await kept.committed(self.manager.store, ())
        return answer

    # In the version's own words.

    @abstractmethod
    def hello(self) -> Payload:
        """The boot notification."""

    @abstractmethod
    def status_payload(self, outlet: Outlet, word: str) -> Payload:
        """A status notification."""

    @abstractmethod
    def begin_of(self, outlet: Outlet, running: Running) -> None:
        """Queue the beginning of a session."""

    @abstractmethod
    def meter(self, outlet: Outlet, running: Running, values: list[Payload]) -> None:
        """Queue a reading of a session."""

    @abstractmethod
    def finish(
        self, outlet: Outlet, running: Running, end_wh: int, ended_ms: int, why: str
    ) -> None:
        """Queue the end of a session."""

    @abstractmethod
    def filled(self, action: str, payload: Payload) -> Payload | None:
        """What was queued, with what was only known later; None if it can never be said."""

    @abstractmethod
    async def answered(self, action: str, payload: Payload, answer: Payload) -> None:
        """What follows from the answer to what was queued."""

    @abstractmethod
    async def ask_central(self, tag: str) -> Payload:
        """What the central system says to a tag: its info."""

    @abstractmethod
    def reservation_over(self, number: int, why: str) -> None:
        """Queue that a reservation is over (Expired, Removed), where the version has words for that."""

    @abstractmethod
    def say_errand(self, kind: str, word: str, request: int) -> None:
        """Queue how an errand (firmware, log) goes, in 2.0.1's words; nothing where 1.6 has none."""


def _snake(words: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", words).lower()


def _profile(kept_: Payload) -> Profile:
    periods = tuple(profiles.Period(**p) for p in kept_["periods"])
    return Profile(**{**kept_, "periods": periods})
