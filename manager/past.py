"""What the store knows of days gone by, asked while the manager writes to it: readings in steps,
events, decisions. Every function opens the store for itself and may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manager import beside
from manager.refusal import Refusal
from manager.store import read

STEPS_S = (10, 60, 300, 900, 3600)
POINTS_MOST = 2500  # of one answer
POINTS_WANTED = 400  # what a plot can show
LONGEST_MS = 400 * 86_400_000
# What is longer is told by the counters at the steps' edges: a month of a building has a hundred
# million readings.
WHOLE_MS = 2 * 86_400_000
EDGE_MS = 20_000  # a charger without a car speaks every 10 s

_STEPPED = (
    "SELECT device, (at_ms - :from_ms) / :step_ms, phase,"
    " 1.0 * sum(sum_ma) / sum(readings), max(peak_ma), min(low_wh), max(high_wh) FROM measured"
    " WHERE at_ms >= :from_ms AND at_ms < :to_ms GROUP BY 1, 2, 3"
)


_FOLDED = (
    "SELECT device, (start_s * 1000 - :from_ms) / :step_ms, sum(used_wh) FROM folded"
    " WHERE step_s IN (60, 900) AND start_s >= :from_ms / 1000 AND start_s < :to_ms / 1000"
    " GROUP BY 1, 2"
)
_FOLDED_TO = "SELECT device, phase, energy_wh FROM folded_to WHERE at_ms >= ? AND at_ms < ?"
_AT_EDGE = (
    "SELECT device, phase, energy_wh FROM reading"
    " WHERE at_ms >= ? AND at_ms < ? AND suspect = 0 ORDER BY at_ms"
)


def step_for(from_ms: int, to_ms: int) -> int:
    """The shortest step, in s, that a plot of this time need not crowd."""
    for step_s in STEPS_S:
        if (to_ms - from_ms) / (step_s * 1000) <= POINTS_WANTED:
            return step_s
    return STEPS_S[-1]


def history(
    path: Path, from_ms: int, to_ms: int, step_s: int | None, roles: Mapping[str, str]
) -> dict[str, Any]:
    """Currents and energies of [from_ms, to_ms) in steps; `roles`: device -> a meter's role.

    A device without a role is a charger. Currents in A are those of a device's phase that carries
    most, energies in Wh are of all phases; null where nothing was read. Of more than `WHOLE_MS`
    there are energies only, in steps of a quarter hour or more; what was taken while nothing was
    read is in the last step before something was. Refusal for what is too long or too fine.
    """
    if not 0 < to_ms - from_ms <= LONGEST_MS:
        raise Refusal("ask for a time that ends after it begins, at most 400 days")
    step_s = step_s or step_for(from_ms, to_ms)
    steps = -(-(to_ms - from_ms) // (step_s * 1000))
    if steps > POINTS_MOST:
        raise Refusal(f"{steps} steps are too many: at most {POINTS_MOST}, ask for longer ones")
    whole = to_ms - from_ms <= WHOLE_MS
    if not whole and step_s < 900:
        raise Refusal("more than two days at once are told in steps of 900 s or more")
    devices = (_whole if whole else _by_edges)(path, from_ms, to_ms, step_s * 1000, steps)
    return {
        "from_ms": from_ms,
        "step_s": step_s,
        "t": [from_ms // 1000 + n * step_s for n in range(steps)],
        "devices": [
            {"id": device, "role": roles.get(device, "charger"), **stepped.plain()}
            for device, stepped in sorted(devices.items())
        ],
    }


def _whole(path: Path, from_ms: int, to_ms: int, step_ms: int, steps: int) -> dict[str, _Stepped]:
    values = {"from_ms": from_ms, "to_ms": to_ms, "step_ms": step_ms}
    devices: dict[str, _Stepped] = {}
    for device, bucket, phase, mean, peak, low, high in read(path, _STEPPED, values):
        stepped = devices.setdefault(device, _Stepped(steps))
        stepped.add(bucket, phase, mean / 1000, peak / 1000, low, high)
    return devices


def _by_edges(
    path: Path, from_ms: int, to_ms: int, step_ms: int, steps: int
) -> dict[str, _Stepped]:
    devices: dict[str, _Stepped] = {}
    values = {"from_ms": from_ms, "to_ms": to_ms, "step_ms": step_ms}
    with beside.look(path) as db:
        for device, bucket, used in db.execute(_FOLDED, values):
            devices.setdefault(device, _Stepped(steps)).used(bucket, used)
        for device, phase, energy in db.execute(_FOLDED_TO, (from_ms, to_ms)):
            # The counters' readings that are still whole go on from there.
            devices.setdefault(device, _Stepped(steps)).edge(0, phase, energy)
        for edge in range(steps + 1):
            at_ms = min(from_ms + edge * step_ms, to_ms)
            # The last edge is not in the time asked for: the newest reading before it.
            low, high = (at_ms, at_ms + EDGE_MS) if edge < steps else (at_ms - EDGE_MS, at_ms)
            rows = db.execute(_AT_EDGE, (low, high)).fetchall()
            seen: dict[tuple[str, int], int] = {}
            for device, phase, energy in rows if edge < steps else rows[::-1]:
                seen.setdefault((device, phase), energy)
            for (device, phase), energy in seen.items():
                devices.setdefault(device, _Stepped(steps)).edge(edge, phase, energy)
    return devices


class _Stepped:
    def __init__(self, steps: int) -> None:
        self._mean: list[float | None] = [None] * steps
        self._peak: list[float | None] = [None] * steps
        self._energy: list[int | None] = [None] * steps
        self._was: dict[int, int] = {}  # phase -> its meter when last read

    def add(self, bucket: int, phase: int, mean: float, peak: float, low: int, high: int) -> None:
        """One phase in one step; steps of a phase come in order."""
        self._mean[bucket] = round(max(mean, self._mean[bucket] or mean), 3)
        self._peak[bucket] = max(peak, self._peak[bucket] or peak)
        # A counter that fell was set to zero, or is another one: what went before is not known.
        since = self._was.get(phase, low)
        used = high - since if since <= low else high - low
        self._energy[bucket] = (self._energy[bucket] or 0) + used
        self._was[phase] = high

    def used(self, step: int, energy: int) -> None:
        """What a phase took in this step."""
        self._energy[step] = (self._energy[step] or 0) + energy

    def edge(self, edge: int, phase: int, energy: int) -> None:
        """What a phase's counter showed at the beginning of this step, the end of the last."""
        since = self._was.get(phase)
        if since is not None:
            self.used(max(edge - 1, 0), max(0, energy - since))
        self._was[phase] = energy

    def plain(self) -> dict[str, Any]:
        return {"mean_a": self._mean, "peak_a": self._peak, "energy_wh": self._energy}


def events(
    path: Path, before: int | None, count: int, device: str | None = None
) -> list[dict[str, Any]]:
    """The newest events numbered below `before`, newest first; None: from the last one on."""
    return _newest(path, "event", ("kind", "device", "words"), before, count, device)


def decisions(
    path: Path, before: int | None, count: int, charger: str | None = None
) -> list[dict[str, Any]]:
    """The same of what chargers were given and why."""
    names = ("charger", "offer_a", "lease", "reason", "words")
    return _newest(path, "decision", names, before, count, charger)


def _newest(
    path: Path,
    table: str,
    names: tuple[str, ...],
    before: int | None,
    count: int,
    device: str | None,
) -> list[dict[str, Any]]:
    whose = "device" if table == "event" else "charger"
    where = [] if before is None else ["id < :before"]
    where += [] if device is None else [f"{whose} = :device"]
    clause = f" WHERE {' AND '.join(where)}" if where else ""
    question = (
        f"SELECT id, at_ms, {', '.join(names)} FROM {table}{clause}"  # noqa: S608 - our own names
        " ORDER BY id DESC LIMIT :count"
    )
    rows = read(path, question, {"before": before, "device": device, "count": count})
    return [dict(zip(("n", "at_ms", *names), row, strict=True)) for row in rows]
