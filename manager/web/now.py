"""The API of what is: state, the last hour, both live; limits, priorities, start and stop by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import Field, StrictBool
from starlette.responses import StreamingResponse

from manager.refusal import Refusal
from manager.run import Manager
from manager.view import state
from manager.web.api import Answer, Body, Call, NotAllowed, Operation

LIVE_S = 0.5  # the shortest time between two events of the live stream; the longest is twice that

Numbers = dict[str, int]


class Feeder(Answer):
    """A cable with a limit: main, and those under it. One number a phase."""

    name: str
    parent: str
    limit_a: list[float]
    house_a: list[float]
    cars_a: list[float]
    total_a: list[float]
    headroom_a: list[float] = Field(description="left for cars")
    margin_a: float = Field(description="kept free for the house's next step")
    known: Literal["measured", "silent", "lost", "unmeasured"]
    known_words: str


class Device(Answer):
    """What meters and chargers have in common."""

    id: str
    feeder: str
    online: bool
    state: str
    model: str
    firmware: str
    boot: int
    current_a: list[float]
    refused: Numbers = Field(description="messages that were not taken, by kind")


class Meter(Device):
    """An energy meter as last heard."""

    kind: Literal["meter"]
    role: str
    role_words: str
    power_w: int | None = Field(description="of all phases, null where it is not known")
    age_ms: int | None
    age_words: str


class Wished(Answer):
    """What the driver wants, as far as he has said."""

    wh: int | None
    left_wh: int | None = Field(description="of that, what it still lacks")
    leaves_ms: int | None = Field(description="ms since 1970")
    max_a: int | None
    ready_ms: int | None = Field(
        description="when it will have that, going on as now; null where nobody can say"
    )


class Charger(Device):
    """A charger as last heard, what it was given, and why."""

    kind: Literal["charger"]
    order: int
    counter: str
    phases: list[int]
    min_a: int
    max_a: int
    failsafe_a: int
    heard_ms_ago: int
    state_words: str
    mode: str
    faults: list[str]
    offer_a: int
    limit_a: int
    target_a: int
    worst_a: int
    drawn_a: float
    session_wh: int
    user: str = Field(description='who charges; "" where nobody is known')
    wish: Wished | None = Field(description="null where nobody has said anything")
    lease: int
    lease_left_ms: int
    priority: int
    by_hand_a: int | None = Field(description="limit set by hand, null for none")
    reason: dict[str, Any] = Field(description="kind, words and the numbers in them")


class Event(Answer):
    """Something worth telling."""

    at_ms: int
    kind: str
    device: str
    code: str = Field(description="a charger's state letter where kind is state")
    words: str


class Broker(Answer):
    """The link to MQTT."""

    connected: bool
    host: str
    port: int
    messages_refused: int = Field(description="by the broker itself: not their sender's topic")
    bytes_refused: int = Field(
        description="of these and of retained ones and of QoS 2, which mosquitto does not number"
    )
    connections_refused: int = Field(description="by the broker itself: no or another's password")


class Sink(Answer):
    """A program that is told of what is kept."""

    name: str
    sent: int = Field(description="records since the manager started")
    passed_over: int = Field(description="times it said that it will never take something")
    trouble: str = Field(description='why records wait for it; "" when they do not')


class State(Answer):
    """Everything a manager knows now."""

    at_ms: int
    name: str
    timezone: str
    policy: str
    update_interval_ms: int
    by_hand_a: int | None = Field(description="the site's limit set by hand, null for none")
    uptime_s: int
    boot: int
    broker: Broker
    store: str
    taken: int
    refused: Numbers
    solar_w: int | None = Field(description="what the sun gives, null without a solar meter")
    feeders: list[Feeder]
    meters: list[Meter]
    chargers: list[Charger]
    events: list[Event]
    sinks: list[Sink] | None = Field(
        default=None, description="fog, InfluxDB, emoncms, where there are any"
    )


class Point(Answer):
    """One second of the last hour, on the phase nearest its limit."""

    t: float = Field(description="s since 1970, UTC")
    limit: float
    house: float
    total: float
    cars: dict[str, float]
    offers: dict[str, int]


class Recent(Answer):
    """The last hour."""

    points: list[Point]


class Limit(Body):
    """A limit by hand."""

    charger: str = Field(default="", description='a charger\'s name, "" for the whole site')
    limit_a: int | None = Field(
        ge=0, le=200, description="a limit is a whole number of amperes, 0 to 200, null for none"
    )


class Priority(Body):
    """Who is served first."""

    charger: str = Field(description="a charger's name")
    priority: int = Field(ge=0, le=9, description="a priority is a whole number, 0 (first) to 9")


class Charging(Body):
    """Start or stop."""

    charger: str = Field(description="a charger's name")
    on: StrictBool = Field(description="true to start, false to stop")


def operations(manager: Manager, ending: asyncio.Event) -> list[Operation]:
    """These operations on this manager; live streams end when `ending` is set."""

    def now(call: Call) -> dict[str, Any]:
        return _for(call, state(manager))

    def recent(_: Call) -> dict[str, Any]:
        return {"points": list(manager.history.points)}

    def live(call: Call) -> StreamingResponse:
        return StreamingResponse(_events(manager, ending, call), media_type="text/event-stream")

    async def limit(call: Call) -> str:
        words = manager.limit_by_hand(call.body.charger, call.body.limit_a)
        return await manager.kept(words)

    async def priority(call: Call) -> str:
        words = manager.set_priority(call.body.charger, call.body.priority)
        return await manager.kept(words)

    def charging(call: Call) -> str:
        charger = manager.site.chargers.get(call.body.charger)
        if charger is None:
            raise Refusal(f"no charger {call.body.charger}")
        if call.role == "tenant" and not _own(call, charger.wants.user):
            raise NotAllowed("somebody else, or nobody, charges there: hold your card to it first")
        return manager.command(charger.id, "start" if call.body.on else "stop")

    return [
        Operation(
            "GET", "/api/state", "Everything the manager knows now", now, "tenant", answer=State
        ),
        Operation(
            "GET", "/api/recent", "The last hour, a point a second", recent, "tenant",
            answer=Recent,
        ),
        Operation(
            "GET", "/api/live", "State and newest point as server-sent events", live, "tenant",
            answer="text/event-stream", about="At most two a second.",
        ),
        Operation(
            "POST", "/api/limit", "Limit the site or a charger by hand, or take that back", limit,
            body=Limit, about="Never above what the site file says.",
        ),
        Operation(
            "POST", "/api/priority", "Say which chargers are served first", priority,
            body=Priority,
        ),
        Operation(
            "POST", "/api/charging", "Start or stop charging", charging, "tenant", body=Charging,
            about="A tenant may where the running session is his own.",
        ),
    ]  # fmt: skip


def _own(call: Call, user: str) -> bool:
    return bool(user) and str(call.user) == user


def _for(call: Call, whole: dict[str, Any]) -> dict[str, Any]:
    """What the one who asks may know of it: a tenant not who else charges, nor what goes on."""
    if call.role != "tenant":
        return whole
    hidden = {"user": "", "wish": None, "session_wh": 0}
    chargers = [
        {**c, **({} if _own(call, c["user"]) or not c["user"] else hidden), "refused": {}}
        for c in whole["chargers"]
    ]
    meters = [{**m, "refused": {}} for m in whole["meters"]]
    return {
        **whole,
        "chargers": chargers,
        "meters": meters,
        "events": [],
        "store": whole["store"] if whole["store"] == "ok" else "the disk takes nothing",
        "refused": {},
        "broker": {
            **whole["broker"],
            "messages_refused": 0,
            "bytes_refused": 0,
            "connections_refused": 0,
        },
        "sinks": [],
    }


async def _events(manager: Manager, ending: asyncio.Event, call: Call) -> AsyncIterator[str]:
    while not ending.is_set():
        points = manager.history.points
        said = {"state": _for(call, state(manager)), "point": points[-1] if points else None}
        yield f"data: {json.dumps(said)}\n\n"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), LIVE_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(manager.news(), LIVE_S)
