"""Devices on the page, in a real browser: let in, offered firmware, their logs read, sent away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from shared import protocol
from tests.live.browser import accessibility_faults, chromium_at, no_sideways_scroll, watched
from tests.live.running import Device, Running, until

pytestmark = [pytest.mark.broker, pytest.mark.browser, pytest.mark.timeout(180)]

OWN, BROUGHT = bytes(range(16)), bytes(range(16, 32))
SITE = f"""
[site]
limit_a = 30
max_counters = 2

[[device]]
id = "Counter-1"
key = "{OWN.hex()}"
"""


def test_let_in_by_key_and_by_click_given_firmware_and_sent_away(
    tmp_path: Path, mosquitto: str, chromium: str
) -> None:
    site = Running(tmp_path, SITE)
    meter = Device(site, "Counter-1", key=OWN)
    meter.announce_counter()
    bare, keyed = Device(site, "Charger-9"), Device(site, "Charger-8", key=BROUGHT)
    bundle = tmp_path / "bundle"
    bundle.write_bytes(b"IEVCC1\n" + bytes(508))
    try:
        for charger in (bare, keyed):
            charger.announce_charger()
        with (
            chromium_at(chromium) as browser,
            watched(browser, expected=(400,)) as seen,
        ):
            page = seen.page
            page.goto(f"{site.url}/#devices")
            waiting = page.get_by_role("region", name="Waiting to be let in")
            known = page.get_by_role("region", name="Meters and chargers")
            expect(waiting.locator("#device-Charger-8")).to_contain_text("Signs: yes")

            # One that has a key, by it; a wrong one is refused in words.
            card = waiting.locator("#device-Charger-8")
            card.get_by_label("Key").fill("not a key")
            card.get_by_role("button", name="Let in").click()
            expect(page.locator("#said")).to_have_class("bad")
            card.get_by_label("Key").fill(BROUGHT.hex())
            card.get_by_role("button", name="Let in").click()
            expect(known.locator("#device-Charger-8")).to_be_visible()
            until("it is taken", lambda: "registered" in keyed.announce_charger())

            # One that has none, by a click while the window is open.
            page.get_by_role("button", name="Open for 5 minutes").click()
            expect(waiting.get_by_text("Pairing window open until")).to_be_visible()
            bare.announce_charger()
            card = waiting.locator("#device-Charger-9")
            expect(card).to_contain_text("Left out: it is given a new one.")
            card.get_by_role("button", name="Let in").click()
            given = bare.hear(protocol.CONFIG_SET, 20)
            assert given["name"] == "key"
            bare.say("Charger-9/up", protocol.CONFIG_VALUE, name="key", result="ok", value='"***"')
            expect(known.locator("#device-Charger-9")).to_be_visible()
            key = json.loads(given["value"])
            assert key not in page.content()
            page.get_by_role("button", name="Close").click()
            expect(waiting.get_by_text("The pairing window is closed.")).to_be_visible()

            # New firmware is offered, and how far it is is shown.
            card = known.locator("#device-Charger-8")
            expect(card).to_contain_text("there")
            card.get_by_text("New firmware").click()
            card.get_by_label("Bundle").set_input_files(bundle)
            card.get_by_label("Version").fill("9.9")
            card.get_by_role("button", name="Offer").click()
            offered = keyed.hear(protocol.UPDATE_OFFER, 20)
            assert (offered["version"], offered["size"]) == ("9.9", 515)
            keyed.say(
                "Charger-8/up", protocol.UPDATE_STATUS, update=offered["update"], state="loading",
                offset=103,
            )  # fmt: skip
            expect(card.get_by_role("status")).to_have_text("20 %")

            # What it did is in its log.
            card.get_by_text("Log", exact=False).last.click()
            expect(card.locator(".events")).to_contain_text("Charger registered: Charger-8")
            assert accessibility_faults(page) == []
            assert no_sideways_scroll(page)

            page.reload()
            card = known.locator("#device-Charger-8")
            card.get_by_role("button", name="Send away").click()
            card.get_by_role("button", name="Yes, hear Charger-8 no more").click()
            expect(card).to_contain_text("sent away")
            assert "registered" not in keyed.announce_charger()
    finally:
        for device in (meter, bare, keyed):
            device.close()
        site.stop()
