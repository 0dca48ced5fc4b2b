"""The [site], [[feeder]] and [[window]] tables of a scenario as the core's site.

They are the site file's own: a site file is put together from them and checked as one.
"""

from __future__ import annotations

import json
from typing import Any

from manager.core.plain import site_from_plain, site_to_plain
from manager.core.site import Site
from manager.site_file import SiteFileError
from manager.site_file import parse as parse_site_file
from simulator.scenario import Scenario, ScenarioError


def _written(value: object) -> str:
    """A TOML value: what JSON writes for text, numbers, true and false, and lists of these."""
    return json.dumps(value)


def _table(header: str, values: dict[str, Any]) -> list[str]:
    return [header, *(f"{key} = {_written(value)}" for key, value in values.items()), ""]


def site_file_of(scenario: Scenario) -> str:
    """The site file of this scenario's building."""
    chargers = len(scenario.chargers)
    most = {"max_counters": 2, "max_chargers": max(64, chargers)}
    site = {"name": "simulated", **most, **scenario.site, "open": True}
    lines = _table("[site]", site)
    for feeder in scenario.feeders:
        lines += _table("[[feeder]]", dict(feeder))
    for window in scenario.windows:
        lines += _table("[[window]]", dict(window))
    for c in scenario.chargers:
        device = {"id": c.name, "priority": c.priority, "failsafe_a": c.failsafe_a}
        if c.feeder:
            device["feeder"] = c.feeder
        lines += _table("[[device]]", device)
    return "\n".join(lines)


def site_of(scenario: Scenario) -> Site:
    """The site before anything happened. ScenarioError says what the site file's check refuses."""
    try:
        return parse_site_file(site_file_of(scenario)).site
    except SiteFileError as e:
        # The line is one of the file put together here, which nobody sees.
        where = f"site.{e.where}" if e.where and "." not in e.where else e.where
        words = str(e).removeprefix(f"line {e.line}: ").removeprefix(f"{e.where}: ")
        raise ScenarioError(where, words) from e


def kept(site: Site) -> str:
    """What a manager has on its disk of this site."""
    return json.dumps(site_to_plain(site))


def restored(text: str, now_ms: int) -> Site:
    """What a manager that starts again makes of it."""
    return site_from_plain(json.loads(text), now_ms)
