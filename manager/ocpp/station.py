"""Somebody else's charger at our end: one connection, its connectors, in whichever version it speaks.

`station16` and `station201` say the same things in the two versions' words; what is the same in both
is here. `Host` is what a station needs of the manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol

from manager.core.events import Offline
from manager.ocpp import kept, quirks
from manager.ocpp.connector import (
    SPEAK_MS,
    Connector,
    SetLimit,
    Stop,
    Transaction,
    fits,
    forms,
)
from manager.ocpp.frames import CALL_S, CallFailed, Payload, Talk
from manager.ocpp.measures import measured
from manager.run import Manager
from shared import protocol

log = logging.getLogger(__name__)

SET_S = 8.0  # to a limit; a charger that is slower is asked again
_LOW_VOLTS = 207  # EN 50160: nominal less 10 %; as many watts are most amperes then
_HIGH_VOLTS = 253
_IDLE_MA = 500  # a charger's own electronics
_ENDED_LATE_MS = 60_000  # free for so long with a transaction open: its end was lost
_TICK_S = 0.5
_KNOWS_S = 0.2  # a charger that reads two messages at once may take the second one first
_VERDICT_S = 2.0  # the site's own table: it answers in the same turn
BOOT_S = 10.0  # for a charger to present itself before it is asked to

# The site's verdict on a card, in both versions' words; any other is Blocked.
TAG_STATUS = {"accepted": "Accepted", "busy": "ConcurrentTx", "unknown": "Invalid"}


class Host(Protocol):
    """What a station needs of the central system it is at."""

    manager: Manager

    def next_transaction(self, wanted: int = 0) -> int:
        """A number no transaction has had; `wanted` if that is free."""


class Station(ABC):
    """One charger of another make, connected or not. `refused` and `mended` count for the page."""

    version = ""

    def __init__(
        self,
        name: str,
        host: Host,
        connectors: list[Connector],
        profile_s: int,
        sample_s: int,
    ) -> None:
        self.name = name
        self.host = host
        self.manager: Manager = host.manager
        self.connectors = {c.facts.number: c for c in connectors}
        self.profile_s = profile_s
        self.sample_s = sample_s
        self.refused: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.talk: Talk | None = None
        self.booted = False
        self.clock = quirks.ClockOff()
        self.announced: set[str] = set()
        self.past: dict[
            tuple[str, str], int
        ] = {}  # (connector, theirs) -> id, those that ended too
        self.free_ms: dict[str, int] = {}  # connector with an open transaction -> free since
        self.stack = 0
        self.phases_named = True
        self._asked: dict[tuple[str, str], asyncio.Future[str]] = {}  # verdicts waited for
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._setting_up: asyncio.Task[None] | None = None

    # The connection.

    async def connected(self, talk: Talk) -> None:
        """Serve this connection until it ends; one before it gives way."""
        old, self.talk = self.talk, talk
        talk.after = self._answered
        if old is not None:
            await old.close(1000, "connected anew")
        for connector in self.connectors.values():
            connector.came()
        if any(c.transaction for c in self.connectors.values()):
            self.booted = True  # it may go on without another boot notification
        if self.booted:
            self.set_up_soon()
        self.wake()
        nudge = self._beside(self._nudge(talk))
        try:
            await talk.serve()
        finally:
            nudge.cancel()
            if self.talk is talk:
                self.talk = None
                for connector in self.connectors.values():
                    connector.gone()
                self.speak()

    def _answered(self) -> None:
        if any(c.unanswered for c in self.connectors.values()):
            asyncio.get_running_loop().call_later(_KNOWS_S, self._knows)

    def _knows(self) -> None:
        """The charger knows the number of the transaction by now: it can be told its limit."""
        for connector in self.connectors.values():
            if connector.unanswered:
                connector.unanswered = False
                self.wake()

    async def _nudge(self, talk: Talk) -> None:
        """Ask a charger that does not say what it is; one that will not is taken as it is."""
        for _ in range(2):
            await asyncio.sleep(BOOT_S)
            if self.booted or self.talk is not talk:
                return
            with contextlib.suppress(CallFailed):
                await talk.call("TriggerMessage", {"requestedMessage": "BootNotification"}, BOOT_S)
        if any(c.facts.counter in self.manager.site.meters for c in self.connectors.values()):
            self.mended["no_boot"] += 1
            self.booted = True
            self.announce_anew()
            self.set_up_soon()

    def set_up_soon(self) -> None:
        """Have the charger told how it is to measure and what it is to go by, beside answering it."""
        if self._setting_up is not None:
            self._setting_up.cancel()
        self._setting_up = self._beside(self._set_up())

    async def _set_up(self) -> None:
        talk = self.talk
        try:
            await self.set_up()
        except CallFailed as e:
            log.warning("%s could not be set up: %s", self.name, e)
            if e.code == "Gone":
                return
        if self.talk is talk and talk is not None:
            for connector in self.connectors.values():
                connector.ready = True
            self.wake()

    def _beside(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # What the core says, and what follows.

    def adapter(self, connector: Connector) -> Any:
        """What the manager hands this connector's messages to."""

        def take(message: Payload) -> None:
            code = message["code"]
            if code == protocol.AVAILABLE_LOAD:
                connector.leased(message, self._now())
                self.wake()
            elif code == protocol.COMMAND:
                self._beside(self._obey(connector, message))
            elif code == protocol.CARD_VERDICT:
                future = self._asked.get((connector.facts.name, message["card"]))
                if future is not None and not future.done():
                    future.set_result(message["verdict"])
            elif code == protocol.REPLY and message["result"] == protocol.UNKNOWN_DEVICE:
                self.announced.discard(connector.facts.name)

        return take

    async def _obey(self, connector: Connector, message: Payload) -> None:
        with contextlib.suppress(CallFailed):
            await self.obey(connector, message["command"], str(message.get("argument", "")))

    def wake(self) -> None:
        """Look at once at what is to be done."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the charger to its leases, and the core informed, connected or not."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            self.speak(due_only=True)
            for connector in self.connectors.values():
                await self._serve(connector)
            self.speak(due_only=True)

    async def _serve(self, connector: Connector) -> None:
        now = self._now()
        before = connector.confirmed
        what = connector.next(now, self.profile_s * 500)
        if what is not None:
            await self._set(connector, what)
        elif connector.confirmed != before:
            self.tell(connector, connector.status_message(now))
        name = connector.facts.name
        stop = connector.stop(self._now(), fits(self.manager.site, name, connector.drawn_ma))
        if stop is not None:
            await self._stop(connector, stop)
        await self._late_end(connector)

    async def _set(self, connector: Connector, what: SetLimit) -> None:
        began = self._now()
        until = None
        if what.form.ends and what.limit_a:
            # Until it is answered nobody knows when its clock starts: at the latest then.
            until = began + round(SET_S * 1000) + self.profile_s * 1000
        connector.asked(began, what.limit_a, until)
        try:
            good = await self.set_limit(connector, what)
        except CallFailed as e:
            if e.code in ("Timeout", "Gone"):
                self.refused["unanswered"] += 1
                return
            good = False
        now = self._now()
        if good:
            if until is not None:
                until = now + self.profile_s * 1000
            connector.accepted(what, now, until)
        else:
            form = f"{what.form.purpose} in {what.form.unit}"
            self.refused["profile"] += 1
            again = connector.twice
            connector.refused(what, now)
            if connector.twice != again:
                return
            self.note("refuses", connector, f"will not take a limit as {form}")
            self.wake()
        self.tell(connector, connector.status_message(now))
        await asyncio.sleep(0)  # what the core says to that is on its way

    async def _stop(self, connector: Connector, stop: Stop) -> None:
        words = (
            "ending its transaction",
            "taking its connector out of service",
            "starting it anew",
        )
        what = "refuses to be limited" if connector.refuses else "draws more than it was told"
        drawn = connector.drawn_ma / 1000
        self.note(
            "stopped", connector, f"{what} ({drawn:g} A) and does not fit: {words[stop.step]}"
        )
        with contextlib.suppress(CallFailed):
            await self.end(connector, stop.step)

    async def _late_end(self, connector: Connector) -> None:
        """A transaction whose end never came, though its connector has long been free, is ended here."""
        name = connector.facts.name
        if (
            connector.transaction is None
            or not connector.connected
            or connector.status != "Available"
        ):
            self.free_ms.pop(name, None)
            return
        now = self._now()
        since = self.free_ms.setdefault(name, now)
        # What its meter said before it was free is no longer so; what it says since is.
        if connector.metered_ms > since and connector.drawn_ma > _IDLE_MA:
            self.free_ms[name] = now
        elif now - since > _ENDED_LATE_MS:
            self.mended["end"] += 1
            await self.finished(connector, connector.energy_wh, self.utc_ms(), "end_lost")

    def speak(self, *, due_only: bool = False) -> None:
        """Say to the core how every connector is."""
        now = self._now()
        for connector in self.connectors.values():
            name = connector.facts.name
            if name not in self.announced:
                self._announce(connector)
                continue
            if connector.out_of_reach(now):
                charger = self.manager.site.chargers.get(name)
                if charger is not None and charger.online:
                    self.tell(connector, connector.status_message(now))
                    self.manager.apply(Offline(name))
                continue
            if not due_only or now - connector.spoke_ms >= SPEAK_MS:
                self.tell(connector, connector.status_message(now))

    def _announce(self, connector: Connector) -> None:
        name, site = connector.facts.name, self.manager.site
        if connector.facts.counter not in site.meters:
            return
        if name not in site.chargers and not connector.connected:
            return
        self.announced.add(name)
        self.manager.heard(name, connector.hello(), protocol.HELLO)
        self.tell(connector, connector.status_message(self._now()))

    def announce_anew(self) -> None:
        """The charger has said what it is: the core is to know."""
        self.announced.clear()
        self.speak()

    def tell(self, connector: Connector, message: Payload | None) -> None:
        """Hand the core a message of this connector's."""
        if message is not None and connector.facts.name in self.announced:
            self.manager.heard(connector.facts.name, message)

    def note(self, kind: str, connector: Connector, words: str) -> None:
        """A line in the log of events."""
        self.manager.note(kind, connector.facts.name, words)

    def _now(self) -> int:
        return self.manager.clock.now_ms()

    def utc_ms(self) -> int:
        """Now, ms since 1970."""
        return self.manager.clock.utc_ms()

    def time(self, after_s: float = 0) -> str:
        """Now, or so much later, as OCPP writes it."""
        return quirks.time_text(self.utc_ms() + round(after_s * 1000))

    def their_time(self) -> str:
        """Now by the charger's clock, for the start of a schedule; a second ago, so that it has begun."""
        return quirks.time_text(self.clock.theirs(self.utc_ms()) - 1000)

    def happened(self, text: object, *, just_now: bool = True) -> int:
        """When something happened by our clock, from the time the charger wrote; ms since 1970."""
        now = self.utc_ms()
        written = quirks.utc_ms(text)
        if written is None:
            return now
        if just_now:
            was = self.clock.wrong
            self.clock = self.clock.seen(written, now)
            if self.clock.wrong and not was:
                off = (self.clock.off_ms or 0) / 1000
                self.mended["clock"] += 1
                self.manager.note("clock", self.name, f"its clock is {off:+.0f} s off ours")
        return min(now, self.clock.ours(written))

    # Cards, transactions and readings, in either version's words.

    async def verdict(self, connector: Connector, tag: str) -> str:
        """What the site says to this tag: accepted, refused, unknown, busy or quota.

        Where nobody is registered anybody may charge, as at our own chargers.
        """
        name = connector.facts.name
        if not self.with_cards():
            return "accepted"
        if name not in self.announced:
            return "refused"
        card = quirks.card_number(tag)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[name, card] = future
        self.tell(connector, connector.card_read(card))
        try:
            async with asyncio.timeout(_VERDICT_S):
                return await future
        except TimeoutError:
            return "refused"
        finally:
            self._asked.pop((name, card), None)

    def with_cards(self) -> bool:
        """Whether anybody is registered here, so that cards matter."""
        reception = self.manager.reception
        return reception is not None and bool(reception.people.all_users())

    def idle(self) -> Connector:
        """The connector an authorisation is for, which does not say: the first that is free."""
        every = list(self.connectors.values())
        return next((c for c in every if c.transaction is None), every[0])

    def connector(self, number: object) -> Connector | None:
        """The connector of this number; of a charger with one, whatever it calls it."""
        if len(self.connectors) == 1:
            return next(iter(self.connectors.values()))
        return self.connectors.get(number) if isinstance(number, int) else None

    async def started(
        self,
        connector: Connector,
        theirs: str,
        tag: str,
        began_ms: int,
        begin_wh: int,
        *,
        ok: bool,
        number: int = 0,
    ) -> int:
        """A transaction has begun; its number. The same start told again has the same number.

        `number`: the one the charger knows it by already, if we have forgotten giving it.
        """
        name = connector.facts.name
        again = self.past.get((name, theirs))
        if again is not None:
            self.mended["start_again"] += 1
            return again
        if connector.transaction is not None:
            # The end of the last one never came.
            self.mended["end"] += 1
            await self.finished(connector, begin_wh, began_ms, "end_lost")
        number = self.host.next_transaction(number)
        begin_wh = max(0, min(2**31 - 1, begin_wh))
        card = quirks.card_number(tag) if tag else ""
        self.past[name, theirs] = number
        row = (number, name, theirs, tag, card, began_ms, begin_wh)
        await kept.committed(self.manager.store, [(kept.BEGAN, row)])
        transaction = Transaction(number, theirs, tag, card, began_ms, begin_wh, ok)
        connector.began(transaction, self._now())
        connector.unanswered = self.talk is not None
        how = "card" if tag and self.with_cards() else "free"
        age_s = max(0, self.utc_ms() - began_ms) // 1000
        self.tell(connector, connector.session_begin(how, age_s))
        self.tell(connector, connector.status_message(self._now()))
        self.wake()
        return number

    async def authorised(self, connector: Connector, tag: str, *, ok: bool) -> None:
        """The card of the transaction that runs there came after its start."""
        one = connector.transaction
        if one is None or one.tag:
            return
        card = quirks.card_number(tag)
        connector.transaction = replace(one, tag=tag, card=card, authorised=ok)
        self.manager.store.write([(kept.CARD, (tag, card, one.id))])
        self.tell(connector, connector.status_message(self._now()))
        self.wake()

    async def finished(
        self, connector: Connector, end_wh: int | None, ended_ms: int, why: str
    ) -> None:
        """The transaction that runs there is over."""
        transaction = connector.transaction
        if transaction is None:
            return
        end_wh = transaction.begin_wh if end_wh is None else end_wh
        row = (ended_ms, end_wh, why, transaction.id)
        self.manager.store.write([(kept.ENDED, row)])
        energy = max(0, end_wh - transaction.begin_wh)
        lasted = (ended_ms - transaction.began_ms) // 1000
        age_s = max(0, self.utc_ms() - ended_ms) // 1000
        end = connector.session_end(energy, lasted, age_s, why)
        connector.ended()
        self.tell(connector, end)
        self.tell(connector, connector.status_message(self._now()))
        self.wake()

    def restore(self, connector: Connector, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take up the transactions as they were when the manager stopped."""
        newest = True
        for number, theirs, tag, card, began_ms, begin_wh, ended_ms in rows:
            self.past[connector.facts.name, theirs] = number
            if newest and ended_ms is None:
                one = Transaction(number, theirs, tag, card, began_ms, begin_wh)
                connector.began(one, self._now())
                connector.status = "Charging"
            newest = False

    def readings(self, connector: Connector, values: object, *, live: bool = True) -> None:
        """Meter values as they come: a list of {timestamp, sampledValue}."""
        rows = values if isinstance(values, list) else []
        for one in rows[-3:]:
            if not isinstance(one, dict):
                continue
            at = self.happened(one.get("timestamp"), just_now=live)
            age = max(0, self.utc_ms() - at) if live else 600_000
            if age > 60_000 and live:
                continue  # of the time it was offline: says nothing of now
            found = measured(one.get("sampledValue"), connector.facts.phases)
            if live:
                self.tell(connector, connector.metered(found, self._now(), age))
            elif found.energy_wh is not None:
                connector.energy_wh = max(connector.energy_wh or 0, found.energy_wh)
        self.wake()

    def told(self, connector: Connector, status: str, faults: tuple[str, ...] = ()) -> None:
        """A status in 1.6's words."""
        connector.said(status, faults)
        self.tell(connector, connector.status_message(self._now()))
        self.wake()

    def units(self, text: str) -> None:
        """The units it takes limits in, from its own words ("Current,Power", "A,W"); all of them if it does not say."""
        words = text.lower()
        units = tuple(
            unit
            for unit, names in (("A", ("current", "a")), ("W", ("power", "w")))
            if any(n in words.replace(",", " ").split() for n in names)
        )
        for connector in self.connectors.values():
            connector.forms = forms(units or ("A", "W"))
            connector.form = 0

    def limit(self, connector: Connector, what: SetLimit) -> tuple[float, int]:
        """The number a profile says for so many A, in its unit, and on how many phases.

        In watts never more than those amperes at the voltage there is, the lowest there may be if
        it was not measured.
        """
        phases = connector.facts.phases
        if what.form.unit == "A":
            return float(what.limit_a), phases
        volts = connector.volts_dv / 10
        if not _LOW_VOLTS <= volts <= _HIGH_VOLTS:
            volts = _LOW_VOLTS
        return float(int(what.limit_a * volts * phases)), phases

    def periods(self, connector: Connector, what: SetLimit) -> list[Payload]:
        """The schedule: so much now, and nothing from when it is to have been renewed on."""
        number, phases = self.limit(connector, what)
        found: list[Payload] = [{"startPeriod": 0, "limit": number, "numberPhases": phases}]
        if what.form.ends and what.limit_a:
            found.append({"startPeriod": self.profile_s, "limit": 0.0, "numberPhases": phases})
        return found

    async def unlock(self, connector: Connector) -> bool:
        """Have the charger let the plug go; whether it says it did."""
        try:
            answer = await self.ask("UnlockConnector", self.plug(connector), SET_S)
        except CallFailed:
            return False
        return answer.get("status") == "Unlocked"

    async def ask(self, action: str, payload: Payload, within_s: float = CALL_S) -> Payload:
        """Call the charger; CallFailed if that fails, or if it is not there."""
        if self.talk is None:
            raise CallFailed("Gone", "not connected")
        return await self.talk.call(action, payload, within_s)

    # The version's own words.

    @abstractmethod
    def plug(self, connector: Connector) -> Payload:
        """How a plug is named."""

    @abstractmethod
    async def answer(self, action: str, payload: Payload) -> Payload:
        """Answer a call of the charger's."""

    @abstractmethod
    async def set_up(self) -> None:
        """Tell the charger how to measure, and to go by 0 A where it has no profile of ours."""

    @abstractmethod
    async def set_limit(self, connector: Connector, what: SetLimit) -> bool:
        """Send a profile; whether it was accepted."""

    @abstractmethod
    async def end(self, connector: Connector, step: int) -> None:
        """Stop what is drawn, in this step's words (see `Stop`)."""

    @abstractmethod
    async def obey(self, connector: Connector, command: str, argument: str) -> None:
        """Do what a person has asked: start, stop, reset, unlock."""
