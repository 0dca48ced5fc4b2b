"""The API of the site's settings: what the site file says, and changes to it at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pydantic import Field
from starlette.responses import JSONResponse

from manager import settings
from manager.refusal import Refusal
from manager.run import Manager
from manager.site_file import SiteFileError, parse
from manager.web.api import HEADERS, Answer, Body, Call, Conflict, Operation

Value = int | float | bool | str | list[int | float | str] | None


class SettingsAnswer(Answer):
    """What may be changed while the manager runs, as the site file says it; no keys."""

    version: str = Field(description="of the file; to be sent with changes")
    usual: dict[str, Value] = Field(description="what holds where the file says nothing")
    site: dict[str, Value]
    feeders: list[dict[str, Value]]
    windows: list[dict[str, Value]]
    devices: list[dict[str, Value]]


class Changes(Body):
    """What is to be otherwise; what is left out stays. A value null is taken out of the file."""

    version: str = Field(max_length=64, description="the version that was read")
    site: dict[str, Value] | None = Field(default=None, description="values of [site]")
    feeders: list[dict[str, Value]] | None = Field(
        default=None, max_length=200, description="all of them, or left out"
    )
    windows: list[dict[str, Value]] | None = Field(
        default=None, max_length=200, description="all of them, or left out"
    )
    devices: list[dict[str, Value]] | None = Field(
        default=None, max_length=2000, description="those that change, by id"
    )


def operations(manager: Manager, config: Path) -> list[Operation]:
    """These operations on this manager and its site file."""
    writing = asyncio.Lock()

    def text() -> str:
        try:
            return config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise Refusal(f"cannot read {config.name}: {e}") from e

    def shown(_: Call) -> dict[str, Any]:
        found = text()
        try:
            parse(found)
        except SiteFileError as e:
            raise Refusal(f"the site file has been broken since: {e}") from e
        return settings.shown(found)

    async def change(call: Call) -> Any:
        body: Changes = call.body
        async with writing:
            was = text()
            if settings.version(was) != body.version:
                raise Conflict("the site file has been changed meanwhile: read it again")
            try:
                new, site = settings.changed(was, body.model_dump(exclude={"version"}))
            except settings.SettingsError as e:
                said = {"words": str(e), "where": e.where}
                return JSONResponse(said, 400, headers=HEADERS)
            manager.can_go_by(site.site)
            await asyncio.to_thread(settings.write, config, new)
            manager.reconfigure(site.site)
            manager.reread()
            return settings.shown(new)

    return [
        Operation(
            "GET", "/api/settings", "The site's settings", shown, "administrator",
            answer=SettingsAnswer, tag="settings",
        ),
        Operation(
            "PUT", "/api/settings", "Change the site's settings", change, "administrator",
            body=Changes, answer=SettingsAnswer, tag="settings",
            about="Checked as the site file is at start, written whole, in force at once. A "
            "change that cannot be leaves file and manager as they are.",
        ),
    ]  # fmt: skip
