"""The first view in a real browser, over the boards' own firmware: plots drawn, reasons shown, cars started and
stopped, limits set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.live.browser import DESK, accessibility_faults, chromium_at, no_sideways_scroll, watched
from tests.live.garage import Garage
from tests.live.running import until

pytestmark = [
    pytest.mark.board,
    pytest.mark.broker,
    pytest.mark.browser,
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def garage(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: str, micropython: str
) -> Iterator[Garage]:
    building = Garage(
        tmp_path_factory.mktemp("page"),
        'policy = "fair"\nupdate_interval_s = 0\nmin_on_s = 0\nmin_off_s = 0',
        "grid",
    )
    building.house_a = 3.8
    building.plug("Charger-1", "C")
    building.plug("Charger-2", "C")
    yield building
    building.stop()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with chromium_at(chromium) as opened:
        yield opened


def test_the_page_shows_what_is_and_why(garage: Garage, browser: Browser) -> None:
    with watched(browser) as seen:
        page = seen.page
        page.goto(garage.url)
        page.locator("#link[data-live=yes]").wait_for()

        # The reasons, in words, for every charger, as the manager gives them.
        page.locator("#charger-Charger-3 .why").wait_for()
        garage.settle((13, 13, 0), 30)
        page.wait_for_function(
            "() => document.querySelector('#charger-Charger-1 .why').textContent"
            ".includes('its share')"
        )
        assert "/ 30 A" in page.title()
        assert page.locator("#limit").text_content() == "30.0 A"
        for name in garage.cables:
            # The page is at most a second behind.
            until(f"why {name} has what it has", partial(_why_agrees, page, garage, name))

        # The plot: a canvas with as many colours on it as there are lines.
        page.locator("#main .plot canvas").wait_for()
        legend = page.locator(".plot .u-legend .u-label").all_text_contents()
        assert legend[1:] == ["Limit", "Total", "House", "Charger-1", "Charger-2", "Charger-3"]
        page.wait_for_function(
            """() => {
              const canvas = document.querySelector('.plot canvas');
              const data = canvas.getContext('2d')
                .getImageData(0, 0, canvas.width, canvas.height).data;
              let inked = 0;
              for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
              return inked > 1000;
            }"""
        )
        assert no_sideways_scroll(page)

        # A change reaches the page without a reload.
        garage.plug("Charger-2", "A")
        _why_is(page, "Charger-2", "no car")
        garage.plug("Charger-2", "C")

        page.get_by_role("button", name="2 min").click()
        assert page.get_by_role("button", name="2 min").get_attribute("aria-pressed") == "true"


def _why_agrees(page: Page, garage: Garage, name: str) -> bool:
    why = page.locator(f"#charger-{name} .why").text_content()
    return bool(why) and why == garage.charger(name)["reason"]["words"]


def _why_is(page: Page, name: str, words: str) -> None:
    page.wait_for_function(
        "([id, words]) => document.getElementById(id).querySelector('.why').textContent === words",
        arg=[f"charger-{name}", words],
    )


def test_a_limit_and_a_priority_set_on_the_page_hold_at_once(
    garage: Garage, browser: Browser
) -> None:
    with watched(browser) as seen:
        page = seen.page
        page.goto(garage.url)
        card = page.locator("#charger-Charger-1")
        card.get_by_text("Limit and priority").click()
        card.get_by_label("Limit of this charger, A").fill("7")
        card.get_by_role("button", name="Set").click()
        page.locator("#said").get_by_text("Charger-1 may have 7 A").wait_for()
        until("the pilot shows 7 A", lambda: garage.offers()[0] == 7, 30)
        card.get_by_label("Priority").select_option("3")
        until("priority 3", lambda: garage.charger("Charger-1")["priority"] == 3)
        card.get_by_role("button", name="No limit").click()
        until("no limit by hand", lambda: garage.charger("Charger-1")["by_hand_a"] is None)
        card.get_by_label("Priority").select_option("0")
        until("priority 0", lambda: garage.charger("Charger-1")["priority"] == 0)


def test_what_a_driver_wants_is_shown_and_when_it_will_be_done(
    garage: Garage, browser: Browser
) -> None:
    with watched(browser) as seen:
        page = seen.page
        page.goto(garage.url)
        card = page.locator("#charger-Charger-1")
        # When it is ready is reckoned from what its own meter shows.
        until("the car charges", lambda: sum(garage.charger("Charger-1")["current_a"]) > 0, 60)
        card.get_by_text("Energy wanted").click()
        card.get_by_label("kWh").fill("12.5")
        card.get_by_label("Car leaves at").fill("23:45")
        card.get_by_role("button", name="Say so").click()
        expect(card.locator(".wanted")).to_have_text(
            re.compile(r"12\.5 kWh wanted · leaves at \d\d:45 · at this pace ready at \d\d:\d\d"),
            timeout=60_000,  # a car that the test before has let wait comes back after 6 s and 15 s more
        )
        wish = garage.charger("Charger-1")["wish"]
        watts = sum(garage.charger("Charger-1")["current_a"]) * 230
        left_s = (wish["ready_ms"] - garage.state()["at_ms"]) / 1000
        assert left_s == pytest.approx(wish["left_wh"] / watts * 3600, rel=0.2)
        assert accessibility_faults(page) == []
        card.get_by_role("button", name="Take back").click()
        expect(card.locator(".wanted")).to_be_hidden()


def test_a_fault_says_what_to_do_in_the_language_of_who_looks(
    garage: Garage, browser: Browser
) -> None:
    with watched(browser, locale="pt-PT") as seen:
        page = seen.page
        page.goto(garage.url)
        garage.cables["Charger-3"].put(ev_ohm=882, diode=False)
        expect(page.locator("#charger-Charger-3 .why")).to_have_text(
            "avaria: falta o díodo do carro: desligue o carro"
        )
        expect(page.locator(".events")).to_contain_text("falta o díodo do carro")
        garage.plug("Charger-3", "A")
        expect(page.locator("#charger-Charger-3 .why")).to_have_text("sem carro")
        expect(page.locator(".events")).to_contain_text("passou: falta o díodo do carro")


def test_a_car_is_stopped_and_started_from_the_page(garage: Garage, browser: Browser) -> None:
    with watched(browser, viewport=DESK) as seen:
        page = seen.page
        page.goto(garage.url)
        until("the car charges", lambda: garage.offers()[0] > 0, 30)
        page.get_by_role("button", name="Stop: Charger-1").click()
        until("the pilot is off", lambda: garage.offers()[0] == 0, 30)
        until("it waits to be let", partial(_reason, garage, "not_authorised"), 30)
        page.get_by_role("button", name="Start: Charger-1").click()
        until("it may charge", lambda: not _reason(garage, "not_authorised"), 30)


def _reason(garage: Garage, kind: str) -> bool:
    return bool(garage.charger("Charger-1")["reason"]["kind"] == kind)


def test_first_view_is_light(garage: Garage, browser: Browser) -> None:
    with watched(browser) as seen:
        sizes: list[int] = []
        seen.page.on("requestfinished", lambda r: sizes.append(r.sizes()["responseBodySize"]))
        seen.page.goto(garage.url)
        seen.page.locator("#charger-Charger-1").wait_for()
        seen.page.locator(".plot canvas").wait_for()
        assert 20_000 < sum(sizes) < 300_000
