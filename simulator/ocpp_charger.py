"""A charger of another make: speaks OCPP 1.6J or 2.0.1 to a central system, with a car on its cable.

It keeps its profiles as the standard has it and draws what they allow; `Habits` are what the field
is known for. Frames are put together by hand here, so that nothing of the manager's is on both ends.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from manager.ocpp import profiles
from manager.ocpp.profiles import Place, Profile, ProfileError

Payload = dict[str, Any]


@dataclass
class Habits:
    """How it differs from a good one."""

    units: str = "Current"  # what it says it takes: Current, Power or both
    refuses: tuple[str, ...] = ()  # purposes it rejects
    one_period: bool = False  # rejects schedules of more
    ignores: bool = False  # accepts profiles and draws what it likes
    will_not_stop: int = 0  # ignores so many of: remote stop, unavailable, reset
    clock_s: float = 0  # its clock is ahead by so much, and is never set
    power_only: bool = False  # tells watts and no amperes
    texts: bool = False  # numbers as text, keys of its own
    no_boot: bool = False  # never presents itself
    silent_meter: bool = False
    slow_s: float = 0  # to answer


class Charger:
    """One charger with one connector. `drawn_a` follows `wants_a` and what it is allowed, after `follow_s`."""

    def __init__(
        self,
        url: str,
        name: str,
        password: str = "",
        version: str = "1.6",
        *,
        phases: int = 1,
        habits: Habits | None = None,
        tls: ssl.SSLContext | None = None,
        sample_s: float = 1.0,
        clock: Callable[[], float] = time.time,
        follow_s: float = 0.2,
    ) -> None:
        self.url, self.name, self.password, self.version = url, name, password, version
        self.phases = phases
        self.habits = habits or Habits()
        self.tls = tls
        self.sample_s = sample_s
        self.clock = clock
        self.follow_s = follow_s
        self.socket: ClientConnection | None = None
        self.profiles: tuple[Profile, ...] = ()
        self.transaction = ""
        self.began_ms: int | None = None
        self.tag = ""
        self.wants_a = 0.0
        self.drawn_a = 0.0
        self.energy_wh = 1000.0
        self.available = True
        self.status = "Available"
        self.got: list[tuple[str, Payload]] = []  # calls of the central system, as they came
        self.errors: list[tuple[str, str]] = []  # (action, code) of errors we were answered with
        self.sequence = 0
        self.stops = 0
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._moved = clock()
        self._due: tuple[float, float] | None = None

    # The wire.

    async def connect(self) -> None:
        """Connect and present itself. InvalidHandshake if it is not let in."""
        headers = {}
        if self.password:
            word = base64.b64encode(f"{self.name}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {word}"
        self.socket = await connect(
            f"{self.url}/{self.name}",
            subprotocols=[f"ocpp{self.version}"],  # type: ignore[list-item]
            additional_headers=headers,
            ssl=self.tls,
            compression=None,
            close_timeout=1,
        )
        self._beside(self._read(self.socket))
        if not self.habits.no_boot:
            await self.boot()

    async def boot(self) -> Payload:
        """Present itself, until it is accepted."""
        what: Payload
        if self.version == "1.6":
            what = {"chargePointVendor": "Elsewhere", "chargePointModel": "Wall 1"}
            if self.habits.texts:
                what |= {"vendorThing": {"x": 1}, "iccid": None}
        else:
            station: Payload = {"vendorName": "Elsewhere", "model": "Wall 2"}
            what = {"reason": "PowerUp", "chargingStation": station}
            if self.habits.texts:
                what |= {"vendorThing": {"x": 1}}
                station |= {"iccid": None, "firmwareVersion": None}
        while True:
            answer = await self.call("BootNotification", what)
            if answer["status"] == "Accepted":
                break
            await asyncio.sleep(0.2)
        await self.say_status()
        return answer

    async def disconnect(self) -> None:
        """Drop the connection."""
        if self.socket is not None:
            await self.socket.close()
            self.socket = None

    async def stop(self) -> None:
        """End everything."""
        await self.disconnect()
        for task in list(self._tasks):
            task.cancel()

    def _beside(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call(self, action: str, payload: Payload) -> Payload:
        """Call the central system; its answer, {} for an error (kept in `errors`)."""
        assert self.socket is not None
        self._number += 1
        number = f"{self.name}-{self._number}"
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        await self.socket.send(json.dumps([2, number, action, payload]))
        async with asyncio.timeout(30):
            frame = await future
        if frame[0] == 4:
            self.errors.append((action, frame[2]))
            return {}
        answer: Payload = frame[2]
        return answer

    async def _read(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for raw in socket:
                frame = json.loads(raw)
                if frame[0] == 2:
                    self._beside(self._answer(socket, frame))
                else:
                    future = self._waiting.pop(frame[1], None)
                    if future is not None and not future.done():
                        future.set_result(frame)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("gone"))
        self._waiting.clear()
        if self.socket is socket:
            self.socket = None

    async def _answer(self, socket: ClientConnection, frame: list[Any]) -> None:
        if self.habits.slow_s:
            await asyncio.sleep(self.habits.slow_s)
        _, number, action, payload = frame
        self.got.append((action, payload))
        handler = getattr(self, f"_on_{action}", None)
        reply = [4, number, "NotImplemented", action, {}]
        if handler is not None:
            reply = [3, number, handler(payload)]
        with contextlib.suppress(ConnectionClosed):
            await socket.send(json.dumps(reply))

    # What the central system asks.

    def _on_GetConfiguration(self, _: Payload) -> Payload:  # noqa: N802 - the action's own name
        keys = {
            "ChargingScheduleAllowedChargingRateUnit": self.habits.units,
            "ChargeProfileMaxStackLevel": "3",
        }
        rows = [{"key": k, "readonly": True, "value": v} for k, v in keys.items()]
        return {"configurationKey": rows, "unknownKey": []}

    def _on_GetVariables(self, p: Payload) -> Payload:  # noqa: N802
        unit = {"Current": "A", "Power": "W"}.get(self.habits.units, "A,W")
        values = {"RateUnit": unit, "ProfileStackLevel": "3"}
        rows = []
        for one in p["getVariableData"]:
            value = values.get(one["variable"]["name"])
            row = {**one, "attributeStatus": "Accepted" if value else "UnknownVariable"}
            rows.append({**row, "attributeValue": value} if value else row)
        return {"getVariableResult": rows}

    def _on_ChangeConfiguration(self, p: Payload) -> Payload:  # noqa: N802
        return {"status": "NotSupported" if p["key"].startswith("WebSocket") else "Accepted"}

    def _on_SetVariables(self, p: Payload) -> Payload:  # noqa: N802
        rows = []
        for one in p["setVariableData"]:
            value = {k: v for k, v in one.items() if k in ("component", "variable")}
            rows.append({**value, "attributeStatus": "Accepted"})
        return {"setVariableResult": rows}

    def _on_ClearChargingProfile(self, _: Payload) -> Payload:  # noqa: N802
        self.profiles = ()
        return {"status": "Accepted"}

    def _on_TriggerMessage(self, p: Payload) -> Payload:  # noqa: N802
        if p["requestedMessage"] == "StatusNotification":
            self._beside(self.say_status())
        return {"status": "Accepted"}

    def _on_SetChargingProfile(self, p: Payload) -> Payload:  # noqa: N802
        raw = p.get("csChargingProfiles") or p["chargingProfile"]
        where = p["connectorId"] if "connectorId" in p else p["evseId"]
        schedule = raw["chargingSchedule"]
        schedule = schedule[0] if isinstance(schedule, list) else schedule
        unit = "Current" if schedule["chargingRateUnit"] == "A" else "Power"
        if (
            raw["chargingProfilePurpose"] in self.habits.refuses
            or unit not in self.habits.units
            or (self.habits.one_period and len(schedule["chargingSchedulePeriod"]) > 1)
        ):
            return {"status": "Rejected"}
        try:
            new = profiles.parsed(raw, where, self.transaction)
            self.profiles = profiles.installed(self.profiles, new)
        except ProfileError:
            return {"status": "Rejected"}
        return {"status": "Accepted"}

    def _on_RemoteStopTransaction(self, p: Payload) -> Payload:  # noqa: N802
        if str(p["transactionId"]) != self.transaction:
            return {"status": "Rejected"}
        return self._told_to_stop("Accepted")

    _on_RequestStopTransaction = _on_RemoteStopTransaction  # noqa: N815

    def _told_to_stop(self, word: str) -> Payload:
        self.stops += 1
        if self.stops > self.habits.will_not_stop:
            self._beside(self.end("Remote"))
        return {"status": word}

    def _on_ChangeAvailability(self, p: Payload) -> Payload:  # noqa: N802
        word = p.get("type") or p.get("operationalStatus")
        self.available = word == "Operative"
        return {"status": "Accepted"} if self.available else self._told_to_stop("Scheduled")

    def _on_Reset(self, _: Payload) -> Payload:  # noqa: N802
        return self._told_to_stop("Accepted")

    def _on_RemoteStartTransaction(self, p: Payload) -> Payload:  # noqa: N802
        self._beside(self.begin(p["idTag"], 16))
        return {"status": "Accepted"}

    def _on_RequestStartTransaction(self, p: Payload) -> Payload:  # noqa: N802
        self._beside(self.begin(p["idToken"]["idToken"], 16))
        return {"status": "Accepted"}

    def _on_UnlockConnector(self, _: Payload) -> Payload:  # noqa: N802
        return {"status": "Unlocked"}

    # What it does.

    def now(self) -> str:
        """Its clock's time."""
        t = datetime.fromtimestamp(self.clock() + self.habits.clock_s, UTC)
        return t.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def allowed_a(self) -> float:
        """What its profiles allow now."""
        place = Place(1, self.transaction, self.began_ms, self.phases, 230.0)
        at = round((self.clock() + self.habits.clock_s) * 1000)
        limit = profiles.limit_a(self.profiles, place, at)
        return 32.0 if limit is None or self.habits.ignores else limit

    def move(self) -> None:
        """Let the car follow, and the register count."""
        now = self.clock()
        self.energy_wh += self.drawn_a * 230 * self.phases * (now - self._moved) / 3600
        self._moved = now
        allowed = self.allowed_a() if self.transaction else 0.0
        goal = min(self.wants_a, allowed) if allowed >= 6 else 0.0
        if goal == self.drawn_a:
            self._due = None
        elif self._due is None or self._due[0] != goal:
            self._due = goal, now + self.follow_s
        elif now >= self._due[1]:
            self.drawn_a = goal
            self._due = None

    async def live(self) -> None:
        """Move, and report: the meter every `sample_s`, its status when it changes. Until cancelled."""
        told = 0.0
        while True:
            self.move()
            if self.socket is not None and self.transaction:
                word = "Charging" if self.drawn_a else "SuspendedEVSE"
                with contextlib.suppress(ConnectionError, ConnectionClosed, TimeoutError):
                    if word != self.status:
                        self.status = word
                        await self.say_status()
                    if self.clock() - told >= self.sample_s and not self.habits.silent_meter:
                        told = self.clock()
                        await self.say_meter()
            await asyncio.sleep(min(0.1, self.sample_s / 4))

    async def say_status(self) -> None:
        """Its status as it is."""
        if self.version == "1.6":
            word: Payload = {"connectorId": 1, "errorCode": "NoError", "status": self.status}
            if self.habits.texts:
                word |= {"connectorId": "1", "vendorKey": "x"}
            await self.call("StatusNotification", {**word, "timestamp": self.now()})
            return
        plain = (
            self.status if self.status in ("Available", "Unavailable", "Faulted") else "Occupied"
        )
        words = {"timestamp": self.now(), "connectorStatus": plain, "evseId": 1, "connectorId": 1}
        if self.habits.texts:
            words |= {"evseId": "1", "connectorStatus": plain.lower(), "vendorKey": "x"}
        await self.call("StatusNotification", words)
        if self.transaction and plain == "Occupied":
            await self.event("Updated", "ChargingStateChanged")

    def sampled(self) -> list[Payload]:
        """What its meter shows now."""
        new = self.version != "1.6"
        rows: list[tuple[str, str, float, str]] = [
            ("Energy.Active.Import.Register", "", round(self.energy_wh), "Wh"),
            ("Power.Active.Import", "", round(self.drawn_a * 230 * self.phases), "W"),
        ]
        if not self.habits.power_only:
            for p in range(self.phases):
                rows.append(("Current.Import", f"L{p + 1}", round(self.drawn_a, 1), "A"))
                rows.append(("Voltage", f"L{p + 1}-N", 230.0, "V"))
        found: list[Payload] = []
        for what, phase, value, unit in rows:
            one: Payload = {"measurand": what} | ({"phase": phase} if phase else {})
            if new:
                found.append({**one, "value": value, "unitOfMeasure": {"unit": unit}})
            else:
                found.append({**one, "value": str(value), "unit": unit})
        return found

    async def say_meter(self) -> None:
        """A reading."""
        value = [{"timestamp": self.now(), "sampledValue": self.sampled()}]
        if self.version != "1.6":
            await self.event("Updated", "MeterValuePeriodic", value)
            return
        number: Any = int(self.transaction) if self.transaction.isdigit() else 0
        what: Payload = {"connectorId": 1, "meterValue": value, "transactionId": number}
        if self.habits.texts:
            what |= {"connectorId": "1", "transactionId": str(number), "acme": {"deep": [1]}}
        await self.call("MeterValues", what)

    async def event(self, kind: str, why: str, value: Any = None, **more: Any) -> Payload:
        """A TransactionEvent of 2.0.1."""
        state = "Charging" if self.drawn_a else "SuspendedEVSE"
        info = {"transactionId": self.transaction, "chargingState": state, **more}
        self.sequence += 1
        what = {
            "eventType": kind,
            "timestamp": self.now(),
            "triggerReason": why,
            "seqNo": self.sequence,
            "transactionInfo": info,
            "evse": {"id": 1, "connectorId": 1},
        }
        if value is not None:
            what["meterValue"] = value
        if self.habits.texts:
            what |= {"seqNo": str(self.sequence), "evse": {"id": "1"}, "acme": {"deep": [1]}}
        if kind == "Started" and self.tag:
            what["idToken"] = {"idToken": self.tag, "type": "ISO14443"}
        return await self.call("TransactionEvent", what)

    async def begin(self, tag: str, wants_a: float) -> str:
        """A card and a car that wants so much; the central system's word."""
        self.tag, self.wants_a = tag, wants_a
        self.began_ms = round((self.clock() + self.habits.clock_s) * 1000)
        if self.version == "1.6":
            what: Payload = {"connectorId": 1, "idTag": tag, "meterStart": round(self.energy_wh)}
            answer = await self.call("StartTransaction", {**what, "timestamp": self.now()})
            if not answer:
                return "error"
            self.transaction = str(answer["transactionId"])
            word = str(answer["idTagInfo"]["status"])
        else:
            self.transaction = f"tx-{self.name}-{self.began_ms}"
            value = [{"timestamp": self.now(), "sampledValue": self.sampled()}]
            answer = await self.event("Started", "Authorized", value)
            word = str(answer.get("idTokenInfo", {}).get("status", "error"))
        if word != "Accepted":
            self.wants_a = 0
        return word

    async def end(self, why: str = "Local") -> None:
        """The transaction ends."""
        if not self.transaction:
            return
        number, self.wants_a, self.drawn_a = self.transaction, 0.0, 0.0
        if self.version == "1.6":
            self.transaction = ""
            what = {"transactionId": int(number), "meterStop": round(self.energy_wh)}
            await self.call("StopTransaction", {**what, "timestamp": self.now(), "reason": why})
        else:
            value = [{"timestamp": self.now(), "sampledValue": self.sampled()}]
            await self.event("Ended", "StopAuthorized", value, stoppedReason=why)
            self.transaction = ""
        self.profiles = profiles.ended(self.profiles, number)
        self.status = "Available" if self.available else "Unavailable"
        await self.say_status()


__all__ = ["Charger", "Habits", "InvalidHandshake"]
