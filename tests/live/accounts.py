"""Accounts for tests of the page: made by the command line, used in the browser."""

from __future__ import annotations

import subprocess
import sys

from playwright.sync_api import Page

from tests.live.running import Running


def ievcc(site: Running, *words: str, given: str = "") -> None:
    """A command of ours on this site."""
    command = [sys.executable, "-m", "manager", *words, "--config", str(site.config)]
    subprocess.run(command, input=given, text=True, check=True, timeout=60)


def account(site: Running, name: str, *words: str) -> None:
    """Give somebody an account."""
    ievcc(site, "accounts", "add", name, "--stdin", *words, given=f"secret of {name}\n")


def log_in(page: Page, site: Running, name: str) -> None:
    """Log in with it."""
    page.goto(site.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(f"secret of {name}")
    page.get_by_role("button", name="Log in").click()
    page.locator("#main[data-ready=now]").wait_for()
