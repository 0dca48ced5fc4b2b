"""The page in a real browser: plots drawn, reasons shown, nothing complains; narrow, wide, dark."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.live.garage import Garage
from tests.live.running import until

pytestmark = [
    pytest.mark.board,
    pytest.mark.broker,
    pytest.mark.browser,
    pytest.mark.timeout(180),
]

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def garage(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: str, micropython: str
) -> Iterator[Garage]:
    building = Garage(
        tmp_path_factory.mktemp("page"), 'policy = "fair"\nupdate_interval_s = 0', "grid"
    )
    building.house_a = 3.8
    building.plug("Charger-1", "C")
    building.plug("Charger-2", "C")
    yield building
    building.stop()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


class Watched:
    """A page and everything it complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.bytes = 0
        page.on("console", self._said)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))
        page.on("requestfailed", lambda r: self.complaints.append(f"{r.url}: {r.failure}"))
        page.on(
            "response",
            lambda r: self.complaints.append(f"{r.status} {r.url}") if r.status >= 400 else None,
        )

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


def test_the_page_shows_what_is_and_why(garage: Garage, browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(garage.url)
    page.locator("#link[data-live=yes]").wait_for(timeout=15_000)

    # The reasons, in words, for every charger, as the manager gives them.
    page.locator("#charger-Charger-3 .why").wait_for()
    garage.settle((13, 13, 0), 30)
    page.wait_for_function(
        "() => document.querySelector('#charger-Charger-1 .why').textContent.includes('its share')"
    )
    assert "of 30 A" in page.title()
    assert page.locator("#limit").text_content() == "30.0 A"
    for name in garage.cables:
        # The page is at most a second behind.
        until(
            f"the page says why {name} has what it has", partial(_why_agrees, page, garage, name)
        )

    # The plot: a canvas with as many colours on it as there are lines.
    page.wait_for_function("() => points.length > 5", timeout=15_000)
    legend = page.locator("#plot .u-legend .u-label").all_text_contents()
    assert legend[1:] == ["limit", "total", "house", "Charger-1", "Charger-2", "Charger-3"]
    inked = page.evaluate(
        """() => {
          const canvas = document.querySelector('#plot canvas');
          const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          let inked = 0;
          for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
          return inked;
        }"""
    )
    assert inked > 1000
    assert _no_sideways_scroll(page)

    # A change reaches the page without a reload.
    garage.plug("Charger-2", "A")
    page.wait_for_function(
        "() => document.querySelector('#charger-Charger-2 .why').textContent === 'no car'"
    )
    garage.plug("Charger-2", "C")

    page.get_by_role("button", name="2 min").click()
    assert page.get_by_role("button", name="2 min").get_attribute("aria-pressed") == "true"
    assert watched.complaints == []
    context.close()


def _why_agrees(page: Page, garage: Garage, name: str) -> bool:
    why = page.locator(f"#charger-{name} .why").text_content()
    return bool(why) and why == garage.charger(name)["reason"]["words"]


def _no_sideways_scroll(page: Page) -> bool:
    return bool(
        page.evaluate(
            "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_wide_screens_and_both_schemes(garage: Garage, browser: Browser, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 1200, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(garage.url)
    page.locator("#charger-Charger-1").wait_for(timeout=15_000)
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    bright = sum(int(n) for n in ground[4:-1].split(",")) > 3 * 127
    assert bright == (scheme == "light")
    assert _no_sideways_scroll(page)
    assert watched.complaints == []
    context.close()


def test_first_view_is_light(garage: Garage, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    sizes: list[int] = []
    page.on("requestfinished", lambda r: sizes.append(r.sizes()["responseBodySize"]))
    page.goto(garage.url)
    page.locator("#plot canvas").wait_for(timeout=15_000)
    assert sum(sizes) < 300_000
    context.close()
