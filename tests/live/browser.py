"""Chromium for tests of pages: opened for a test, everything it complains about kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

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
expect.set_options(timeout=20_000)
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1200, "height": 900}


@contextmanager
def chromium_at(path: str) -> Iterator[Browser]:
    """The browser at this path."""
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


class Watched:
    """A page and everything it complained about; `expected` statuses are no complaint."""

    def __init__(self, page: Page, expected: tuple[int, ...] = ()) -> None:
        self.page = page
        self.expected = expected
        self.complaints: list[str] = []
        page.set_default_timeout(20_000)
        page.on("console", self._said)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))
        page.on("requestfailed", lambda r: self.complaints.append(f"{r.url}: {r.failure}"))
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        # Chromium itself says of every refused request that it was; `_answered` looks at those.
        if message.type in ("error", "warning") and "status of 4" not in message.text:
            self.complaints.append(message.text)

    def _answered(self, response: Any) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.complaints.append(f"{response.status} {response.url}")


@contextmanager
def watched(
    browser: Browser, *, expected: tuple[int, ...] = (), **context: Any
) -> Iterator[Watched]:
    """A fresh page, on a phone unless told otherwise; at the end it must not have complained."""
    opened = browser.new_context(**{"viewport": PHONE, "locale": "en-GB", **context})
    page = Watched(opened.new_page(), expected)
    yield page
    # A stream that is open when its page is left is cut off.
    complaints = [c for c in page.complaints if "ERR_ABORTED" not in c]
    assert not complaints, complaints
    opened.close()


def no_sideways_scroll(page: Page) -> bool:
    """Whether the page is no wider than the screen."""
    return bool(
        page.evaluate(
            "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def accessibility_faults(page: Page) -> list[str]:
    """What axe-core finds wrong: rule, and the first element it is about."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]}" for v in found]
