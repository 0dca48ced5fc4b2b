"""The manager in service: messages in, `decide`, messages out, everything kept.

One asyncio loop. A message is checked, decided on and answered in the turn in which it comes; the
disk is another thread's business, and the broker's acknowledgement follows the disk.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from manager import store as tables
from manager.admission import Admission
from manager.core import leases, plain
from manager.core.commands import Command, Note, Send
from manager.core.decide import decide
from manager.core.events import (
    Announced,
    Configured,
    Event,
    Forget,
    Offline,
    Online,
    Report,
    Tick,
)
from manager.core.overloads import Watch
from manager.core.site import MAIN, SOURCES, Site, Source, Window
from manager.decision_log import DecisionLog
from manager.history import History
from manager.logins import Logins
from manager.mqtt import Arrival, Link
from manager.outbox import Outbox
from manager.presence import Presence, Verdict
from manager.refusal import Refusal
from manager.site_file import SiteFileError, load
from manager.store import Row, Store
from manager.turned_away import TOPICS, TurnedAway
from manager.updates import Updates
from manager.vault import Vault
from shared import protocol

if TYPE_CHECKING:
    from manager.energy import Energy
    from manager.metrics import Metrics
    from manager.reception import Reception
    from manager.site_books import SiteBooks

log = logging.getLogger(__name__)

TICK_S = 0.25  # rises wait for a tick; leases need one a second
_WORDS_BYTES = 96  # of a reply's words, by the table
_ANSWERS_PER_S = 5  # to one device's bad messages; more are counted and not answered
_KEEP_SITE_MS = 500  # many may register at once: one write for all of them
_KEEP_HABITS_MS = 600_000
_STRIKE_OFF_MS = 5_000
_SIGNED = b'"mac":"'
_JUMP_MS = 5_000  # more than a slewing clock moves between two looks at it
_SETTLED_MS = 86_400_000  # a clock that was set is not gone by so soon when it comes to deleting
_KEPT_S = 3.0  # a disk that takes longer is one that fails
_ANSWER_S = 1.5  # for a device that is said to be offline to say that it is not
_SMALL = 64  # chargers kept as one row; more are kept one by one
_PEERS_MAX = 5000  # names remembered; a flood of made-up ones is counted, no more


class Clock:
    """The manager's two clocks: monotonic milliseconds for decisions, UTC for what is kept."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        """`zone` of the site; None for this system's."""
        self.zone = zone
        self.timezone = str(getattr(zone, "key", ""))  # its name; "": this system's

    def now_ms(self) -> int:
        """Milliseconds since this system started; the same for a manager started again on it."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def utc_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def minute_of_week(self, utc_s: int) -> int:
        """Local; Monday 00:00 is 0."""
        t = datetime.fromtimestamp(utc_s, UTC).astimezone(self.zone)
        return t.weekday() * 1440 + t.hour * 60 + t.minute


@dataclass(slots=True)
class Peer:
    """What the shell itself knows of a device: whom it talks to, not what it does."""

    key: bytes | None
    presence: Presence
    sender: protocol.Sender
    refused: Counter[str] = field(default_factory=Counter)
    answers: float = _ANSWERS_PER_S
    answered_at: float = 0.0


def _is_new(message: Mapping[str, Any]) -> bool:
    return message["code"] in (protocol.NEW_COUNTER, protocol.NEW_CHARGER)


class Manager:
    """One site, running. `site` is always the newest; `events` the last things worth telling.

    It begins with `site` as it was left; the settings are those of `file`, the site file's.
    """

    def __init__(
        self,
        site: Site,
        store: Store,
        file: Site,
        *,
        broker: tuple[str, int],
        keys: Mapping[str, bytes | None],
        open_door: bool,
        username: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.site = site
        self.store = store
        vault = Vault(store.path)
        kept = [(device, vault.open(key), state) for device, key, state in store.devices()]
        self.admission = Admission(keys, kept, vault.seal, everybody=open_door)
        self._strangers = Peer(None, Presence(signed=False), protocol.Sender(None, 0))
        self._leaving: dict[str, int] = {}  # sent away, and when to try to strike them off again
        self.clock = clock or Clock()
        name = file.settings.name
        self.root = f"ievcc/{name}/"
        self.decisions: DecisionLog | None = None
        self._file = file
        self.config: Path | None = None  # the site file, if it may be changed while this runs
        self.updates = Updates()
        self.by_hand: dict[str, Any] = store.site().get("by_hand", {})
        self.started_ms = self.clock.now_ms()
        self.boot = store.raise_boot()
        self.logins: Logins | None = None  # None: nobody is asked who he is
        self.outbox: Outbox | None = None  # where a fog is to hear of everything
        self.reception: Reception | None = None  # users, cards and sessions
        self.provider: Source | None = None  # what it says where energy comes from ...
        self.provider_ms = 0  # ... and when
        self.energy: Energy | None = None
        self.site_books: SiteBooks | None = None  # where bills are made
        self.metrics: Metrics | None = None  # for Prometheus ...
        self.scraper = ""  # ... and the token it comes with from elsewhere
        self.barred: Callable[[str], bool] = lambda _: False  # devices shut out from the cloud
        self.watch: Watch | None = None  # of the breaker on the main cable
        self.adapters: dict[str, Callable[[Mapping[str, Any]], None]] = {}  # not on MQTT
        # Of chargers whose plug can be let go: whether it was.
        self.unlocks: dict[str, Callable[[], Awaitable[bool]]] = {}
        self.alongside: list[Callable[[], Coroutine[Any, Any, None]]] = []  # while it runs
        self.listeners: list[Callable[[str, Mapping[str, Any]], None]] = []  # of what was taken
        self.noted: list[Callable[[str, str, str], None]] = []  # told of every event
        self.ceilings: dict[str, dict[str, int]] = {}  # who says so -> charger -> A
        # Whether a charger is reserved for somebody other than this card ("": no card).
        self.kept_for_another: Callable[[str, str], bool] = lambda _charger, _card: False
        self.more: dict[str, Callable[[], Any]] = {}  # what else is shown, by name
        self.peers: dict[str, Peer] = {}
        self.refused: Counter[str] = Counter()
        self.taken = 0  # messages
        self.turned_away = TurnedAway(lambda words: self.note("refused", "", words))
        self.events: deque[dict[str, Any]] = deque(maxlen=200)
        self.history = History()
        self._news = asyncio.Event()
        # Of each charger what the disk knows: no lease above it, later than it or answering a later
        # boot leaves here.
        self._on_disk = {
            c.id: (c.kept_a, c.number_kept, c.boot_kept) for c in site.chargers.values()
        }
        self._held: dict[str, Send] = {}  # leases that wait for that
        self._mend_ms = self.started_ms
        self._trouble = ""  # the store's, as last told
        self._kept: tuple[int, tuple[str, ...]] = (self.started_ms, ())  # when, and who
        self._offset_ms = self.clock.utc_ms() - self.started_ms
        self._jumped_ms = self.started_ms - _SETTLED_MS
        self._told: dict[
            str, tuple[int, str]
        ] = {}  # charger -> limit and reason last written down
        for device, (boot, seq) in store.heard().items():
            self._peer(device).presence.boot = boot
            self._peer(device).presence.seq = seq
        self.link = Link(
            broker[0],
            broker[1],
            f"ievcc-manager-{name}",
            [*(self.root + tail for tail in ("+/new", "+/up", "+/state")), *TOPICS],
            self.root + "manager/state",
            self._arrived,
            self._link_changed,
            username,
            password,
            tls,
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        self._loop = asyncio.get_running_loop()
        self.store.hand_over = self._on_loop
        self.store.start()
        self.apply(self._configured())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.link.run())
                group.create_task(self._tick())
                for service in self.alongside:
                    group.create_task(service())
        finally:
            self._keep_site()

    async def _tick(self) -> None:
        due = self._loop.time()
        while True:
            utc_s = self.clock.utc_ms() // 1000
            self.apply(Tick(self.clock.minute_of_week(utc_s), utc_s))
            self.history.sample(self.site, self.clock.now_ms(), self.clock.utc_ms())
            self._keep_site_now_and_then()
            self._strike_off()
            self._look_at_clock()
            self._look_at_store()
            due = max(due + TICK_S, self._loop.time())
            await asyncio.sleep(due - self._loop.time())

    def _look_at_clock(self) -> None:
        now_ms = self.clock.now_ms()
        offset_ms = self.clock.utc_ms() - now_ms
        jump_ms = offset_ms - self._offset_ms
        self._offset_ms = offset_ms
        if abs(jump_ms) > _JUMP_MS:
            self._jumped_ms = now_ms
            way = "forward" if jump_ms > 0 else "back"
            seconds = abs(jump_ms) // 1000
            self.note("clock", "", f"this computer's clock was set {way} by {seconds} s")

    def clock_settled(self) -> bool:
        """Whether nobody has set this computer's clock for a day; leases never go by it."""
        return self.clock.now_ms() - self._jumped_ms >= _SETTLED_MS

    def apply(self, event: Event) -> None:
        """Let the core decide on one event, and do what it says."""
        now_ms = self.clock.now_ms()
        self.site, commands = decide(self.site, event, now_ms)
        if self.decisions is not None:
            self.decisions.write(event, now_ms, commands)
        if (
            self.watch is not None
            and isinstance(event, Report)
            and event.message["code"] == protocol.COUNTER_LOAD
        ):
            self.watch, overloads = self.watch.seen(self.site, now_ms)
            commands = [*commands, *overloads]
        rows: list[Row] = []
        after: list[Send] = []
        for command in commands:
            self._do(command, rows, after)
        # The core must find these again if we are started anew: leases before they are over.
        kept = [c.device for c in after if c.keep_first]
        kept += [c.device for c in commands if isinstance(c, Note) and c.kind == leases.OWN_RULE]
        if after or kept:
            rows.extend(self._kept_of(kept))
            small = len(self.site.chargers) <= _SMALL
            known = self._knowing(self.site.chargers if small else kept)

            def written() -> None:
                known()
                self._send_all(after)

            self.store.write(rows, written, now=True)
        elif rows:
            self.store.write(rows)
        self._tell()

    def _disk_knows(self, send: Send) -> bool:
        """Whether a manager started anew from the disk would reckon with this lease."""
        known = self._on_disk.get(send.device)
        if known is None:
            return False
        kept_a, number, boot = known
        m = send.message
        return bool(m["limit_a"] <= kept_a and m["lease"] <= number and m["re_boot"] == boot)

    def _knowing(self, chargers: Iterable[str]) -> Callable[[], None]:
        """To be called when these chargers, as they are now, are on disk."""
        kept = {
            c.id: (c.kept_a, c.number_kept, c.boot_kept)
            for c in map(self.site.chargers.get, chargers)
            if c is not None
        }
        return lambda: self._on_disk.update(kept)

    def _do(self, command: Command, rows: list[Row], after: list[Send]) -> None:
        if isinstance(command, Note):
            words = command.words or command.kind.replace("_", " ")
            rows.extend(self._note(command.kind, command.device, words))
            return
        if command.message["code"] == protocol.AVAILABLE_LOAD:
            rows.extend(self._decision(command))
            if not command.keep_first and not self._disk_knows(command):
                # What the core had written for an earlier one is not there yet: the disk is slow,
                # or full. This one is what is said when it is.
                self._held[command.device] = command
                return
            self._held.pop(command.device, None)
        if command.keep_first or after:  # one that waits is not overtaken
            after.append(command)
        else:
            self._send(command.device, command.message)

    def _send_all(self, sends: list[Send]) -> None:
        for send in sends:
            newer = self._held.get(send.device)
            if newer is not None and send.message["code"] == protocol.AVAILABLE_LOAD:
                if not self._disk_knows(newer):
                    continue  # that one's turn comes with what is still to be written
                del self._held[send.device]
                send = newer  # noqa: PLW2901 - the older one is worth nothing any more
            self._send(send.device, send.message)

    def _send(self, device: str, message: Mapping[str, Any]) -> None:
        adapter = self.adapters.get(device)
        if adapter is not None:
            self._loop.call_soon(adapter, message)
            return
        topic = f"{self.root}{device}/down"
        try:
            self.link.publish(topic, self._peer(device).sender.seal(topic, dict(message)))
        except protocol.ProtocolError:
            log.exception("cannot send to %s: %r", device, message)

    async def news(self) -> None:
        """Wait until something has happened."""
        await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # What is set by hand while it runs.

    async def kept(self, words: str) -> str:
        """The words once all that was written so far is on disk; with a remark if that takes long."""
        done = asyncio.Event()
        self.store.write((), done.set, now=True)
        try:
            await asyncio.wait_for(done.wait(), _KEPT_S)
        except TimeoutError:
            return f"{words}; it is not on disk yet: a manager started anew would not know"
        return words

    def limit_by_hand(self, charger: str, limit_a: object) -> str:
        """Limit a charger, or the site (""), to so many A; None takes it back. The answer: words.

        Refusal for a charger that is not there or a limit that is none.
        """
        if charger:
            self._known(charger)
        limits: dict[str, int] = self.by_hand.setdefault("limits", {})
        if limit_a is None:
            limits.pop(charger, None)
        elif type(limit_a) is int and 0 <= limit_a <= 200:
            limits[charger] = limit_a
        else:
            raise Refusal("a limit is a whole number of amperes, 0 to 200")
        self._set_by_hand()
        whose = charger or "the site"
        return f"{whose} {'has no limit by hand' if limit_a is None else f'may have {limit_a} A'}"

    def set_priority(self, charger: str, number: object) -> str:
        """Serve a charger before those of a higher number (0 to 9). Refusal as above."""
        self._known(charger)
        if type(number) is not int or not 0 <= number <= 9:
            raise Refusal("a priority is a whole number, 0 (first) to 9")
        self.by_hand.setdefault("priorities", {})[charger] = number
        self._set_by_hand()
        return f"{charger} has priority {number}"

    def choose_source(self, source: str | None) -> str:
        """Where the cars' energy comes from; None to go by provider, windows and site file again."""
        if source is None:
            self.by_hand.pop("source", None)
        elif source in SOURCES:
            self.by_hand["source"] = source
        else:
            raise Refusal(f"{source!r} is not one of {', '.join(SOURCES)}")
        self._set_by_hand()
        now = self.site.source
        return f"energy comes from {now}" + ("" if source else ", as the rules say")

    def provider_says(self, source: Source | None) -> None:
        """The source of energy the provider names now; None: it has been silent for too long."""
        self.provider_ms = self.clock.now_ms()
        if source != self.provider:
            self.provider = source
            self.apply(self._configured())

    def offer_update(self, device: str, bundle: bytes, version: str) -> str:
        """Offer new firmware to a device that has announced itself. The answer: words."""
        peer = self.peers.get(device)
        if peer is None or not peer.presence.boot:
            raise Refusal(f"no device {device} has announced itself yet")
        offer = self.updates.offer(device, bundle, version, signed=peer.key is not None)
        answers = {"re_boot": peer.presence.boot, "re_seq": peer.presence.seq}
        self._send(device, {**offer, **answers})
        return f"{device}: {version} offered, {len(bundle)} bytes"

    def _hand_out(self, device: str, message: Mapping[str, Any]) -> None:
        piece = self.updates.heard(device, message)
        if piece is not None:
            answers = {"re_boot": message["boot"], "re_seq": message["seq"]}
            self._send(device, {**piece, **answers})

    def can_go_by(self, file: Site) -> None:
        """Refusal if going by this site file wants a new start."""
        if file.settings.name != self._file.settings.name or any(
            feeder.phases != file.feeders[MAIN].phases for feeder in self._file.feeders.values()
        ):
            raise Refusal("the site has another name or other phases: start the manager anew")

    def reconfigure(self, file: Site) -> None:
        """Go by another site file from now on."""
        self._file = file
        self.apply(self._configured())

    def _known(self, charger: str) -> None:
        if charger not in self.site.chargers:
            names = ", ".join(self.site.chargers) or "none has announced itself yet"
            raise Refusal(f"no charger {charger}; there is {names}")

    def _set_by_hand(self) -> None:
        self.store.write([(tables.SITE, ("by_hand", json.dumps(self.by_hand)))])
        self.apply(self._configured())

    def _configured(self) -> Configured:
        """The site file's settings with what was set by hand on top; never above the site file."""
        settings = self._file.settings
        limits: dict[str, int] = self.by_hand.get("limits", {})
        whole = [Window(0, 7 * 1440, a, scope) for scope, a in limits.items() if scope]
        for ceiling in self.ceilings.values():
            whole += [Window(0, 7 * 1440, a, charger) for charger, a in ceiling.items()]
        chosen = cast("Source | None", self.by_hand.get("source")) or self.provider
        if chosen is not None:
            kept = tuple(replace(w, source="") for w in settings.windows)
            settings = replace(settings, source=chosen, windows=kept)
        main = self._file.feeders[MAIN]
        if "" in limits:
            least = tuple(min(ma, limits[""] * 1000) for ma in main.limit_ma)
            main = replace(main, limit_ma=least)
        return Configured(
            settings=replace(settings, windows=(*settings.windows, *whole)),
            feeders={**self._file.feeders, MAIN: main},
            places=self._file.places,
            failsafes=self._file.failsafes,
            priorities={**self._file.priorities, **self.by_hand.get("priorities", {})},
        )

    # What comes in.

    def _arrived(self, arrival: Arrival) -> None:
        rows: list[Row] = []
        after: list[Callable[[], None]] = []
        try:
            device, _, kind = arrival.topic.removeprefix(self.root).partition("/")
            if arrival.topic in TOPICS:
                self.turned_away.heard(arrival, self.clock.now_ms())
            elif kind == "state":
                self._state(device, arrival.data)
            elif arrival.retained:
                # Nothing a device says is to be kept by the broker; what is, is somebody's replay.
                self._refuse(device, "retained", "", rows)
            elif kind == "new":
                after += self._announced(device, arrival, rows)
            elif kind == "up":
                after += self._reported(device, arrival, rows)
        finally:
            after.append(lambda: self.link.acknowledge(arrival))
            self.keep(rows, after)

    def _state(self, device: str, data: bytes) -> None:
        peer = self.peers.get(device)
        if peer is None or not self.admission.hears(device):
            return
        if data == b"offline":
            now_ms = self.clock.now_ms()
            peer.presence.offline(now_ms)
            # Said by the broker of whoever used the name last, perhaps of a second board that was
            # refused: the one that runs is asked, and has a moment to answer.
            self._ask(device, peer.presence)
            self._loop.call_later(_ANSWER_S, self._gone, device, now_ms)
        elif data == b"online":
            self.apply(Online(device))

    def _gone(self, device: str, since_ms: int) -> None:
        if self.peers[device].presence.offline_ms == since_ms:
            self.apply(Offline(device))

    def keep(self, rows: list[Row], after: Iterable[Callable[[], None]] = ()) -> None:
        """Write rows; what is to come after is done here, in this order, when they are on disk."""
        for call in after:
            self.store.write(rows, call)
            rows = []
        if rows:
            self.store.write(rows)

    def signed(self, device: str) -> bool:
        """Whether what we say to a device is signed with a key of its own."""
        return device not in self.adapters and self._peer(device).key is not None

    def _announced(
        self, place: str, arrival: Arrival, rows: list[Row]
    ) -> list[Callable[[], None]]:
        topic = protocol.HELLO if place == "hello" else f"{place}/new"
        try:
            message = protocol.decode(arrival.data)
        except protocol.ProtocolError as e:
            self._refuse(e.sender, e.what, str(e), rows, answer=protocol.BAD_CODE)
            return []
        device = message.get("id", "")
        if not device:
            # Whose it is nobody knows: on a counter's topic its answer goes there, else nowhere.
            who = "" if place == "hello" else place
            self._refuse(who, "code", "Invalid Message: message code", rows, protocol.BAD_CODE)
            return []
        if not self._admitted(device, arrival, message, rows):
            return []
        after = self._take(device, message, rows, topic)
        if len(self.site.chargers) <= _SMALL and self._who() != self._kept[1]:
            # With its word acknowledged it may never announce itself again, and what it says by its
            # own rule next is to be counted whoever leads then.
            self._kept = (self.clock.now_ms(), self._who())
            rows.extend(self._site_rows())
        return after

    def _reported(
        self, device: str, arrival: Arrival, rows: list[Row]
    ) -> list[Callable[[], None]]:
        try:
            message = protocol.decode(arrival.data)
        except protocol.ProtocolError as e:
            answer = protocol.BAD_CODE if e.what == "code" else protocol.BAD_MESSAGE
            self._refuse(device, e.what, str(e), rows, answer)
            return []
        if self._admitted(device, arrival, message, rows):
            return self._take(device, message, rows)
        return []

    def note(self, kind: str, device: str, words: str) -> None:
        """Something worth a line in the log of events."""
        self.store.write(self._note(kind, device, words))

    def heard(self, device: str, message: Mapping[str, Any], topic: str = "") -> None:
        """A message of a device that is here by an adapter; `topic` for an announcement."""
        rows: list[Row] = []
        self.taken += 1
        self.keep(rows, self._take(device, message, rows, topic))

    def ceiling(self, whose: str, limits: Mapping[str, int]) -> None:
        """Limit chargers to so many A each on somebody's behalf; it can only lower."""
        if self.ceilings.get(whose, {}) != limits:
            self.ceilings[whose] = dict(limits)
            self.apply(self._configured())

    def _take(
        self, device: str, message: Mapping[str, Any], rows: list[Row], topic: str = ""
    ) -> list[Callable[[], None]]:
        self.apply(Announced(topic, message) if topic else Report(device, message))
        for listener in self.listeners:
            listener(device, message)
        after = self.reception.heard(device, message, rows) if self.reception else []
        utc_ms = self.clock.utc_ms()  # one moment for the store and for who is told of it
        if topic:
            self._forward(device, message, rows, utc_ms)
            return after
        if message["code"] == protocol.UPDATE_STATUS:
            self._hand_out(device, message)
        elif message["code"] == protocol.COMMAND_RESULT and message["result"] == "refused":
            words = f"{message['command']} refused: {message.get('words', '')}"
            rows.extend(self._note("command", device, words))
        rows.extend(self._reading(device, message, utc_ms))
        self._forward(device, message, rows, utc_ms)
        return after

    def command(self, charger: str, command: str) -> str:
        """Pass a command on to a charger; what became of it, in words."""
        if charger not in self.site.chargers:
            return f"no charger {charger} here"
        self.order(charger, protocol.COMMAND, {"command": command})
        return f"sent to {charger}"

    def wish_from_elsewhere(self, charger: str, command: str, user: str) -> str:
        """Start or stop a charger for a user, if their rights allow it; what became of it, in
        words. From another thread; waits for the loop.
        """

        async def here() -> str:
            if self.reception is None:
                return "nobody here knows who may charge"
            try:
                return self.reception.wish(charger, command, user)
            except Refusal as e:
                return f"refused: {e}"

        try:
            return asyncio.run_coroutine_threadsafe(here(), self._loop).result(5)
        except TimeoutError:
            return "the manager is busy"

    def order(self, device: str, code: int, fields: Mapping[str, Any]) -> None:
        """Tell a device something, as an answer to the newest message heard of it."""
        presence = self._peer(device).presence
        re = {"re_boot": presence.boot, "re_seq": presence.seq}
        self._send(device, {"code": code, **fields, **re})

    def _admitted(
        self, device: str, arrival: Arrival, message: dict[str, Any], rows: list[Row]
    ) -> bool:
        """Whether the message is new, unaltered, and of the one board that bears the name."""
        if device in self.adapters:
            words = f"{device} is no board of ours: it speaks another protocol"
            self._refuse(device, "stranger", words, rows)
            return False
        if self.barred(device):
            words = f"{device} was barred from this site by its administrator"
            self._refuse(device, "barred", words, rows, protocol.REFUSED)
            return False
        if not self.admission.hears(device):
            self._stranger(device, arrival, message, rows)
            return False
        peer = self._peer(device)
        try:
            peer.sender.check(arrival.topic, arrival.data)
        except protocol.ProtocolError as e:
            self._refuse(device, "signature", str(e), rows, protocol.REFUSED, message)
            return False
        presence = peer.presence
        verdict = presence.judge(message["boot"], message["seq"], self.clock.now_ms())
        if verdict in (Verdict.FRESH, Verdict.RESTARTED):
            self.taken += 1
            rows.append((tables.HEARD, (device, presence.boot, presence.seq)))
            return True
        if verdict is Verdict.WAIT:
            self._ask(device, presence)
        elif verdict is Verdict.TWIN or message["boot"] != presence.boot or _is_new(message):
            # A board at its first message after start, numbered below what its name has said
            # already, is another board; unless the broker only delivered a message twice.
            words = f"{device} already runs (start {presence.boot}): give this board another name"
            answer = protocol.OK if arrival.again else protocol.REFUSED
            self._refuse(device, verdict.value, words, rows, answer, message)
        else:
            self._refuse(device, verdict.value, "", rows)
        return False

    def _stranger(
        self, device: str, arrival: Arrival, message: dict[str, Any], rows: list[Row]
    ) -> None:
        utc_ms = self.clock.utc_ms()
        done = self.admission.confirmed(device, message, utc_ms)
        if done is not None:
            # Started anew it signs; until then it would not know what is signed with its key.
            answers = {"re_boot": message["boot"], "re_seq": message["seq"]}
            self._send(device, {"code": protocol.COMMAND, "command": "reset", **answers})
            self._let_in(device, *done)
            return
        words = f"{device} is not on the list of devices"
        if _is_new(message):
            words = self.admission.stranger(message, _SIGNED in arrival.data, utc_ms)
        what = "revoked" if device in self.admission.revoked else "stranger"
        self._refuse(device, what, words, rows, protocol.REFUSED, message)

    def authorise(self, device: str, key: str | None, who: str) -> str:
        """Let a device in: by its key, again, or, a board without one, by giving it one. Words.

        Refusal says what is missing.
        """
        if key is not None:
            self.reread()  # by which it may just have been enrolled
        utc_ms = self.clock.utc_ms()
        waits = self.admission.waiting.get(device)
        if key is None and waits is not None and device not in self.admission.keys:
            _, offer = self.admission.offer(device, who, utc_ms)
            self._send(device, offer)
            return f"{device} is given a key, and will start anew with it"
        words, rows = self.admission.let_in(device, key, who, utc_ms)
        if rows:
            self._let_in(device, words, rows)
            if waits is not None:
                answers = {"re_boot": waits.boot, "re_seq": waits.seq}
                self.invite(device, answers)
        return words

    def invite(self, device: str, answers: Mapping[str, int]) -> None:
        """Have a board announce itself now rather than in half a minute."""
        reply = {"code": protocol.REPLY, "result": protocol.UNKNOWN_DEVICE, "words": "come in"}
        self._send(device, {**reply, **answers})

    def _let_in(self, device: str, words: str, rows: list[Row]) -> None:
        self._forget_key(device)
        self._leaving.pop(device, None)
        self.store.write([*rows, *self._note("authorised", device, words)], now=True)

    def _forget_key(self, device: str) -> None:
        """Its key is another: what was said with the old one is worth nothing, nor its numbers."""
        refused = self.peers[device].refused if device in self.peers else Counter[str]()
        self.peers.pop(device, None)
        self._peer(device).refused = refused
        self.store.write([(tables.HEARD, (device, 0, 0))])

    def revoke(self, device: str, who: str) -> str:
        """Hear a device no more; its charger gets no more leases and goes when its last is over."""
        words, rows = self.admission.send_away(device, who, self.clock.utc_ms())
        self.store.write([*rows, *self._note("revoked", device, words)], now=True)
        if rows:
            self._forget_key(device)
            self.apply(Offline(device))
            self._leaving[device] = 0
        return words

    def reread(self) -> None:
        """Go by the devices and keys that the site file lists now. Refusal if it cannot be read."""
        if self.config is None:
            return
        try:
            file = load(self.config)
        except SiteFileError as e:
            raise Refusal(f"{self.config}: {e}") from e
        self.admission.everybody = file.open
        listed = {d.id: d.key or None for d in file.devices.values()}
        for device in self.admission.relist(listed):
            self._forget_key(device)
            if not self.admission.hears(device):
                self.apply(Offline(device))
                self._leaving[device] = 0

    def _strike_off(self) -> None:
        now_ms = self.clock.now_ms()
        for device, due_ms in list(self._leaving.items()):
            if device not in self.site.meters and device not in self.site.chargers:
                del self._leaving[device]
            elif now_ms >= due_ms:
                self._leaving[device] = now_ms + _STRIKE_OFF_MS
                self.apply(Forget(device))

    def _ask(self, device: str, presence: Presence) -> None:
        """Have the board that was there first speak, if it still runs."""
        answers = {"re_boot": presence.boot, "re_seq": presence.seq}
        self._send(device, {"code": protocol.CONFIG_GET, "name": "id", **answers})

    def _refuse(
        self,
        device: str,
        what: str,
        words: str,
        rows: list[Row],
        answer: int = protocol.OK,
        message: Mapping[str, Any] | None = None,
    ) -> None:
        """Count a message that was not taken, and tell its sender why if there is one to tell."""
        self.refused[what] += 1
        if not protocol.is_device_name(device):
            return
        known = device in self.peers or device in self.admission.keys
        if not known and len(self.peers) >= _PEERS_MAX:
            return
        peer = self._peer(device)
        peer.refused[what] += 1
        # Made-up names are without number: all strangers together are answered as one device is.
        whose = peer if self.admission.hears(device) else self._strangers
        now = self._loop.time()
        earned = (now - whose.answered_at) * _ANSWERS_PER_S
        whose.answers = min(_ANSWERS_PER_S, whose.answers + earned)
        whose.answered_at = now
        if whose.answers < 1:
            return
        whose.answers -= 1
        if words or what != Verdict.REPLAY.value:
            rows.extend(self._note("refused", device, words or f"a {what} message"))
        if answer != protocol.OK:
            boot, seq = peer.presence.boot, peer.presence.seq
            if message is not None:
                boot, seq = message["boot"], message["seq"]
            reply = {"code": protocol.REPLY, "result": answer, "words": words[:_WORDS_BYTES]}
            self._send(device, {**reply, "re_boot": boot, "re_seq": seq})

    def _peer(self, device: str) -> Peer:
        peer = self.peers.get(device)
        if peer is None:
            key = self.admission.keys.get(device)
            sender = protocol.Sender(key, self.boot)
            peer = self.peers[device] = Peer(key, Presence(signed=key is not None), sender)
        return peer

    # What is kept.

    def _reading(self, device: str, message: Mapping[str, Any], utc_ms: int) -> list[Row]:
        if message["code"] not in (protocol.COUNTER_LOAD, protocol.CHARGER_LOAD):
            return []
        at_ms = utc_ms - message["age_ms"]
        rows: list[Row] = []
        lists = ("current_ma", "voltage_dv", "power_w", "energy_wh")
        pf = message.get("pf_pct", ())
        for i in range(min(len(message[name]) for name in lists)):
            values = (
                device,
                message["boot"],
                message["seq"],
                at_ms,
                i + 1,
                *(message[name][i] for name in lists),
                pf[i] if i < len(pf) else None,
                message.get("freq_mhz"),
                message.get("suspect", 0),
                message.get("session"),
                message.get("session_wh"),
            )
            rows.append((tables.READING, values))
        return rows

    def _forward(
        self, device: str, message: Mapping[str, Any], rows: list[Row], utc_ms: int
    ) -> None:
        if self.outbox is not None:
            rows.extend(self.outbox.message(device, message, utc_ms))

    def _decision(self, send: Send) -> list[Row]:
        limit_a, kind = send.message["limit_a"], send.message["reason"]
        if self._told.get(send.device) == (limit_a, kind):
            return []
        self._told[send.device] = (limit_a, kind)
        charger = self.site.chargers.get(send.device)
        words = charger.reason.words() if charger else kind
        now = self.clock.utc_ms()
        lease = send.message["lease"]
        rows: list[Row] = [(tables.DECISION, (now, send.device, limit_a, lease, kind, words))]
        if self.outbox is not None:
            rows.append(self.outbox.decision(send.device, limit_a, lease, kind, words, now))
        return rows

    def _note(self, kind: str, device: str, words: str) -> list[Row]:
        now = self.clock.utc_ms()
        self.events.append({"at_ms": now, "kind": kind, "device": device, "words": words})
        for noted in self.noted:
            noted(kind, device, words)
        log.info("%s%s: %s", kind, f" {device}" if device else "", words)
        rows: list[Row] = [(tables.EVENT, (now, kind, device, words))]
        if self.outbox is not None:
            rows.append(self.outbox.event(kind, device, words, now))
        return rows

    def _site_rows(self) -> list[Row]:
        whole = (tables.SITE, ("site", json.dumps(plain.site_to_plain(self.site))))
        return [(tables.NO_CHARGERS, ()), whole]

    def _kept_of(self, chargers: list[str]) -> list[Row]:
        """What has to be on disk of these before anything is sent to them."""
        if len(self.site.chargers) <= _SMALL:
            return self._site_rows()
        # The others' leases are on disk already, or as something higher: that is safe too. To
        # write a thousand for the sake of one would take longer than a reading stays new.
        return [
            (tables.SITE, (tables.CHARGER_ROW + c.id, json.dumps(plain.charger_to_plain(c))))
            for c in map(self.site.chargers.get, chargers)
            if c is not None
        ]

    def _keep_site(self) -> None:
        known = self._knowing(self.site.chargers)

        def kept() -> None:
            known()
            for device, send in list(self._held.items()):
                if self._disk_knows(send):
                    del self._held[device]
                    self._send(device, send.message)

        self.store.write(self._site_rows(), kept, now=True)

    def _look_at_store(self) -> None:
        """Tell when the disk begins and ceases to fail; what waited for it goes out then."""
        trouble = self.store.trouble
        if trouble != self._trouble:
            self._trouble = trouble
            self.note("store", "", trouble or "what was held is on disk again")
        now_ms = self.clock.now_ms()
        if self._held and not trouble and now_ms - self._mend_ms >= _KEEP_SITE_MS:
            self._mend_ms = now_ms
            self._keep_site()

    def _keep_site_now_and_then(self) -> None:
        """Who is registered in which order, soon after it changed; the house's habits, sometimes."""
        now_ms = self.clock.now_ms()
        changed = self._who() != self._kept[1] and now_ms - self._kept[0] >= _KEEP_SITE_MS
        if changed or now_ms - self._kept[0] >= _KEEP_HABITS_MS:
            self._kept = (now_ms, self._who())
            self._keep_site()

    def _who(self) -> tuple[str, ...]:
        """Who is registered, in which order."""
        return (*self.site.meters, *self.site.chargers)

    def _link_changed(self, connected: bool) -> None:
        words = "connected to the broker" if connected else "the broker is gone"
        if connected:
            self.turned_away.connected()
        self.store.write(self._note("broker", "", words))
        self._tell()

    def _on_loop(self, calls: list[Callable[[], None]]) -> None:
        """Make these calls here; the writer's thread asks for it, once a batch."""

        def make() -> None:
            for call in calls:
                try:
                    call()
                except Exception:  # the others are not its business
                    log.exception("what was to follow a commit failed")

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(make)
