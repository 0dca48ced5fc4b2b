"""Who may charge, live: cards that are held to a reader, sessions as they begin and end, and the
lists by which chargers decide alone.

A running session's rights are asked again every half minute: a time window that opens or closes, a
month's energy that is used up or a user who is blocked change what the charger may be given.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from manager import beside
from manager.core import headroom
from manager.core.course import doing
from manager.core.events import Admitted
from manager.core.rights import User, Verdict, allowed, judge, list_messages, offline_list
from manager.people import People
from manager.refusal import Refusal
from manager.sessions import Sessions
from manager.store import Row
from shared import protocol

if TYPE_CHECKING:
    from manager.run import Manager

log = logging.getLogger(__name__)

LOOK_S = 1.0  # for users and cards that somebody has changed
JUDGE_S = 30.0
WRITTEN_S = 2.0  # who looks at running sessions more often sees the same
LIST_AGAIN_S = 600.0  # nothing says that a list arrived; one that did is passed over
_LIST_EPOCH_S = 1_577_836_800  # 2020: a list's version is the time it was made, and only rises
NOT_ACCEPTED = "was not accepted"  # of a card, in the events
_NAME_BYTES = 32

_LIST = (
    "INSERT INTO card_list (charger, version, marks) VALUES (?, ?, ?)"
    " ON CONFLICT (charger) DO UPDATE SET version = excluded.version, marks = excluded.marks"
)
_KEYED = (
    "INSERT INTO card_list (charger, version, marks, secret) VALUES (?, 0, '[]', ?)"
    " ON CONFLICT (charger) DO UPDATE SET secret = excluded.secret"
)

After = Callable[[], None]  # to be done when the rows are on disk


class Reception:
    """Made for one manager; it puts itself into it."""

    def __init__(self, manager: Manager, people: People, sessions: Sessions) -> None:
        self.manager = manager
        self.people = people
        self.sessions = sessions
        self._admitted: dict[str, tuple[str, Verdict]] = {}  # charger -> user, what he was given
        self._lists: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._keyed: dict[str, str] = {}
        self._written = 0.0
        self._due: dict[str, float] = {}  # charger -> when its list is sent (again)
        with beside.look(people.path) as db:
            for charger, version, marks, secret in db.execute(
                "SELECT charger, version, marks, secret FROM card_list"
            ):
                self._lists[charger] = (version, tuple(json.loads(marks)))
                self._keyed[charger] = secret
        manager.reception = self
        manager.alongside.append(self.run)

    async def run(self) -> None:
        """Look for changes and at the clock, until cancelled."""
        loop = asyncio.get_running_loop()
        judged = loop.time()
        self._judge_all()
        while True:
            await asyncio.sleep(LOOK_S)
            if loop.time() - judged >= JUDGE_S:
                judged = loop.time()
                self._judge_all()
            self.look()
            self._send_lists(loop.time())

    async def on_disk(self) -> None:
        """Have running sessions written down as they are now, for whoever reads them there."""
        loop = asyncio.get_running_loop()
        if not self.sessions.running or loop.time() - self._written < WRITTEN_S:
            return
        self._written = loop.time()
        done = loop.create_future()
        self.manager.keep(
            self.sessions.progress(), [lambda: None if done.done() else done.set_result(None)]
        )
        with contextlib.suppress(TimeoutError):  # a disk that fails: what is there is shown
            await asyncio.wait_for(done, WRITTEN_S)

    def look(self) -> None:
        """Take up what somebody has changed of users and cards."""
        try:
            changed = self.people.refresh()
        except Refusal as e:  # a disk that fails: whom we know stays known
            log.warning("%s", e)
            return
        if changed:
            self._due.clear()
            self._judge_all()

    def _judge_all(self) -> None:
        for run in list(self.sessions.running.values()):
            self._judge(run.charger, run.user)

    # What devices say. Rows are added to `rows`; what is returned waits for their commit.

    def heard(self, device: str, message: Mapping[str, Any], rows: list[Row]) -> list[After]:
        """One message that was taken."""
        now_ms = self.manager.clock.utc_ms()
        code = message["code"]
        if code == protocol.NEW_CHARGER:
            self._due.pop(device, None)
            self._again(device)
        elif code == protocol.CARD_READ:
            self._card(device, message["card"])
        elif code == protocol.SESSION_BEGIN:
            rows += self.sessions.begun(device, message, now_ms)
            self._began(device)
        elif code == protocol.CHARGER_LOAD:
            rows += self._load(device, message, now_ms)
        elif code == protocol.SESSION_END:
            rows += self.sessions.ended(device, message, now_ms)
            if self.sessions.at(device) is None:
                self._leave(device)
            return [lambda: self._kept(device, message["session"])]
        elif code == protocol.CONFIG_VALUE and message["name"] == "list_key":
            self._has_secret(device, message["result"], rows)
        return []

    def _kept(self, charger: str, number: int) -> None:
        self.sessions.on_disk(charger, number)
        self._order(charger, protocol.SESSION_ACK, {"session": number})

    def _order(self, device: str, code: int, fields: Mapping[str, Any]) -> None:
        self.manager.order(device, code, fields)

    def _minute(self) -> int:
        clock = self.manager.clock
        return clock.minute_of_week(clock.utc_ms() // 1000)

    def _used(self, user: str) -> int:
        return self.sessions.used_wh(user, self.manager.clock.utc_ms())

    def _card(self, charger: str, number: str) -> None:
        self.look()  # a card counts from the moment it was added, and no longer than it was there
        card = self.people.card(number)
        running = self.sessions.at(charger)
        users = self.people.all_users()
        used = self._used(card.user) if card else 0
        busy = running.user if running else ""
        verdict = judge(card, users, charger, self._minute(), used, busy)
        if verdict.word == "accepted" and self.manager.kept_for_another(charger, number):
            verdict = Verdict("busy", "somebody else has reserved it", verdict.user)
        user = users.get(verdict.user)
        name = user.name if user else ""
        said: dict[str, Any] = {"card": number, "verdict": verdict.word}
        if user is not None:
            said["user"] = user.name.encode()[:_NAME_BYTES].decode(errors="ignore")
        if user is not None and user.max_a is not None and verdict.word == "accepted":
            # Its own limit holds without us too. That of a time window is the lease's business:
            # the charger would keep it when the window has changed.
            said["max_a"] = user.max_a
        self._order(charger, protocol.CARD_VERDICT, said)
        # The mark lets an operator add an unknown card without reading its number anywhere.
        whose = f"{name}'s card" if name else f"card {self.people.mark(number)}"
        if verdict.word == "accepted":
            self.manager.note("card", charger, f"{whose} was accepted")
            self._admit(charger, verdict.user, verdict)
        else:
            self.manager.note("card", charger, f"{whose} {NOT_ACCEPTED}: {verdict.why}")

    def _began(self, charger: str) -> None:
        running = self.sessions.at(charger)
        if running is not None:
            self._judge(charger, running.user)

    def _judge(self, charger: str, user_id: str) -> None:
        """Give a session what its user's rights say now."""
        user = self.people.user(user_id)
        if user is None:
            self._leave(charger)
            return
        verdict = allowed(user, charger, self._minute(), self._used(user_id))
        before = self._admitted.get(charger)
        self._admit(charger, user_id, verdict)
        if verdict.word != "accepted" and (before is None or before[1].word == "accepted"):
            self.manager.note("card", charger, f"{user.name} has to stop: {verdict.why}")

    def _admit(self, charger: str, user: str, verdict: Verdict) -> None:
        if self._admitted.get(charger) == (user, verdict):
            wants = self.manager.site.chargers.get(charger)
            if wants is None or wants.wants.user == user:
                return
        self._admitted[charger] = (user, verdict)
        self.manager.apply(
            Admitted(charger, user, verdict.max_a, verdict.priority, verdict.barred)
        )

    def _leave(self, charger: str) -> None:
        if self._admitted.pop(charger, None) is not None:
            self.manager.apply(Admitted(charger, ""))

    def _load(self, charger: str, message: Mapping[str, Any], now_ms: int) -> list[Row]:
        site = self.manager.site
        known = site.chargers.get(charger)
        state = known.state if known else ""
        what = doing(state, max(message["current_ma"]), message.get("session_wh", 0))
        rows = self.sessions.load(charger, message, now_ms, what, self.solar_permille())
        running = self.sessions.at(charger)
        user = self.people.user(running.user) if running else None
        if user is not None and user.quota_wh is not None:
            before = self._admitted.get(charger)
            used_up = self._used(user.id) >= user.quota_wh
            if before is None or (before[1].word == "quota") != used_up:
                self._judge(charger, user.id)
        return rows

    def solar_permille(self) -> int:
        """How much of what the cars draw the sun gives now: the house comes first."""
        site = self.manager.site
        sun = sum(headroom.solar_ma(site, site.meters.values(), site.houses))
        if sun <= 0:  # asked at every reading: without a roof nobody adds up a thousand cars
            return 0
        cars = sum(sum(c.readings[-1].current_ma) for c in site.chargers.values() if c.readings)
        return min(1000, sun * 1000 // cars) if cars > 0 else 0

    # The list by which a charger decides while we are away.

    def _send_lists(self, now: float) -> None:
        for charger in self.manager.site.chargers:
            if now >= self._due.get(charger, 0.0):
                self._due[charger] = now + LIST_AGAIN_S
                self._again(charger)

    def _again(self, charger: str) -> None:
        """Send a charger its list, if it can hold us to be us."""
        if not self.manager.signed(charger) or charger not in self.manager.site.chargers:
            return
        if self._keyed.get(charger) != self._secret_hash():
            value = json.dumps(self.people.secret.hex())
            self._order(charger, protocol.CONFIG_SET, {"name": "list_key", "value": value})
            return  # its answer comes back here
        marks = offline_list(self.people.cards.values(), self.people.users, charger)
        version, sent = self._lists.get(charger, (0, ()))
        if version and marks == sent:
            self._say_list(charger, version, marks)
            return
        if not version and not marks:
            return  # it has none
        version = max(version + 1, self.manager.clock.utc_ms() // 1000 - _LIST_EPOCH_S)
        self._lists[charger] = (version, marks)
        row: Row = (_LIST, (charger, version, json.dumps(marks)))
        self.manager.keep([row], [lambda: self._say_list(charger, version, marks)])

    def _say_list(self, charger: str, version: int, marks: tuple[str, ...]) -> None:
        try:
            messages = list_messages(marks, version)
        except ValueError as e:
            self.manager.note("card", charger, str(e))
            return
        for message in messages:
            fields = {k: v for k, v in message.items() if k != "code"}
            self._order(charger, protocol.CARD_LIST, fields)

    def _secret_hash(self) -> str:
        return hashlib.sha256(self.people.secret).hexdigest()[:16]

    def _has_secret(self, charger: str, result: str, rows: list[Row]) -> None:
        if result != "ok":
            self.manager.note("card", charger, "takes no list of cards: its firmware is too old")
            return
        if self._keyed.get(charger) != self._secret_hash():
            self._keyed[charger] = self._secret_hash()
            rows.append((_KEYED, (charger, self._secret_hash())))
            self._again(charger)

    # Started and stopped from here, without a card.

    def wish(self, charger: str, command: str, user_id: str) -> str:
        """As `start`, or stop the session if it is this user's own. Refusal if he may not."""
        user = self.people.user(user_id)
        if user is None:
            raise Refusal("who asks is not known here")
        if charger not in self.manager.site.chargers:
            raise Refusal(f"no charger {charger} here")
        if command == "start":
            return self.start(charger, user)
        if self._holder(charger) not in (None, user.id):
            raise Refusal("somebody else, or nobody known, is charging here")
        return self.manager.command(charger, "stop")

    def _holder(self, charger: str) -> str | None:
        """Whose session runs there; "" for nobody known, None for no session. One that began before
        anybody was known is the charger's owner's.
        """
        running = self.sessions.at(charger)
        if running is None:
            return None
        owner = None if running.user else self.people.owner(charger)
        return owner.id if owner else running.user

    def start(self, charger: str, user: User) -> str:
        """Let a user charge without a card. The answer in words; Refusal if he may not."""
        if self._holder(charger) not in (None, user.id):
            raise Refusal("somebody else, or nobody known, is charging here")
        if self.manager.kept_for_another(charger, ""):
            raise Refusal("somebody else has reserved it")
        verdict = allowed(user, charger, self._minute(), self._used(user.id))
        if verdict.word != "accepted":
            raise Refusal(verdict.why)
        self.sessions.expect(charger, user.id)
        self._admit(charger, user.id, verdict)
        return self.manager.command(charger, "start")
