"""Becomes /main.py of the energy meter."""

from firmware.common import update_start

update_start.at_start()

from firmware.energy_meter import app  # noqa: E402 - an update may just have replaced it

app.run()
