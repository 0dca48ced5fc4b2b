"""Thousands of managers wait for changes of their copies, and the database is asked once for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from datahub.cloud.api import versions
from datahub.cloud.api.versions import Versions


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "LOOK_S", 0.01)


def test_one_question_answers_all_who_wait() -> None:
    asked: list[list[str]] = []

    def ask(sites: Sequence[str]) -> dict[str, int]:
        asked.append(sorted(sites))
        return {site: int(site.partition("-")[2]) for site in sites if site != "closed"}

    async def many() -> list[int]:
        shared = Versions(ask)
        waits = [shared.look(f"site-{i % 100}") for i in range(1000)]
        return await asyncio.gather(*waits, shared.look("closed"))

    assert asyncio.run(many()) == [*(i % 100 for i in range(1000)), 0]
    assert [len(names) for names in asked] == [101]


def test_who_comes_while_the_question_is_under_way_gets_the_next() -> None:
    under_way, go_on = threading.Event(), threading.Event()
    asked: list[list[str]] = []

    def ask(sites: Sequence[str]) -> dict[str, int]:
        asked.append(list(sites))
        under_way.set()
        go_on.wait(10)
        return dict.fromkeys(sites, len(asked))

    async def two() -> list[int]:
        shared = Versions(ask)
        first = asyncio.create_task(shared.look("oak"))
        await asyncio.to_thread(under_way.wait, 10)
        second = asyncio.create_task(shared.look("elm"))
        await asyncio.sleep(0)
        go_on.set()
        return [await first, await second]

    assert asyncio.run(two()) == [1, 2]
    assert asked == [["oak"], ["elm"]]


def test_a_database_that_is_away_is_told_to_all_and_asked_again_later() -> None:
    tries: list[int] = []

    def ask(sites: Sequence[str]) -> dict[str, int]:
        tries.append(len(sites))
        if len(tries) == 1:
            raise ConnectionError("away")
        return dict.fromkeys(sites, 3)

    async def three() -> list[object]:
        shared = Versions(ask)
        both = await asyncio.gather(shared.look("oak"), shared.look("elm"), return_exceptions=True)
        return [*(type(e) for e in both), await shared.look("oak")]

    assert asyncio.run(three()) == [ConnectionError, ConnectionError, 3]
    assert tries == [2, 1]
