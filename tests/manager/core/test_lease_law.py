"""The lease law as a property: thousands of schedules of loss, delay, restarts and late cars.

`make test` runs 10,000 schedules, `make soak` 1,000,000 (IEVCC_SCHEDULES says otherwise; with IEVCC_SOAK_LOG, a
file, a soak that was stopped goes on where it was). A seed that breaks the law prints its time-line and runs again
with `World(seed).run()`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from manager.core import leases
from manager.core.leases import FOLLOW_MS
from manager.core.site import Charger, Granted, changed
from tests.manager.core.law_world import BrokenLawError, World

SCHEDULES = int(os.environ.get("IEVCC_SCHEDULES", "10000"))
SOAK = int(os.environ.get("IEVCC_SOAK_SCHEDULES", "1000000"))
SOAK_LOG = os.environ.get("IEVCC_SOAK_LOG", "")
MUTANT_SCHEDULES = 3_000
BLOCK = 250


def broken(seeds: range) -> str:
    """The time-line of the first of these schedules that breaks the law, or ""."""
    gc.disable()  # worlds leave rings; collected once a block they cost a tenth less
    try:
        for seed in seeds:
            World(seed).run()
    except BrokenLawError as e:
        return str(e)
    finally:
        gc.enable()
        gc.collect()
    return ""


def run_all(schedules: int, log: Path | None = None) -> None:
    """`log`: blocks that held are written down there, and not run again by the next call."""
    done = set(log.read_text().splitlines()) if log is not None and log.exists() else set()
    blocks = [range(n, min(n + BLOCK, schedules)) for n in range(0, schedules, BLOCK)]
    blocks = [b for b in blocks if _words(b) not in done]
    workers = int(os.environ.get("IEVCC_WORKERS", min(os.cpu_count() or 1, 8)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for block, told in zip(blocks, pool.map(broken, blocks), strict=True):
            if told:
                pytest.fail(told, pytrace=False)
            if log is not None:
                with log.open("a") as file:
                    file.write(_words(block) + "\n")


def _words(block: range) -> str:
    return f"{block.start}..{block.stop - 1} held"


def test_a_soak_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "soak.log"
    log.write_text("0..249 held\n")
    run_all(260, log)
    assert log.read_text() == "0..249 held\n250..259 held\n"


@pytest.mark.timeout(600)
def test_no_schedule_breaks_the_law() -> None:
    run_all(SCHEDULES)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_no_schedule_breaks_the_law_in_a_million() -> None:
    run_all(SOAK, Path(SOAK_LOG) if SOAK_LOG else None)


def test_the_worlds_are_not_idle() -> None:
    """Leases are given, raised and cut in them: a law nobody uses is easily kept."""
    raises = cuts = 0
    for seed in range(90):
        world = World(seed)
        world.run()
        pilots = [line for line in world.lines if "pilot" in line]
        for line in pilots:
            before, after = line.split("pilot ")[1].removesuffix(" A").split(" -> ")
            raises += int(after) > int(before)
            cuts += int(after) < int(before)
    assert raises > 150
    assert cuts > 100


# --- with any one clause taken out, the law breaks ------------------------------------------------

with_lease, confirmed, restored = leases.with_lease, leases.confirmed, leases.restored
Result = tuple[Charger, bool]


def counted_only_when_confirmed(c: Charger, limit_a: int, now: int, ttl: int) -> Result:
    after, keep = with_lease(c, limit_a, now, ttl)
    return (changed(after, granted=c.granted) if limit_a > c.limit_a else after), keep


def sent_means_obeyed(c: Charger, limit_a: int, now: int, ttl: int) -> Result:
    after, keep = with_lease(c, limit_a, now, ttl)
    return changed(after, granted=(Granted(c.boot, after.number, limit_a, 10**15),)), keep


def over_without_the_time_to_follow(c: Charger, limit_a: int, now: int, ttl: int) -> Result:
    after, keep = with_lease(c, limit_a, now, ttl)
    new = [
        changed(g, ends_ms=g.ends_ms - FOLLOW_MS) if g.number == after.number else g
        for g in after.granted
    ]
    return changed(after, granted=tuple(new)), keep


def over_before_its_life_ends(c: Charger, limit_a: int, now: int, ttl: int) -> Result:
    return with_lease(c, limit_a, now, ttl // 3)


def never_kept(c: Charger, limit_a: int, now: int, ttl: int) -> Result:
    return with_lease(c, limit_a, now, ttl)[0], False


def confirmed_means_followed(
    c: Charger, boot: int, number: int, contactor: bool, now: int
) -> Charger:
    del contactor
    return confirmed(c, boot, number, contactor=False, now_ms=now)


def drawing_little_means_followed(c: Charger, drawn_ma: int, now: int) -> Charger:
    del now
    if c.confirmed == c.number and drawn_ma <= c.limit_a * 1000:
        return changed(c, granted=tuple(g for g in c.granted if g.number >= c.confirmed))
    return c


def failsafe_forgotten(c: Charger, now: int) -> int:
    return max((g.limit_a for g in c.granted if g.ends_ms > now), default=0)


def raised_unasked(room: Any, keys: Any, worst: int, wanted_a: int) -> int:
    del room, keys, worst
    return wanted_a


def restarted_with_a_clean_slate(c: Charger, now: int, ttl: int) -> Charger:
    return changed(restored(c, now, ttl), granted=(), limit_a=0, sent_known=True)


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("with_lease", counted_only_when_confirmed),  # clause 1
        ("with_lease", over_before_its_life_ends),  # clause 2
        ("with_lease", over_without_the_time_to_follow),  # clause 2
        ("with_lease", sent_means_obeyed),  # clause 3
        ("confirmed", confirmed_means_followed),  # clause 3
        ("drop_seen", drawing_little_means_followed),  # clause 3
        ("worst_a", failsafe_forgotten),  # clause 5
        ("raise_to", raised_unasked),  # the law
        ("restored", restarted_with_a_clean_slate),  # over a restart
        ("with_lease", never_kept),  # over a restart
    ],
    ids=lambda m: m.__name__ if callable(m) else m,
)
@pytest.mark.timeout(600)
def test_without_any_one_clause_it_breaks(
    name: str, mutant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, name, mutant)
    assert broken(range(MUTANT_SCHEDULES)), f"{MUTANT_SCHEDULES} schedules did not notice"
