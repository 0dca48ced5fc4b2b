"""From a changed PZEM register to the changed PWM duty, on the live system: what each part takes.

The house steps up one ampere at a time, so that every step takes an ampere from the car: cuts,
which is what keeps the breaker in. Parts, each from the stamp before:

    meter poll          until the answer that carries the new value is on the meter's line, whole
    meter to manager    until the reading is handed to the manager (firmware, broker, two links)
    decision            until the new lease leaves the manager
    manager to charger  until the lease is handed to the charger (broker, two links)
    charger to duty     until the pilot's duty has changed at the board's pin
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from bench.live import CHARGER, LIMIT_A, METER, Passed, System
from bench.table import Row, UnavailableError, summed_up

TITLE = "Reaction: a changed PZEM register to a changed PWM duty, live"
STEPS = 200
PARTS = ("meter poll", "meter to manager", "decision", "manager to charger", "charger to duty")
TARGET_MS = 100.0
_LOW_A, _HIGH_A = 8, 33  # what the house draws: the car has 32 A down to 7


def measure(small: bool) -> list[Row]:
    """At least 200 steps (8 in the small slice): median and p99 of each part, in ms."""
    steps = 8 if small else STEPS
    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    after: list[float] = []
    whole: list[float] = []
    chance = random.Random(20)
    with System() as system:
        name = system.broker.name
        house_a = _HIGH_A
        while len(whole) < steps:
            if house_a >= _HIGH_A:
                house_a = _LOW_A
                _settle(system, house_a)
            house_a += 1
            # Not in step with the meter's polls nor with the manager's ticks.
            time.sleep(chance.uniform(0.1, 0.5))
            stamps = _step(system, house_a)
            for part, begin, end in zip(PARTS, stamps[:-1], stamps[1:], strict=True):
                taken[part].append((end - begin) * 1000)
            after.append((stamps[-1] - stamps[1]) * 1000)
            whole.append((stamps[-1] - stamps[0]) * 1000)
    slow = {"meter poll": "a real PZEM-004T adds its own 1.0 to 2.65 s"}
    rows = [summed_up(part, values, "ms", slow.get(part, "")) for part, values in taken.items()]
    everything = summed_up("all after the meter's poll", after, "ms")
    kept = everything.p99 is not None and everything.p99 < TARGET_MS
    verdict = f"target: p99 below {TARGET_MS:g} ms: {'kept' if kept else 'MISSED'}"
    note = f"{len(whole)} steps, {name}"
    rows += [
        Row(everything.what, everything.median, everything.p99, "ms", verdict),
        summed_up("register to duty", whole, "ms", note),
    ]
    return rows


def _settle(system: System, house_a: int) -> None:
    """The house falls; wait until the car has all that is left."""
    system.pzem.set(current_ma=house_a * 1000)
    offer_a = min(32, LIMIT_A - house_a)
    system.wait("the raise", lambda: system.cable.seen["offer_a"] == offer_a, 60)
    time.sleep(0.3)


def _step(system: System, house_a: int) -> tuple[float, ...]:
    """One ampere more for the house: the six stamps, from the register to the duty."""
    offer_a = min(32, LIMIT_A - house_a)
    house_ma = house_a * 1000
    polls, passed, changes = system.polls, system.relays.passed, system.cable.changes
    marks = len(polls), len(passed), len(changes)
    begun = time.monotonic()
    system.pzem.set(current_ma=house_ma)
    system.wait(
        f"{offer_a} A on the pilot", lambda: any(a == offer_a for _, a in changes[marks[2] :]), 30
    )
    polled = next(at for at, ma in polls[marks[0] :] if ma == house_ma)
    new = passed[marks[1] :]
    read = _first(
        new,
        lambda p: p.party == "manager" and not p.out and p.message.get("current_ma") == [house_ma],
    )
    decided = _first(
        new, lambda p: p.party == "manager" and p.out and p.message.get("limit_a") == offer_a
    )
    lease = decided.message["lease"]
    arrived = _first(
        new, lambda p: p.party == CHARGER and not p.out and p.message.get("lease") == lease
    )
    changed = next(at for at, a in changes[marks[2] :] if a == offer_a)
    return begun, polled, read.at, decided.at, arrived.at, changed


def _first(passed: list[Passed], wanted: Callable[[Passed], bool]) -> Passed:
    for one in passed:
        if wanted(one):
            return one
    raise UnavailableError(f"a message went past the relays of {METER} and {CHARGER} unseen")
