"""Becomes /main.py of the charger."""

import machine

from firmware.common import update_start

update_start.at_start()
_plan = update_start.plan()
_trying = _plan is not None and _plan["stage"] == "try"
if _trying:
    # New firmware may hang before it starts a watchdog of its own.
    machine.WDT(timeout=60_000)

try:
    from firmware.charger import app  # only now: an update may just have replaced it

    app.run(_trying)
except Exception:
    if not _trying:
        raise
    machine.reset()  # new firmware that cannot run gets its tries, and then the old one comes back
