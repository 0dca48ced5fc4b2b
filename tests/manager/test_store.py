"""The store: migrations, batches, commit before the call, what a bad disk or file does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from manager import store as tables
from manager.store import Store, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ievcc.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    opened.start()
    yield opened
    opened.close()


def reading(seq: int, current_ma: int = 16_000) -> tables.Row:
    values = ("Counter-1", 1, seq, 1_000 * seq, 1, current_ma, 2300, 3680, 5, None, 50_000, 0)
    return (tables.READING, (*values, None, None))


def count(path: Path, table: str = "reading") -> int:
    return int(tables.read(path, f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608


def test_called_back_only_after_the_commit(store: Store, path: Path) -> None:
    seen: list[int] = []
    done = threading.Event()

    def then() -> None:
        seen.append(count(path))
        done.set()

    store.write([reading(1)], then)
    assert done.wait(5)
    assert seen == [1]


def test_called_back_in_the_order_of_the_writes(store: Store) -> None:
    order: list[int] = []
    for n in range(50):
        store.write([reading(n)], lambda n=n: order.append(n))  # type: ignore[misc]
    assert store.flush()
    assert order == list(range(50))


def test_a_message_delivered_twice_is_stored_once(store: Store, path: Path) -> None:
    store.write([reading(1, 16_000)])
    store.write([reading(1, 16_000)])
    store.write([reading(2)])
    assert store.flush()
    assert count(path) == 2


def test_writing_does_not_wait_for_the_disk(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the store cannot commit now
        began = time.monotonic()
        for n in range(1000):
            store.write([reading(n)])
        assert time.monotonic() - began < 3  # a commit would wait for 5
        other.execute("ROLLBACK")
    assert store.flush(15)
    assert count(path) == 1000


def test_what_the_disk_refuses_is_held_and_not_acknowledged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_RETRY_S", 0.05)
    store = Store(path)
    store._db.execute("PRAGMA busy_timeout = 20")
    store.start()
    kept = threading.Event()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.write([reading(1)], kept.set)
        while not store.trouble:
            time.sleep(0.01)
        assert not kept.is_set()
        assert "locked" in store.trouble
        other.execute("ROLLBACK")
    assert kept.wait(5)
    assert store.trouble == ""
    store.close()
    assert count(path) == 1


def test_each_start_has_a_higher_number(path: Path) -> None:
    numbers = []
    for _ in range(3):
        store = Store(path)
        numbers.append(store.raise_boot())
        store.close()
    assert numbers == [1, 2, 3]


def test_killed_at_any_moment_nothing_acknowledged_is_lost(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from manager import store as t\n"
        "s = t.Store(Path(sys.argv[1])); s.start(); n = int(sys.argv[2])\n"
        "while True:\n"
        "    n += 1\n"
        "    row = ('C', 1, n, 0, 1, 0, 0, 0, 0, None, None, 0, None, None)\n"
        "    s.write([(t.READING, row)], lambda n=n: print(n, flush=True), now=n % 3 == 0)\n"
        "    s.flush()\n"
    )
    last = 0
    for run in range(5):
        command = [sys.executable, "-c", program, str(path), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(20 + 7 * run):
                last = int(child.stdout.readline())
            child.kill()
            rest = child.stdout.read().split()
        last = int(rest[-1]) if rest else last
        stored = {seq for (seq,) in tables.read(path, "SELECT seq FROM reading")}
        assert set(range(1, last + 1)) <= stored
        last = max(stored)


def test_tables_are_strict(store: Store, path: Path) -> None:
    strict = tables.read(
        path,
        "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'",
    )
    ours = {name: kind for name, kind in strict if not name.startswith("sqlite_")}
    assert ours
    assert set(ours.values()) == {1}


class TestWhatIsNotAStore:
    def test_newer_than_this_program(self, path: Path) -> None:
        Store(path).close()
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 999")
        with pytest.raises(StoreError, match=r"of version 999.*update the program"):
            Store(path)

    def test_another_programs(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE recipes (name)")
        with pytest.raises(StoreError, match="another program's database"):
            Store(path)

    def test_no_database(self, path: Path) -> None:
        path.write_bytes(b"This is no database, not even a small one." * 100)
        with pytest.raises(StoreError, match="not a database"):
            Store(path)

    def test_damaged(self, path: Path) -> None:
        store = Store(path)
        store.start()
        store.write([reading(n) for n in range(2000)])
        store.close()
        data = bytearray(path.read_bytes())
        data[8192:40_960] = bytes(40_960 - 8192)
        path.write_bytes(data)
        with pytest.raises(StoreError, match=r"damaged|malformed"):
            Store(path)

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="cannot open"):
            Store(tmp_path / "file" / "ievcc.db")

    def test_reading_one_that_is_not_there(self, path: Path) -> None:
        with pytest.raises(StoreError, match="has the manager run yet"):
            tables.read(path, "SELECT 1")


def test_opened_twice_a_file_is_brought_up_to_date_once(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        schema = db.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall()
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall() == schema
        version = db.execute("PRAGMA user_version").fetchone()[0]
    assert version == len(tables.migrations())


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    numbers = [number for number, _ in tables.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
