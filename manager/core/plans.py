"""When a car that has time should charge: in the cheapest, or the greenest, quarter hours before it leaves.

A plan moves wishes, never the limit: a car whose quarter hour it is asks for current like any other,
one whose is not stands by. It is made anew at every sharing, from what the car still wants.

- A car that did not say how much it wants and until when charges at once; so does one that has less
  time to lose than `SLACK_MS`, and any while nothing is known of the hours to come.
- An hour of which nothing is known counts as the dearest that is known.
- Sun that is left over is worth more than any hour: a car may always take of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from manager.core import laxity
from manager.core.site import Charger

QUARTER_S = 900
SLACK_MS = 30 * 60_000  # charges from then on whatever it costs: something may still come between
SPARE_PERMILLE = 1_100  # plans for a tenth more than it wants: shares shrink, cars taper


@dataclass(frozen=True, slots=True)
class Plan:
    """Whether to charge now, and if not, when the next chosen quarter hour begins (s UTC)."""

    now: bool
    next_s: int = 0


NOW = Plan(now=True)


def planned(costs: Mapping[int, int], utc_s: int, departs_s: int, need_s: float) -> Plan:
    """The quarter hours of least cost that hold `need_s` seconds of charging before `departs_s`.

    `costs`: by the second UTC at which a quarter hour begins, in any unit, lower is better. Among
    equals the earlier is taken. All there are if they do not hold as much.
    """
    first = utc_s - utc_s % QUARTER_S
    if not costs or departs_s - utc_s <= need_s:
        return NOW
    dearest = max(costs.values())
    quarters = sorted(
        (costs.get(start, dearest), start) for start in range(first, departs_s, QUARTER_S)
    )
    chosen = []
    for _, start in quarters:
        if need_s <= 0:
            break
        chosen.append(start)
        need_s -= min(start + QUARTER_S, departs_s) - max(start, utc_s)
    if not chosen or first in chosen:
        return NOW
    return Plan(now=False, next_s=min(chosen))


def plan_of(
    charger: Charger, costs: Mapping[int, int], now_ms: int, utc_s: int, share_a: int
) -> Plan:
    """This car's plan, if it gets `share_a` amperes whenever it charges."""
    wanted = laxity.still_wanted_wh(charger)
    departs = charger.wants.departs_ms
    if wanted is None or departs is None or not utc_s or not costs:
        return NOW
    lax = laxity.laxity_ms(
        now_ms, departs, wanted * SPARE_PERMILLE / 1000, share_a, len(charger.phases)
    )
    if lax is None or lax <= SLACK_MS:
        return NOW
    left_s = (departs - now_ms) // 1000
    return planned(costs, utc_s, utc_s + left_s, left_s - lax / 1000)
