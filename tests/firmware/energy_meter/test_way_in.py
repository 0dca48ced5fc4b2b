"""The PZEM hangs where the REPL is: the way in stays open for a moment at each start, and for as
long as the button is held."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from simulator.board import Board
from tests.firmware.energy_meter.rig import SETTINGS, meter

pytestmark = [pytest.mark.board]


def flashed(tmp_path: Path, **settings: object) -> Board:
    return Board("energy_meter", {**SETTINGS, **settings}, tmp_path / "flash")


async def waited(what: object, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if what():  # type: ignore[operator]
            return True
        await asyncio.sleep(0.02)
    return False


def test_the_repl_keeps_its_line_for_the_window_and_the_pzem_gets_it_after(
    tmp_path: Path, micropython: str
) -> None:
    async def run() -> None:
        board = flashed(tmp_path, repl_window_ms=1500)
        await board.start()
        try:
            began = time.monotonic()
            assert board.repl_attached
            assert await waited(lambda: not board.repl_attached, 6)
            assert time.monotonic() - began >= 1.5
        finally:
            await board.stop()

    asyncio.run(run())


def test_the_button_at_the_start_keeps_main_out_and_no_watchdog_bites(
    tmp_path: Path, micropython: str
) -> None:
    async def run() -> None:
        board = flashed(tmp_path, repl_window_ms=500)
        board.take('{"button": true}')
        await board.start()
        try:
            await asyncio.sleep(8)
            assert board.repl_attached
            assert not board.resets
            assert not (tmp_path / "flash" / "boot").exists()
        finally:
            await board.stop()

    asyncio.run(run())


@pytest.mark.broker
def test_the_button_held_while_measuring_opens_the_access_point_once(
    tmp_path: Path, micropython: str, mosquitto: str
) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads)
            rig.board.take('{"button": true}')
            assert await waited(lambda: rig.board.resets, 8)
            rig.board.take('{"button": false}')
            port = rig.board.ports[80]

            async def page() -> bytes:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    return b""
                writer.write(b"GET /mqtt HTTP/1.0\r\n\r\n")
                answer = await reader.read()
                writer.close()
                return answer

            answer = b""
            for _ in range(50):
                answer = await page()
                if answer:
                    break
                await asyncio.sleep(0.1)
            assert b"Counter-1" in answer
            assert b"00112233" not in answer  # its key
            count = len(rig.loads)
            rig.board.take('{"reset": true}')
            await rig.until(lambda: len(rig.loads) > count)  # an ordinary start again

    asyncio.run(run())


@pytest.mark.broker
def test_a_program_that_hangs_is_started_anew(
    tmp_path: Path, micropython: str, mosquitto: str
) -> None:
    async def run() -> None:
        async with meter(tmp_path) as rig:
            await rig.until(lambda: rig.loads)
            assert rig.board._child is not None
            os.kill(rig.board._child.pid, signal.SIGSTOP)
            assert await waited(lambda: rig.board.resets.get("wdt"), 12)
            count = len(rig.loads)
            await rig.until(lambda: len(rig.loads) > count)

    asyncio.run(run())
