"""`ievcc demo`: it does the main job unattended, and however it ends, nothing of it stays."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.live.running import until

pytestmark = [pytest.mark.board, pytest.mark.broker, pytest.mark.timeout(120)]

CHARGERS = {"Charger-1", "Charger-2", "Charger-3"}


class Demo:
    """A demo in an empty folder, and everything it may leave behind."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.mark = secrets.token_hex(8)
        self.cwd, self.tmp, self.home = (folder / n for n in ("cwd", "tmp", "home"))
        for each in (self.cwd, self.tmp, self.home):
            each.mkdir()
        env = os.environ | {
            "IEVCC_TEST_MARK": self.mark,
            "TMPDIR": str(self.tmp),
            "HOME": str(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.said = folder / "said.txt"
        with self.said.open("wb") as out:
            command = [sys.executable, "-m", "manager", "demo", "--headless", *options]
            self.process = subprocess.Popen(
                command, cwd=self.cwd, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )

    def words(self) -> str:
        return self.said.read_text(errors="replace")

    def processes(self) -> list[int]:
        """All that inherited this demo's environment, however far down and in whatever group."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def wait_for(self, words: str) -> None:
        until(words, lambda: words in self.words() or self.process.poll() is not None, 40)
        assert words in self.words(), self.words()

    def ends(self, within_s: float) -> float:
        began = time.monotonic()
        self.process.wait(within_s)
        return time.monotonic() - began

    def nothing_stays(self, *kept: str) -> None:
        assert self.processes() == []
        assert {p.name for p in self.cwd.iterdir()} <= {"demo-run", *kept}
        assert list(self.tmp.iterdir()) == []
        assert list(self.home.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path, mosquitto: str, micropython: str) -> Path:
    return tmp_path


def test_unattended_it_writes_what_happened(folder: Path) -> None:
    demo = Demo(folder, "--minutes", "0.25", "--speed", "1", "--json", "out.json")
    assert demo.process.wait(90) == 0, demo.words()
    demo.nothing_stays("out.json")
    assert "broker: mosquitto" in demo.words()
    assert "page: http://127.0.0.1:" in demo.words()
    out = json.loads((demo.cwd / "out.json").read_text())
    assert set(out["readings"]) == {"Counter-1", *CHARGERS}
    assert out["readings"]["Counter-1"] >= 10
    # The first car came, was given what the house left, and drew it.
    assert out["delivered_wh"]["Charger-1"] > 0
    given = [d for d in out["decisions"] if d["charger"] == "Charger-1" and d["offer_a"]]
    assert given[0]["words"]
    assert (
        6 <= given[0]["offer_a"] <= 30 - int(min(s["house_ma"][0] for s in out["samples"]) / 1000)
    )
    sample = out["samples"][-1]
    cars = sum(ma[0] for ma in sample["cars_ma"].values())
    assert sample["total_ma"][0] == sample["house_ma"][0] + cars


@pytest.mark.alone
@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "page: "), (signal.SIGTERM, "Charger-1 "), (signal.SIGHUP, "broker: ")],
    ids=["Ctrl-C while it starts", "SIGTERM while it runs", "the terminal goes"],
)
def test_told_to_end_it_ends_within_3_s(folder: Path, number: signal.Signals, moment: str) -> None:
    demo = Demo(folder)
    demo.wait_for(moment)
    assert len(demo.processes()) >= 2
    watching = None
    if page := re.search(r"page: (\S+)", demo.words()):  # somebody looks on to the very end
        watching = urllib.request.urlopen(f"{page[1]}api/live", timeout=10)
        assert watching.readline().startswith(b"data: ")
    demo.process.send_signal(number)
    assert demo.ends(10) < 3
    assert demo.process.returncode == 0
    if watching is not None:
        watching.close()
        assert "Traceback" not in (demo.cwd / "demo-run" / "manager.log").read_text()
    demo.nothing_stays()


def test_killed_outright_its_children_end_by_themselves(folder: Path) -> None:
    demo = Demo(folder)
    demo.wait_for("boards: ")
    demo.process.kill()
    demo.process.wait()
    until("all have ended", lambda: not demo.processes(), 10)
    demo.nothing_stays()


def test_a_child_that_dies_is_named_with_its_last_words(folder: Path) -> None:
    demo = Demo(folder)
    demo.wait_for("boards: ")
    victims = subprocess.run(
        ["pgrep", "-f", "manager run --config site.toml"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    (manager,) = set(map(int, victims)) & set(demo.processes())
    os.kill(manager, signal.SIGKILL)
    demo.ends(15)
    assert demo.process.returncode == 1
    assert "the demo cannot go on: manager was ended by SIGKILL" in demo.words()
    assert "connected to the MQTT broker" in demo.words()  # the tail of its log
    assert "Traceback" not in demo.words()
    demo.nothing_stays()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--policy", "greedy"), 2, "greedy"),
        (("--minutes", "0"), 2, "--minutes"),
        (("--folder", "."), 1, "give another --folder"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, options: tuple[str, ...], status: int, words: str
) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    ran = subprocess.run(
        [sys.executable, "-m", "manager", "demo", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == status
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["letters.txt"]
