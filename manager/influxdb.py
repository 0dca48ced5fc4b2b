"""To InfluxDB over `POST /write`: readings, offers and sessions, each at the moment it belongs to.

    reading,site=home,device=Counter-1,phase=1 current_ma=5500i,voltage_dv=2300i,.. <ns>
    offer,site=home,charger=Charger-1 offer_a=16i,lease=7i,reason="fair" <ns>
    session,site=home,charger=Charger-1 session=3i,energy_wh=7200i,duration_s=3600i,why="unplugged" <ns>
    state,site=home,device=Charger-1 state="C2",offer_a=16i <ns>

Within its millisecond a point bears the number of its row in the outbox as nanoseconds: two readings
of one millisecond stay two points, and what is sent twice is the same point twice. A charger says a
session's end until it is told that it is on disk: its point has the moment in the store, so that it is
one point however often that was, manager started anew or not.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from manager.forward import ForwardError, Onward, Posts, Record
from manager.integrations import InfluxDb

_LOADS = ("counter_load", "charger_load")
_EACH = ("current_ma", "voltage_dv", "power_w", "energy_wh", "pf_pct")  # one a phase
_WHOLE = ("freq_mhz", "suspect", "session", "session_wh")
_STATES = ("counter_status", "charger_status")
_TAGS = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\ "})
_TEXT = str.maketrans({'"': r"\"", "\\": r"\\", "\n": " "})
_NO_CONTENT, _BAD_REQUEST, _TOO_LARGE = 204, 400, 413


_ENDED = (
    "SELECT end_ms FROM session WHERE charger = ? AND number = ? AND energy_wh = ?"
    " AND end_ms IS NOT NULL ORDER BY id DESC LIMIT 1"
)
Ended = Callable[[str, Mapping[str, Any]], int | None]


def lines(site: str, records: Iterable[Record], ended: Ended) -> list[str]:
    """Line protocol of these rows; kinds InfluxDB is not told of give none. `ended`: when a session
    did, by its charger and what that said.
    """
    found: list[str] = []
    for n, device, _, _, kind, t_ms, text in records:
        fields = json.loads(text)
        ns = t_ms * 1_000_000 + n % 1_000_000
        if kind in _LOADS:
            found += _reading(site, device, fields, ns)
        elif kind == "decision":
            kept = {k: fields[k] for k in ("offer_a", "lease", "reason")}
            found.append(_line("offer", {"site": site, "charger": fields["charger"]}, kept, ns))
        elif kind == "session_end":
            end_ms = ended(device, fields)
            ns = (t_ms - fields["age_s"] * 1000 if end_ms is None else end_ms) * 1_000_000
            kept = {k: fields[k] for k in ("session", "energy_wh", "duration_s", "why")}
            found.append(_line("session", {"site": site, "charger": device}, kept, ns))
        elif kind in _STATES:
            kept = {k: fields[k] for k in ("state", "offer_a") if k in fields}
            found.append(_line("state", {"site": site, "device": device}, kept, ns))
    return found


def _reading(site: str, device: str, fields: Mapping[str, Any], ns: int) -> list[str]:
    whole = {k: fields[k] for k in _WHOLE if k in fields}
    found = []
    for i in range(len(fields["current_ma"])):
        own = {k: fields[k][i] for k in _EACH if i < len(fields.get(k, ()))}
        # What is of the device and not of a phase stands once, so that sums are right.
        tags = {"site": site, "device": device, "phase": str(i + 1)}
        found.append(_line("reading", tags, own if i else own | whole, ns))
    return found


def _line(name: str, tags: Mapping[str, str], fields: Mapping[str, Any], ns: int) -> str:
    head = ",".join([name, *(f"{k}={v.translate(_TAGS)}" for k, v in tags.items() if v)])
    return f"{head} {','.join(f'{k}={_value(v)}' for k, v in fields.items())} {ns}"


def _value(value: Any) -> str:
    if isinstance(value, int):
        return f"{int(value)}i"
    return f'"{str(value).translate(_TEXT)}"'


class InfluxWriter(Onward):
    """Writes the outbox of the store at `path` to an InfluxDB, from a thread of its own."""

    name = "influxdb"

    def __init__(self, path: Path, site: str, settings: InfluxDb, boot: int) -> None:
        super().__init__(path, boot)
        self._site = site
        self._posts = Posts(settings.url, settings.ca)
        self._target = f"/write?db={quote(settings.database, safe='')}&precision=ns"
        self._headers = authorization(settings)

    def deliver(self, records: list[Record]) -> None:
        """All of them, or ForwardError. What InfluxDB will never take is counted and passed over."""
        with closing(sqlite3.connect(self._path, timeout=30)) as db:

            def ended(charger: str, said: Mapping[str, Any]) -> int | None:
                asked = charger, said["session"], said["energy_wh"]
                row = db.execute(_ENDED, asked).fetchone()
                return None if row is None else int(row[0])

            points = lines(self._site, records, ended)
        self._write(points)

    def _write(self, points: list[str]) -> None:
        if not points:
            return
        body = "\n".join(points).encode()
        status, words = self._posts.post(self._target, body, self._headers)
        if status == _TOO_LARGE and len(points) > 1:
            half = len(points) // 2
            self._write(points[:half])
            self._write(points[half:])
        elif status in (_BAD_REQUEST, _TOO_LARGE):
            # Points older than its retention, or a field that has another type there: asked again
            # it says the same, and what comes after would wait for ever.
            self.passed_over(words)
        elif status != _NO_CONTENT:
            raise ForwardError(f"{status} {words}")

    def let_go(self) -> None:
        """Close the connection."""
        self._posts.close()


def authorization(settings: InfluxDb) -> dict[str, str]:
    """The header by which InfluxDB knows us; none where it asks for none."""
    if settings.token:
        return {"Authorization": f"Token {settings.token}"}
    if settings.username:
        both = f"{settings.username}:{settings.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(both).decode()}"}
    return {}
