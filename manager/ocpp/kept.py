"""What OCPP keeps on disk: rows for the store's writer, and what is read back at the start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manager.store import Row, Store, read

BEGAN = (
    "INSERT OR IGNORE INTO ocpp_transaction (id, charger, theirs, tag, card, began_ms, begin_wh)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
ENDED = "UPDATE ocpp_transaction SET ended_ms = ?, end_wh = ?, why = ? WHERE id = ? AND ended_ms IS NULL"
CARD = "UPDATE ocpp_transaction SET tag = ?, card = ? WHERE id = ?"
QUEUED = "INSERT INTO ocpp_queue (id, point, message, action, payload) VALUES (?, ?, ?, ?, ?)"
DELIVERED = "DELETE FROM ocpp_queue WHERE id = ?"
SET = (
    "INSERT INTO ocpp_set (point, kind, name, value) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (point, kind, name) DO UPDATE SET value = excluded.value"
)
UNSET = "DELETE FROM ocpp_set WHERE point = ? AND kind = ? AND name = ?"
UNSET_KIND = "DELETE FROM ocpp_set WHERE point = ? AND kind = ?"


async def committed(store: Store, rows: Sequence[Row]) -> None:
    """Write these rows, and come back when they are on disk."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def then() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish)

    store.write(rows, then, now=True)
    await done


def highest_transaction(path: Path) -> int:
    """The highest number given to a transaction so far; 0 for none."""
    return int(read(path, "SELECT coalesce(max(id), 0) FROM ocpp_transaction")[0][0])


def transactions(path: Path, charger: str) -> list[tuple[Any, ...]]:
    """The last transactions of a connector, newest first: id, theirs, tag, card, began_ms, begin_wh, ended_ms."""
    return read(
        path,
        "SELECT id, theirs, tag, card, began_ms, begin_wh, ended_ms FROM ocpp_transaction"
        " WHERE charger = ? ORDER BY id DESC LIMIT 200",
        (charger,),
    )


def queued(path: Path) -> list[tuple[int, str, str, str, dict[str, Any]]]:
    """What waits for the central system, oldest first: (id, point, message, action, payload)."""
    rows = read(path, "SELECT id, point, message, action, payload FROM ocpp_queue ORDER BY id")
    return [(i, p, m, a, json.loads(text)) for i, p, m, a, text in rows]


def highest_queued(path: Path) -> int:
    """The highest number a row of the queue ever had, delivered or not."""
    rows = read(path, "SELECT seq FROM sqlite_sequence WHERE name = 'ocpp_queue'")
    return int(rows[0][0]) if rows else 0


def settings(path: Path, point: str) -> dict[str, dict[str, Any]]:
    """What was set at a charge point: kind -> name -> value."""
    found: dict[str, dict[str, Any]] = {}
    rows = read(path, "SELECT kind, name, value FROM ocpp_set WHERE point = ?", (point,))
    for kind, name, value in rows:
        found.setdefault(kind, {})[name] = json.loads(value)
    return found


def setting(point: str, kind: str, name: str, value: object) -> Row:
    """The row that keeps one setting."""
    return SET, (point, kind, name, json.dumps(value))
