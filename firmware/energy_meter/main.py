"""Becomes /main.py of the energy meter."""

from firmware.energy_meter import app

app.run()
