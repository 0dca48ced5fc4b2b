"""Becomes /main.py of the energy meter."""

import machine

try:
    import update_start  # its copy in the root, while an update of the partition lasts
except ImportError:
    from firmware.common import update_start

if update_start.at_start():
    machine.reset()

try:
    from firmware.energy_meter import app  # only now: an update may just have replaced it

    app.run()
except Exception:
    if update_start.plan() is None:
        raise
    machine.reset()  # new firmware that cannot run gets its tries, and then the old one comes back
