"""The last hour of one site, a point a second, for plots. Everything older is in the store."""

from __future__ import annotations

from collections import deque
from typing import Any

from manager.core.headroom import drawn_ma
from manager.core.site import MAIN, House, Site

KEPT_S = 3600
STEP_MS = 1000
_EACH_MOST = 64  # chargers; a plot of more lines is not read, and an hour of them fills a small Pi


def main_now(site: Site) -> dict[str, Any]:
    """Limit, house, cars and all together on the main feeder in A, one number a phase."""
    feeder = site.feeders[MAIN]
    house = site.houses.get(MAIN) or House((0,) * feeder.phases)
    return feeder_now(site, MAIN, house)


def feeder_now(site: Site, name: str, house: House) -> dict[str, Any]:
    """The same for any feeder."""
    feeder = site.feeders[name]
    cars = [0] * feeder.phases
    for charger in site.chargers.values():
        if name in site.above(charger.feeder):
            readings = charger.readings[-1].current_ma if charger.readings else ()
            for phase, ma in zip(charger.phases, readings, strict=False):
                cars[phase] += ma
    total = [h + c for h, c in zip(house.current_ma, cars, strict=True)]
    for meter in site.meters.values():
        # Where one meter sees everything, that is the total: the sum above is of readings of
        # different moments, and of a house that is rather over- than underestimated.
        if meter.feeder == name and meter.role in ("grid", "feeder") and meter.readings:
            total[: len(meter.readings[-1].current_ma)] = meter.readings[-1].current_ma
    return {
        "limit_a": [ma / 1000 for ma in feeder.limit_ma],
        "house_a": [ma / 1000 for ma in house.current_ma],
        "cars_a": [ma / 1000 for ma in cars],
        "total_a": [ma / 1000 for ma in total[: feeder.phases]],
    }


class History:
    """`points`, oldest first; currents in A on the phase nearest its limit, `t` in seconds UTC."""

    def __init__(self) -> None:
        self.points: deque[dict[str, Any]] = deque(maxlen=KEPT_S * 1000 // STEP_MS)
        self._next_ms = 0

    def sample(self, site: Site, now_ms: int, utc_ms: int) -> None:
        """Take a point, if it is time for one."""
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + STEP_MS
        now = main_now(site)
        room = [limit - total for limit, total in zip(now["limit_a"], now["total_a"], strict=True)]
        phase = room.index(min(room))
        each = list(site.chargers.values()) if len(site.chargers) <= _EACH_MOST else []
        self.points.append(
            {
                "t": utc_ms / 1000,
                "limit": now["limit_a"][phase],
                "house": now["house_a"][phase],
                "total": now["total_a"][phase],
                "cars": {c.id: drawn_ma(c) / 1000 for c in each},
                "offers": {c.id: c.offer_a for c in each},
            }
        )
