"""First power-on: the access point "EnergyMeter", and its page in a real browser."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect

from simulator.board import Board
from simulator.pzem_slave import Line, Pzem
from tests.firmware.energy_meter.rig import SETTINGS

pytestmark = [pytest.mark.board, pytest.mark.browser]
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@contextlib.asynccontextmanager
async def new_meter(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Board, str]]:
    """A meter nobody has configured, and the address of its page."""
    pzem = Pzem(1, update_s=0)
    pzem.set(current_ma=3045, voltage_dv=2301)
    line = Line([pzem])
    settings = {"repl_window_ms": 100, **settings}
    board = Board("energy_meter", settings, tmp_path / "flash", uart=line.open())
    await board.start()
    try:
        yield board, f"http://127.0.0.1:{board.ports[80]}"
    finally:
        await board.stop()
        line.close()


@contextlib.asynccontextmanager
async def browser_page(chromium: str) -> AsyncIterator[Page]:
    """A page of Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGS)
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


async def opened(page: Page, address: str) -> None:
    """Open the page as soon as the board has it."""
    for _ in range(100):
        with contextlib.suppress(Exception):
            await page.goto(address)
            return
        await asyncio.sleep(0.1)
    raise AssertionError("no page")


def kept(tmp_path: Path) -> dict[str, Any]:
    """The settings on the board's flash."""
    got: dict[str, Any] = json.loads((tmp_path / "flash" / "config.json").read_text())
    return got


def test_a_telephone_configures_the_meter(tmp_path: Path, chromium: str, micropython: str) -> None:
    async def run() -> None:
        async with new_meter(tmp_path) as (board, address), browser_page(chromium) as page:
            await opened(page, address + "/")
            await expect(page).to_have_title("EnergyMeter")
            await expect(page.locator("#Voltage")).to_have_text("230.1 V", timeout=10_000)
            await expect(page.locator("#Current")).to_have_text("3.045 A")
            await expect(page.locator("[id='IP address']")).to_have_text("192.168.4.1")

            await page.get_by_role("link", name="Network").click()
            await page.get_by_label("wifi ssid").fill("home & <b>garden</b>")
            await page.get_by_label("wifi password").fill("a+b=c 100% é")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("status")).to_have_text("Saved.")
            await expect(page.get_by_label("wifi ssid")).to_have_value("home & <b>garden</b>")
            # A password is never shown, and an empty field for one keeps it.
            await expect(page.get_by_label("wifi password")).to_have_value("")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("status")).to_be_visible()
            assert kept(tmp_path)["wifi_password"] == "a+b=c 100% é"
            assert "a+b" not in await page.content()

            await page.get_by_role("link", name="Emoncms").click()
            await page.get_by_label("emon address").fill("http://192.168.1.5/emoncms")
            await page.get_by_label("emon key").fill("c0ffee")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("status")).to_be_visible()

            await page.get_by_role("link", name="MQTT server").click()
            await page.get_by_label("broker port").fill("99999")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("alert")).to_contain_text("broker_port")
            assert "broker_port" not in kept(tmp_path)
            await page.get_by_label("broker port").fill("1884")
            await page.get_by_label("broker host").fill("192.168.1.2")
            await page.get_by_label("role").select_option("house")
            await page.get_by_label("id", exact=True).fill("Counter-1")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("status")).to_be_visible()
            settings = kept(tmp_path)
            assert settings["broker_port"] == 1884
            assert settings["role"] == "house"

            await page.get_by_role("button", name="Restart and use it").click()
            await expect(page.get_by_text("Restarting")).to_be_visible()
            for _ in range(100):
                if board.resets:
                    break
                await asyncio.sleep(0.05)
            assert board.resets == {"hard": 1}
            # Configured now: it measures, and has its boot number.
            for _ in range(100):
                if (tmp_path / "flash" / "boot").exists():
                    break
                await asyncio.sleep(0.05)
            assert (tmp_path / "flash" / "boot").read_text() == "1"

    asyncio.run(run())


def test_rude_visitors_do_not_stop_it(tmp_path: Path, micropython: str) -> None:
    def said(port: int, request: bytes, wait: float = 4) -> bytes:
        with socket.create_connection(("127.0.0.1", port), wait) as visitor:
            visitor.sendall(request)
            answer = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while part := visitor.recv(4096):
                    answer += part
            return answer

    async def run() -> None:
        async with new_meter(tmp_path) as (board, _):
            port = board.ports[80]
            for _ in range(100):
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(said, port, b"GET / HTTP/1.0\r\n\r\n")
                    break
                await asyncio.sleep(0.1)
            form = b"POST /network HTTP/1.0\r\nContent-Length: %d\r\n\r\n"
            for request in (
                b"",  # and then nothing
                b"\r\n\r\n",
                b"GET\r\n\r\n",
                b"\xff\xfe\r\n\r\n",
                b"GET /" + b"x" * 5000 + b" HTTP/1.0\r\n\r\n",
                form % 1_000_000 + b"wifi_ssid=x",
                form % 20 + b"wifi_ssid=x",  # shorter than it says
                form % 13 + b"wifi_ssid=%zz",
                b"POST /network HTTP/1.0\r\nContent-Length: x\r\n\r\n",
            ):
                began = time.monotonic()
                await asyncio.to_thread(said, port, request)
                assert time.monotonic() - began < 3.5, request[:30]
            answer = await asyncio.to_thread(said, port, b"GET /generate_204 HTTP/1.0\r\n\r\n")
            assert b"302 Found" in answer  # a telephone looking for the internet finds the page
            answer = await asyncio.to_thread(said, port, b"GET / HTTP/1.0\r\n\r\n")
            assert b"230.1 V" in answer
            assert not board.resets
            assert kept(tmp_path) == {"repl_window_ms": 100}

    asyncio.run(run())


def test_a_configured_meter_does_not_open_its_access_point(
    tmp_path: Path, micropython: str
) -> None:
    async def run() -> None:
        async with new_meter(tmp_path, **SETTINGS) as (board, _):
            await asyncio.sleep(1.5)
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", board.ports[80]), 1)

    asyncio.run(run())
