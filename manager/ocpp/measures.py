"""Measured values: OCPP's lists of sampled values and our messages, both ways. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manager.ocpp.quirks import number

Payload = dict[str, Any]
_PER_KILO = {"kW": 1000, "kWh": 1000, "kvar": 1000, "kVA": 1000}
WANTED = (
    "Current.Import",
    "Power.Active.Import",
    "Energy.Active.Import.Register",
    "Voltage",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a charger measured, per phase of the charger; None: it did not say."""

    current_ma: tuple[int, ...] | None = None
    voltage_dv: tuple[int, ...] | None = None
    power_w: tuple[int, ...] | None = None
    energy_wh: int | None = None


def measured(values: object, phases: int) -> Measured:
    """The newest of a list of sampled values of either version.

    A charger that tells only its power is taken to spread it evenly. Unknown measurands, odd units
    and values that are no numbers are let be.
    """
    found: dict[tuple[str, str], float] = {}
    for one in values if isinstance(values, list) else ():
        if not isinstance(one, dict) or one.get("location", "Outlet") not in ("Outlet", "Inlet"):
            continue
        if one.get("format") == "SignedData":
            continue
        value = number(one.get("value"))
        if value is None:
            continue
        unit = one.get("unit")
        more = one.get("unitOfMeasure")
        if isinstance(more, dict):
            unit = more.get("unit", unit)
            power = more.get("multiplier", 0)
            value *= 10 ** (power if type(power) is int and -6 <= power <= 6 else 0)
        value *= _PER_KILO.get(str(unit), 1)
        what = str(one.get("measurand", "Energy.Active.Import.Register"))
        found[what, _phase(one.get("phase"))] = value
    volts = _row(found, "Voltage", phases)
    amps = _row(found, "Current.Import", phases)
    watts = _row(found, "Power.Active.Import", phases)
    whole = found.get(("Power.Active.Import", ""))
    if watts is None and whole is not None:
        watts = (whole / phases,) * phases
    if amps is None and watts is not None:
        u = volts or (230.0,) * phases
        amps = tuple(w / max(1.0, v) for w, v in zip(watts, u, strict=True))
    if amps is None and ("Current.Import", "") in found:
        amps = (found["Current.Import", ""],) * phases
    energy = found.get(("Energy.Active.Import.Register", ""))
    if energy is None:
        parts = _row(found, "Energy.Active.Import.Register", phases)
        energy = None if parts is None else sum(parts)
    return Measured(
        None if amps is None else tuple(_within(a * 1000, 200_000) for a in amps),
        None if volts is None else tuple(_within(v * 10, 5000) for v in volts),
        None if watts is None else tuple(_within(w, 60_000) for w in watts),
        None if energy is None else _within(energy, 2**31 - 1),
    )


def _within(value: float, most: int) -> int:
    return max(0, min(most, round(value)))


def _phase(text: object) -> str:
    """ "1".."3", or "" for all of them; "L1-N" is as good as "L1", between phases is nobody's."""
    words = str(text or "")
    if words[:1] == "L" and words[1:2] in "123" and words[2:] in ("", "-N"):
        return words[1:2]
    return words


def _row(
    found: Mapping[tuple[str, str], float], what: str, phases: int
) -> tuple[float, ...] | None:
    per = [found.get((what, str(p + 1))) for p in range(phases)]
    if any(v is not None for v in per):
        return tuple(0.0 if v is None else v for v in per)
    if what == "Voltage" and (what, "") in found:
        return (found[what, ""],) * phases
    if phases == 1 and (what, "") in found:
        return (found[what, ""],)
    return None


def sampled(message: Mapping[str, Any], wanted: tuple[str, ...], *, new: bool) -> list[Payload]:
    """Our charger_load as sampled values of 1.6, or of 2.0.1 if `new`."""
    rows: list[tuple[str, str, float, str]] = []
    count = len(message["current_ma"])
    if "Energy.Active.Import.Register" in wanted:
        rows.append(("Energy.Active.Import.Register", "", sum(message["energy_wh"]), "Wh"))
    if "Power.Active.Import" in wanted:
        rows.append(("Power.Active.Import", "", sum(message["power_w"]), "W"))
    for p in range(count):
        phase = f"L{p + 1}"
        if "Current.Import" in wanted:
            rows.append(("Current.Import", phase, message["current_ma"][p] / 1000, "A"))
        if "Voltage" in wanted:
            rows.append(("Voltage", f"{phase}-N", message["voltage_dv"][p] / 10, "V"))
    values: list[Payload] = []
    for what, phase, value, unit in rows:
        one: Payload = {"measurand": what, "context": "Sample.Periodic", "location": "Outlet"}
        if phase:
            one["phase"] = phase
        if new:
            values.append({**one, "value": value, "unitOfMeasure": {"unit": unit}})
        else:
            values.append(
                {**one, "value": f"{value:g}" if value < 1e5 else f"{value:.0f}", "unit": unit}
            )
    return values
