"""A charger that speaks OCPP 2.0.1, at our end: the central system's side."""

from __future__ import annotations

import asyncio
import re

from manager.ocpp import kept
from manager.ocpp.connector import Connector, SetLimit
from manager.ocpp.frames import CallFailed, Payload, Refused
from manager.ocpp.measures import WANTED, measured
from manager.ocpp.quirks import number
from manager.ocpp.station import SET_S, TAG_STATUS, Station

_HEARTBEAT_S = 60
_PURPOSES = {"max": "ChargingStationMaxProfile"}
_BEFORE_BOOT = frozenset({"BootNotification", "Heartbeat", "StatusNotification"})
# What a transaction says of itself, in 1.6's words.
_CHARGING = {
    "Charging": "Charging",
    "EVConnected": "SuspendedEVSE",
    "SuspendedEV": "SuspendedEV",
    "SuspendedEVSE": "SuspendedEVSE",
    "Idle": "Finishing",
}


class Station201(Station):
    """See `Station`."""

    version = "2.0.1"

    async def answer(self, action: str, payload: Payload) -> Payload:
        handler = getattr(self, f"_on_{_snake(action)}", None)
        if handler is None:
            raise Refused("NotImplemented", f"{action} is not for a central system")
        if not self.booted and action not in _BEFORE_BOOT:
            self.mended["before_boot"] += 1
            raise Refused("SecurityError", "no boot notification was accepted yet")
        answer: Payload = await handler(payload)
        return answer

    async def _on_boot_notification(self, p: Payload) -> Payload:
        known = any(c.facts.counter in self.manager.site.meters for c in self.connectors.values())
        what = p["chargingStation"]
        for connector in self.connectors.values():
            connector.model = f"{what['vendorName']} {what['model']}"
            connector.firmware = str(what.get("firmwareVersion", ""))
        if known:
            self.booted = True
            self.announce_anew()
            self.set_up_soon()
        status, interval = ("Accepted", _HEARTBEAT_S) if known else ("Pending", 5)
        return {"status": status, "currentTime": self.time(), "interval": interval}

    async def _on_heartbeat(self, _: Payload) -> Payload:
        return {"currentTime": self.time()}

    async def _on_status_notification(self, p: Payload) -> Payload:
        self.happened(p["timestamp"])
        connector = self.connector(p["evseId"])
        if connector is None:
            return {}
        status = p["connectorStatus"]
        if status == "Occupied":
            # What goes on there the transaction says; without one a car is there and that is all.
            running = connector.transaction is not None
            status = connector.status if running else "Preparing"
        self.told(connector, status, ("faulted",) if status == "Faulted" else ())
        return {}

    async def _on_authorize(self, p: Payload) -> Payload:
        return {"idTokenInfo": await self._info(self.idle(), p["idToken"])}

    async def _info(self, connector: Connector, token: Payload) -> Payload:
        if token.get("type") == "NoAuthorization":
            return {"status": "Invalid" if self.with_cards() else "Accepted"}
        verdict = await self.verdict(connector, str(token["idToken"]))
        return {"status": TAG_STATUS.get(verdict, "Blocked")}

    async def _on_transaction_event(self, p: Payload) -> Payload:
        info = p["transactionInfo"]
        theirs = str(info["transactionId"])
        connector = self.connector((p.get("evse") or {}).get("id"))
        if connector is None:
            connector = self._with(theirs)
        if connector is None:
            # It says neither where nor has it said before: answered, or it would be told for ever.
            self.mended["no_evse"] += 1
            return {}
        live = not p.get("offline", False)
        at = self.happened(p["timestamp"], just_now=live)
        answer: Payload = {}
        ok = True
        token = p.get("idToken")
        if token is not None:
            answer["idTokenInfo"] = await self._info(connector, token)
            mine = connector.transaction
            if answer["idTokenInfo"]["status"] == "ConcurrentTx" and mine is not None:
                answer["idTokenInfo"]["status"] = "Accepted"
            ok = answer["idTokenInfo"]["status"] == "Accepted"
        one = connector.transaction
        name = connector.facts.name
        if p["eventType"] == "Started" and one is not None and one.theirs == theirs:
            self.mended["start_again"] += 1
        if p["eventType"] != "Ended" and (one is None or one.theirs != theirs):
            if (name, theirs) in self.past and (one is None or one.theirs != theirs):
                self.mended["after_end"] += 1  # an old event told again
                return answer
            if p["eventType"] == "Updated":
                self.mended["start_lost"] += 1
            begin = self._energy(p, connector)
            tag = str(token["idToken"]) if token else ""
            wait = token is None and self.with_cards()
            await self.started(connector, theirs, tag, at, begin, ok=ok and not wait)
        elif token is not None and one is not None and p["eventType"] != "Ended":
            await self.authorised(connector, str(token["idToken"]), ok=ok)
        if p["eventType"] == "Ended":
            session = self._session(connector) if one is not None and one.theirs == theirs else 0
            await self._ended(connector, theirs, p, at)
            cost = await self._cost(session)
            if cost is not None:
                answer["totalCost"] = cost
            return answer
        state = _CHARGING.get(str(info.get("chargingState")))
        if state is not None:
            self.told(connector, state)
        elif connector.status in ("Available", "Preparing"):
            self.told(connector, "Charging")
        self.readings(connector, p.get("meterValue", []), live=live)
        return answer

    async def _ended(self, connector: Connector, theirs: str, p: Payload, at: int) -> None:
        one = connector.transaction
        if one is None or one.theirs != theirs:
            self.mended["stop_unknown"] += 1
            return
        self.readings(connector, p.get("meterValue", []), live=False)
        why = _snake(str(p["transactionInfo"].get("stoppedReason", "Local")))[:24]
        await self.finished(connector, connector.energy_wh, at, why)
        self.told(connector, "Finishing")

    def _session(self, connector: Connector) -> int:
        """The session there as the site's books know it, 0 for none."""
        reception = self.manager.reception
        run = reception.sessions.at(connector.facts.name) if reception is not None else None
        return run.id if run is not None else 0

    async def _cost(self, session: int) -> float | None:
        """What it cost, taxes included, in the tariff's currency."""
        books = self.manager.site_books
        if books is None or not session:
            return None
        await kept.committed(self.manager.store, ())  # its end is in the books
        total = await asyncio.to_thread(books.total, session)
        return None if total is None else total / 10_000

    def _with(self, theirs: str) -> Connector | None:
        for connector in self.connectors.values():
            if connector.transaction is not None and connector.transaction.theirs == theirs:
                return connector
        return None

    def _energy(self, p: Payload, connector: Connector) -> int:
        for one in p.get("meterValue", []):
            found = measured(one.get("sampledValue"), connector.facts.phases)
            if found.energy_wh is not None:
                return found.energy_wh
        return connector.energy_wh or 0

    async def _on_meter_values(self, p: Payload) -> Payload:
        connector = self.connector(p["evseId"])
        if connector is not None and not (p["evseId"] == 0 and len(self.connectors) > 1):
            if connector.transaction is None:
                self.mended["no_transaction"] += 1
            self.readings(connector, p["meterValue"])
        return {}

    async def _on_data_transfer(self, _: Payload) -> Payload:
        return {"status": "UnknownVendorId"}

    async def _on_firmware_status_notification(self, p: Payload) -> Payload:
        self.manager.note("firmware", self.name, str(p["status"]))
        return {}

    async def _on_security_event_notification(self, p: Payload) -> Payload:
        self.manager.note("security", self.name, str(p.get("type", ""))[:80])
        return {}

    async def _on_notify_event(self, _: Payload) -> Payload:
        return {}

    async def _on_notify_report(self, _: Payload) -> Payload:
        return {}

    async def _on_log_status_notification(self, _: Payload) -> Payload:
        return {}

    async def _on_notify_charging_limit(self, _: Payload) -> Payload:
        return {}

    async def _on_cleared_charging_limit(self, _: Payload) -> Payload:
        return {}

    async def _on_report_charging_profiles(self, _: Payload) -> Payload:
        return {}

    async def _on_reservation_status_update(self, _: Payload) -> Payload:
        return {}

    # What we ask of it.

    async def _try(self, action: str, payload: Payload) -> Payload:
        try:
            return await self.ask(action, payload)
        except CallFailed as e:
            if e.code == "Gone":
                raise
            return {"status": e.code}

    def plug(self, connector: Connector) -> Payload:
        return {"evseId": connector.facts.number, "connectorId": 1}

    async def set_up(self) -> None:
        smart = {"name": "SmartChargingCtrlr"}
        asked = [
            {"component": smart, "variable": {"name": "RateUnit"}},
            {"component": smart, "variable": {"name": "ProfileStackLevel"}},
        ]
        told = await self._try("GetVariables", {"getVariableData": asked})
        has = {
            str(v["variable"]["name"]): str(v.get("attributeValue", ""))
            for v in told.get("getVariableResult", ())
        }
        self.units(has.get("RateUnit", ""))
        top = number(has.get("ProfileStackLevel", ""))
        self.stack = max(0, min(99, int(top))) if top is not None else 1
        sampled = {"name": "SampledDataCtrlr"}
        settings = [
            (sampled, "TxUpdatedMeasurands", ",".join(WANTED)),
            (sampled, "TxUpdatedInterval", str(self.sample_s)),
        ]
        await self._try(
            "SetVariables",
            {
                "setVariableData": [
                    {"component": c, "variable": {"name": v}, "attributeValue": value}
                    for c, v, value in settings
                ]
            },
        )
        if not any(c.transaction for c in self.connectors.values()):
            all_ = {"chargingProfileCriteria": {"chargingProfilePurpose": "TxDefaultProfile"}}
            await self._try("ClearChargingProfile", all_)
        for connector in self.connectors.values():
            await self._make_safe(connector)
            evse = {"id": connector.facts.number, "connectorId": 1}
            await self._try(
                "TriggerMessage", {"requestedMessage": "StatusNotification", "evse": evse}
            )

    async def _make_safe(self, connector: Connector) -> None:
        if connector.accepted_ms >= 0 and connector.safe_a is None:
            return  # it goes by a default that is our newest limit; 0 A would pause its car
        for form in connector.forms:
            if form.purpose != "TxDefaultProfile" or form.ends:
                continue
            profile = {
                "id": 1000 + connector.facts.number,
                "stackLevel": 0,
                "chargingProfilePurpose": "TxDefaultProfile",
                "chargingProfileKind": "Absolute",
                "chargingSchedule": [
                    {
                        "id": 1000 + connector.facts.number,
                        "startSchedule": "2020-01-01T00:00:00.000Z",
                        "chargingRateUnit": form.unit,
                        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 0.0}],
                    }
                ],
            }
            answer = await self._try(
                "SetChargingProfile",
                {"evseId": connector.facts.number, "chargingProfile": profile},
            )
            if answer.get("status") == "Accepted":
                connector.safe_a, connector.unsafe = 0, False
                return
        connector.safe_a, connector.unsafe = None, True

    async def set_limit(self, connector: Connector, what: SetLimit) -> bool:
        purpose = _PURPOSES.get(what.form.purpose, what.form.purpose)
        profile: Payload = {
            "id": 2000 + connector.facts.number,
            "stackLevel": self.stack,
            "chargingProfilePurpose": purpose,
            "chargingProfileKind": "Absolute",
            "chargingSchedule": [
                {
                    "id": 2000 + connector.facts.number,
                    "startSchedule": self.their_time(),
                    "chargingRateUnit": what.form.unit,
                    "chargingSchedulePeriod": self.periods(connector, what),
                }
            ],
        }
        one = connector.transaction
        if purpose == "TxProfile" and one is not None:
            profile["transactionId"] = one.theirs
        where = 0 if purpose == "ChargingStationMaxProfile" else connector.facts.number
        call = {"evseId": where, "chargingProfile": profile}
        answer = await self.ask("SetChargingProfile", call, SET_S)
        return bool(answer.get("status") == "Accepted")

    async def end(self, connector: Connector, step: int) -> None:
        one = connector.transaction
        if step == 0 and one is not None:
            await self.ask("RequestStopTransaction", {"transactionId": one.theirs})
        elif step == 1:
            evse = {"id": connector.facts.number}
            await self.ask(
                "ChangeAvailability", {"operationalStatus": "Inoperative", "evse": evse}
            )
        elif step == 2:
            await self.ask("Reset", {"type": "Immediate"})

    async def obey(self, connector: Connector, command: str, argument: str) -> None:
        evse = connector.facts.number
        if command == "start":
            token = {"idToken": argument[:36] or "IEVCC", "type": "Central"}
            call = {
                "evseId": evse,
                "remoteStartId": self.utc_ms() // 1000 % 2**31,
                "idToken": token,
            }
            await self.ask("RequestStartTransaction", call)
        elif command == "stop":
            await self.end(connector, 0)
        elif command == "unlock":
            await self.unlock(connector)
        elif command == "reset":
            await self.ask("Reset", {"type": "OnIdle"})
        elif command == "clear_fault":
            back = {"operationalStatus": "Operative", "evse": {"id": evse}}
            await self.ask("ChangeAvailability", back)


def _snake(words: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", words).lower()
