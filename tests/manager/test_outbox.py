"""The outbox: what goes up, what stays in the building, and how a full one thins out by rule."""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from manager import outbox, store
from shared import protocol

KEY = bytes(32)
HOUR_MS = 3_600_000
T0 = 1_795_392_000_000


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    return store.connect(tmp_path / "site.db")


def load(seq: int, energy_wh: int) -> dict[str, Any]:
    return {
        "code": protocol.COUNTER_LOAD,
        "boot": 1,
        "seq": seq,
        "current_ma": [1000],
        "voltage_dv": [2300],
        "power_w": [230],
        "energy_wh": [energy_wh],
        "age_ms": 250,
    }


def status(seq: int, offer_a: int, lease: int) -> dict[str, Any]:
    return {
        "code": protocol.CHARGER_STATUS,
        "boot": 1,
        "seq": seq,
        "state": "C2",
        "offer_a": offer_a,
        "lease": lease,
        "lease_ms": 15000,
        "contactor": 1,
        "mode": "managed",
        "faults": [],
        "rejected": 0,
        "uptime_s": seq,
    }


def begin(seq: int) -> dict[str, Any]:
    return {
        "code": protocol.SESSION_BEGIN,
        "boot": 1,
        "seq": seq,
        "session": seq,
        "how": "card",
        "energy_wh": 0,
        "age_s": 0,
        "card": "04a1b2c3d4e5f6",
    }


def write(db: sqlite3.Connection, rows: list[outbox.Row]) -> None:
    db.execute("BEGIN")
    for statement, values in rows:
        db.execute(statement, values)
    db.execute("COMMIT")


def kinds(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT kind, count(*) FROM outbox GROUP BY kind"))


def test_a_reading_bears_the_time_at_which_it_was_measured() -> None:
    ((_, values),) = outbox.Outbox(KEY, 7).message("meter-1", load(5, 10), T0)
    assert values[:7] == (outbox.READING, "meter-1", 1, 5, "counter_load", T0 - 250, values[6])
    assert json.loads(values[6])["energy_wh"] == [10]


def test_a_card_leaves_the_building_only_as_a_hash_with_the_sites_key() -> None:
    ((_, values),) = outbox.Outbox(KEY, 7).message("charger-1", begin(5), T0)
    assert "04a1b2c3d4e5f6" not in values[6]
    assert json.loads(values[6])["card"] == outbox.card_hash(KEY, "04A1B2C3D4E5F6")
    assert outbox.card_hash(KEY, "04a1b2c3d4e5f6") != outbox.card_hash(
        bytes(31) + b"1", "04a1b2c3d4e5f6"
    )


@pytest.mark.parametrize(
    "code", [protocol.CARD_READ, protocol.CONFIG_VALUE, protocol.UPDATE_STATUS]
)
def test_cards_settings_and_firmware_stay(code: int) -> None:
    assert (
        outbox.Outbox(KEY, 7).message("charger-1", {"code": code, "boot": 1, "seq": 1}, T0) == []
    )


def test_a_state_goes_up_when_it_changes_and_not_with_every_lease() -> None:
    box = outbox.Outbox(KEY, 7)
    sent = [
        bool(box.message("charger-1", status(i, amps, lease=i), T0))
        for i, amps in enumerate([6, 6, 6, 8, 8, 6])
    ]
    assert sent == [True, False, False, True, False, True]


def test_a_line_of_words_cannot_break_a_record() -> None:
    _, values = outbox.Outbox(KEY, 7).log("error", 'a "quoted"\nline\x00', T0)
    assert json.loads(values[6])["words"] == 'a "quoted" line '


def test_warnings_of_the_managers_log_go_up_and_chatter_does_not() -> None:
    rows: list[outbox.Row] = []
    log = logging.getLogger("manager.test_outbox")
    log.addHandler(outbox.LogLines(outbox.Outbox(KEY, 7), rows.extend))
    log.setLevel(logging.DEBUG)
    log.info("chatter")
    log.warning("cannot write to %s", "site.db")
    ((_, values),) = rows
    want = {"level": "warning", "words": "manager.test_outbox: cannot write to site.db"}
    assert json.loads(values[6]) == want


def test_below_half_its_capacity_nothing_is_thinned(db: sqlite3.Connection) -> None:
    box = outbox.Outbox(KEY, 7)
    for i in range(500):
        write(db, box.message("meter-1", load(i, i), T0 + i * 1000))
    assert outbox.thin(db, 1000, 7, T0) == 0


def test_readings_go_first_and_keep_the_last_of_each_minute(db: sqlite3.Connection) -> None:
    box = outbox.Outbox(KEY, 7)
    for i in range(600):  # ten minutes
        write(db, box.message("meter-1", load(i, i), T0 + 250 + i * 1000))
    write(db, box.message("charger-1", begin(1), T0))
    outbox.thin(db, 1000, 7, T0 + HOUR_MS)
    left = db.execute(
        "SELECT t_ms, fields FROM outbox WHERE kind = 'counter_load' ORDER BY n"
    ).fetchall()
    assert [(t - T0) // 1000 for t, _ in left] == [59 + 60 * i for i in range(10)]
    assert json.loads(left[-1][1])["energy_wh"] == [599]
    (told,) = db.execute("SELECT fields FROM outbox WHERE kind = 'thinned'").fetchone()
    assert json.loads(told) == {
        "kind": "counter_load",
        "count": 590,
        "from_ms": T0,
        "to_ms": T0 + 598_000,
    }


def test_sessions_and_faults_never_go_whatever_the_pressure(db: sqlite3.Connection) -> None:
    box = outbox.Outbox(KEY, 7)
    fault = {"code": protocol.FAULT, "boot": 1, "seq": 0, "fault": "ground", "active": 1}
    for i in range(100):
        write(db, box.message("meter-1", load(i, i), T0 + 250 + i * HOUR_MS))
        write(db, box.message("charger-1", status(3 * i, i % 32, i), T0))
        write(db, box.message("charger-1", begin(3 * i + 1), T0))
        write(db, box.message("charger-1", {**fault, "seq": 3 * i + 2}, T0))
        write(
            db,
            [box.decision("charger-1", 6, i + 1, "fair", "words", T0), box.log("info", "x", T0)],
        )
    outbox.thin(db, 10, 7, T0)
    left = kinds(db)
    assert (left["session_begin"], left["fault"]) == (100, 100)
    assert set(left) <= {"session_begin", "fault", "thinned", "counter_load"}
    assert left["counter_load"] == 5  # the last of each day: its counter holds the others' energy


def test_numbers_of_the_managers_own_records_are_never_used_again(db: sqlite3.Connection) -> None:
    box = outbox.Outbox(KEY, 7)
    write(db, [box.event("start", "", "up", T0)])
    (first,) = db.execute("SELECT n FROM outbox").fetchone()
    db.execute("DELETE FROM outbox")
    write(db, [box.event("start", "", "up", T0)])
    (second,) = db.execute("SELECT n FROM outbox").fetchone()
    assert second > first
