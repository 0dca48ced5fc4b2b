"""A charger that speaks OCPP 1.6J, at our end: the central system's side."""

from __future__ import annotations

import re

from manager.ocpp.connector import Connector, SetLimit
from manager.ocpp.frames import CallFailed, Payload, Refused
from manager.ocpp.measures import WANTED
from manager.ocpp.quirks import number
from manager.ocpp.station import SET_S, TAG_STATUS, Station

_HEARTBEAT_S = 60
_PURPOSES = {"max": "ChargePointMaxProfile"}
# What is harmless, or would be lost, is taken from a charger that has not presented itself.
_BEFORE_BOOT = frozenset(
    {"BootNotification", "Heartbeat", "StatusNotification", "StopTransaction"}
)


class Station16(Station):
    """See `Station`."""

    version = "1.6"

    async def answer(self, action: str, payload: Payload) -> Payload:
        handler = getattr(self, f"_on_{_snake(action)}", None)
        if handler is None:
            raise Refused("NotImplemented", f"{action} is not for a central system")
        if not self.booted and action not in _BEFORE_BOOT:
            # The standard says not to before boot is accepted; they do, and are told to wait.
            self.mended["before_boot"] += 1
            raise Refused("SecurityError", "no boot notification was accepted yet")
        answer: Payload = await handler(payload)
        return answer

    async def _on_boot_notification(self, p: Payload) -> Payload:
        known = any(c.facts.counter in self.manager.site.meters for c in self.connectors.values())
        for connector in self.connectors.values():
            connector.model = f"{p['chargePointVendor']} {p['chargePointModel']}"
            connector.firmware = str(p.get("firmwareVersion", ""))
        if known:
            self.booted = True
            self.announce_anew()
            self.set_up_soon()
        # While the meter it hangs under is not there nothing could be shared: it is to ask again.
        status, interval = ("Accepted", _HEARTBEAT_S) if known else ("Pending", 5)
        return {"status": status, "currentTime": self.time(), "interval": interval}

    async def _on_heartbeat(self, _: Payload) -> Payload:
        return {"currentTime": self.time()}

    async def _on_status_notification(self, p: Payload) -> Payload:
        if p["connectorId"] == 0 and p["status"] != "Faulted":
            return {}
        found = [self.connector(p["connectorId"])]
        if p["connectorId"] == 0:
            found = list(self.connectors.values())
        if p.get("timestamp"):
            self.happened(p["timestamp"])
        for connector in found:
            if connector is not None:
                error = p["errorCode"]
                self.told(
                    connector, p["status"], () if error == "NoError" else (_snake(error)[:24],)
                )
        return {}

    async def _on_authorize(self, p: Payload) -> Payload:
        return {
            "idTagInfo": {
                "status": TAG_STATUS.get(await self.verdict(self.idle(), p["idTag"]), "Blocked")
            }
        }

    async def _on_start_transaction(self, p: Payload) -> Payload:
        connector = self.connector(p["connectorId"])
        if connector is None:
            raise Refused("PropertyConstraintViolation", f"no connector {p['connectorId']}")
        status = TAG_STATUS.get(await self.verdict(connector, p["idTag"]), "Blocked")
        # The same start told again has the same times and readings: that tells it from a new one.
        theirs = f"{p['timestamp']} {p['meterStart']} {p['idTag']}"
        at = self.happened(p["timestamp"], just_now=False)
        again = self.past.get((connector.facts.name, theirs))
        if status == "ConcurrentTx" and (again is not None or connector.transaction is not None):
            status = "Accepted"  # it is this very transaction that keeps the user busy
        ok = status == "Accepted"
        begin = max(0, int(p["meterStart"]))
        number_ = await self.started(connector, theirs, p["idTag"], at, begin, ok=ok)
        return {"transactionId": number_, "idTagInfo": {"status": status}}

    async def _on_stop_transaction(self, p: Payload) -> Payload:
        self.happened(p["timestamp"], just_now=False)
        for connector in self.connectors.values():
            one = connector.transaction
            # One that started while it was offline may not know its number: 0 or -1 is the one that runs.
            if one is None or not (one.id == p["transactionId"] or p["transactionId"] <= 0):
                continue
            self.readings(connector, p.get("transactionData", []), live=False)
            at = self.happened(p["timestamp"], just_now=False)
            why = _snake(str(p.get("reason", "Local")))[:24]
            await self.finished(connector, int(p["meterStop"]), at, why)
            break
        else:
            self.mended["stop_unknown"] += (
                1  # ended already, or of before our time: it is to forget it
            )
        if "idTag" in p:
            return {"idTagInfo": {"status": "Accepted"}}
        return {}

    async def _on_meter_values(self, p: Payload) -> Payload:
        connector = self.connector(p["connectorId"])
        if connector is None:
            return {}
        if p["connectorId"] == 0 and len(self.connectors) > 1:
            return {}
        theirs = p.get("transactionId")
        one = connector.transaction
        if theirs and one is None and theirs not in self.past.values():
            # Its start was before our time. It runs: it is a transaction.
            self.mended["start_lost"] += 1
            begin = connector.energy_wh or 0
            name = f"number {theirs}"
            await self.started(
                connector, name, "", self.utc_ms(), begin, ok=True, number=int(theirs)
            )
        elif not theirs and one is None:
            self.mended["no_transaction"] += 1
        self.readings(connector, p["meterValue"])
        return {}

    async def _on_data_transfer(self, _: Payload) -> Payload:
        return {"status": "UnknownVendorId"}

    async def _on_diagnostics_status_notification(self, _: Payload) -> Payload:
        return {}

    async def _on_firmware_status_notification(self, p: Payload) -> Payload:
        self.manager.note("firmware", self.name, str(p["status"]))
        return {}

    async def _on_security_event_notification(self, p: Payload) -> Payload:
        self.manager.note("security", self.name, str(p.get("type", ""))[:80])
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
        return {"connectorId": connector.facts.number}

    async def set_up(self) -> None:
        asked = ["ChargingScheduleAllowedChargingRateUnit", "ChargeProfileMaxStackLevel"]
        told = await self._try("GetConfiguration", {"key": asked})
        has = {str(k["key"]): str(k.get("value", "")) for k in told.get("configurationKey", ())}
        self.units(has.get(asked[0], ""))
        top = number(has.get(asked[1], ""))
        self.stack = max(0, min(99, int(top))) if top is not None else 1
        settings = (
            ("MeterValuesSampledData", ",".join(WANTED)),
            ("MeterValueSampleInterval", str(self.sample_s)),
            ("WebSocketPingInterval", "20"),
        )
        for key, value in settings:
            done = await self._try("ChangeConfiguration", {"key": key, "value": value})
            if key == "MeterValuesSampledData" and done.get("status") == "Rejected":
                # Some refuse the whole list for one measurand they do not have.
                few = ",".join(WANTED[:3])
                await self._try("ChangeConfiguration", {"key": key, "value": few})
        if not any(c.transaction for c in self.connectors.values()):
            await self._try("ClearChargingProfile", {})
        for connector in self.connectors.values():
            await self._make_safe(connector)
            await self._try(
                "TriggerMessage",
                {
                    "requestedMessage": "StatusNotification",
                    "connectorId": connector.facts.number,
                },
            )

    async def _make_safe(self, connector: Connector) -> None:
        if connector.accepted_ms >= 0 and connector.safe_a is None:
            return  # it goes by a default that is our newest limit; 0 A would pause its car
        for form in connector.forms:
            if form.purpose != "TxDefaultProfile" or form.ends:
                continue
            profile = {
                "chargingProfileId": 1000 + connector.facts.number,
                "stackLevel": 0,
                "chargingProfilePurpose": "TxDefaultProfile",
                "chargingProfileKind": "Absolute",
                "chargingSchedule": {
                    "startSchedule": "2020-01-01T00:00:00.000Z",
                    "chargingRateUnit": form.unit,
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 0.0}],
                },
            }
            answer = await self._try(
                "SetChargingProfile",
                {"connectorId": connector.facts.number, "csChargingProfiles": profile},
            )
            if answer.get("status") == "Accepted":
                connector.safe_a, connector.unsafe = 0, False
                return
        connector.safe_a, connector.unsafe = None, True

    async def set_limit(self, connector: Connector, what: SetLimit) -> bool:
        purpose = _PURPOSES.get(what.form.purpose, what.form.purpose)
        profile: Payload = {
            "chargingProfileId": 2000 + connector.facts.number,
            "stackLevel": self.stack,
            "chargingProfilePurpose": purpose,
            "chargingProfileKind": "Absolute",
            "chargingSchedule": {
                "startSchedule": self.their_time(),
                "chargingRateUnit": what.form.unit,
                "chargingSchedulePeriod": self.periods(connector, what),
            },
        }
        one = connector.transaction
        if purpose == "TxProfile" and one is not None:
            profile["transactionId"] = one.id
        where = 0 if purpose == "ChargePointMaxProfile" else connector.facts.number
        call = {"connectorId": where, "csChargingProfiles": profile}
        answer = await self.ask("SetChargingProfile", call, SET_S)
        return bool(answer.get("status") == "Accepted")

    async def end(self, connector: Connector, step: int) -> None:
        one = connector.transaction
        if step == 0 and one is not None:
            await self.ask("RemoteStopTransaction", {"transactionId": one.id})
        elif step == 1:
            out = {"connectorId": connector.facts.number, "type": "Inoperative"}
            await self.ask("ChangeAvailability", out)
        elif step == 2:
            await self.ask("Reset", {"type": "Hard"})

    async def obey(self, connector: Connector, command: str, argument: str) -> None:
        here = {"connectorId": connector.facts.number}
        if command == "start":
            await self.ask("RemoteStartTransaction", {**here, "idTag": argument[:20] or "IEVCC"})
        elif command == "stop":
            await self.end(connector, 0)
        elif command == "unlock":
            await self.unlock(connector)
        elif command == "reset":
            await self.ask("Reset", {"type": "Soft"})
        elif command == "clear_fault":
            await self.ask("ChangeAvailability", {**here, "type": "Operative"})


def _snake(words: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", words).lower()
