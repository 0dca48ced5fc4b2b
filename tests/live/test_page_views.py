"""The other views in a real browser: history, events, devices, settings, logins and roles, both languages,
and what axe-core says of every one of them.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from manager import people
from manager.core.rights import User
from manager.store import READING, connect
from manager.translated import translated
from shared import protocol
from tests.live.accounts import account, log_in
from tests.live.browser import (
    DESK,
    PHONE,
    accessibility_faults,
    chromium_at,
    no_sideways_scroll,
    watched,
)
from tests.live.running import Device, Running, until
from tests.manager.sentences import GAP, every_answer, every_notice, every_sentence

pytestmark = [pytest.mark.broker, pytest.mark.browser, pytest.mark.timeout(180)]

SITE = """[site]
limit_a = 30          # as in the contract
open = true
worst_house_a = 20
timezone = "Europe/Lisbon"
"""
VIEWS = ("now", "history", "sessions", "money", "people", "devices", "events", "settings", "menu")


class Site(Running):
    """A manager with a meter and two chargers that only say a little, and a past of three days."""

    def __init__(self, folder: Path) -> None:
        with closing(connect(folder / "ievcc.db")) as db:
            db.execute("BEGIN")
            now_ms = int(time.time() * 1000)
            for n in range(3 * 24 * 360):  # every 10 s, as a charger without a car
                at_ms = now_ms - n * 10_000
                for device, ma in (("Counter-1", 9_000), ("Charger-1", 6_000)):
                    wh = 1_000_000 - n * ma * 230 // 360_000
                    values = (device, 1, 100_000 - n, at_ms, 1, ma, 2300, ma * 230 // 1000, wh)
                    db.execute(READING, (*values, 95, 50_000, 0, None, None))
            db.execute("COMMIT")
        super().__init__(folder, SITE)
        self.devices = [Device(self, n, boot=5) for n in ("Counter-1", "Charger-1", "Charger-2")]
        self.devices[0].announce_counter(role="grid")
        self.devices[0].measure(9)
        for charger in self.devices[1:]:
            charger.announce_charger()
        self.devices[1].measure(6, protocol.CHARGER_LOAD)

    def change(self, **values: object) -> None:
        """Settings of [site]."""
        with urllib.request.urlopen(f"{self.url}/api/settings", timeout=5) as answer:
            read = json.load(answer)
        body = json.dumps({"version": read["version"], "site": values}).encode()
        request = urllib.request.Request(
            f"{self.url}/api/settings", body, {"Content-Type": "application/json"}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=5).close()

    def stop(self) -> None:
        for device in self.devices:
            device.close()
        super().stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("views"))
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


@pytest.mark.parametrize(
    ("scheme", "size", "locale"),
    [("light", PHONE, "en-GB"), ("dark", DESK, "pt-PT"), ("dark", PHONE, "en-GB")],
)
def test_every_view_can_be_used_by_everybody(
    site: Site, browser: Browser, scheme: str, size: dict[str, int], locale: str
) -> None:
    with watched(browser, viewport=size, color_scheme=scheme, locale=locale) as seen:
        page = seen.page
        page.goto(site.url)
        for view in VIEWS:
            page.evaluate("view => { location.hash = view; }", view)
            page.locator(f"#main[data-ready={view}]").wait_for()
            page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
            page.locator("#link[data-live=yes]").wait_for()
            assert accessibility_faults(page) == [], view
            assert no_sideways_scroll(page), view
            assert page.locator("h1").count() == 1
            assert "undefined" not in page.locator("body").inner_text()
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        bright = sum(int(n) for n in ground[4:-1].split(",")) > 3 * 127
        assert bright == (scheme == "light")
        assert page.locator("html").get_attribute("lang") == locale[:2]


def test_history_shows_days_weeks_and_months_as_measured(site: Site, browser: Browser) -> None:
    with watched(browser) as seen:
        page = seen.page
        show(page, site, "history")
        page.locator(".plot canvas").wait_for()
        # A day of 6 A at 230 V is 33 kWh; of the meter's 9 A the rest is the house's.
        page.get_by_role("button", name="Earlier").click()
        expect(page.locator(".wide table")).to_contain_text("Charger-1")
        rows = page.locator(".wide tbody tr")
        expect(rows.filter(has_text="Charger-1")).to_have_text(re.compile(r"3[23]\.\d kWh"))
        expect(rows.filter(has_text="House")).to_have_text(re.compile(r"1[67]\.\d kWh"))
        expect(page.get_by_text("Highest total: 9.0 A")).to_be_visible()
        for span in ("Week", "Month"):
            page.get_by_role("button", name=span, exact=True).click()
            expect(page.locator("[data-span]")).to_have_attribute("data-span", span.lower())
            expect(page.locator(".wide tbody tr").first).to_be_visible()
            page.locator(".plot canvas").wait_for()
        # The sum over the days of a month is that of all its days, whenever it began.
        expect(page.get_by_text("All together:")).to_be_visible()


def test_events_and_decisions_go_back_as_far_as_one_asks(site: Site, browser: Browser) -> None:
    with watched(browser) as seen:
        page = seen.page
        show(page, site, "events")
        expect(page.locator(".events")).to_contain_text("Charger registered: Charger-2")
        page.get_by_label("Device").select_option("Charger-1")
        expect(page.locator(".events")).not_to_contain_text("Charger-2")
        expect(page.locator(".events")).to_contain_text("Charger registered: Charger-1")


def test_what_happened_is_told_in_the_language_of_who_looks(site: Site, browser: Browser) -> None:
    with watched(browser, locale="pt-PT") as seen:
        page = seen.page
        show(page, site, "now")
        site.devices[2].say("Charger-2/up", protocol.FAULT, fault="diode_fault", active=1)
        site.devices[2].say("Charger-2/up", protocol.CARD_READ, card="04a1b2c3d4e5f6")
        lately = page.locator(".events")
        expect(lately).to_contain_text(
            re.compile(r"Charger-2: o cartão \w+ não foi aceite: este cartão não está registado")
        )
        show(page, site, "events")
        events = page.locator(".events li")
        expect(events.filter(has_text="anunciou-se Counter-1: Contador registado")).to_have_count(
            1
        )
        expect(events.filter(has_text="servidor MQTT: ligado ao servidor MQTT")).to_have_count(1)
        expect(events.filter(has_text="Charger-2: falta o díodo do carro")).to_have_count(1)
        page.get_by_role("button", name="Decisões").click()
        expect(events.first).to_contain_text(re.compile(r"Charger-\d \d+ A: "))
        told = [words.partition(" A: ")[2] for words in events.all_text_contents()]
        with closing(connect(site.folder / "ievcc.db")) as db:
            written = {words for (words,) in db.execute("SELECT words FROM decision")}
        assert told
        assert not set(told) & written


def test_the_page_translates_as_the_manager_does(site: Site, browser: Browser) -> None:
    sentences = {*every_sentence(), *every_notice(), *every_answer()}
    every = [s.replace(GAP, "7.5") for s in sorted(sentences)]
    every.append("Zé's card was not accepted: not at this hour")
    with watched(browser, locale="pt-PT") as seen:
        show(seen.page, site, "now")
        told = seen.page.evaluate(
            """async (every) => {
              const { sentence } = await import("/assets/words.js");
              return every.map(sentence);
            }""",
            every,
        )
    assert told == [translated(words, "pt") for words in every]
    assert told[-1] == "o cartão de Zé não foi aceite: não a esta hora"


def test_what_is_answered_is_in_the_language_of_who_looks(site: Site, browser: Browser) -> None:
    with watched(browser, expected=(400,), locale="pt-PT") as seen:
        page = seen.page
        show(page, site, "settings")
        page.get_by_label("Limite por fase, A").first.fill("0")
        page.get_by_role("button", name="Verificar e guardar").click()
        expect(page.get_by_text("0 não é um número de 1 a 6300")).to_be_visible()

        show(page, site, "people")
        new = page.locator("section", has=page.get_by_role("heading", name="Acrescentar util"))
        new.get_by_label("Nome curto").fill("zeca")
        new.get_by_label("Pago por").fill("ninguem")
        new.get_by_role("button", name="Acrescentar utilizador").click()
        expect(new.get_by_role("alert")).to_have_text(
            "não há utilizador ninguem que pudesse pagar: acrescente-o primeiro"
        )

        show(page, site, "devices")
        box = page.locator("#device-Charger-1")
        box.get_by_text("Novo firmware").click()
        box.get_by_label("Pacote").set_input_files(
            {"name": "b", "mimeType": "application/octet-stream", "buffer": b"none"}
        )
        box.get_by_label("Versão").fill("2.0")
        box.get_by_role("button", name="Oferecer").click()
        expect(page.locator("#said")).to_have_text(
            "Charger-1 não tem chave: não aceita atualizações; dê-lhe uma primeiro"
        )

        show(page, site, "now")
        page.get_by_text("Limitar todo o local").click()
        page.get_by_label("Limite do local, A").fill("20")
        page.get_by_role("button", name="Aplicar").first.click()
        expect(page.locator("#said")).to_have_text("o local pode receber 20 A")
        page.get_by_role("button", name="Sem limite").first.click()
        expect(page.locator("#said")).to_have_text("o local não tem limite manual")


def test_a_setting_changed_is_in_force_at_once_and_a_wrong_one_changes_nothing(
    site: Site, browser: Browser
) -> None:
    was = site.config.read_text()
    with watched(browser, expected=(400, 409)) as seen:
        page = seen.page
        show(page, site, "settings")
        limit = page.get_by_label("Limit per phase, A").first
        expect(limit).to_have_value("30")
        limit.fill("0")
        page.get_by_role("button", name="Check and save").click()
        expect(page.get_by_text("0 is not a number within 1..6300")).to_be_visible()
        expect(limit).to_have_attribute("aria-invalid", "true")
        expect(limit).to_be_focused()
        assert site.config.read_text() == was
        assert site.state()["feeders"][0]["limit_a"] == [30.0]

        limit.fill("25")
        page.get_by_label("How to share").select_option("equal")
        page.get_by_role("button", name="Add: Limits by time").click()
        page.get_by_label("From", exact=True).fill("18:00")
        page.get_by_label("To", exact=True).fill("21:30")
        page.get_by_label("At most, A").fill("16")
        page.get_by_role("button", name="Check and save").click()
        page.locator("#said").get_by_text("Saved and in force.").wait_for()
        until("25 A hold", lambda: site.state()["feeders"][0]["limit_a"] == [25.0])
        assert site.state()["policy"] == "equal"
        text = site.config.read_text()
        assert "# as in the contract" in text
        assert 'start = "18:00"' in text
        assert site.manager.status() is None

        # Somebody else's change in between is not overwritten.
        site.config.write_text(text + "\n# changed by hand\n")
        limit.fill("24")
        page.get_by_role("button", name="Check and save").click()
        expect(page.get_by_text("changed meanwhile: read it again")).to_be_visible()
        assert "# changed by hand" in site.config.read_text()
    site.config.write_text(was)
    site.change(limit_a=30, policy="fair")


def test_the_keyboard_is_enough(site: Site, browser: Browser) -> None:
    with watched(browser) as seen:
        page = seen.page
        show(page, site, "now")
        page.keyboard.press("Tab")
        expect(page.locator("#skip")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # "Limit the whole site" unfolds
        page.keyboard.press("Tab")
        expect(page.get_by_label("Limit of the site, A")).to_be_focused()
        page.keyboard.type("20")
        page.keyboard.press("Enter")
        until("20 A by hand", lambda: site.state()["by_hand_a"] == 20)
        expect(page.locator("#limit")).to_have_text("20.0 A")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        until("no limit by hand", lambda: site.state()["by_hand_a"] is None)
        page.locator("#nav a[data-view=history]").focus()
        page.keyboard.press("Enter")
        page.locator("#main[data-ready=history]").wait_for()
        expect(page.locator("#main")).to_be_focused()
        expect(page.locator("#nav a[aria-current=page]")).to_have_text("History")


def test_the_language_and_the_colours_are_ones_own_choice(site: Site, browser: Browser) -> None:
    with watched(browser) as seen:
        page = seen.page
        show(page, site, "menu")
        page.get_by_label("Language").select_option("pt")
        expect(page.locator("h1")).to_have_text("Menu")
        expect(page.locator("#link")).to_have_text("em direto")
        page.get_by_role("button", name="escuras").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        site.devices[0].measure(9)
        show(page, site, "now")
        expect(page.get_by_role("heading", name="Carregadores")).to_be_visible()
        expect(page.locator("#meters-title + ul .how")).to_contain_text("mede a casa e os carros")
        expect(page.locator("#limit")).to_have_text("30,0 A")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_an_open_page_goes_on_when_the_manager_was_started_anew(
    site: Site, browser: Browser
) -> None:
    with watched(browser) as seen:
        page = seen.page
        show(page, site, "now")
        expect(page.locator("#link")).to_have_attribute("data-live", "yes")
        site.manager.end()
        expect(page.locator("#link")).to_have_text("the manager does not answer")
        boot = site.start_manager() and site.state()["boot"]
        expect(page.locator("#link")).to_have_attribute("data-live", "yes")
        assert page.evaluate("() => fetch('/api/state').then(a => a.json())")["boot"] == boot
        expect(page.locator("#charger-Charger-1")).to_be_visible()
        seen.complaints.clear()  # of the time when nobody answered


@pytest.mark.alone
def test_the_first_view_is_usable_within_a_second(site: Site, browser: Browser) -> None:
    took = []
    for _ in range(3):
        with watched(browser) as seen:
            seen.page.goto(site.url)
            seen.page.locator("#charger-Charger-1 .why").wait_for()
            took.append(seen.page.evaluate("() => performance.now()") / 1000)
    assert min(took) < 1.0


def plug_in_with_card(charger: Device, card: str) -> None:
    """A car is ready, the card is held to the charger until it is known, the session begins."""
    up = f"{charger.name}/up"

    def accepted() -> bool:
        charger.say(up, protocol.CARD_READ, card=card)
        return bool(charger.hear(protocol.CARD_VERDICT, 20)["verdict"] == "accepted")

    until("the card is known", accepted, 30)
    begun = {"session": 1, "how": "card", "energy_wh": 0, "age_s": 0, "card": card}
    charger.say(up, protocol.SESSION_BEGIN, **begun)
    status = {"state": "C2", "offer_a": 6, "lease": 0, "lease_ms": 0, "contactor": 1}
    status |= {"mode": "managed", "faults": [], "rejected": 0, "uptime_s": 9}
    charger.say(up, protocol.CHARGER_STATUS, **status)


def test_logins_and_roles(tmp_path: Path, mosquitto: str, browser: Browser) -> None:
    site = Running(tmp_path, "[site]\nlimit_a = 30\nopen = true\n")
    charger = Device(site, "Charger-1")
    meter = Device(site, "Counter-1")
    try:
        meter.announce_counter()
        charger.announce_charger()
        account(site, "chief", "--role", "administrator")
        path = tmp_path / "ievcc.db"
        with people.change(path) as db:
            people.put_user(db, User("ana", "Ana"))
            people.import_csv(db, "user,card\nana,04A1B2C3D4E5F6\n", path)
        account(site, "ana", "--role", "tenant", "--user", "ana")
        with watched(browser, expected=(401,)) as seen:
            page = seen.page
            page.goto(site.url)
            expect(page.locator("h1")).to_have_text("Log in")
            assert accessibility_faults(page) == []
            page.get_by_label("Name").fill("chief")
            page.get_by_label("Password").fill("not the one")
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_text("Name or password is wrong.")).to_be_visible()
            log_in(page, site, "chief")
            views = page.locator("#nav a").evaluate_all("all => all.map(a => a.dataset.view)")
            assert {"settings", "devices", "events", "history"} <= set(views)
            # A change carries the login's own token.
            page.get_by_text("Limit the whole site").click()
            page.get_by_label("Limit of the site, A").fill("21")
            page.get_by_role("button", name="Set").first.click()
            expect(page.locator("#limit")).to_have_text("21.0 A")
            show(page, site, "menu")
            page.get_by_role("button", name="Log out").click()
            expect(page.locator("h1")).to_have_text("Log in")
        with watched(browser, expected=(403,)) as seen:
            page = seen.page
            log_in(page, site, "ana")
            views = page.locator("#nav a").evaluate_all("all => all.map(a => a.dataset.view)")
            assert not {"settings", "devices", "events", "history"} & set(views)
            expect(page.locator("#charger-Charger-1")).to_be_visible()
            assert page.get_by_text("Limit and priority").count() == 0
            # What is not shown is not given either.
            for asked in ("settings", "devices", "events", "history?from_ms=0&to_ms=1000"):
                status = page.evaluate(
                    "path => fetch(path).then(answer => answer.status)", f"/api/{asked}"
                )
                assert status == 403, asked
            said = json.loads(page.evaluate("() => fetch('/api/state').then(a => a.text())"))
            assert said["events"] == []

            # Nobody's charging is not his to stop; his own is, from his card on.
            stop = (
                "() => import('/assets/ask.js').then(m => m.ask('/api/charging',"
                " {charger: 'Charger-1', on: false})).then(() => 200, e => e.status)"
            )
            assert page.evaluate(stop) == 403
            expect(page.get_by_role("button", name="Stop: Charger-1")).to_be_hidden()
            plug_in_with_card(charger, "04a1b2c3d4e5f6")
            page.get_by_role("button", name="Stop: Charger-1").click()
            assert charger.hear(protocol.COMMAND, 20)["command"] == "stop"
            expect(page.locator("#charger-Charger-1")).to_contain_text("yours")
    finally:
        charger.close()
        meter.close()
        site.stop()
