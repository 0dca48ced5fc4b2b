"""A charge point of ours in the words of OCPP 2.0.1: a charging station with an EVSE for each charger."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from manager.ocpp import profiles
from manager.ocpp.errands import IDLE, Firmware, patience
from manager.ocpp.frames import Payload
from manager.ocpp.point import VARIABLES, Outlet, Point, Running, Variable
from manager.ocpp.quirks import time_text, utc_ms

_WHY = {
    "unplugged": ("EVDeparted", "EVDisconnected"),
    "card": ("StopAuthorized", "Local"),
    "power_cut": ("AbnormalCondition", "PowerLoss"),
    "PowerLoss": ("AbnormalCondition", "PowerLoss"),
    "restart": ("ResetCommand", "Reboot"),
}
_STATUS = {
    "Available": "Available",
    "Reserved": "Reserved",
    "Unavailable": "Unavailable",
    "Faulted": "Faulted",
}
_CHARGING = {
    "Charging": "Charging",
    "SuspendedEV": "SuspendedEV",
    "SuspendedEVSE": "SuspendedEVSE",
}
_ERRANDS = {"firmware": "FirmwareStatusNotification", "log": "LogStatusNotification"}
_PURPOSES = {
    "max": "ChargingStationMaxProfile",
    "external": "ChargingStationExternalConstraints",
    "default": "TxDefaultProfile",
    "transaction": "TxProfile",
}


class Point201(Point):
    """See `Point`."""

    version = "2.0.1"
    _charging: dict[str, str]

    def hello(self) -> Payload:
        first = self.manager.site.chargers.get(next(iter(self.outlets)))
        model = "IEVCC manager" if len(self.outlets) > 1 or first is None else first.model
        station = {"vendorName": "IEVCC", "model": (model or "IEVCC")[:20]}
        station["serialNumber"] = self.name[:25]
        if first is not None and first.firmware:
            station["firmwareVersion"] = first.firmware[:50]
        return {"reason": "PowerUp", "chargingStation": station}

    def status_payload(self, outlet: Outlet, word: str) -> Payload:
        charging = _CHARGING.get(word)
        running = outlet.running
        if running is not None and charging is not None:
            self._event(outlet, running, "Updated", "ChargingStateChanged", state=charging)
        return {
            "timestamp": self.time(),
            "connectorStatus": _STATUS.get(word, "Occupied"),
            "evseId": outlet.number,
            "connectorId": 1,
        }

    def _event(
        self,
        outlet: Outlet,
        running: Running,
        kind: str,
        why: str,
        *,
        state: str = "",
        at_ms: int = 0,
        values: list[Payload] | None = None,
        **info: Any,
    ) -> None:
        when = time_text(at_ms or self.utc_ms())
        if state:
            info["chargingState"] = state
        call: Payload = {
            "eventType": kind,
            "timestamp": when,
            "triggerReason": why,
            "seqNo": running.sequence,
            "offline": not self.accepted,
            "transactionInfo": {"transactionId": running.number, **info},
            "evse": {"id": outlet.number, "connectorId": 1},
        }
        if kind == "Started":
            call["idToken"] = token(running.tag, running.kind)
            if running.reservation:
                call["reservationId"] = running.reservation
        if values:
            call["meterValue"] = [{"timestamp": when, "sampledValue": values}]
        running.sequence += 1
        with self.as_one():  # a number is not used twice
            self.put("TransactionEvent", call, may_go=kind == "Updated")
            self.keep_running(outlet)

    def begin_of(self, outlet: Outlet, running: Running) -> None:
        more: Payload = {"remoteStartId": running.remote} if running.remote else {}
        why = "RemoteStart" if running.remote else "Authorized"
        self._event(
            outlet,
            running,
            "Started",
            why,
            state="EVConnected",
            at_ms=running.began_ms,
            values=[_energy(running.begin_wh, "Transaction.Begin")],
            **more,
        )

    def meter(self, outlet: Outlet, running: Running, values: list[Payload]) -> None:
        self._event(outlet, running, "Updated", "MeterValuePeriodic", values=values)

    def finish(
        self, outlet: Outlet, running: Running, end_wh: int, ended_ms: int, why: str
    ) -> None:
        trigger, reason = _WHY.get(why, ("AbnormalCondition", "Other"))
        if outlet.remote_stop:
            trigger, reason = "RemoteStop", "Remote"
        values = [_energy(end_wh, "Transaction.End")]
        values += self.signed_ends(outlet, running, end_wh, ended_ms)
        self._event(
            outlet,
            running,
            "Ended",
            trigger,
            at_ms=ended_ms,
            values=values,
            stoppedReason=reason,
        )

    def filled(self, action: str, payload: Payload) -> Payload | None:  # noqa: ARG002
        return payload

    async def answered(self, action: str, payload: Payload, answer: Payload) -> None:
        if action != "TransactionEvent":
            return
        status = answer.get("idTokenInfo", {}).get("status", "Accepted")
        if status in ("Accepted", "ConcurrentTx"):
            return
        number = payload["transactionInfo"]["transactionId"]
        for outlet in self.outlets.values():
            running = outlet.running
            mine = running is not None and running.number == number
            if mine and self.variables["StopTransactionOnInvalidId"] == "true":
                self.manager.command(outlet.charger, "stop")

    async def ask_central(self, tag: str) -> Payload:
        answer = await self.say("Authorize", {"idToken": token(tag)})
        info: Payload = answer["idTokenInfo"]
        return info

    def reservation_over(self, number: int, why: str) -> None:
        what = {"reservationId": number, "reservationUpdateStatus": why}
        self.put("ReservationStatusUpdate", what)

    def say_errand(self, kind: str, word: str, request: int) -> None:
        self.put(_ERRANDS[kind], {"status": word, "requestId": request})

    # What the central system asks.

    def _at(self, evse: object) -> list[Outlet]:
        if evse in (0, None):
            return list(self.outlets.values())
        one = self.outlet(evse)
        return [] if one is None else [one]

    async def _on_request_start_transaction(self, p: Payload) -> Payload:
        free = [o for o in self._at(p.get("evseId")) if o.running is None]
        profile = p.get("chargingProfile")
        if not free or (profile is not None and profile["chargingProfilePurpose"] != "TxProfile"):
            return {"status": "Rejected"}
        outlet, token_, number = free[0], p["idToken"], int(p["remoteStartId"])
        if self.variables["AuthorizeRemoteTxRequests"] == "true":
            self.beside(self._start_if(outlet, token_, number, profile))
            return {"status": "Accepted"}
        tag, kind = token_["idToken"], token_["type"]
        return {"status": self.start(outlet, tag, profile, number, kind)}

    async def _start_if(
        self, outlet: Outlet, token_: Payload, number: int, profile: Payload | None
    ) -> None:
        tag, kind = token_["idToken"], token_["type"]
        if await self.authorised(outlet, tag):
            self.start(outlet, tag, profile, number, kind)

    async def _on_request_stop_transaction(self, p: Payload) -> Payload:
        return {"status": self.stop(p["transactionId"])}

    async def _on_get_transaction_status(self, p: Payload) -> Payload:
        whose = p.get("transactionId")
        waits = any(
            whose is None or call["transactionInfo"]["transactionId"] == whose
            for _, _, action, call in self.queue
            if action == "TransactionEvent"
        )
        answer: Payload = {"messagesInQueue": waits}
        if whose is not None:
            running = [o.running for o in self.outlets.values() if o.running is not None]
            answer["ongoingIndicator"] = any(r.number == whose for r in running)
        return answer

    async def _on_reset(self, p: Payload) -> Payload:
        evse = p.get("evseId")
        found = self._at(evse)
        if not found:
            return {"status": "Rejected"}
        later = [o for o in found if o.running is not None and p["type"] == "OnIdle"]
        for outlet in found:
            outlet.reset_later = outlet in later
            if outlet not in later:
                self.manager.command(outlet.charger, "reset")
        return {"status": "Scheduled" if later else "Accepted"}

    async def _on_unlock_connector(self, p: Payload) -> Payload:
        outlet = self.outlet(p["evseId"])
        if outlet is None or p["connectorId"] != 1:
            return {"status": "UnknownConnector"}
        if outlet.running is not None:
            return {"status": "OngoingAuthorizedTransaction"}
        return {"status": "Unlocked" if await self.unlock(outlet) else "UnlockFailed"}

    async def _on_change_availability(self, p: Payload) -> Payload:
        found = self._at((p.get("evse") or {}).get("id"))
        out = p["operationalStatus"] == "Inoperative"
        words = [self.out_of_service(o, out=out) for o in found]
        if not words:
            return {"status": "Rejected"}
        return {"status": "Scheduled" if "Scheduled" in words else "Accepted"}

    def _named(self, one: Payload) -> tuple[str, str]:
        """(our key, "" and what is unknown) of a component and variable."""
        component, variable = one["component"]["name"], one["variable"]["name"]
        for key, c, v, _, _ in VARIABLES:
            if (c.lower(), v.lower()) == (component.lower(), variable.lower()):
                return key, ""
        known = {row[1].lower() for row in VARIABLES}
        return "", "UnknownVariable" if component.lower() in known else "UnknownComponent"

    async def _on_get_variables(self, p: Payload) -> Payload:
        rows = []
        for one in p["getVariableData"]:
            row = {k: one[k] for k in ("component", "variable", "attributeType") if k in one}
            key, unknown = self._named(one)
            if unknown:
                row["attributeStatus"] = unknown
            elif one.get("attributeType", "Actual") != "Actual":
                row["attributeStatus"] = "NotSupportedAttributeType"
            else:
                row |= {"attributeStatus": "Accepted", "attributeValue": self.variables[key]}
            rows.append(row)
        return {"getVariableResult": rows}

    async def _on_set_variables(self, p: Payload) -> Payload:
        rows = []
        for one in p["setVariableData"]:
            row = {k: one[k] for k in ("component", "variable", "attributeType") if k in one}
            key, unknown = self._named(one)
            if unknown:
                row["attributeStatus"] = unknown
            elif one.get("attributeType", "Actual") != "Actual":
                row["attributeStatus"] = "NotSupportedAttributeType"
            else:
                row["attributeStatus"] = self.set_variable(key, one["attributeValue"])
            rows.append(row)
        return {"setVariableResult": rows}

    async def _on_get_base_report(self, p: Payload) -> Payload:
        if p["reportBase"] == "SummaryInventory":
            return {"status": "NotSupported"}
        changeable = p["reportBase"] == "ConfigurationInventory"
        rows = [row for row in VARIABLES if row[4] or not changeable]
        self.beside(self._report(int(p["requestId"]), rows))
        return {"status": "Accepted"}

    async def _on_get_report(self, p: Payload) -> Payload:
        troubled = set(p.get("componentCriteria", ())) == {"Problem"}  # none of ours is
        asked = [
            (one["component"]["name"].lower(), one.get("variable", {}).get("name", "").lower())
            for one in p.get("componentVariable", ())
            if not {"evse", "instance"} & set(one["component"])
        ]
        rows = [
            row
            for row in VARIABLES
            if "componentVariable" not in p
            or any(c == row[1].lower() and v in ("", row[2].lower()) for c, v in asked)
        ]
        if not rows or troubled:
            return {"status": "EmptyResultSet"}
        self.beside(self._report(int(p["requestId"]), rows))
        return {"status": "Accepted"}

    async def _report(self, request: int, wanted: list[Variable]) -> None:
        rows = []
        for key, component, variable, _, may in wanted:
            attribute = {
                "value": self.variables[key],
                "mutability": "ReadWrite" if may else "ReadOnly",
            }
            rows.append(
                {
                    "component": {"name": component},
                    "variable": {"name": variable},
                    "variableAttribute": [attribute],
                }
            )
        for n, start in enumerate(range(0, len(rows), 10)):
            what = {
                "requestId": request,
                "generatedAt": self.time(),
                "seqNo": n,
                "tbc": start + 10 < len(rows),
                "reportData": rows[start : start + 10],
            }
            await self.say_quietly("NotifyReport", what)

    async def _on_clear_cache(self, _: Payload) -> Payload:
        return {"status": "Accepted"}  # nothing the central system said to a tag is kept

    async def _on_data_transfer(self, _: Payload) -> Payload:
        return {"status": "UnknownVendorId"}

    async def _on_get_local_list_version(self, _: Payload) -> Payload:
        on = self.variables["LocalAuthListEnabled"] == "true"
        return {"versionNumber": self.list_version if on else 0}

    async def _on_send_local_list(self, p: Payload) -> Payload:
        rows = [
            (str(one["idToken"]["idToken"]), one.get("idTokenInfo"))
            for one in p.get("localAuthorizationList", ())
        ]
        full = p["updateType"] == "Full"
        word = self.new_list(int(p["versionNumber"]), full, rows)
        return {"status": "Failed" if word == "NotSupported" else word}

    async def _on_reserve_now(self, p: Payload) -> Payload:
        evse, number = p.get("evseId"), int(p["id"])
        outlet = self.outlet(evse)
        if evse is None and len(self.outlets) == 1:
            outlet = next(iter(self.outlets.values()))
        if outlet is None:
            return {"status": "Rejected"}  # it names none, and we reserve no others
        group = (p.get("groupIdToken") or {}).get("idToken", "")
        whose = p["idToken"]["idToken"], p["expiryDateTime"], group
        return {"status": self.reserve(outlet, number, *whose)}

    async def _on_cancel_reservation(self, p: Payload) -> Payload:
        return {"status": self.unreserve(p["reservationId"])}

    async def _on_set_charging_profile(self, p: Payload) -> Payload:
        raw = dict(p["chargingProfile"])
        outlet = self.outlet(p["evseId"])
        if p["evseId"] and outlet is None:
            return {"status": "Rejected"}
        whose = raw.pop("transactionId", None)
        running = outlet.running if outlet is not None else None
        if whose is not None and (running is None or running.number != whose):
            return {"status": "Rejected"}
        try:
            key = self.key(outlet) if outlet is not None else ""
            new = profiles.parsed(raw, p["evseId"], key)
            if new.purpose == "external":
                raise profiles.ProfileError("such come from the grid, not from a central system")
            self.set_profiles(profiles.installed(self.profiles, new))
        except profiles.ProfileError:
            return {"status": "Rejected"}
        return {"status": "Accepted"}

    async def _on_clear_charging_profile(self, p: Payload) -> Payload:
        what = p.get("chargingProfileCriteria") or {}
        left = profiles.cleared(
            self.profiles,
            p.get("chargingProfileId"),
            what.get("evseId"),
            what.get("chargingProfilePurpose"),
            what.get("stackLevel"),
        )
        if len(left) == len(self.profiles):
            return {"status": "Unknown"}
        self.set_profiles(left)
        return {"status": "Accepted"}

    async def _on_get_charging_profiles(self, p: Payload) -> Payload:
        asked = p["chargingProfile"]
        found = [
            one
            for one in self.profiles
            if p.get("evseId") in (None, one.connector)
            and asked.get("stackLevel") in (None, one.stack)
            and asked.get("chargingProfilePurpose") in (None, _PURPOSES[one.purpose])
            and one.id in asked.get("chargingProfileId", [one.id])
            and "CSO" in asked.get("chargingLimitSource", ["CSO"])
        ]
        if not found:
            return {"status": "NoProfiles"}
        self.beside(self._say_profiles(int(p["requestId"]), found))
        return {"status": "Accepted"}

    async def _say_profiles(self, request: int, found: list[profiles.Profile]) -> None:
        for n, one in enumerate(found):
            schedule: Payload = {
                "id": one.id,
                "chargingRateUnit": one.unit,
                "chargingSchedulePeriod": [
                    {"startPeriod": q.start_s, "limit": q.limit, "numberPhases": q.phases}
                    for q in one.periods
                ],
            }
            if one.start_ms is not None:
                schedule["startSchedule"] = time_text(one.start_ms)
            if one.duration_s is not None:
                schedule["duration"] = one.duration_s
            profile: Payload = {
                "id": one.id,
                "stackLevel": one.stack,
                "chargingProfilePurpose": _PURPOSES[one.purpose],
                "chargingProfileKind": one.kind,
                "chargingSchedule": [schedule],
            }
            whose = [o.running for o in self.outlets.values() if one.transaction == self.key(o)]
            if one.transaction and whose[0] is not None:
                profile["transactionId"] = whose[0].number
            if one.repeat_ms:
                profile["recurrencyKind"] = "Daily" if one.repeat_ms == 86_400_000 else "Weekly"
            if one.from_ms is not None:
                profile["validFrom"] = time_text(one.from_ms)
            if one.to_ms is not None:
                profile["validTo"] = time_text(one.to_ms)
            what = {
                "requestId": request,
                "chargingLimitSource": "CSO",
                "evseId": one.connector,
                "chargingProfile": [profile],
                "tbc": n + 1 < len(found),
            }
            await self.say_quietly("ReportChargingProfiles", what)

    async def _on_get_composite_schedule(self, p: Payload) -> Payload:
        evse, seconds = p["evseId"], int(p["duration"])
        outlet = self.outlet(evse)
        if (evse and outlet is None) or not 0 <= seconds <= 7 * 86_400:
            return {"status": "Rejected"}
        unit = p.get("chargingRateUnit", "A")
        start, periods = self.schedule(outlet, seconds, unit)
        schedule = {
            "evseId": evse,
            "duration": seconds,
            "scheduleStart": start,
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": periods,
        }
        return {"status": "Accepted", "schedule": schedule}

    async def _on_trigger_message(self, p: Payload) -> Payload:
        what = p["requestedMessage"]
        found = self._at((p.get("evse") or {}).get("id"))
        if not found:
            return {"status": "Rejected"}
        if what == "BootNotification":
            self.boot_again()
        elif what == "Heartbeat":
            self.beside(self.say_quietly("Heartbeat", {}))
        elif what == "StatusNotification":
            for outlet in found:
                payload = self.status_payload(outlet, self.status(outlet))
                self.beside(self.say_quietly(what, payload))
        elif what == "MeterValues":
            for outlet in found:
                if outlet.load is not None:
                    values = self.values(outlet, outlet.load)
                    value = [{"timestamp": self.time(), "sampledValue": values}]
                    payload = {"evseId": outlet.number, "meterValue": value}
                    self.beside(self.say_quietly("MeterValues", payload))
        elif what == "TransactionEvent":
            run = [(o, o.running) for o in found if o.running is not None]
            if not run:
                return {"status": "Rejected"}
            for outlet, running in run:
                read = [] if outlet.load is None else self.values(outlet, outlet.load)
                self._event(outlet, running, "Updated", "Trigger", values=read)
        elif what in ("LogStatusNotification", "FirmwareStatusNotification"):
            word, request = self.errands.now["log" if what.startswith("Log") else "firmware"]
            more = {} if word == IDLE else {"requestId": request}
            self.beside(self.say_quietly(what, {"status": word, **more}))
        else:
            return {"status": "NotImplemented"}
        return {"status": "Accepted"}

    async def _on_update_firmware(self, p: Payload) -> Payload:
        what = p["firmware"]
        if "signature" in what or "signingCertificate" in what:
            return {"status": "Rejected"}  # our bundles bear no vendor's signature to go by
        at, install = (utc_ms(what.get(k)) or 0 for k in ("retrieveDateTime", "installDateTime"))
        word = "AcceptedCanceled" if self.errands.busy("firmware") else "Accepted"
        number, tries = int(p["requestId"]), patience(p)
        self.errands.fetch(Firmware(what["location"], number, at, *tries, install))
        return {"status": word}

    async def _on_get_log(self, p: Payload) -> Payload:
        log = p["log"]
        url = log["remoteLocation"]
        if p["logType"] != "DiagnosticsLog" or urlsplit(url).scheme not in ("http", "https"):
            return {"status": "Rejected"}
        since = utc_ms(log.get("oldestTimestamp")) or 0
        until = utc_ms(log.get("latestTimestamp")) or self.utc_ms()
        word = "AcceptedCanceled" if self.errands.busy("log") else "Accepted"
        number, tries = int(p["requestId"]), patience(p)
        name = self.errands.leave_log(url, number, *tries, since, until)
        return {"status": word, "filename": name}


def token(tag: str, kind: str = "") -> Payload:
    """A tag as 2.0.1 has it: a card's number where it is one, and nobody has said of what kind it is."""
    if tag == "UNKNOWN":
        return {"idToken": "", "type": "NoAuthorization"}
    if kind:
        return {"idToken": tag[:36], "type": kind}
    kind = "ISO14443" if re.fullmatch(r"([0-9A-Fa-f]{2}){4,10}", tag) else "Central"
    return {"idToken": tag[:36], "type": kind}


def _energy(wh: int, context: str) -> Payload:
    return {
        "value": wh,
        "context": context,
        "measurand": "Energy.Active.Import.Register",
        "location": "Outlet",
        "unitOfMeasure": {"unit": "Wh"},
    }
