"""Old readings become minutes, then quarter hours, and the energy in them stays what it was."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager import retention
from manager import store as tables
from manager.past import history
from manager.retention import Retention, fold
from manager.store import Store

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000
OLD_MS = (NOW_MS - 300 * DAY_MS) // 900_000 * 900_000


def reading(seq: int, at_ms: int, wh: int, ma: int = 6000, suspect: int = 0) -> tables.Row:
    values = ("C", 1, seq, at_ms, 1, ma, 2300, 1380, wh, None, None, suspect, None, None)
    return (tables.READING, values)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(tables.connect(tmp_path / "ievcc.db")) as db:
        yield db


def put(db: sqlite3.Connection, rows: list[tables.Row]) -> None:
    for statement, values in rows:
        db.execute(statement, values)


def folded(db: sqlite3.Connection, step_s: int) -> list[tuple[int, ...]]:
    return db.execute(
        "SELECT start_s, readings, sum_ma, peak_ma, used_wh, energy_wh FROM folded"
        " WHERE step_s = ? ORDER BY start_s",
        (step_s,),
    ).fetchall()


def all_of_it(db: sqlite3.Connection, keep: Retention, most: int = 7) -> None:
    while fold(db, keep, NOW_MS, most):
        pass


def test_seconds_become_minutes(db: sqlite3.Connection) -> None:
    put(db, [reading(n, OLD_MS + n * 1000, 100 + n, 6000 + n) for n in range(120)])
    all_of_it(db, Retention(seconds_days=7, minutes_days=0))
    first, second = folded(db, 60)
    start = OLD_MS // 1000
    assert first == (start, 60, sum(6000 + n for n in range(60)), 6059, 59, 159)
    assert second == (start + 60, 60, sum(6060 + n for n in range(60)), 6119, 60, 219)
    assert db.execute("SELECT count(*) FROM reading").fetchone() == (0,)


def test_minutes_become_quarter_hours(db: sqlite3.Connection) -> None:
    put(db, [reading(n, OLD_MS + n * 10_000, 100 + n) for n in range(180)])
    all_of_it(db, Retention())
    assert folded(db, 60) == []
    assert [(r[1], r[4]) for r in folded(db, 900)] == [(90, 89), (90, 90)]


def test_what_is_new_stays_as_it_came(db: sqlite3.Connection) -> None:
    put(db, [reading(n, NOW_MS - n * 1000, n) for n in range(10)])
    all_of_it(db, Retention())
    assert db.execute("SELECT count(*) FROM reading").fetchone() == (10,)


def test_what_is_too_old_goes(db: sqlite3.Connection) -> None:
    put(db, [reading(n, OLD_MS + n * 1000, n) for n in range(10)])
    put(db, [(tables.EVENT, (OLD_MS, "k", "", "w")), (tables.EVENT, (NOW_MS, "k", "", "w"))])
    all_of_it(db, Retention(quarters_days=100, notes_days=100))
    assert folded(db, 900) == []
    assert db.execute("SELECT at_ms FROM event").fetchall() == [(NOW_MS,)]


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 400), st.integers(-50, 300), st.booleans()), min_size=1
    ),
    slices=st.lists(st.integers(1, 9), min_size=1),
    kept_days=st.integers(295, 305),
)
def test_energy_is_exact_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, int, bool]],
    slices: list[int],
    kept_days: int,
) -> None:
    at, wh = OLD_MS, 1000
    rows = []
    for seconds, used, suspect in steps:
        at += seconds * 1000
        wh = max(0, wh + used)
        rows.append((at, wh, suspect))
    good = [wh for _, wh, suspect in rows if not suspect]
    true = sum(max(0, b - a) for a, b in pairwise(good))
    with closing(tables.connect(tmp_path_factory.mktemp("r") / "s.db")) as db:
        put(db, [reading(n, a, w, suspect=int(s)) for n, (a, w, s) in enumerate(rows)])
        for most in slices * 40:
            fold(db, Retention(kept_days, 299, 0), NOW_MS, most)
        all_of_it(db, Retention(1, 2, 0))
        assert sum(r[4] for r in folded(db, 900)) == true
        assert sum(r[1] for r in folded(db, 900)) == len(good)


def test_history_is_the_same_folded_or_not(db: sqlite3.Connection, tmp_path: Path) -> None:
    put(db, [reading(n, OLD_MS + n * 5000, 100 + 2 * n, 6000 + n) for n in range(720)])

    def asked() -> object:
        return history(tmp_path / "ievcc.db", OLD_MS, OLD_MS + 3_600_000, 900, {})

    before = asked()
    all_of_it(db, Retention(), 500)
    assert asked() == before


def test_a_write_never_waits_for_the_folding(tmp_path: Path) -> None:
    path = tmp_path / "ievcc.db"
    with closing(tables.connect(path)) as db:
        db.execute("BEGIN")
        put(db, [reading(n, OLD_MS + n * 100, n) for n in range(30_000)])
        db.execute("COMMIT")
    store = Store(path)
    store.start()
    longest = 0.0
    slices = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        ending = threading.Event()

        def turn() -> None:
            nonlocal slices
            with closing(sqlite3.connect(path, isolation_level=None)) as own:
                while not ending.is_set() and fold(own, Retention(), NOW_MS, retention.SLICE):
                    slices += 1
                    time.sleep(0.02)

        thread = threading.Thread(target=turn)
        thread.start()
        for n in range(20):
            began = time.monotonic()
            store.write([reading(n, NOW_MS, n)], now=True)
            assert store.flush(30)
            longest = max(longest, time.monotonic() - began)
        ending.set()
        thread.join()
    store.close()
    assert slices
    assert longest < 5  # it does not give up as locked, which it would after that
