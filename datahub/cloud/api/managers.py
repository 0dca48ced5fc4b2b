"""What a building's manager fetches: its signed copy of cards, users, devices and tariffs."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from datahub.cloud.api.access import Doors, doors_of, site_of
from datahub.cloud.api.asking import Number
from datahub.fog import record

router = APIRouter(prefix="/manager", tags=["manager"])
_WAIT_MOST_S = 25.0

Site = Annotated[tuple[int, str, bytes, int], Depends(site_of)]


class Result(BaseModel):
    """What became of a wish."""

    result: str = Field(max_length=200)


class CardAsked(BaseModel):
    """A card, as the hash made with the site's key."""

    hash: str = Field(pattern="^[0-9a-f]{20}$")


class CardAnswer(BaseModel):
    """Whether it is known, whose it is, and what they may do."""

    verdict: str
    person: int | None = None
    name: str = ""
    rights: dict[str, Any] = {}


@router.get("/copy")
async def copy(
    request: Request,
    site: Site,
    doors: Annotated[Doors, Depends(doors_of)],
    have: Annotated[int, Field(ge=0)] = 0,
    wait_s: Annotated[float, Field(ge=0, le=_WAIT_MOST_S)] = 0,
) -> Response:
    """Everything the manager works from, signed with the site's key (header `X-Ievcc-Mac`).

    304 if its version is still `have`; with `wait_s` the answer waits that long for a change.
    """
    number, name, key, version = site
    ends = time.monotonic() + wait_s
    while version == have and time.monotonic() < ends and not await request.is_disconnected():
        version = await doors.versions.look(name)
    if version == have:
        return Response(status_code=304)
    body = await anyio.to_thread.run_sync(_copy, doors, number)
    return Response(
        body,
        media_type="application/json",
        headers={"X-Ievcc-Mac": record.mac(key, body).decode()},
    )


def _copy(doors: Doors, number: int) -> bytes:
    with doors.nobody() as db:
        row = db.execute("SELECT site_copy(%s)", (number,)).fetchone()
    assert row is not None
    whole = {**row[0], "made_s": int(time.time())}
    return json.dumps(whole, separators=(",", ":"), sort_keys=True).encode()


@router.post("/card")
def card(asked: CardAsked, site: Site, doors: Annotated[Doors, Depends(doors_of)]) -> CardAnswer:
    """Whether a card is known, now, and what its holder may do."""
    with doors.nobody() as db:
        row = db.execute("SELECT site_copy(%s)", (site[0],)).fetchone()
    assert row is not None
    people = {p.pop("id"): p for p in row[0]["people"]}
    for known in row[0]["cards"]:
        if known["hash"] == asked.hash:
            rights = people[known["person"]]
            name = rights.pop("name")
            return CardAnswer(verdict="accepted", person=known["person"], name=name, rights=rights)
    return CardAnswer(verdict="unknown")


@router.post("/wishes/{wish}")
def wish_done(
    wish: Number, result: Result, site: Site, doors: Annotated[Doors, Depends(doors_of)]
) -> bool:
    """What became of a wish; false if it is not this site's or was answered before."""
    with doors.nobody() as db:
        row = db.execute("SELECT wish_done(%s, %s, %s)", (site[0], wish, result.result)).fetchone()
    return bool(row and row[0])
