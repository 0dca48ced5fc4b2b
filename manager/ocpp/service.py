"""OCPP put into a manager, both ways, as its site file says."""

from __future__ import annotations

from pathlib import Path

from manager.ocpp.settings import Ocpp
from manager.refusal import Refusal
from manager.run import Manager


def put_into(manager: Manager, ocpp: Ocpp, here: Path) -> None:
    """Have the manager serve chargers and be charge points. Refusal if it cannot."""
    try:
        # An extra, not always installed.
        from manager.ocpp.downward import Central  # noqa: PLC0415
        from manager.ocpp.upward import Upward  # noqa: PLC0415
    except ImportError as e:
        raise Refusal(f"OCPP needs the extra `ocpp`: {e}") from e
    try:
        if ocpp.down is not None:
            central = Central(manager, ocpp.down, here)
            manager.more["ocpp"] = central.shown
            manager.alongside.append(central.run)
        if ocpp.up is not None:
            upward = Upward(manager, ocpp.up, here)
            manager.more["ocpp_up"] = upward.shown
            manager.alongside.append(upward.run)
    except OSError as e:
        raise Refusal(f"OCPP: its certificates cannot be used: {e}") from e
