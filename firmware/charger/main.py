"""Becomes /main.py of the charger."""

from firmware.common import update_start

update_start.at_start()

from firmware.charger import app  # noqa: E402 - an update may just have replaced it

app.run()
