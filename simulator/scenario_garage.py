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

DATA = Path(__file__).parent / "data"
SESSIONS = DATA / "trondheim_residential_sessions_2018-12_2020-01.csv.gz"


@dataclass(frozen=True, slots=True)
class Visit:
    """One recorded stay: seconds from the beginning, energy taken."""

    user: str
    arrives_s: int
    leaves_s: int
    energy_wh: int


def visits(garages: list[str], begin: dt.datetime, seconds: int, bays: int) -> list[Visit]:
    """The stays in these garages within `seconds` from `begin` (local time), of the `bays` users
    with most of them; all garages if none is named. Stays that reach into the time or out of it are
    cut; a user's overlapping stays are cut so that one car stands there at a time.
    """
    found: dict[str, list[Visit]] = {}
    with gzip.open(SESSIONS, "rt", encoding="latin-1", newline="") as f:
        for row in csv.DictReader(f, delimiter=";"):
            if garages and row["Garage_ID"] not in garages:
                continue
            try:
                starts = dt.datetime.strptime(row["Start_plugin"], "%d.%m.%Y %H:%M")  # noqa: DTZ007
                ends = dt.datetime.strptime(row["End_plugout"], "%d.%m.%Y %H:%M")  # noqa: DTZ007
            except ValueError:
                continue  # the recording has stays without an end
            arrives_s = int((starts - begin).total_seconds())
            leaves_s = int((ends - begin).total_seconds())
            energy_wh = round(float(row["El_kWh"].replace(",", ".")) * 1000)
            if arrives_s < 0 or arrives_s >= seconds or energy_wh < 100:
                continue
            # The times are whole minutes: some seconds apart, so that not all bays act in one instant.
            arrives_s += int(row["session_ID"]) % 53
            leaves_s = min(leaves_s, seconds)
            if leaves_s - arrives_s >= 120:
                found.setdefault(row["User_ID"], []).append(
                    Visit(row["User_ID"], arrives_s, leaves_s, energy_wh)
                )
    busiest = sorted(found, key=lambda user: (-len(found[user]), user))[:bays]
    out: list[Visit] = []
    for user in sorted(busiest):
        free_s = -1
        for visit in sorted(found[user], key=lambda v: v.arrives_s):
            if visit.arrives_s > free_s:
                out.append(visit)
                free_s = visit.leaves_s
    return out
