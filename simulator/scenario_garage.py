"""Bays and cars of a recorded garage, for scenarios that name one in their [garage] table.

The recording (simulator/data, Trondheim, CC BY 4.0) lists who plugged in when, when they left, and
how much energy they took. Every user gets a bay of their own, single-phase, the building's phases
in turn.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
from dataclasses import dataclass
from pathlib import Path

SESSIONS = Path(__file__).parent / "data" / "garages_trondheim_2019-11-11_6_weeks.csv.gz"


@dataclass(frozen=True, slots=True)
class Visit:
    """One recorded stay: seconds from the beginning, energy taken."""

    user: str
    arrives_s: int
    leaves_s: int
    energy_wh: int


def visits(garages: list[str], begin: dt.datetime, seconds: int, bays: int) -> list[Visit]:
    """The stays in these garages within `seconds` from `begin` (local time), of the `bays` users
    with most of them; all garages if none is named. Stays that reach into the time or out of it
    are cut; a user's overlapping stays are cut so that one car stands there at a time.
    """
    found: dict[str, list[Visit]] = {}
    with gzip.open(SESSIONS, "rt", encoding="utf-8", newline="") as f:
        f.readline()  # whose data it is
        for row in csv.DictReader(f):
            if garages and row["garage"] not in garages:
                continue
            arrives_s = int((dt.datetime.fromisoformat(row["arrives"]) - begin).total_seconds())
            leaves_s = int((dt.datetime.fromisoformat(row["leaves"]) - begin).total_seconds())
            energy_wh = round(float(row["kwh"]) * 1000)
            if arrives_s < 0 or arrives_s >= seconds or energy_wh < 100:
                continue
            # The times are whole minutes: some seconds apart, so that not all bays act in one
            # instant.
            arrives_s += int(row["session"]) % 53
            leaves_s = min(leaves_s, seconds)
            if leaves_s - arrives_s >= 120:
                user = row["user"]
                found.setdefault(user, []).append(Visit(user, arrives_s, leaves_s, energy_wh))
    busiest = sorted(found, key=lambda user: (-len(found[user]), user))[:bays]
    out: list[Visit] = []
    for user in sorted(busiest):
        free_s = -1
        for visit in sorted(found[user], key=lambda v: v.arrives_s):
            if visit.arrives_s > free_s:
                out.append(visit)
                free_s = visit.leaves_s
    return out
