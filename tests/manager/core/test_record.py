"""What was decided is decided again, byte for byte; and otherwise with one thing changed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from typer.testing import CliRunner

from manager.core import record
from manager.core.commands import Command
from manager.core.decide import decide
from manager.core.events import Admitted, Configured, Event, Offline, Wished
from manager.core.site import MAIN, Feeder, Settings, Wants, Window, site
from manager.replay import replay, replayed
from tests.manager.core import plant as plants


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten minutes of two chargers, with most kinds of events."""
    first, start = record.first_line(site(30, update_interval_ms=0), 0)
    lines = [first]

    def recorded(before: object, event: Event, now: int) -> tuple[object, list[Command]]:
        after, commands = decide(before, event, now)  # type: ignore[arg-type]
        lines.append(record.line(event, now, commands))
        return after, commands

    monkeypatch.setattr(plants, "decide", recorded)
    plant = plants.Plant(start, role="grid")
    plant.house(3.2)
    plant.add("c1")
    plant.add("c2")
    plant.state("c1", "C")
    plant.run(60)
    plant.state("c2", "C")
    plant.put(Wished("c1", Wants(wanted_wh=8000, user_max_a=16)))
    plant.run(60)
    plant.put(Admitted("c1", "anna", 14, 0))
    plant.run(10)
    plant.put(Offline("c2"))
    plant.put(Wished("c1", None))
    plant.put(Configured(
        settings=Settings(policy="first", windows=(Window(0, 60, 10),)),
        feeders={MAIN: Feeder(MAIN, (25_000,))},
    ))  # fmt: skip
    plant.run(60)
    path = tmp_path / "decisions.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_same_byte_for_byte(log: Path) -> None:
    told = replayed(log)
    assert told.events > 300
    assert told.differing == 0
    assert told.offered_ah == told.recorded_ah


def test_a_packed_record_too(log: Path) -> None:
    packed = log.with_suffix(".gz")
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert replayed(packed).differing == 0


def test_what_if_the_limit_were_40_a(log: Path) -> None:
    told = replayed(log, limit_a=40)
    assert told.differing
    assert sum(told.offered_ah.values()) > sum(told.recorded_ah.values())


def test_one_altered_byte_is_found(log: Path) -> None:
    text = log.read_text()
    assert '"limit_a":26' in text
    log.write_text(text.replace('"limit_a":26', '"limit_a":27', 1))
    told = replayed(log)
    assert (told.differing, told.first_difference > 1) == (1, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the record is empty"),
        ("rubbish\n", "line 1"),
        ('{"now_ms":0,"event":{"kind":"tick"},"commands":[]}\n', "does not begin with a site"),
    ],
)
def test_what_is_no_record_is_told(tmp_path: Path, text: str, words: str) -> None:
    import typer

    path = tmp_path / "x.jsonl"
    path.write_text(text)
    app = typer.Typer()
    app.command()(replay)
    got = CliRunner().invoke(app, [str(path)])
    assert got.exit_code == 1
    assert words in got.output


def test_the_command_says_what_it_found(log: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(replay)
    got = CliRunner().invoke(app, [str(log)])
    assert got.exit_code == 0
    assert "every decision came out the same, byte for byte" in got.output
    got = CliRunner().invoke(app, [str(log), "--limit", "40"])
    assert got.exit_code == 0
    assert "would be" in got.output


def test_a_managers_record_is_replayed_even_if_the_power_went(tmp_path: Path) -> None:
    from manager.core.events import Tick
    from manager.decision_log import DecisionLog

    log = DecisionLog(tmp_path / "decisions", 7, site(30), 1_000)
    now = log.site
    for n in range(1000):
        now, commands = decide(now, Tick(minute=n), 1_000 + n * 250)
        log.write(Tick(minute=n), 1_000 + n * 250, commands)
    cut_short = tmp_path / "cut.gz"
    cut_short.write_bytes(log.path.read_bytes())
    assert 700 < replayed(cut_short).events <= 1000
    assert replayed(cut_short).differing == 0
    log.close()
    assert replayed(log.path).events == 1000
    for boot in range(8, 20):
        DecisionLog(tmp_path / "decisions", boot, site(30), 0).close()
    assert len(list((tmp_path / "decisions").iterdir())) == 5
