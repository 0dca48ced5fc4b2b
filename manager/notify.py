"""Who is told when something is wrong, or a car is full: by webhook, e-mail, ntfy and whatever else
Apprise knows. From a thread of its own: nothing here is waited for.

Every second the site is looked at for conditions: a fault, a device that is gone, a full car, an
overload, a reader that saw one wrong card after the other. A condition that is new is told, once; the
same again after the rule's `again_s` at the earliest, so that a device that comes and goes does not
flood. What comes within GROUP_S is one message, and one that could not be sent is tried again, with
what came meanwhile in it, by the next manager if this one ends. Each is told in the language of its rule.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manager import store as tables
from manager.asking import SITE_FILE, Config
from manager.core.site import MAIN, House
from manager.history import feeder_now
from manager.integrations import Subject, Told
from manager.reception import NOT_ACCEPTED
from manager.refusal import Refusal
from manager.site_file import SiteFileError, load
from manager.translated import translated

if TYPE_CHECKING:
    from manager.core.site import Site
    from manager.run import Manager

log = logging.getLogger(__name__)

LOOK_S = 1.0
GROUP_S = 5.0  # what comes within is one message
GONE_MS = 15_000  # a device that starts anew is back before
OVER_MS = 10_000  # a limit exceeded for longer: the house alone, or a charger that does not obey
WRONG_CARDS = 5  # in a row: a charger's reader rests a minute then
LINES_MOST = 20  # of one message; the rest is counted
_RETRY_S = (10.0, 30.0, 60.0, 300.0)
_WAITING_MOST = 200  # lines for somebody who cannot be reached
_UNTOLD = "untold"  # in the store's table of the site

Key = tuple[Subject, str]  # what, of which device
Send = Callable[[str, str, str], None]  # url, title, body; Refusal if it did not go


def conditions(
    site: Site, gone_ms: Mapping[str, int], over_ms: int | None, now_ms: int
) -> dict[Key, tuple[str, str]]:
    """What is to be told now: words and the user concerned. `gone_ms`: since when a device is gone;
    `over_ms`: since when the building draws more than it may.
    """
    found: dict[Key, tuple[str, str]] = {}
    if over_ms is not None and now_ms - over_ms >= OVER_MS:
        now = _building(site)
        found["overload", ""] = (
            f"the building draws {max(now['total_a']):.1f} A; its limit is {min(now['limit_a']):g} A",
            "",
        )
    for device in (*site.meters, *site.chargers):
        since = gone_ms.get(device)
        if since is not None and now_ms - since >= GONE_MS:
            found["offline", device] = f"{device} is offline", ""
    for c in site.chargers.values():
        if c.faults:
            found["fault", c.id] = f"{c.id} has a fault: {', '.join(c.faults)}", ""
        if c.asleep and c.session_wh > 0 and c.state[:1] in ("B", "C", "D"):
            words = f"the car at {c.id} is full: {c.session_wh / 1000:.1f} kWh"
            found["full", c.id] = words, c.wants.user
    return found


def _building(site: Site) -> Mapping[str, Any]:
    house = site.houses.get(MAIN) or House((0,) * site.feeders[MAIN].phases)
    return feeder_now(site, MAIN, house)


def _over(site: Site) -> bool:
    now = _building(site)
    return any(total > limit for total, limit in zip(now["total_a"], now["limit_a"], strict=True))


@dataclass(slots=True)
class _Line:
    """What one of those who are told has still to be sent."""

    rule: Told
    waiting: list[str] = field(default_factory=list)
    beyond: int = 0
    due: float = 0.0
    failures: int = 0
    told: dict[Key, float] = field(default_factory=dict)

    def hear(self, key: Key, words: str, user: str, now: float) -> None:
        """Something of the site's; taken if it is this one's business and not told just now."""
        subject, _ = key
        if subject not in self.rule.about or (self.rule.user and user != self.rule.user):
            return
        last = self.told.get(key)
        if last is not None and now - last < self.rule.again_s:
            return
        self.told[key] = now
        if not self.waiting:
            self.due = max(self.due, now + GROUP_S)
        if len(self.waiting) < _WAITING_MOST:
            self.waiting.append(translated(words, self.rule.language))
        else:
            self.beyond += 1

    def body(self) -> str:
        """The message."""
        left = len(self.waiting) - LINES_MOST + self.beyond
        more = [translated(f"and {left} more", self.rule.language)] if left > 0 else []
        return "\n".join([*self.waiting[:LINES_MOST], *more])


class Teller:
    """For one running manager; `run` looks, a thread sends."""

    def __init__(self, manager: Manager, rules: Iterable[Told], send: Send | None = None) -> None:
        self._manager = manager
        self._lines = [_Line(rule) for rule in rules]
        self._send = send or send_by_apprise
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._seen: set[Key] = set()
        self._gone_ms: dict[str, int] = {}
        self._over_ms: int | None = None
        self._wrong: dict[str, int] = {}  # cards in a row, by charger
        self._noticed: dict[Key, str] = {}
        untold = manager.store.site().get(_UNTOLD, {})
        for line in self._lines:
            line.waiting += untold.get(line.rule.name, [])
        manager.noted.append(self._noted)

    def _noted(self, kind: str, device: str, words: str) -> None:
        if kind == "overload":
            self._noticed["overload", ""] = words
        elif kind == "card":
            wrong = self._wrong.get(device, 0) + 1 if NOT_ACCEPTED in words else 0
            self._wrong[device] = wrong
            if wrong and wrong % WRONG_CARDS == 0:
                said = f"{wrong} cards in a row were not accepted at {device}"
                self._noticed["cards", device] = said

    def _keep(self) -> None:
        """So that a manager started anew tells what this one could not. With the lock held."""
        untold = {line.rule.name: line.waiting for line in self._lines if line.waiting}
        self._manager.store.write([(tables.SITE, (_UNTOLD, json.dumps(untold)))])

    async def run(self) -> None:
        """Look at the site until cancelled."""
        thread = threading.Thread(target=self._send_all, name="notify", daemon=True)
        thread.start()
        try:
            while True:
                self._look()
                await asyncio.sleep(LOOK_S)
        finally:
            self._stopped.set()

    def _look(self) -> None:
        site, now_ms = self._manager.site, self._manager.clock.now_ms()
        there = {m.id: m.online for m in site.meters.values()}
        there |= {c.id: c.online for c in site.chargers.values()}
        for device, online in there.items():
            if online:
                self._gone_ms.pop(device, None)
            else:
                self._gone_ms.setdefault(device, now_ms)
        if not _over(site):
            self._over_ms = None
        elif self._over_ms is None:
            self._over_ms = now_ms
        found = conditions(site, self._gone_ms, self._over_ms, now_ms)
        new = {key: said for key, said in found.items() if key not in self._seen}
        self._seen = set(found)
        new |= {key: (words, "") for key, words in self._noticed.items()}
        self._noticed.clear()
        now = time.monotonic()
        if not new:
            return
        with self._lock:
            for key, (words, user) in new.items():
                for line in self._lines:
                    line.hear(key, words, user, now)
            self._keep()

    def _send_all(self) -> None:
        title = f"IEVCC {self._manager.site.settings.name}"
        while not self._stopped.wait(0.5):
            for line in self._lines:
                with self._lock:
                    if not line.waiting or time.monotonic() < line.due:
                        continue
                    body, count, beyond = line.body(), len(line.waiting), line.beyond
                try:
                    self._send(line.rule.url, title, body)
                except Refusal as e:
                    if not line.failures:
                        log.warning("%s cannot be told: %s", line.rule.name, e)
                    wait_s = _RETRY_S[min(line.failures, len(_RETRY_S) - 1)]
                    line.failures += 1
                    line.due = time.monotonic() + wait_s
                    continue
                with self._lock:
                    del line.waiting[:count]
                    line.beyond -= beyond
                    line.failures, line.due = 0, time.monotonic() + GROUP_S
                    self._keep()


def send_by_apprise(url: str, title: str, body: str) -> None:
    """One message. Refusal if it did not go; the address, which may hold a password, is not in it."""
    try:
        import apprise  # noqa: PLC0415 - an extra, and a second's work for a Raspberry Pi
    except ImportError:
        raise Refusal("Apprise is not installed: pip install 'ievcc-manager[notify]'") from None
    apprise_log = logging.getLogger("apprise")
    apprise_log.propagate = False  # it writes addresses
    apprise_log.addHandler(logging.NullHandler())
    one = apprise.Apprise.instantiate(url)
    if one is None:
        raise Refusal("its url is none that Apprise knows; docs/integrations.md has examples")
    if not one.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT):
        raise Refusal(f"the server for {one.service_name} did not take it, or is not there")


app = typer.Typer(no_args_is_help=True, help="Who is told when something is wrong.")


@app.callback()
def _only() -> None:
    """Keeps the single command's name."""


@app.command("test")
def send_a_test(
    name: Annotated[str, typer.Argument(help="of one [[notify]]; left out: all")] = "",
    config: Config = SITE_FILE,
) -> None:
    """Send everybody of the site file, or one, a message now."""
    try:
        file = load(config)
    except SiteFileError as e:
        raise Refusal(f"{config}: {e}") from e
    rules = [r for r in file.integrations.told if name in ("", r.name)]
    if not rules:
        raise Refusal(f"{config}: no [[notify]]{f' of the name {name}' if name else ''}")
    failed = []
    for rule in rules:
        try:
            words = translated("a test: this reaches you", rule.language)
            send_by_apprise(rule.url, f"IEVCC {file.site.settings.name}", words)
            typer.echo(f"{rule.name}: sent")
        except Refusal as e:
            failed.append(f"{rule.name}: {e}")
    if failed:
        raise Refusal("; ".join(failed))
