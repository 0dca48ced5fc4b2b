"""The portal in a real Chromium: what each role sees and does, and no error on any page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.town import PASSWORD, Town, build

pytestmark = [pytest.mark.datahub, pytest.mark.browser]


@pytest.fixture
def town(cloud: Cloud) -> Town:
    return build(cloud)


@pytest.fixture
def url(cloud: Cloud, town: Town) -> Iterator[str]:
    settings = Settings(cloud.api, MASTER, secure_cookie=False)
    server = uvicorn.Server(uvicorn.Config(make_app(settings), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    ends = time.monotonic() + 20
    while not server.started and time.monotonic() < ends:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-quic", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose errors fail the test."""
    errors: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    yield page
    page.close()
    assert errors == []


def enter(page: Page, url: str, who: str) -> None:
    page.goto(f"{url}/portal/login")
    page.get_by_label("Login").fill(f"{who}@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def test_a_tenant_finds_sessions_bills_and_cards_and_stops_a_charger(
    page: Page, url: str, cloud: Cloud, town: Town
) -> None:
    now = datetime.now(UTC)
    cloud.do(
        "INSERT INTO bill (site_id, person_id, from_at, to_at, currency, total, energy_wh, lines)"
        " VALUES (%s, %s, %s, %s, 'EUR', 37000, 14000, '[]')",
        (town.sites["oak"], town.people["ana"], now - timedelta(days=30), now),
    )
    enter(page, url, "ana")
    expect(page.get_by_role("heading", name="Ana")).to_be_visible()
    expect(page.locator("#sessions tr")).to_have_count(3)
    expect(page.locator("#sessions")).to_contain_text("7.00")
    expect(page.locator("#bills")).to_contain_text("3.70 EUR")
    expect(page.locator(".plot canvas")).to_have_count(1)
    page.locator("tr", has_text="charger-1").get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_contain_text("stop asked for")
    assert cloud.ask("SELECT command, person_id FROM wish") == [("stop", town.people["ana"])]
    expect(page.locator("#wishes")).to_contain_text("waiting")
    cloud.do("UPDATE wish SET result = 'sent to charger-1'")
    page.goto(f"{url}/portal/tenant")
    expect(page.locator("#wishes")).to_contain_text("sent to charger-1")


def test_an_administrator_adds_a_user_and_a_tariff(page: Page, url: str, cloud: Cloud) -> None:
    enter(page, url, "admin")
    expect(page.locator("#fleet tr")).to_have_count(2)
    expect(page.locator("#devices")).to_contain_text("charger-2")
    expect(page.locator("#report")).to_contain_text("14.00")
    expect(page.locator(".plot canvas")).to_have_count(1)
    form = page.locator("#new-user")
    form.get_by_label("Login").fill("dora@example.org")
    form.get_by_label("Name").fill("<b>Dora</b>")
    form.get_by_label("Password").fill("a long enough one")
    form.get_by_role("button").click()
    expect(page.locator("#users")).to_contain_text("<b>Dora</b>")
    form = page.locator("#new-card")
    form.get_by_label("For").select_option(label="<b>Dora</b>")
    form.get_by_label("Number").fill("04AABBCC")
    form.get_by_role("button").click()
    expect(page.locator("#users tr", has_text="dora")).to_contain_text("1")
    form = page.locator("#new-tariff")
    form.get_by_label("Name").fill("night")
    form.get_by_label("EUR a kWh").fill("0.1234")
    form.get_by_role("button").click()
    expect(page.locator("#tariffs")).to_contain_text("0.1234 EUR")
    assert cloud.ask("SELECT per_kwh FROM tariff WHERE name = 'night'") == [(1234,)]
    cloud.do("UPDATE tariff SET from_at = '2020-01-01'")
    cloud.do(
        "UPDATE session SET started_at = date_trunc('month', now()) - interval '9 days',"
        " ended_at = date_trunc('month', now()) - interval '8 days'"
    )
    page.get_by_role("button", name="Bill the last month").click()
    expect(page.get_by_role("status")).to_contain_text("1 bills made")
    assert cloud.ask("SELECT total FROM bill") == [(2 * 8638,)]  # 7 kWh at 0.1234, twice


def test_an_operator_sees_feeders_flexibility_and_alarms(
    page: Page, url: str, cloud: Cloud
) -> None:
    cloud.do("UPDATE feeder SET limit_w = 8000")
    cloud.do("UPDATE quarter SET at = at - interval '1 hour'")
    enter(page, url, "grid")
    row = page.locator("#feeders tr", has_text="F1")
    expect(row).to_contain_text("7.4")
    expect(row).to_contain_text("14.7")
    expect(page.get_by_role("alert")).to_contain_text("92 %")
    expect(page.locator(".plot canvas")).to_have_count(1)
    expect(page.locator("#feeders")).not_to_contain_text("F9")


def test_nobody_gets_in_without_a_password_and_no_form_from_elsewhere_counts(
    page: Page, url: str, cloud: Cloud, town: Town
) -> None:
    page.goto(f"{url}/portal/tenant")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    enter(page, url, "ana")
    forged: dict[str, str | float | bool] = {
        "device": str(town.devices["oak/charger-1"]),
        "command": "stop",
        "form": "0" * 64,
    }
    assert page.request.post(f"{url}/portal/wish", form=forged).status == 403
    assert cloud.ask("SELECT count(*) FROM wish") == [(0,)]
    assert page.request.get(f"{url}/portal/administrator").status == 403
    cookie = next(c for c in page.context.cookies() if c["name"] == "ievcc")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    bearer = {"Authorization": f"Bearer {cookie['value']}"}
    assert page.request.get(f"{url}/api/v1/me", headers=bearer).status == 401
