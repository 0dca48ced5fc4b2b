"""Where the cars' energy comes from and when it is cheap or clean, brought to the core while the manager runs.

- What a driver wants: so many kWh until so much o'clock.
- The source of energy: by hand, by the provider's word at `[energy] source_url`, by windows, by the
  site file, the first of these that says something.
- The hours to come: day-ahead prices from the store (`ievcc tariffs` and the cloud fill it), and
  whatever a program hands over at /api/hours, for prices of no exchange or for carbon.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from manager import beside
from manager.core.events import Foreseen, Wished
from manager.core.site import SOURCES, Source, Wants
from manager.prices import spot_in
from manager.refusal import Refusal
from manager.run import Manager
from manager.store import StoreError

log = logging.getLogger(__name__)

ASK_S = 60.0
TRUSTED_S = 300.0  # a provider that has been silent for longer says nothing
_TIMEOUT_S = 10.0
_MOST = 64 * 1024
_AHEAD_S = 3 * 86_400
QUARTER_S = 900


@dataclass(frozen=True, slots=True)
class Asked:
    """What the site file says: `area` of day-ahead prices and `source_url`, "" for none."""

    area: str = ""
    source_url: str = ""


class Energy:
    """For one running manager; `run` is one of the services beside it."""

    def __init__(self, manager: Manager, store: Path, asked: Asked) -> None:
        self.manager = manager
        self._store = store
        self._asked = asked
        self._given: dict[str, dict[int, int]] = {}  # by /api/hours

    def wish(self, charger: str, kwh: float | None, until: str | None, max_a: int | None) -> str:
        """What the driver at this charger wants; nothing at all takes it back. Refusal if that cannot be."""
        manager = self.manager
        if charger not in manager.site.chargers:
            raise Refusal(f"no charger {charger}")
        if kwh is None and until is None and max_a is None:
            manager.apply(Wished(charger, None))
            return f"{charger}: nothing in particular is wanted"
        departs_ms = None
        words = []
        if kwh is not None:
            words.append(f"{kwh:g} kWh")
        if until is not None:
            utc_s = manager.clock.utc_ms() // 1000
            leaves = leaves_s(until, utc_s, manager.clock.minute_of_week(utc_s))
            departs_ms = manager.clock.now_ms() + (leaves - utc_s) * 1000
            words.append(f"until {until}")
        if max_a is not None:
            words.append(f"at most {max_a} A")
        wanted = None if kwh is None else round(kwh * 1000)
        manager.apply(Wished(charger, Wants(wanted, departs_ms, max_a)))
        return f"{charger}: {', '.join(words)}"

    def hours(self, prices: Mapping[int, int] | None, carbon: Mapping[int, int] | None) -> str:
        """Take over what a program knows of the hours to come. Refusal for quarters that are none."""
        for given in (prices or {}, carbon or {}):
            if any(start % QUARTER_S for start in given):
                raise Refusal("a quarter hour begins at a multiple of 900 s")
        if prices is not None:
            self._given["prices"] = dict(prices)
        if carbon is not None:
            self._given["carbon"] = dict(carbon)
        self.manager.apply(Foreseen(prices, carbon))
        return f"{len(prices or {})} prices, {len(carbon or {})} values of carbon"

    async def run(self) -> None:
        """Ask the store and the provider now and then, until cancelled."""
        while True:
            await self._read_prices()
            await self._ask_provider()
            await asyncio.sleep(ASK_S)

    async def _read_prices(self) -> None:
        if not self._asked.area or "prices" in self._given:
            return
        try:
            prices = await asyncio.to_thread(self._day_ahead)
        except StoreError as e:
            log.warning("day-ahead prices: %s", e)
            return
        if prices != self.manager.site.prices:
            self.manager.apply(Foreseen(prices=prices))

    def _day_ahead(self) -> dict[int, int]:
        now = int(time.time())
        with beside.look(self._store) as db:
            area = self._asked.area
            return spot_in(db, [area], now - QUARTER_S, now + _AHEAD_S)[area]

    async def _ask_provider(self) -> None:
        if not self._asked.source_url:
            return
        manager = self.manager
        try:
            said = await asyncio.to_thread(provider_says, self._asked.source_url)
        except Refusal as e:
            log.warning("%s", e)
            if manager.clock.now_ms() - manager.provider_ms > TRUSTED_S * 1000:
                manager.provider_says(None)
            return
        manager.provider_says(said)


def leaves_s(until: str, utc_s: int, minute_of_week: int) -> int:
    """The next time (s UTC) at which clocks here show `until`, HH:MM. Refusal if that is no time."""
    hours, _, minutes = until.partition(":")
    if not (hours.isdigit() and minutes.isdigit() and int(hours) < 24 and int(minutes) < 60):
        raise Refusal(f"{until!r} is not a time of day: HH:MM")
    wait = (int(hours) * 60 + int(minutes) - minute_of_week % 1440) % 1440
    begin = datetime.fromtimestamp(utc_s, UTC).replace(second=0, microsecond=0)
    return int((begin + timedelta(minutes=wait or 1440)).timestamp())


def provider_says(url: str) -> Source:
    """The source of energy this address names now: {"source": "grid"} or the bare word. Refusal if it does not."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the site file's own
            text = answer.read(_MOST).decode()
        said: Any = json.loads(text) if text.lstrip()[:1] in ("{", '"') else text.strip()
    except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException) as e:
        raise Refusal(f"{url}: no source of energy to be had ({e})") from e
    word = said.get("source") if isinstance(said, dict) else said
    if word not in SOURCES:
        raise Refusal(f"{url}: {word!r} is not one of {', '.join(SOURCES)}")
    return cast("Source", word)
