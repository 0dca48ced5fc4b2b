"""Becomes /main.py of the charger."""

from firmware.charger import app

app.run()
