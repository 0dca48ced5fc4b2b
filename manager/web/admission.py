"""The API of who is heard: devices that are, that wait, that were sent away; the pairing window."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from manager.admission import PAIRING_MOST_MIN
from manager.core.site import Charger, Meter
from manager.run import Manager
from manager.web.api import Answer, Body, Call, Operation


class Device(Answer):
    """A device: heard, waiting, or sent away."""

    id: str
    standing: Literal["authorised", "waiting", "revoked"]
    kind: str = Field(description="meter, charger; empty if it has not announced itself")
    counter: str = Field(description="the meter a charger hangs under")
    model: str
    firmware: str
    online: bool
    signed: bool
    boot: int
    first_ms: int | None = Field(description="one that waits: since when, UTC")
    heard_ms: int | None = Field(description="one that waits: last heard, UTC")
    times: int = Field(description="one that waits: how often it has asked")
    refused: dict[str, int] = Field(description="messages that were not taken, by kind")


class Devices(Answer):
    """All of them, and the pairing window."""

    devices: list[Device]
    pairing_until_ms: int = Field(description="UTC; 0: no window is open")


class Authorise(Body):
    """Its key, if it brings one."""

    key: str | None = Field(
        default=None,
        max_length=128,
        pattern="^([0-9a-fA-F]{2})*$",
        description="hexadecimal, 16 to 64 bytes; left out: one it had, or a new one while a"
        " pairing window is open",
    )


class Pairing(Body):
    """For how long."""

    minutes: int = Field(
        ge=0, le=PAIRING_MOST_MIN, description=f"0 (close it) to {PAIRING_MOST_MIN}"
    )


def operations(manager: Manager) -> list[Operation]:
    """These operations on this manager."""

    def everyone(_: Call) -> Devices:
        utc_ms = manager.clock.utc_ms()
        until = manager.admission.pairing_until_ms if manager.admission.is_pairing(utc_ms) else 0
        return Devices(devices=_devices(manager), pairing_until_ms=until)

    async def authorise(call: Call) -> str:
        words = manager.authorise(call.path("device"), call.body.key, _name(call))
        return await manager.kept(words)

    async def revoke(call: Call) -> str:
        return await manager.kept(manager.revoke(call.path("device"), _name(call)))

    def pairing(call: Call) -> str:
        words = manager.admission.pair(call.body.minutes, manager.clock.utc_ms())
        manager.note("pairing", "", f"{words}, says {_name(call)}")
        return words

    return [
        Operation(
            "GET", "/api/devices", "Every device: heard, waiting, sent away", everyone,
            answer=Devices, tag="devices",
        ),
        Operation(
            "POST", "/api/devices/{device}/authorise", "Let a device in", authorise,
            "administrator", body=Authorise, tag="devices",
            about="With its key; or, while a pairing window is open, a board without one: it is"
            " given one and starts anew.",
        ),
        Operation(
            "POST", "/api/devices/{device}/revoke", "Hear a device no more", revoke,
            "administrator", tag="devices",
            about="A charger keeps its last lease until that is over, then it goes.",
        ),
        Operation(
            "POST", "/api/pairing", "Open or close the pairing window", pairing,
            "administrator", body=Pairing, tag="devices",
        ),
    ]  # fmt: skip


def _name(call: Call) -> str:
    return str(getattr(call.who, "name", "")) or "local"


def _devices(manager: Manager) -> list[Device]:
    site, admission = manager.site, manager.admission
    names = [*site.meters, *site.chargers, *admission.keys, *admission.revoked]
    waiting = [
        _device(manager, w.id, "waiting")
        for w in admission.waiting.values()
        if not admission.hears(w.id)
    ]
    known = [
        _device(manager, name, "revoked" if name in admission.revoked else "authorised")
        for name in dict.fromkeys(names)
    ]
    return known + waiting


def _device(manager: Manager, name: str, standing: Any) -> Device:
    found: Meter | Charger | None = manager.site.meters.get(name)
    found = found or manager.site.chargers.get(name)
    waits = manager.admission.waiting.get(name) if standing == "waiting" else None
    peer = manager.peers.get(name)
    kind = ""
    if isinstance(found, Charger):
        kind = "charger"
    elif found:
        kind = "meter"
    source: Any = waits or found
    return Device(
        id=name,
        standing=standing,
        kind=waits.kind if waits else kind,
        counter=getattr(source, "counter", "") or "",
        model=source.model if source else "",
        firmware=source.firmware if source else "",
        online=bool(found and found.online and standing == "authorised"),
        signed=waits.signed if waits else manager.admission.keys.get(name) is not None,
        boot=source.boot if source else 0,
        first_ms=waits.first_ms if waits else None,
        heard_ms=waits.heard_ms if waits else None,
        times=waits.times if waits else 0,
        refused=dict(peer.refused) if peer else {},
    )
