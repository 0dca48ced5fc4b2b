"""The API of energy: what drivers want, where it comes from, what the hours to come cost and emit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from manager.core.site import Charger
from manager.energy import Energy
from manager.refusal import Refusal
from manager.web.api import Body, Call, NotAllowed, Operation


class Wish(Body):
    """What a driver wants; null for what nobody said, all null takes it back."""

    charger: str = Field(description="a charger's name")
    kwh: float | None = Field(default=None, gt=0, le=500, description="kWh wanted, up to 500")
    until: str | None = Field(
        default=None, pattern=r"^\d{1,2}:\d\d$", description="when the car leaves, HH:MM of here"
    )
    max_a: int | None = Field(default=None, ge=6, le=80, description="at most so many A, 6 to 80")


class Choice(Body):
    """Where the cars' energy comes from."""

    source: Literal["grid", "solar_first", "solar_only"] | None = Field(
        description="grid, solar_first or solar_only; null to go by the site file again"
    )


class Quarter(Body):
    """One quarter hour to come."""

    start_s: int = Field(ge=0, le=1 << 40, description="s since 1970 (UTC), a multiple of 900")
    value: int = Field(ge=-(10**9), le=10**9, description="a whole number")


class Hours(Body):
    """What the hours to come cost and emit; null leaves as it was."""

    prices: list[Quarter] | None = Field(
        default=None, max_length=1000, description="millionths of the currency per kWh"
    )
    carbon: list[Quarter] | None = Field(
        default=None, max_length=1000, description="g CO2 per kWh"
    )


def operations(energy: Energy) -> list[Operation]:
    """These operations on this manager."""
    manager = energy.manager

    def wanted(call: Call) -> str:
        body: Wish = call.body
        charger: Charger | None = manager.site.chargers.get(body.charger)
        if charger is None:
            raise Refusal(f"no charger {body.charger}")
        if call.role == "tenant" and str(call.user) != charger.wants.user:
            raise NotAllowed("somebody else, or nobody, charges there: hold your card to it first")
        return energy.wish(body.charger, body.kwh, body.until, body.max_a)

    async def source(call: Call) -> str:
        return await manager.kept(manager.choose_source(call.body.source))

    def foreseen(call: Call) -> str:
        body: Hours = call.body
        given = [
            None if quarters is None else {q.start_s: q.value for q in quarters}
            for quarters in (body.prices, body.carbon)
        ]
        if given == [None, None]:
            raise Refusal("give prices or carbon")
        return energy.hours(*given)

    return [
        Operation(
            "POST", "/api/wish", "Say what a driver wants: kWh, until when, at most how much",
            wanted, "tenant", body=Wish, tag="energy",
            about="A tenant may where the running session is his own. Ends as the car leaves.",
        ),
        Operation(
            "POST", "/api/source", "Choose where the cars' energy comes from", source,
            body=Choice, tag="energy", about="Goes before provider, windows and site file.",
        ),
        Operation(
            "PUT", "/api/hours", "Hand over what the hours to come cost and emit", foreseen,
            body=Hours, tag="energy", about="For the policies cheapest and green.",
        ),
    ]  # fmt: skip
