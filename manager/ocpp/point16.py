"""A charge point of ours in the words of OCPP 1.6J."""

from __future__ import annotations

from urllib.parse import urlsplit

from manager.ocpp import kept, profiles
from manager.ocpp.errands import Firmware, patience
from manager.ocpp.frames import Payload
from manager.ocpp.point import VARIABLES, Outlet, Point, Running
from manager.ocpp.quirks import time_text, utc_ms

_WHY = {
    "unplugged": "EVDisconnected",
    "card": "Local",
    "power_cut": "PowerLoss",
    "PowerLoss": "PowerLoss",
    "restart": "Reboot",
}
# What is said of an errand, and the words 1.6 has for it.
_ERRANDS = {
    "firmware": (
        "FirmwareStatusNotification",
        ("Downloading", "Downloaded", "DownloadFailed", "Installing", "Installed", "InstallationFailed"),
    ),
    "log": ("DiagnosticsStatusNotification", ("Uploading", "Uploaded", "UploadFailed")),
}  # fmt: skip


class Point16(Point):
    """See `Point`."""

    version = "1.6"

    def hello(self) -> Payload:
        first = self.manager.site.chargers.get(next(iter(self.outlets)))
        return {
            "chargePointVendor": "IEVCC",
            "chargePointModel": (
                "IEVCC manager"
                if len(self.outlets) > 1 or first is None
                else first.model or "IEVCC"
            )[:20],
            "chargePointSerialNumber": self.name[:25],
            "firmwareVersion": (first.firmware if first is not None else "")[:50] or "0",
        }

    def status_payload(self, outlet: Outlet, word: str) -> Payload:
        charger = self.charger(outlet)
        error: Payload = {"errorCode": "NoError"}
        if word == "Faulted":
            names = ", ".join(charger.faults) if charger is not None else ""
            error = {"errorCode": _error(names), "info": names[:50]}
        return {"connectorId": outlet.number, "status": word, "timestamp": self.time(), **error}

    def begin_of(self, outlet: Outlet, running: Running) -> None:
        call = {
            "connectorId": outlet.number,
            "idTag": running.tag[:20],
            "meterStart": running.begin_wh,
            "timestamp": time_text(running.began_ms),
        }
        if running.reservation:
            call["reservationId"] = running.reservation
        self.put("StartTransaction", {"key": self.key(outlet), "call": call})

    def meter(self, outlet: Outlet, running: Running, values: list[Payload]) -> None:  # noqa: ARG002
        value = [{"timestamp": self.time(), "sampledValue": values}]
        call = {"connectorId": outlet.number, "meterValue": value}
        self.put("MeterValues", {"key": self.key(outlet), "call": call}, may_go=True)

    def finish(
        self, outlet: Outlet, running: Running, end_wh: int, ended_ms: int, why: str
    ) -> None:
        reason = "Remote" if outlet.remote_stop else _WHY.get(why, "Other")
        call: Payload = {
            "idTag": running.tag[:20],
            "meterStop": end_wh,
            "timestamp": time_text(ended_ms),
            "reason": reason,
        }
        signed = self.signed_ends(outlet, running, end_wh, ended_ms)
        if signed:
            times = time_text(running.began_ms), time_text(ended_ms)
            rows = zip(times, signed, strict=True)
            call["transactionData"] = [{"timestamp": t, "sampledValue": [v]} for t, v in rows]
        self.put("StopTransaction", {"key": self.key(outlet), "call": call})

    def filled(self, action: str, payload: Payload) -> Payload | None:
        call: Payload = dict(payload["call"])
        number = self.ids.get(payload["key"])
        if action == "StartTransaction":
            return call
        if number is not None:
            return {**call, "transactionId": int(number)}
        return None if action == "StopTransaction" else call

    async def answered(self, action: str, payload: Payload, answer: Payload) -> None:
        key = payload["key"]
        if action == "StartTransaction":
            number = str(answer["transactionId"])
            self.ids[key] = number
            # On disk before the start leaves the queue: the stop that follows needs it.
            row = kept.setting(self.name, "number", key, number)
            await kept.committed(self.manager.store, [row])
            for outlet in self.outlets.values():
                if outlet.running is not None and self.key(outlet) == key:
                    outlet.running.number = number
                    self.keep_running(outlet)
                    refused = answer["idTagInfo"]["status"] not in ("Accepted", "ConcurrentTx")
                    if refused and self.variables["StopTransactionOnInvalidId"] == "true":
                        self.manager.command(outlet.charger, "stop")
        elif action == "StopTransaction":
            self.ids.pop(key, None)
            self.keep_one("number", key, None)

    async def ask_central(self, tag: str) -> Payload:
        answer = await self.say("Authorize", {"idTag": tag[:20]})
        info: Payload = answer["idTagInfo"]
        return info

    def reservation_over(self, number: int, why: str) -> None:
        """1.6 says so by the connector's status alone."""

    def say_errand(self, kind: str, word: str, request: int) -> None:  # noqa: ARG002
        action, words = _ERRANDS[kind]
        word = {"UploadFailure": "UploadFailed"}.get(word, word)
        if word in words:
            self.put(action, {"key": "", "call": {"status": word}})

    # What the central system asks.

    def _at(self, number: object) -> list[Outlet]:
        if number in (0, None):
            return list(self.outlets.values())
        one = self.outlet(number)
        return [] if one is None else [one]

    async def _on_remote_start_transaction(self, p: Payload) -> Payload:
        free = [o for o in self._at(p.get("connectorId")) if o.running is None]
        if not free:
            return {"status": "Rejected"}
        outlet, tag = free[0], p["idTag"]
        profile = p.get("chargingProfile")
        if profile is not None and profile["chargingProfilePurpose"] != "TxProfile":
            return {"status": "Rejected"}
        if self.variables["AuthorizeRemoteTxRequests"] == "true":
            self.beside(self._start_if(outlet, tag, profile))
            return {"status": "Accepted"}
        return {"status": self.start(outlet, tag, profile)}

    async def _start_if(self, outlet: Outlet, tag: str, profile: Payload | None) -> None:
        if await self.authorised(outlet, tag):
            self.start(outlet, tag, profile)

    async def _on_remote_stop_transaction(self, p: Payload) -> Payload:
        return {"status": self.stop(str(p["transactionId"]))}

    async def _on_reset(self, _: Payload) -> Payload:
        return {"status": self.reset()}

    async def _on_unlock_connector(self, p: Payload) -> Payload:
        outlet = self.outlet(p["connectorId"])
        if outlet is None:
            return {"status": "NotSupported"}
        return {"status": "Unlocked" if await self.unlock(outlet) else "NotSupported"}

    async def _on_change_availability(self, p: Payload) -> Payload:
        found = self._at(p["connectorId"])
        words = [self.out_of_service(o, out=p["type"] == "Inoperative") for o in found]
        if not words:
            return {"status": "Rejected"}
        return {"status": "Scheduled" if "Scheduled" in words else "Accepted"}

    async def _on_get_configuration(self, p: Payload) -> Payload:
        asked = p.get("key")
        rows, unknown = [], []
        known = {"NumberOfConnectors": (str(len(self.outlets)), False)}
        told = self.signer.told_key()
        known |= {f"MeterPublicKey[{o.number}]": (told, False) for o in self.outlets.values()}
        known |= {row[0]: (self.variables[row[0]], row[4]) for row in VARIABLES}
        for key in asked or known:
            if key in known:
                value, may = known[key]
                rows.append({"key": key, "readonly": not may, "value": value[:500]})
            else:
                unknown.append(key)
        return {"configurationKey": rows, "unknownKey": unknown}

    async def _on_change_configuration(self, p: Payload) -> Payload:
        return {"status": self.set_variable(p["key"], p["value"])}

    async def _on_clear_cache(self, _: Payload) -> Payload:
        return {"status": "Accepted"}  # nothing the central system said to a tag is kept

    async def _on_data_transfer(self, _: Payload) -> Payload:
        return {"status": "UnknownVendorId"}

    async def _on_get_local_list_version(self, _: Payload) -> Payload:
        on = self.variables["LocalAuthListEnabled"] == "true"
        return {"listVersion": self.list_version if on else -1}

    async def _on_send_local_list(self, p: Payload) -> Payload:
        rows = [
            (str(one["idTag"]), one.get("idTagInfo"))
            for one in p.get("localAuthorizationList", ())
        ]
        full = p["updateType"] == "Full"
        return {"status": self.new_list(int(p["listVersion"]), full, rows)}

    async def _on_reserve_now(self, p: Payload) -> Payload:
        outlet = self.outlet(p["connectorId"])
        if outlet is None:
            return {"status": "Rejected"}
        whose = p["idTag"], p["expiryDate"], p.get("parentIdTag", "")
        return {"status": self.reserve(outlet, p["reservationId"], *whose)}

    async def _on_cancel_reservation(self, p: Payload) -> Payload:
        return {"status": self.unreserve(p["reservationId"])}

    async def _on_set_charging_profile(self, p: Payload) -> Payload:
        raw = dict(p["csChargingProfiles"])
        number = p["connectorId"]
        outlet = self.outlet(number)
        if number and outlet is None:
            return {"status": "Rejected"}
        whose = raw.pop("transactionId", None)
        running = outlet.running if outlet is not None else None
        if whose is not None and (running is None or running.number != str(whose)):
            return {"status": "Rejected"}
        try:
            key = self.key(outlet) if outlet is not None else ""
            new = profiles.parsed(raw, number, key)
            self.set_profiles(profiles.installed(self.profiles, new))
        except profiles.ProfileError:
            return {"status": "Rejected"}
        return {"status": "Accepted"}

    async def _on_clear_charging_profile(self, p: Payload) -> Payload:
        purpose = p.get("chargingProfilePurpose")
        left = profiles.cleared(
            self.profiles, p.get("id"), p.get("connectorId"), purpose, p.get("stackLevel")
        )
        if len(left) == len(self.profiles):
            return {"status": "Unknown"}
        self.set_profiles(left)
        return {"status": "Accepted"}

    async def _on_get_composite_schedule(self, p: Payload) -> Payload:
        number, seconds = p["connectorId"], int(p["duration"])
        outlet = self.outlet(number)
        if (number and outlet is None) or not 0 <= seconds <= 7 * 86_400:
            return {"status": "Rejected"}
        unit = p.get("chargingRateUnit", "A")
        start, periods = self.schedule(outlet, seconds, unit)
        schedule = {
            "duration": seconds,
            "startSchedule": start,
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": periods,
        }
        return {
            "status": "Accepted",
            "connectorId": number,
            "scheduleStart": start,
            "chargingSchedule": schedule,
        }

    async def _on_trigger_message(self, p: Payload) -> Payload:
        what = p["requestedMessage"]
        found = self._at(p.get("connectorId"))
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
                    payload = {"connectorId": outlet.number, "meterValue": value}
                    self.beside(self.say_quietly(what, payload))
        elif what in ("DiagnosticsStatusNotification", "FirmwareStatusNotification"):
            kind = "firmware" if what.startswith("Firmware") else "log"
            word, _ = self.errands.now[kind]
            word = word if word in _ERRANDS[kind][1] else "Idle"
            self.beside(self.say_quietly(what, {"status": word}))
        else:
            return {"status": "NotImplemented"}
        return {"status": "Accepted"}

    async def _on_update_firmware(self, p: Payload) -> Payload:
        at = utc_ms(p["retrieveDate"]) or 0
        self.errands.fetch(Firmware(p["location"], 0, at, *patience(p)))
        return {}

    async def _on_get_diagnostics(self, p: Payload) -> Payload:
        if urlsplit(p["location"]).scheme not in ("http", "https"):
            return {}  # no file: the standard's answer for none
        span = utc_ms(p.get("startTime")) or 0, utc_ms(p.get("stopTime")) or self.utc_ms()
        return {"fileName": self.errands.leave_log(p["location"], 0, *patience(p), *span)}


def _error(faults: str) -> str:
    words = faults.lower()
    for part, code in (
        ("residual", "GroundFailure"),
        ("ground", "GroundFailure"),
        ("leak", "GroundFailure"),
        ("temperature", "HighTemperature"),
        ("hot", "HighTemperature"),
        ("over_current", "OverCurrentFailure"),
        ("weld", "PowerSwitchFailure"),
        ("contactor", "PowerSwitchFailure"),
        ("meter", "PowerMeterFailure"),
        ("pilot", "EVCommunicationError"),
    ):
        if part in words:
            return code
    return "OtherError"
