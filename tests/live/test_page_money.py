"""Users, cards, tariffs, sessions and bills in a real browser: kept by an administrator, seen by a tenant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from manager import people
from manager.core.rights import User
from manager.store import connect
from tests.live.accounts import account, log_in
from tests.live.browser import (
    DESK,
    accessibility_faults,
    chromium_at,
    no_sideways_scroll,
    watched,
)
from tests.live.running import Running

pytestmark = [pytest.mark.broker, pytest.mark.browser, pytest.mark.timeout(180)]

BEGUN = (datetime.now(UTC).replace(day=1, hour=12, minute=0, second=0, microsecond=0)) - timedelta(
    days=20
)  # last month


def session(path: Path, n: int, user: str, wh: int) -> None:
    at_s = int(BEGUN.timestamp())
    with people.change(path) as db:
        db.execute(
            "INSERT INTO session (id, charger, era, number, user, payer, how, begin_ms, end_ms,"
            " energy_wh, duration_s, why, seen_ms) VALUES (?1, 'Charger-1', 0, ?1, ?2, '', 'card',"
            " ?3, ?3 + 600000, ?4, 600, 'card', ?3)",
            (n, user, at_s * 1000, wh),
        )
        db.execute(
            "INSERT INTO quarter (session, start_s, energy_wh, solar_mwh, charging_ms, idle_ms)"
            " VALUES (?, ?, ?, 0, 600000, 0)",
            (n, at_s, wh),
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("money")
    path = folder / "ievcc.db"
    with closing(connect(path)):
        pass
    with people.change(path) as db:
        people.put_user(db, User("ana", "Ana"))
        people.put_user(db, User("rui", "Rui Miguel de Albuquerque e Vasconcelos Figueiredo"))
    session(path, 1, "ana", 10_000)
    session(path, 2, "rui", 5_000)
    running = Running(folder, '[site]\nlimit_a = 30\nopen = true\ntimezone = "Europe/Lisbon"\n')
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with chromium_at(chromium) as opened:
        yield opened


def show(page: Page, site: Running, view: str) -> None:
    page.goto(f"{site.url}/#{view}")
    page.reload()
    page.locator(f"#main[data-ready={view}]").wait_for()


def in_order(page: Page) -> None:
    page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    assert accessibility_faults(page) == []
    assert no_sideways_scroll(page)
    # Rows of many columns are shown whole, whatever the width.
    cut = page.evaluate(
        "() => [...document.querySelectorAll('.wide:has(.many)')]"
        ".filter(e => e.scrollWidth > e.clientWidth).length"
    )
    assert cut == 0


def test_an_administrator_keeps_users_cards_tariffs_and_bills(
    site: Running, browser: Browser
) -> None:
    with watched(browser, expected=(400,)) as seen:
        page = seen.page
        show(page, site, "people")
        new = page.locator("section", has=page.get_by_role("heading", name="Add a user"))
        new.get_by_label("Short name").fill("eva")
        new.get_by_label("Name", exact=True).fill("Eva Reis")
        new.get_by_label("At most, A").fill("16")
        new.get_by_label("Times").fill("always")
        new.get_by_role("button", name="Add a user").click()
        expect(new.get_by_text("write days, times and A")).to_be_visible()
        new.get_by_label("Times").fill("mon-fri 22:00-08:00 10 A")
        new.get_by_role("button", name="Add a user").click()
        eva = page.locator("#user-eva")
        expect(eva).to_contain_text("at most 16 A · Mon-Fri 22:00-08:00 10 A")
        eva.get_by_text("Add a card").first.click()
        eva.get_by_label("Card number").fill("04A1B2C3D4E5F6")
        eva.get_by_label("Written on it").fill("AA-00-BB")
        eva.get_by_role("button", name="Add a card").click()
        expect(eva.locator(".events")).to_contain_text("AA-00-BB private")
        eva.get_by_role("button", name="Block: AA-00-BB").click()
        expect(eva.locator(".events")).to_contain_text("blocked")
        in_order(page)

        show(page, site, "money")
        page.get_by_text("Add a tariff").click()
        form = page.locator("form", has=page.get_by_label("Holds from"))
        form.get_by_label("Name", exact=True).fill("flat")
        form.get_by_label("Holds from").fill("2020-01-01")
        form.get_by_label("VAT, %").fill("23")
        form.get_by_label("Per session").fill("0.25")
        form.get_by_label("Per kWh", exact=True).fill("lots")
        form.get_by_role("button", name="Save").click()
        expect(form.get_by_text("is not an amount")).to_be_visible()
        form.get_by_label("Per kWh", exact=True).fill("0.20")
        form.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="flat")).to_be_visible()
        page.get_by_role("button", name="Bill the month").click()
        # 10 kWh at 0.20 and 0.25 a session are 2.25; with 23 % 2.77 in whole cents.
        bills = page.get_by_role("group", name="Bills")
        expect(bills.locator("tbody tr", has_text="Ana")).to_contain_text("€2.77")
        expect(bills.locator("tbody tr", has_text="Rui")).to_contain_text("€1.54")
        page.get_by_role("button", name="Check that everything adds up").click()
        expect(page.locator("#said")).to_have_text("Bills, sessions and meters add up.")
        with page.expect_download() as got:
            bills.locator("tbody tr", has_text="Ana").get_by_role("link", name="PDF").click()
        assert Path(got.value.path()).read_bytes().startswith(b"%PDF-")
        rui = bills.locator("tbody tr", has_text="Rui")
        rui.get_by_text("Undo").click()
        rui.get_by_label("Why").fill("wrong user")
        rui.get_by_role("button", name="Write the credit note").click()
        expect(bills.locator("tbody tr", has_text="wrong user")).to_contain_text("-€1.54")
        reports = page.get_by_role("region", name="Reports")
        reports.get_by_label("Month").select_option(index=1)
        expect(reports.locator("tbody tr", has_text="Ana")).to_contain_text("10.0 kWh")
        in_order(page)


def test_sessions_of_a_month_with_what_they_cost(site: Running, browser: Browser) -> None:
    with watched(browser, viewport=DESK, locale="pt-PT") as seen:
        page = seen.page
        show(page, site, "sessions")
        page.get_by_label("Mês").select_option(index=1)
        expect(page.get_by_text("2 cargas, 15,0 kWh")).to_be_visible()
        row = page.locator(".wide tbody tr", has_text="Ana")
        expect(row).to_contain_text("2,25")
        expect(row).to_contain_text(re.compile(r"20\d\d-000001"))
        page.get_by_label("Utilizador").select_option("rui")
        expect(page.get_by_text("1 cargas, 5,00 kWh")).to_be_visible()
        with page.expect_download() as got:
            page.get_by_role("link", name="Em CSV").click()
        text = Path(got.value.path()).read_text("utf-8-sig")
        assert "Rui" in text
        assert "Ana" not in text
        in_order(page)


def test_a_tenant_sees_what_is_his_own_and_may_block_his_card(
    site: Running, browser: Browser
) -> None:
    path = site.folder / "ievcc.db"
    with people.change(path) as db:
        people.import_csv(db, "user,card,label\nana,0102030405,AA-11-AA\n", path)
    account(site, "ana", "--role", "tenant", "--user", "ana")
    with watched(browser, expected=(401, 403, 404)) as seen:
        page = seen.page
        log_in(page, site, "ana")
        show(page, site, "sessions")
        page.get_by_label("Month").select_option(index=1)
        expect(page.get_by_text("1 sessions, 10.0 kWh")).to_be_visible()
        in_order(page)
        show(page, site, "money")
        expect(page.get_by_role("group", name="Bills").locator("tbody tr")).to_have_count(1)
        expect(page.get_by_role("button", name="Bill the month")).to_have_count(0)
        in_order(page)
        show(page, site, "people")
        expect(page.locator("[id^=user-]")).to_have_count(1)
        page.get_by_role("button", name="Block: AA-11-AA").click()
        expect(page.locator("#user-ana .events")).to_contain_text("blocked")
        in_order(page)
        others = ("bills/2026-000002.pdf", "reports/user", "cards")
        for path_ in others:
            said = page.evaluate(
                "path => fetch(path).then(async a => [a.status, await a.text()])", f"/api/{path_}"
            )
            assert said[0] in (403, 404) or "rui" not in said[1]
