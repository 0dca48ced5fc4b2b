"""The site file changed while the manager runs: a table here and there, its comments left alone.

What may be changed is what the running manager can take over at once. The new text goes through
the same checks as the file at start; keys and passwords are neither shown nor taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Table

from manager.refusal import Refusal
from manager.site_file import SiteFile, SiteFileError, parse

# Of [site]; its name and phases belong to the topics and the wiring, and want a new start.
SITE = (
    "limit_a", "policy", "source", "update_interval_s", "worst_house_a", "margin_a", "max_active",
    "max_chargers", "max_counters", "turn_min", "min_on_s", "min_off_s", "ttl_s", "renew_s",
    "meter_silent_s", "meter_lost_s",
)  # fmt: skip
FEEDER = ("name", "limit_a", "parent", "worst_house_a")
WINDOW = ("days", "start", "end", "max_a", "source", "charger")
DEVICE = ("feeder", "priority", "failsafe_a")


class SettingsError(Refusal):
    """A site that cannot be. `where` names the value, as "site.renew_s" or "window[2].start"."""

    def __init__(self, where: str, words: str) -> None:
        super().__init__(words)
        self.where = where


def usual() -> dict[str, Any]:
    """What holds of `SITE` where the file says nothing."""
    site = parse("[site]\nlimit_a = 30\n").site.settings
    found: dict[str, Any] = {"margin_a": site.margin_ma / 1000, "turn_min": site.turn_ms / 60_000}
    for name in SITE:
        if name.endswith("_s"):
            found[name] = getattr(site, name.removesuffix("_s") + "_ms") / 1000
        elif hasattr(site, name) and getattr(site, name) is not None:
            found[name] = getattr(site, name)
    return found


def version(text: str) -> str:
    """What changes when the file does."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shown(text: str) -> dict[str, Any]:
    """What may be seen and changed of a site file's text, as the file says it."""
    raw = tomllib.loads(text)
    return {
        "version": version(text),
        "usual": usual(),
        "site": _only(raw.get("site", {}), SITE),
        "feeders": [_only(t, FEEDER) for t in raw.get("feeder", [])],
        "windows": [_only(t, WINDOW) for t in raw.get("window", [])],
        "devices": [{"id": t["id"], **_only(t, DEVICE)} for t in raw.get("device", [])],
    }


def _only(table: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: table[name] for name in names if name in table}


def changed(text: str, changes: Mapping[str, Any]) -> tuple[str, SiteFile]:
    """The text with `changes` (of the shape of `shown`) made, and the site it says.

    In `site` and in each of `devices` null takes a value out, and what is not named stays;
    `feeders` and `windows` are given whole, or left out. SettingsError says what cannot be.
    """
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as e:
        raise SettingsError("", f"the site file is not TOML: {e}") from e
    if changes.get("site"):
        _set(document.setdefault("site", tomlkit.table()), changes["site"], SITE, "site")
    listed = {str(t.get("id")): t for t in document.get("device", ())}
    for n, device in enumerate(changes.get("devices") or (), 1):
        name = device.get("id")
        if name not in listed:
            raise SettingsError(f"device[{n}].id", f"{name} is not listed in the site file")
        rest = {k: v for k, v in device.items() if k != "id"}
        _set(listed[name], rest, DEVICE, f"device[{n}]")
    for key, table, names in (("feeders", "feeder", FEEDER), ("windows", "window", WINDOW)):
        if changes.get(key) is not None:
            _replace_tables(document, table, changes[key], names)
    new = tomlkit.dumps(document)
    try:
        return new, parse(new)
    except SiteFileError as e:
        # The line is one of a text that nobody has seen.
        raise SettingsError(e.where, str(e).partition(": ")[2] if e.line else str(e)) from e


def _set(table: Table, values: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name, value in values.items():
        if name not in names:
            raise SettingsError(f"{where}.{name}", f"{name} is not changed here")
        if value is None:
            table.pop(name, None)
        elif table.get(name) != value:
            table[name] = value


def _replace_tables(
    document: tomlkit.TOMLDocument, key: str, rows: list[Mapping[str, Any]], names: tuple[str, ...]
) -> None:
    new = AoT([])
    for n, row in enumerate(rows, 1):
        table = tomlkit.table()
        _set(table, row, names, f"{key}[{n}]")
        new.append(table)
    if rows:
        document[key] = new
    else:
        document.pop(key, None)


def write(path: Path, text: str) -> None:
    """Replace the file at once and durably, its rights kept. Refusal if the disk does not let us."""
    new = path.with_name(f".{path.name}.new")
    try:
        mode = path.stat().st_mode & 0o777
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as e:
        with contextlib.suppress(OSError):
            new.unlink()
        raise Refusal(f"cannot write {path.name}: {e.strerror}; nothing was changed") from e
