"""The API of what was: readings in steps, events, decisions."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field

from manager import past
from manager.core.reasons import numbers
from manager.run import Manager
from manager.view import event_words
from manager.web.api import Answer, Call, Operation, Query

_LATEST_MS = 1 << 43  # the year 2248


class Span(Query):
    """A time, and how finely."""

    from_ms: int = Field(ge=0, le=_LATEST_MS, description="from, ms since 1970")
    to_ms: int = Field(ge=0, le=_LATEST_MS, description="to, ms since 1970; itself not in it")
    step_s: int | None = Field(
        default=None,
        ge=10,
        le=86_400,
        description="step, 10 to 86400 s; left out: as a plot needs",
    )


class Stepped(Answer):
    """One device, a value a step; null where nothing was read."""

    id: str
    role: str = Field(description="house, grid, solar, feeder, or charger")
    mean_a: list[float | None]
    peak_a: list[float | None]
    energy_wh: list[int | None] = Field(description="of all phases, by its own counter")


class History(Answer):
    """Readings in steps."""

    from_ms: int
    step_s: int
    t: list[int] = Field(description="beginning of each step, s since 1970")
    limit_a: float = Field(description="of the main feeder, as it is now")
    devices: list[Stepped]


class Page(Query):
    """Some of a list, newest first."""

    before: int | None = Field(
        default=None, ge=0, le=1 << 53, description="only those numbered below, 0 or more"
    )
    count: int = Field(default=50, ge=1, le=500, description="how many, 1 to 500")
    device: str | None = Field(default=None, max_length=64, description="of this device only")


class PastEvent(Answer):
    """Something worth telling; `device` "" is the site."""

    n: int
    at_ms: int
    kind: str
    device: str
    code: str = Field(description="a charger's state letter where kind is state")
    words: str


class Events(Answer):
    """Events, newest first."""

    events: list[PastEvent]


class Decision(Answer):
    """What a charger was given from then on, and why."""

    n: int
    at_ms: int
    charger: str
    offer_a: int
    lease: int
    reason: str
    words: str
    numbers: dict[str, float | str] = Field(description="those in the words, by name")


class Decisions(Answer):
    """Decisions, newest first."""

    decisions: list[Decision]


def operations(manager: Manager) -> list[Operation]:
    """These operations on this manager's store."""
    path = manager.store.path

    async def history(call: Call) -> dict[str, Any]:
        q: Span = call.query
        roles = {m.id: m.role for m in manager.site.meters.values()}
        said = await asyncio.to_thread(past.history, path, q.from_ms, q.to_ms, q.step_s, roles)
        return {**said, "limit_a": min(manager.site.feeders["main"].limit_ma) / 1000}

    async def events(call: Call) -> dict[str, Any]:
        q: Page = call.query
        found = await asyncio.to_thread(past.events, path, q.before, q.count, q.device)
        return {"events": [event_words(e) for e in found]}

    async def decisions(call: Call) -> dict[str, Any]:
        q: Page = call.query
        found = await asyncio.to_thread(past.decisions, path, q.before, q.count, q.device)
        return {"decisions": [{**d, "numbers": numbers(d["reason"], d["words"])} for d in found]}

    return [
        Operation(
            "GET", "/api/history", "Currents and energies in steps", history,
            query=Span, answer=History, tag="past",
            about=f"At most {past.POINTS_MOST} steps and 400 days.",
        ),
        Operation(
            "GET", "/api/events", "What was worth telling", events,
            query=Page, answer=Events, tag="past",
        ),
        Operation(
            "GET", "/api/decisions", "What chargers were given, and why", decisions,
            query=Page, answer=Decisions, tag="past",
        ),
    ]  # fmt: skip
