"""A second connection to the store, beside the running manager's: for commands and for the page."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from manager import store

_WAIT_S = 10.0  # the manager's own batches take milliseconds


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        store.connect(path).close()
    db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
    if db.execute("PRAGMA user_version").fetchone()[0] != len(store.migrations()):
        db.close()
        db = store.connect(path)  # brought up to date, or refused with the reason
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")
    return db


@contextmanager
def look(path: Path) -> Iterator[sqlite3.Connection]:
    """To read, all of it at one moment. StoreError if there is nothing, or nothing of ours."""
    if not path.exists():
        raise store.StoreError(f"no store at {path}: has the manager run yet?")
    try:
        with closing(_opened(path)) as db:
            db.execute("BEGIN")
            yield db
    except sqlite3.Error as e:
        raise store.StoreError(f"cannot read {path}: {e}") from e


@contextmanager
def change(path: Path) -> Iterator[sqlite3.Connection]:
    """To change it in one transaction: all of it, or on any error nothing."""
    try:
        with closing(_opened(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
    except sqlite3.Error as e:
        raise store.StoreError(f"cannot write to {path}: {e}") from e
