"""A running manager folds what is old into minutes, and says when the clock it goes by was set."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from manager import store
from tests.live.running import Running, until

pytestmark = pytest.mark.broker


def test_old_readings_become_minutes(tmp_path: Path, mosquitto: str) -> None:
    running = Running(tmp_path, "[site]\nlimit_a = 30\n[retention]\nseconds_days = 1\n")
    path = tmp_path / "ievcc.db"
    try:
        running.manager.end()
        old_ms = (int(time.time()) - 2 * 86_400) // 60 * 60_000
        with closing(store.connect(path)) as db:
            for n in range(600):
                values = ("Counter-1", 1, n, old_ms + n * 1000, 1, 5000, 2300, 1150, 1000 + n)
                db.execute(store.READING, (*values, 100, 50_000, 0, None, None))
        running.start_manager()
        until(
            "all of it is in minutes",
            lambda: not store.read(path, "SELECT 1 FROM reading LIMIT 1"),
            20,
        )
        asked = "SELECT count(*), sum(readings), sum(used_wh) FROM folded WHERE step_s = 60"
        assert store.read(path, asked) == [(10, 600, 599)]
    finally:
        running.stop()
