"""The [site] table of a scenario as the core's site."""

from __future__ import annotations

import dataclasses
from typing import Any

from manager.core.site import MAIN, POLICIES, SOURCES, Feeder, Settings, Site
from simulator.scenario import Scenario, ScenarioError

_KNOWN = {f.name: f for f in dataclasses.fields(Settings)}
_NOT_HERE = ("windows", "name")


def _keys() -> dict[str, tuple[str, int]]:
    """Key in the file -> (setting, factor): times in s and currents in A where the core has ms and
    mA.
    """
    keys: dict[str, tuple[str, int]] = {}
    for name in _KNOWN:
        if name.endswith("_ms"):
            keys[name[:-3] + "_s"] = (name, 1000)
        elif name.endswith("_ma"):
            keys[name[:-3] + "_a"] = (name, 1000)
        elif name not in _NOT_HERE:
            keys[name] = (name, 1)
    return keys


def site_of(scenario: Scenario) -> Site:
    """The site before anything happened. ScenarioError names a setting that is none."""
    settings: dict[str, Any] = {"name": "simulated"}
    keys = _keys()
    for key, value in scenario.site.items():
        if key in ("limit_a", "phases"):
            continue
        where = f"site.{key}"
        if key not in keys:
            raise ScenarioError(where, f"is not known here (known: {', '.join(sorted(keys))})")
        name, factor = keys[key]
        default = getattr(Settings(), name)
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise ScenarioError(where, f"{value!r} is not true or false")
        elif isinstance(default, str):
            among = POLICIES if name == "policy" else SOURCES
            if value not in among:
                raise ScenarioError(where, f"{value!r} is not one of {', '.join(among)}")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise ScenarioError(where, f"{value!r} is not a number of 0 or more")
        settings[name] = value if isinstance(default, (bool, str)) else round(value * factor)
    limits = (scenario.limit_a * 1000,) * scenario.phases
    settings.setdefault("max_chargers", max(64, len(scenario.chargers)))
    return Site(settings=Settings(**settings), feeders={MAIN: Feeder(MAIN, limits)})


def restored(kept: Site, now_ms: int) -> Site:
    """What a manager that starts again makes of what its disk holds."""
    del now_ms
    return kept
