"""The meter lives in an ESP8266's memory: 38 KiB of heap, in words of the computer's size."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from simulator.board import HEAP_BYTES
from tests.firmware.energy_meter.rig import meter

pytestmark = [pytest.mark.board, pytest.mark.broker]

LEAST_FREE = 10 * 1024
# `-X heapsize=38wk` scales by the computer's word: what takes one byte of the chip's heap takes
# about two here. Without its two options the meter leaves 10 KiB free counted that way too.
LEAST_FREE_PLAIN = 2 * 10 * 1024


@pytest.mark.parametrize(
    ("settings", "oled", "least"),
    [
        ({}, False, LEAST_FREE_PLAIN),
        ({"emon_address": "127.0.0.1:9", "emon_key": "k"}, True, LEAST_FREE),
    ],
    ids=["plain", "with display and emoncms"],
)
def test_at_least_ten_kibibytes_stay_free_and_none_are_lost(
    tmp_path: Path,
    micropython: str,
    mosquitto: str,
    settings: dict[str, Any],
    oled: bool,
    least: int,
) -> None:
    assert HEAP_BYTES["energy_meter"] == 2 * 38 * 1024

    async def run() -> None:
        async with meter(tmp_path, oled=oled, paced=False, poll_ms=20, **settings) as rig:
            await rig.until(lambda: rig.loads)
            for n in range(105):
                rig.line.pzems[0].set(current_ma=1000 + 300 * (n % 50))
                await asyncio.sleep(0.2)
            free = [s["free"] for s in rig.statuses]
            assert len(free) >= 3
            assert min(free) >= least, free
            # The first one sees the room before the first messages; then nothing changes.
            assert free[-1] >= free[-2] - 256, free
            assert len(rig.line.log) > 400
            if oled:
                assert rig.board.screen is not None
                assert rig.board.screen.on
                assert rig.board.screen.frames >= 5

    asyncio.run(run())


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_growth_over_24_hours(tmp_path: Path, micropython: str, mosquitto: str) -> None:
    """As many polls and messages as 24 hours of a quiet house hold, at the line's utmost."""

    async def run() -> None:
        async with meter(tmp_path, paced=False, poll_ms=20, threshold_ma=10) as rig:
            await rig.until(lambda: len(rig.statuses) >= 3, 40)
            settled = rig.statuses[-1]["free"]
            n = 0
            while len(rig.loads) < 24 * 3600 // 5:
                n += 1
                rig.line.pzems[0].set(current_ma=1000 + 300 * (n % 50))
                await asyncio.sleep(0.02)
            await asyncio.sleep(11)
            assert rig.statuses[-1]["free"] >= settled - 256
            assert not rig.board.resets

    asyncio.run(run())
