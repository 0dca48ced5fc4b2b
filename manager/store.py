"""What the manager keeps: SQLite, written by one thread, a batch at a time.

Decisions never wait for the disk: `write` only queues. What arrived over MQTT is acknowledged
after the commit that holds it, so a power cut at any instant loses nothing that was
acknowledged, and what comes twice is stored once.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import sqlite3
import threading
from contextlib import closing
from importlib import resources
from typing import TYPE_CHECKING, Any

from manager.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

# An SD card makes 10 to 100 durable transactions a second; batches this long leave it idle mostly.
BATCH_S = 0.1
_BATCH_ROWS = 5000
_RETRY_S = 1.0
_QUEUED_MAX = 200_000  # rows held while the disk fails: about 50 MB, minutes of a large site

Row = tuple[str, tuple[Any, ...]]  # a statement of this module and its values
_Item = tuple["Sequence[Row]", "Callable[[], None] | None"]


_DAMAGED = "with the manager stopped, `ievcc restore` the newest backup; or move the file away to start anew"
_MEND = {  # SQLite's primary result codes, in words: what, and how to mend it
    sqlite3.SQLITE_FULL: ("the disk is full", "make room on it, see `df -h`"),
    sqlite3.SQLITE_READONLY: (
        "it is read-only",
        "see `dmesg`; a worn-out card becomes so: replace it, else `mount -o remount,rw`",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk fails, or the system has made it read-only",
        "see `dmesg`; mount it again and start the manager anew, a worn-out card is to be replaced",
    ),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "see whether the disk is mounted, and whose"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", _DAMAGED),
    sqlite3.SQLITE_NOTADB: ("not a database, or no longer one", _DAMAGED),
}


class StoreError(Refusal):
    """The file cannot be used; the words say why and what to do."""


# Statements, one a fact. OR IGNORE: a message the broker delivers twice.
READING = (
    "INSERT OR IGNORE INTO reading (device, boot, seq, at_ms, phase, current_ma, voltage_dv,"
    " power_w, energy_wh, pf_pct, freq_mhz, suspect, session, session_wh)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
HEARD = (
    "INSERT INTO heard (device, boot, seq) VALUES (?, ?, ?)"
    " ON CONFLICT (device) DO UPDATE SET boot = excluded.boot, seq = excluded.seq"
)
DECISION = (
    "INSERT INTO decision (at_ms, charger, offer_a, lease, reason, words)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
EVENT = "INSERT INTO event (at_ms, kind, device, words) VALUES (?, ?, ?, ?)"
SITE = (
    "INSERT INTO site (name, value) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
CHARGER_ROW = "charger/"  # and its name: one charger of `site`, kept later than the whole
NO_CHARGERS = f"DELETE FROM site WHERE name LIKE '{CHARGER_ROW}%'"  # noqa: S608 - our own name


def migrations() -> list[tuple[int, str]]:
    """Every numbered SQL file in order, as (number, text)."""
    found = []
    for file in resources.files("manager").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", file.name)
        if match:
            found.append((int(match[1]), file.read_text("utf-8")))
    found.sort()
    return found


def connect(path: Path) -> sqlite3.Connection:
    """Open and bring up to date; StoreError for a file that is newer, damaged, or not ours."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Who charges where is nobody's business: SQLite's own files beside it get the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as e:
        raise StoreError(f"cannot open {path}: {e}") from e
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a commit that returned survives a power cut
        db.execute("PRAGMA foreign_keys = ON")
        fault = db.execute("PRAGMA quick_check").fetchone()[0]
        trouble = f"{path} is damaged ({fault}): {_DAMAGED}"
        if fault == "ok":
            trouble = _migrate(db, path)
    except sqlite3.DatabaseError as e:
        what, mend = _MEND.get(e.sqlite_errorcode & 0xFF, (str(e), "see whose it is"))
        trouble = f"cannot use {path}: {what}: {mend}"
    if trouble:
        db.close()
        raise StoreError(trouble)
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> str:
    """Bring it up to date; what is in the way in words, "" if nothing was."""
    steps = migrations()
    have = db.execute("PRAGMA user_version").fetchone()[0]
    if have > len(steps):
        return f"{path} is of version {have}, this program knows {len(steps)}: update the program"
    if have == 0 and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return f"{path} is another program's database: name another file as [store] path"
    if have == len(steps):
        return ""
    # One transaction for all: a power cut leaves the old version whole, never half of a new one.
    text = "\n".join(sql for number, sql in steps if number > have)
    try:
        db.executescript(f"BEGIN IMMEDIATE;\n{text}\nPRAGMA user_version = {len(steps)};\nCOMMIT;")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return ""


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()


class Store:
    """The open store: its own thread commits what `write` queues, and then calls back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""  # what keeps it from writing now, in words; "" if nothing does
        self._db = connect(path)
        self.hand_over: Callable[[list[Callable[[], None]]], None] = _call_all
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def write(
        self, rows: Sequence[Row], then: Callable[[], None] | None = None, *, now: bool = False
    ) -> None:
        """Queue rows; `then` is called when they are committed, in order: by `hand_over`, which the
        writer's thread gives a batch's at once.

        `now` ends the batch instead of waiting for more.
        """
        if self._queue.qsize() < _QUEUED_MAX:  # else `then` is never called: the broker keeps it
            self._queue.put((rows, then))
            if now:
                self._hurry.set()

    def flush(self, within_s: float = 5.0) -> bool:
        """Wait until all that is queued is committed; False if the disk did not manage in time."""
        done = threading.Event()
        self._queue.put(((), done.set))
        self._hurry.set()
        return done.wait(within_s)

    def close(self) -> None:
        """Write what is queued, and close. A disk that fails is not waited for."""
        self._closing.set()
        self._queue.put(None)
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join()
        self._db.close()

    def site(self) -> dict[str, Any]:
        """Everything in the site table. Call before `start`."""
        rows = self._db.execute("SELECT name, value FROM site")
        return {name: json.loads(value) for name, value in rows}

    def heard(self) -> dict[str, tuple[int, int]]:
        """The newest (boot, seq) taken from each device. Call before `start`."""
        return {d: (b, s) for d, b, s in self._db.execute("SELECT device, boot, seq FROM heard")}

    def devices(self) -> list[tuple[str, str, str]]:
        """Devices let in or sent away by hand: name, key, state. Call before `start`."""
        return self._db.execute("SELECT id, key, state FROM device").fetchall()

    def raise_boot(self) -> int:
        """The manager's boot number, one higher at each start, committed before it is used."""
        boot = int(self.site().get("boot", 0)) + 1
        self._db.execute(SITE, ("boot", json.dumps(boot)))
        return boot

    def _run(self) -> None:
        behind = False
        item = self._queue.get()
        while item is not None:
            # Asleep until the batch is due: to wake for every row costs the decisions' thread
            # more than the rows do.
            if not behind:
                self._hurry.wait(BATCH_S)
            self._hurry.clear()
            batch = [item]
            rows = len(item[0])
            try:
                while rows < _BATCH_ROWS:
                    item = self._queue.get_nowait()
                    if item is None:
                        break
                    batch.append(item)
                    rows += len(item[0])
            except queue.Empty:
                pass
            behind = rows >= _BATCH_ROWS
            self._commit(batch)
            if item is not None:
                item = self._queue.get()

    def _words(self, e: sqlite3.Error) -> str:
        """What keeps it from writing, what that means, and how to mend it."""
        words = str(e), "it is tried again every second"
        what, mend = _MEND.get(e.sqlite_errorcode & 0xFF, words)
        return (
            f"cannot write to {self.path}: {what}; nothing new is recorded, and no charger is given"
            f" more than the disk knows of: {mend}"
        )

    def _commit(self, batch: list[_Item]) -> None:
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._execute(batch)
                self._db.execute("COMMIT")
                break
            except sqlite3.Error as e:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                trouble = self._words(e)
                if trouble != self.trouble:
                    log.warning("%s", trouble)
                self.trouble = trouble
                if self._closing.wait(_RETRY_S):
                    return
        if self.trouble:
            log.warning("writing to %s again", self.path)
            self.trouble = ""
        calls = [then for _, then in batch if then is not None]
        if calls:
            self.hand_over(calls)

    def _execute(self, batch: list[_Item]) -> None:
        # Nearly all rows are these two, and nothing else in a batch depends on them.
        many: dict[str, list[tuple[Any, ...]]] = {READING: [], HEARD: []}
        for rows, _ in batch:
            for statement, values in rows:
                if statement in many:
                    many[statement].append(values)
                else:
                    self._db.execute(statement, values)
        for statement, each in many.items():
            self._db.executemany(statement, each)


def read(
    path: Path, question: str, values: Sequence[Any] | Mapping[str, Any] = ()
) -> list[tuple[Any, ...]]:
    """Ask a store that a manager may be writing to. StoreError if it is not there or not ours."""
    if not path.exists():
        raise StoreError(f"no store at {path}: has the manager run yet?")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(question, values).fetchall()
    except sqlite3.Error as e:
        raise StoreError(f"cannot read {path}: {e}") from e
