"""What is kept how long: raw readings by the week, minutes by the month, quarter hours for good.

Bills and sessions stay; what they rest on is in the quarter hours by then.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

RAW = timedelta(days=35)
RECORDS = timedelta(days=400)
MINUTES = timedelta(days=400)
_KEPT = (("reading", RAW), ("record", RECORDS), ("minute", MINUTES))


def apply(db: Connection, now: datetime) -> list[str]:
    """Drop the partitions that ended before their time; the names of those dropped."""
    gone = []
    for parent, kept in _KEPT:
        rows = db.execute("SELECT drop_partitions(%s, %s)", (parent, now - kept)).fetchall()
        gone += [name for (name,) in rows]
    db.commit()
    return gone
