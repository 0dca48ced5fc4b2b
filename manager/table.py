"""The state of a site as a table for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def amps(values: list[float]) -> str:
    """Currents in A, one a phase."""
    return " / ".join(f"{a:.1f}" for a in values) or "–"


def turned_away(state: dict[str, Any]) -> str:
    """What the broker did not let in, counted; "" if nothing, or if that manager is too old to say."""
    counted = (
        (state["broker"].get(f"{what}_refused"), what)
        for what in ("messages", "bytes", "connections")
    )
    return ", ".join(f"{n} {what}" for n, what in counted if n)


def picture(state: dict[str, Any]) -> RenderableType:
    """Feeders, meters and chargers, each charger with why it has what it has."""
    link = "" if state["broker"]["connected"] else "  no MQTT broker"
    parts: list[RenderableType] = [
        Text.assemble((state["name"], "bold"), f"  policy {state['policy']}", (link, "red"))
    ]
    away = turned_away(state)
    if away:
        parts.append(Text(f"turned away by the broker: {away}", "yellow"))
    if state["store"] != "ok":
        parts.append(Text(state["store"], "red bold"))
    feeders = Table("feeder", "limit A", "house A", "cars A", "total A", "", box=None)
    for f in state["feeders"]:
        pairs = zip(f["total_a"], f["limit_a"], strict=True)
        over = any(total > limit for total, limit in pairs)
        feeders.add_row(
            f["name"],
            amps(f["limit_a"]),
            amps(f["house_a"]),
            amps(f["cars_a"]),
            Text(amps(f["total_a"]), "red bold" if over else "bold"),
            Text(f["known_words"], "dim" if f["known"] == "measured" else "yellow"),
        )
    parts.append(feeders)
    meters = Table("meter", "A", "", box=None)
    for m in state["meters"]:
        there = "" if m["online"] else ", offline"
        meters.add_row(m["id"], amps(m["current_a"]), Text(m["age_words"] + there, "dim"))
    if state["meters"]:
        parts.append(meters)
    chargers = Table("charger", "offer A", "draws A", "car", "why", box=None)
    for c in state["chargers"]:
        car = c["state_words"] + ("" if c["online"] else ", offline")
        if c["faults"]:
            car += f", fault: {', '.join(c['faults'])}"
        if c["session_wh"]:
            car += f", {c['session_wh'] / 1000:.2f} kWh"
        if c["user"]:
            car += f", {c['user']}"
        drawn = f"{c['drawn_a']:.1f}"
        chargers.add_row(c["id"], str(c["offer_a"]), drawn, car, c["reason"]["words"])
    if state["chargers"]:
        parts.append(chargers)
    else:
        parts.append(Text("no charger has announced itself yet", "dim"))
    return Group(*parts)
