"""First power-on: the access point "CCVEI" and its four tabs, on a telephone's screen, in a real browser."""

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from playwright.async_api import async_playwright, expect

from simulator.board import Board
from tests.firmware.charger.test_safety_lane import board_module  # noqa: F401
from tests.firmware.energy_meter.test_first_setup import ARGS, opened

pytestmark = [pytest.mark.board, pytest.mark.browser]


@contextlib.asynccontextmanager
async def new_charger(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Board, str]]:
    """A charger nobody has configured, and the address of its page."""
    board = Board(
        "charger", {"repl_window_ms": 0, "start_delay_s": 0, **settings}, tmp_path / "flash"
    )
    await board.start()
    try:
        yield board, f"http://127.0.0.1:{board.ports[80]}"
    finally:
        await board.stop()


def kept(tmp_path: Path) -> dict[str, Any]:
    got: dict[str, Any] = json.loads((tmp_path / "flash" / "config.json").read_text())
    return got


async def until(what: Any, seconds: float = 15) -> Any:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)
    return what()


def test_a_telephone_sets_the_charger_up_while_it_charges(
    tmp_path: Path, chromium: str, micropython: str
) -> None:
    async def run() -> None:
        async with (
            new_charger(tmp_path, mode="manual", manual_a=10) as (board, address),
            async_playwright() as playwright,
        ):
            browser = await playwright.chromium.launch(executable_path=chromium, args=ARGS)
            page = await browser.new_page(viewport={"width": 360, "height": 640}, has_touch=True)
            await opened(page, address + "/")
            await expect(page).to_have_title("CCVEI")
            for tab in ("Status", "Network", "Operation mode", "Home options"):
                await expect(page.get_by_role("link", name=tab)).to_be_visible()
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            board.take('{"ev":"B"}')
            await until(lambda: board.line()["offer_a"] == 10)
            board.take('{"ev":"C"}')
            await until(lambda: board.line()["mains_out"])
            board.take('{"car_ma":[9500,0,0]}')
            await expect(page.locator("#EVSE")).to_contain_text("C2", timeout=10_000)
            await expect(page.locator("#Amps")).to_have_text("9.5 A of 10 A", timeout=10_000)
            for icon in ("Wi-Fi", "Mode", "Timer", "HOME"):
                await expect(page.locator(f"[id='{icon}']")).to_be_visible()

            await page.get_by_role("link", name="Operation mode").click()
            await page.get_by_label("mode").select_option("intelligent")
            await page.get_by_label("schedule").fill("<b>whenever</b> mo")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("alert")).to_contain_text("<b>whenever</b> is no day")
            await page.get_by_label("schedule").fill("mo-su 22:00-06:00")
            await page.get_by_label("manual a").fill("5")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("alert")).to_contain_text("6..80 A")
            await page.get_by_label("mode").select_option("intelligent")
            await page.get_by_label("schedule").fill("mo-su 22:00-06:00")
            await page.get_by_label("manual a").fill("16")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("status")).to_have_text("Saved.")
            assert kept(tmp_path)["mode"] == "intelligent"

            await page.get_by_role("link", name="Home options").click()
            await page.get_by_label("contracted a").fill("30")
            await page.get_by_label("counter", exact=True).fill("Counter-1")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("status")).to_be_visible()
            assert kept(tmp_path)["contracted_a"] == 30

            await page.get_by_role("link", name="Network").click()
            await page.get_by_label("portal password").fill("short")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("alert")).to_contain_text("8 letters")
            await page.get_by_label("id", exact=True).fill("Charger-1")
            await page.get_by_label("wifi ssid").fill("home")
            await page.get_by_label("portal password").fill("long enough")
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("status")).to_be_visible()
            assert "long enough" not in await page.content()

            await page.get_by_role("button", name="Restart and use it").click()
            # The car is told first, and the contactor is open before the board restarts.
            await until(lambda: not board.line()["contactor"], 10)
            await until(lambda: board.resets.get("hard") == 1, 10)
            await browser.close()

    asyncio.run(run())


def test_the_access_point_has_a_password_of_its_own(
    tmp_path: Path, micropython: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def printed(name: str, **settings: Any) -> str:
        async with new_charger(tmp_path / name, id=name, **settings) as (board, _):
            board.quiet = False
            board.installation.button = True
            said: list[str] = []

            def asked() -> list[str]:
                said.append(capsys.readouterr().out)
                return re.findall(
                    "access point CCVEI, password (.*), http://192.168.4.1/", "".join(said)
                )

            return str((await until(asked))[0])

    one, other = (asyncio.run(printed(name)) for name in ("One", "Other"))
    assert re.fullmatch("ccvei-[0-9a-f]{6}", one)
    assert re.fullmatch("ccvei-[0-9a-f]{6}", other)
    assert one != other
    assert asyncio.run(printed("Set", portal_password="long enough")) == "long enough"


def test_it_is_a_wpa2_access_point(board_module: Any) -> None:  # noqa: F811
    class Wlan:
        IF_STA, IF_AP, SEC_WPA2 = 0, 1, 3
        said: ClassVar[list[Any]] = []

        def __init__(self, which: int) -> None:
            self.which = which

        def active(self, on: bool) -> None:
            self.said.append((self.which, on))

        def config(self, **what: Any) -> None:
            self.said.append(what)

    board_module.network.WLAN = Wlan
    board_module.access_point("CCVEI", "ccvei-a1b2c3")
    assert Wlan.said == [
        (0, False),
        (1, True),
        {"ssid": "CCVEI", "security": 3, "key": "ccvei-a1b2c3"},
    ]


def test_rude_visitors_do_not_disturb_charging(tmp_path: Path, micropython: str) -> None:
    async def run() -> None:
        async with new_charger(tmp_path, mode="manual", manual_a=10) as (board, _address):
            await until(lambda: board.line()["state"] == "A1")
            board.take('{"ev":"B"}')
            await until(lambda: board.line()["offer_a"] == 10)
            board.take('{"ev":"C"}')
            await until(lambda: board.line()["mains_out"])
            port = board.ports[80]
            for data in (b"", b"GET", b"\xff" * 5000, b"POST /mode HTTP/1.0\r\nContent-Length: 99999999\r\n\r\n",
                         b"POST /mode HTTP/1.0\r\nContent-Length: -5\r\n\r\n", b"GET /" + b"x" * 3000,
                         b"POST /mode HTTP/1.0\r\nContent-Length: 20\r\n\r\nmode=%zz"):  # fmt: skip
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", port), 2) as s,
                ):
                    s.settimeout(0.1)
                    s.sendall(data)
                    await asyncio.sleep(0.3)
            assert board.line()["contactor"]
            assert board.resets == {}
            board.take('{"ev":"B"}')
            await until(lambda: not board.line()["contactor"], 2)

    asyncio.run(run())
