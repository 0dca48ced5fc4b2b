"""How often the meters report: every second while a car may charge, every few seconds while none can."""

from __future__ import annotations

from manager.core import leases
from manager.core.commands import Send
from manager.core.site import Charger, changed
from manager.core.work import Work, plugged
from shared import protocol

BUSY, CALM = "start", "stop"  # the commands that say so
CALM_MS = 5_000  # between two readings then; a meter is silent only when so much later than else


def may_charge(charger: Charger, now_ms: int) -> bool:
    """Whether a car may draw from it, or could before the next reading is due.

    One that has not said how it is may have a car.
    """
    return charger.state == "" or plugged(charger) or leases.worst_a(charger, now_ms) > 0


def pace(work: Work) -> None:
    """Tell each meter that has not been told. A meter that announces itself takes it that cars may charge."""
    wanted = BUSY if any(may_charge(c, work.now) for c in work.chargers.values()) else CALM
    for meter in work.meters.values():
        if meter.pace == wanted or (wanted == BUSY and not meter.pace):
            continue
        work.meters[meter.id] = changed(meter, pace=wanted)
        message = {
            "code": protocol.COMMAND,
            "re_boot": meter.boot,
            "re_seq": meter.seq,
            "command": wanted,
        }
        work.commands.append(Send(meter.id, message))
        work.room_stale = True  # what an old reading is worth has changed
