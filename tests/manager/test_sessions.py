"""Sessions as chargers tell of them: each once, whatever is repeated, lost, or restarted; and the
books made of them add up to the meters.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manager import beside, billing, people
from manager.core.rights import Card, User
from manager.core.tariffs import Rate, Tariff
from manager.people import People
from manager.prices import put_tariffs
from manager.sessions import Sessions
from manager.store import Row
from shared import protocol

NOV = 1_793_620_800_000  # 2026-11-02 12:00 UTC
MIN = 60_000
LISBON = ZoneInfo("Europe/Lisbon")
CARDS = {"ana": "04a1b2c3d4e5f6", "rui": "04112233445566"}
TARIFF = Tariff(
    "t", (Rate(213_457),), solar_u=90_000, per_session=2500, per_hour=1000, vat_permille=230
)


class Site:
    """A store with two users, and the sessions of a manager that may be started anew."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ievcc.db"
        shutil.copytree(_made(), folder, dirs_exist_ok=True)
        # Nothing here is about the disk: what its commits cost is not waited for.
        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")
        self.restart()

    def restart(self) -> None:
        self.sessions = Sessions(self.path, People(self.path), LISBON)

    def commit(self, rows: Sequence[Row]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for statement, values in rows:
            self._db.execute(statement, values)
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        return self._db.execute(question).fetchall()


@functools.cache
def _made() -> Path:
    """A site's folder as it is before anything is charged; each test has a copy."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    path = folder / "ievcc.db"
    with people.change(path) as db:
        for name, number in CARDS.items():
            people.put_user(db, User(name, name.title()))
            people.put_card(db, Card(people.mark_of(path, number), name))
        put_tariffs(db, [TARIFF])
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def begin(n: int, from_wh: int, user: str = "ana", age_s: int = 0) -> dict[str, Any]:
    said = {"session": n, "how": "card", "energy_wh": from_wh, "age_s": age_s}
    return {"code": protocol.SESSION_BEGIN, **said, **({"card": CARDS[user]} if user else {})}


def end(
    n: int, wh: int, duration_s: int = 600, user: str = "ana", age_s: int = 0
) -> dict[str, Any]:
    said = {"session": n, "energy_wh": wh, "duration_s": duration_s, "age_s": age_s}
    more = {"card": CARDS[user]} if user else {}
    return {"code": protocol.SESSION_END, **said, "why": "unplugged", **more}


def load(n: int, wh: int) -> dict[str, Any]:
    return {"session": n, "session_wh": wh, "age_ms": 0}


ROWS = "SELECT number, era, user, energy_wh, why FROM session ORDER BY id"


def test_begin_readings_end(site: Site) -> None:
    s = site.sessions
    site.commit(s.begun("C", begin(1, 500), NOV))
    site.commit(s.load("C", load(1, 40), NOV + MIN, "charging", 500))
    assert s.used_wh("ana", NOV + MIN) == 40
    site.commit(s.ended("C", end(1, 100), NOV + 2 * MIN))
    assert site.ask(ROWS) == [(1, 0, "ana", 100, "unplugged")]
    assert site.ask("SELECT energy_wh, solar_mwh, charging_ms FROM quarter") == [
        (100, 20_000, 2 * MIN)
    ]
    assert s.used_wh("ana", NOV + 3 * MIN) == 100
    assert s.used_wh("ana", NOV + 40 * 24 * 60 * MIN) == 0, "another month"
    assert s.at("C") is None


def test_what_is_repeated_counts_once_and_waits_for_the_disk(site: Site) -> None:
    s = site.sessions
    first = s.begun("C", begin(1, 500), NOV)
    assert s.begun("C", begin(1, 500), NOV + 1000) == []
    rows = s.ended("C", end(1, 100), NOV + MIN)
    again = s.ended("C", end(1, 100, age_s=10), NOV + MIN + 10_000)
    assert again == rows, "not known to be on disk: written again, which changes nothing"
    for some in (first, rows, again):
        site.commit(some)
    s.on_disk("C", 1)
    assert s.ended("C", end(1, 100, age_s=20), NOV + MIN + 20_000) == []
    site.restart()
    assert site.sessions.ended("C", end(1, 100, age_s=30), NOV + MIN + 30_000) == []
    assert site.ask(ROWS) == [(1, 0, "ana", 100, "unplugged")]


def test_rows_of_a_full_queue_come_with_the_repetition(site: Site) -> None:
    s = site.sessions
    s.begun("C", begin(1, 500), NOV)  # never committed
    s.ended("C", end(1, 100), NOV + MIN)  # neither
    site.commit(s.ended("C", end(1, 100, age_s=10), NOV + MIN + 10_000))
    assert site.ask(ROWS) == [(1, 0, "ana", 100, "unplugged")]


def test_a_session_of_which_only_the_end_was_heard(site: Site) -> None:
    site.commit(site.sessions.ended("C", end(4, 700, duration_s=3600), NOV))
    ((begin_ms, energy),) = site.ask("SELECT begin_ms, energy_wh FROM session")
    assert (NOV - begin_ms, energy) == (3_600_000, 700)
    assert site.ask("SELECT sum(energy_wh) FROM quarter") == [(700,)]


def test_the_end_of_one_may_come_after_the_beginning_of_the_next(site: Site) -> None:
    s = site.sessions
    site.commit(s.begun("C", begin(1, 500), NOV))
    site.commit(s.begun("C", begin(2, 600, "rui"), NOV + 5 * MIN))
    site.commit(s.ended("C", end(1, 100, age_s=60), NOV + 6 * MIN))
    assert s.at("C") is not None
    site.commit(s.ended("C", end(2, 30, user="rui"), NOV + 7 * MIN))
    assert site.ask(ROWS) == [(1, 0, "ana", 100, "unplugged"), (2, 0, "rui", 30, "unplugged")]


def test_a_charger_that_lost_its_memory_counts_anew(site: Site) -> None:
    s = site.sessions
    site.commit(s.begun("C", begin(1, 500), NOV))
    site.commit(s.ended("C", end(1, 100), NOV + MIN))
    site.commit(s.begun("C", begin(2, 600), NOV + 2 * MIN))
    site.commit(s.load("C", load(2, 7), NOV + 3 * MIN, "charging", 0))
    site.commit(s.begun("C", begin(1, 650, "rui"), NOV + 9 * MIN))
    site.commit(s.ended("C", end(1, 100, user="rui"), NOV + 19 * MIN))
    assert site.ask(ROWS) == [
        (1, 0, "ana", 100, "unplugged"),
        (2, 0, "ana", 7, "lost"),  # its end was never told: what was seen counts
        (1, 1, "rui", 100, "unplugged"),
    ]


def test_a_charger_without_a_meter_that_lost_its_memory(site: Site) -> None:
    s = site.sessions
    site.commit(s.begun("C", begin(1, 0), NOV))
    site.commit(s.ended("C", end(1, 0, 600), NOV + 10 * MIN))
    site.commit(s.begun("C", begin(1, 0), NOV + 20 * MIN))  # taken for a repetition, until ...
    site.commit(s.ended("C", end(1, 0, 900), NOV + 35 * MIN))
    assert site.ask("SELECT era, duration_s FROM session ORDER BY id") == [(0, 600), (1, 900)]


def test_whose_it_is_without_a_card_and_with_somebody_elses_account(site: Site) -> None:
    with people.change(site.path) as db:
        people.put_user(db, User("firm", "Firm"))
        people.put_user(db, User("eva", "Eva", owns=frozenset({"C"}), payer="firm"))
    site.restart()
    s = site.sessions
    free = {**begin(1, 0, ""), "how": "free"}
    site.commit(s.begun("C", free, NOV))
    site.commit(s.begun("D", free, NOV))
    site.commit(s.begun("E", {**begin(1, 0), "card": "0499999999"}, NOV))
    s.expect("F", "ana")
    site.commit(s.begun("F", {**free, "how": "manager"}, NOV))
    got = site.ask("SELECT charger, user, payer, mark <> '' FROM session ORDER BY id")
    assert got == [
        ("C", "eva", "firm", 0),
        ("D", "", "", 0),
        ("E", "", "", 1),
        ("F", "ana", "", 0),
    ]


def test_a_manager_started_anew_goes_on_with_a_running_session(site: Site) -> None:
    site.commit(site.sessions.begun("C", begin(1, 500), NOV))
    site.commit(site.sessions.load("C", load(1, 40), NOV + MIN, "charging", 0))
    site.restart()
    s = site.sessions
    assert s.used_wh("ana", NOV) == 40
    assert s.begun("C", begin(1, 500, age_s=120), NOV + 2 * MIN) == []
    site.commit(s.load("C", load(1, 50), NOV + 2 * MIN, "charging", 0))
    site.commit(s.ended("C", end(1, 90), NOV + 3 * MIN))
    assert site.ask(ROWS) == [(1, 0, "ana", 90, "unplugged")]


def test_each_kind_of_price_stands_on_the_bill(site: Site) -> None:
    everything = Tariff(
        "all",
        (Rate(200_000, to_min=780), Rate(300_000)),  # dearer from 13:00
        solar_u=100_000,
        per_hour=6000,
        per_session=2500,
        idle_per_hour=12_000,
        idle_grace_s=600,
        vat_permille=230,
    )
    with beside.change(site.path) as db:
        put_tariffs(db, [everything])
    s, at = site.sessions, NOV + 45 * MIN  # 12:45 UTC
    site.commit(s.begun("C", begin(1, 0), at))
    wh = 0
    for minute in range(1, 31):
        wh += 100
        site.commit(s.load("C", load(1, wh), at + minute * MIN, "charging", 400))
    for minute in range(31, 61):
        site.commit(s.load("C", load(1, wh), at + minute * MIN, "idle", 0))
    site.commit(s.ended("C", end(1, wh, 3600), at + 60 * MIN))
    with beside.change(site.path) as db:
        (bill,) = billing.make(db, "2026-11", "Europe/Lisbon", at + 61 * MIN, early=True)
    lines = [(x.what, x.quantity, x.price, x.amount) for x in bill.items[0].lines]
    assert lines == [
        ("solar", 1200, 100_000, 1200),
        ("energy", 900, 200_000, 1800),
        ("energy", 900, 300_000, 2700),
        ("time", 1800, 6000, 3000),
        ("idle", 1200, 12_000, 4000),  # half an hour, less ten minutes of grace
        ("session", 1, 2500, 2500),
    ]
    assert bill.net == 15_200
    assert bill.total == 15_200 + 3500


def test_the_hour_that_comes_twice_is_billed_twice_at_its_price(site: Site) -> None:
    # In Lisbon the clock goes from 02:00 back to 01:00 on 2026-10-25, at 01:00 UTC.
    night = Tariff(
        "night",
        (Rate(1_000_000, from_min=60, to_min=120), Rate(100_000)),
        timezone="Europe/Lisbon",
    )
    with beside.change(site.path) as db:
        put_tariffs(db, [night])
    s, midnight = site.sessions, 1_792_882_800_000  # 2026-10-25 00:00 in Lisbon
    site.commit(s.begun("C", begin(1, 0), midnight))
    for minute in range(1, 301):  # until 04:00 by the clock: five hours
        site.commit(s.load("C", load(1, minute * 100), midnight + minute * MIN, "charging", 0))
    site.commit(s.ended("C", end(1, 30_000, 18_000), midnight + 300 * MIN))
    with beside.change(site.path) as db:
        (bill,) = billing.make(db, "2026-10", "Europe/Lisbon", NOV)
    assert [(x.quantity, x.price) for x in bill.items[0].lines] == [
        (18_000, 100_000),
        (12_000, 1_000_000),
    ]


# The law: whatever happens on the way, the books are the meters.


@dataclass
class Charger:
    """What a charger with its meter does; `told` is what it says, the first `sent` of it has arrived.
    It says nothing before what it had to say earlier: the firmware tells the oldest first, and the
    broker keeps the order.
    """

    name: str
    meter_wh: int = 0
    n: int = 0
    from_wh: int = 0
    user: str = ""
    since_ms: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0
    truth: list[tuple[str, int]] = field(default_factory=list)  # whose, how much


@contextmanager
def a_site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        made = Site(Path(folder))
        yield made
        made.close()


STEP = st.tuples(
    st.sampled_from(["tap", "draw", "draw", "repeat", "restart", "forget", "queue full"]),
    st.integers(0, 1),  # which charger
    st.sampled_from(["ana", "rui", ""]),
    st.integers(0, 40_000),  # Wh
    st.integers(1, 7200),  # s
    st.booleans(),  # whether what is said arrives the first time
)


AGAIN = [
    ("tap", 0, "ana", 0, 1, False),
    ("tap", 0, "ana", 0, 1, False),
    ("tap", 0, "rui", 0, 1, True),
    ("tap", 0, "rui", 0, 1, False),
    ("restart", 0, "ana", 0, 1, False),
]


@settings(max_examples=40)
@given(st.lists(STEP, max_size=30))
@example(AGAIN)  # all of it is told again to a manager that has just been started anew
def test_bills_are_sessions_are_meters(steps: list[tuple[str, int, str, int, int, bool]]) -> None:
    with a_site() as site:
        chargers = [Charger("C-1"), Charger("C-2")]
        now = NOV
        full = False  # the store's queue: rows are dropped, and nothing is acknowledged

        def hear(c: Charger, message: dict[str, Any]) -> None:
            age = message.get("at", now)
            said = {**message, "age_s": (now - age) // 1000}
            if said["code"] == protocol.SESSION_BEGIN:
                rows = site.sessions.begun(c.name, said, now)
            else:
                rows = site.sessions.ended(c.name, said, now)
            if not full:
                site.commit(rows)
                if said["code"] == protocol.SESSION_END:
                    site.sessions.on_disk(c.name, said["session"])

        def say(c: Charger, message: dict[str, Any], *, arrives: bool) -> None:
            c.told.append(message)
            while arrives and c.sent < len(c.told):
                hear(c, c.told[c.sent])
                c.sent += 1

        def stop(c: Charger, *, arrives: bool) -> None:
            wh = c.meter_wh - c.from_wh
            last = end(c.n, wh, (now - c.since_ms) // 1000, c.user) | {"at": now}
            c.truth.append((c.user, wh))
            c.user, c.since_ms = "", 0
            say(c, last, arrives=arrives)

        for what, which, user, wh, seconds, arrives in steps:
            c = chargers[which]
            now += seconds * 1000
            if what == "tap" and c.since_ms:
                stop(c, arrives=arrives)
            elif what == "tap":
                c.n += 1
                c.from_wh, c.user, c.since_ms = c.meter_wh, user, now
                say(c, begin(c.n, c.from_wh, user) | {"at": now}, arrives=arrives)
            elif what == "draw" and c.since_ms:
                c.meter_wh += wh
                if arrives and not full:
                    taken = c.meter_wh - c.from_wh
                    site.commit(
                        site.sessions.load(c.name, load(c.n, taken), now, "charging", wh % 1001)
                    )
            elif what == "repeat" and c.sent:
                hear(c, c.told[c.sent - 1])
            elif what == "restart" and not full:
                site.restart()
            elif what == "forget" and not c.since_ms and not full:
                # All is told before the memory is lost: what it never told nobody can know.
                for message in c.told:
                    hear(c, message)
                c.n, c.sent, c.told = 0, 0, []
                c.meter_wh += 1
            elif what == "queue full":
                full = not full
        full = False
        for c in chargers:
            now += 1000
            if c.since_ms:
                stop(c, arrives=True)
            for message in c.told:  # a charger repeats what was not acknowledged
                hear(c, message)

        got = site.ask("SELECT charger, user, energy_wh FROM session ORDER BY begin_ms, id")
        for c in chargers:
            assert sorted((u, wh) for n, u, wh in got if n == c.name) == sorted(c.truth)
        with beside.change(site.path) as db:
            bills = billing.make(db, "2026-11", "Europe/Lisbon", now, early=True)
            assert billing.make(db, "2026-11", "Europe/Lisbon", now, early=True) == []
            assert billing.check(db) == []
        whose = {c.user for c in bills}
        assert whose == {u for c in chargers for u, _ in c.truth if u}
        billed = sum(b.energy_wh for b in bills)
        nobodys = sum(wh for c in chargers for u, wh in c.truth if not u)
        assert billed + nobodys == sum(wh for c in chargers for _, wh in c.truth)
