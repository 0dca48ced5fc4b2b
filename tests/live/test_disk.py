"""A disk that fills up, turns read-only or spoils the store, under a manager that leads a car: it says so
in plain words, raises nothing the disk does not know of, lowers at once, and loses nothing that comes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from manager import store as tables
from shared import protocol
from tests.live.browser import (
    accessibility_faults,
    chromium_at,
    no_sideways_scroll,
    watched,
)
from tests.live.running import Device, Running, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
MB = 1 << 20


def mount(*arguments: str) -> str:
    """What `mount` had to say; nothing if it is done."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    return done.stderr.strip() or ("" if done.returncode == 0 else "refused")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    trouble = mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder))
    if trouble:
        if os.environ.get("CI"):
            pytest.fail(f"no file system may be mounted here: {trouble}")
        pytest.skip(f"no file system may be mounted here: {trouble}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


class House(Running):
    """A meter that tells every half second what the house draws, and one car that takes what it gets."""

    def __init__(self, folder: Path, store: Path, home_a: float) -> None:
        (folder / "run").mkdir()
        super().__init__(
            folder / "run",
            "[site]\nlimit_a = 30\nupdate_interval_s = 0\nopen = true\n"
            f'[store]\npath = "{store}"\n',
        )
        self.home_a = home_a
        self.offer_a = -1
        self.offers: list[int] = []
        self.said = 0
        self.meter = Device(self, "Counter-1")
        self.meter.announce_counter()
        self.car = Device(self, "Charger-1")
        self.car.announce_charger()
        self._ending = threading.Event()
        self._life = threading.Thread(target=self._live, daemon=True)
        self._life.start()

    def _live(self) -> None:
        lease, due = 0, 0.0
        while not self._ending.wait(0.02):
            told = False
            while not self.car.heard.empty():
                message = self.car.heard.get()
                if message["code"] == protocol.AVAILABLE_LOAD and message["lease"] > lease:
                    lease, self.offer_a = message["lease"], message["limit_a"]
                    self.offers.append(self.offer_a)
                    told = True
            if told or time.monotonic() >= due:
                self._status(lease)
            if time.monotonic() >= due:
                due = time.monotonic() + 0.5
                self.meter.measure(self.home_a)
                self.car.measure(max(0, self.offer_a), protocol.CHARGER_LOAD)
                self.said += 1

    def _status(self, lease: int) -> None:
        amps = max(0, self.offer_a)
        self.car.say(
            "Charger-1/up", protocol.CHARGER_STATUS, state="C2", offer_a=amps, lease=lease,
            lease_ms=15_000 if lease else 0, contactor=int(amps > 0), mode="managed", faults=[],
            rejected=0, uptime_s=1,
        )  # fmt: skip

    def gets(self, amps: int, within_s: float = 25) -> None:
        until(f"the car is offered {amps} A", lambda: self.offer_a == amps, within_s)

    def trouble(self, words: str) -> str:
        """Wait until the state says so; its words."""
        until(f"the state says {words!r}", lambda: words in self.state()["store"], 15)
        return str(self.state()["store"])

    def stop(self) -> None:
        self._ending.set()
        self._life.join()
        self.meter.close()
        self.car.close()
        super().stop()

    def readings(self, store: Path) -> set[int]:
        rows = tables.read(store, "SELECT seq FROM reading WHERE device = 'Counter-1'")
        return {seq for (seq,) in rows}


@contextlib.contextmanager
def house(folder: Path, store: Path, home_a: float) -> Iterator[House]:
    made = House(folder, store, home_a)
    try:
        yield made
    finally:
        made.stop()


def lives_through(running: House, words: str, page: Page | None = None) -> None:
    """What holds while the disk takes nothing. Before: 20 A at home, and so 10 A for the car."""
    told = running.trouble(words)
    assert "nothing new is recorded" in told
    if page is not None:
        banner = page.get_by_role("alert").filter(has_text="o disco está cheio")
        expect(banner).to_be_visible()
        expect(banner).to_contain_text("O disco não aceita nada")
        expect(page.locator("#charger-Charger-1 .amps")).to_contain_text("10 A")
        assert accessibility_faults(page) == []
        assert no_sideways_scroll(page)
    shown = subprocess.run(
        [sys.executable, "-m", "manager", "status", "--config", str(running.config)],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip
    assert words in shown.stdout
    assert words in (running.folder / "manager.log").read_text()
    until("it is told as an event", lambda: any(
        e["kind"] == "store" and words in e["words"] for e in running.state()["events"]
    ), 10)  # fmt: skip
    running.offers.clear()
    running.home_a = 4  # there would be 26 A
    said = running.said
    until("the house has been read for long enough", lambda: running.said >= said + 20, 30)
    assert set(running.offers) <= {10}, "no lease above what the disk knows of"
    running.home_a = 23
    running.gets(7)  # lowering asks no disk


@pytest.mark.browser
def test_a_disk_that_fills_up(tmp_path: Path, disk: Path, chromium: str) -> None:
    store = disk / "store" / "ievcc.db"
    with (
        house(tmp_path, store, home_a=20) as running,
        chromium_at(chromium) as browser,
        watched(browser, locale="pt-PT") as seen,
    ):
        running.gets(10)
        seen.page.goto(running.url)
        expect(seen.page.locator("#charger-Charger-1 .amps")).to_contain_text("10 A")
        expect(seen.page.locator("#trouble")).to_be_hidden()
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        lives_through(running, "the disk is full", seen.page)
        first = running.meter.sender.seq
        running.home_a = 4
        filler.unlink()
        running.gets(26)
        until("the store is well", lambda: running.state()["store"] == "ok", 10)
        expect(seen.page.locator("#trouble")).to_be_hidden()
        last = running.meter.sender.seq
        until("all of it is there", lambda: last in running.readings(store), 10)
    kept = running.readings(store)
    assert set(range(2, last + 1)) <= kept, "what came while the disk was full is there too"
    assert first < last


@pytest.fixture
def card(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A card of 24 MB with ext4, where it is mounted and how it is mounted again."""
    image, folder = tmp_path / "card", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(24 * MB)
    made = subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(image)], check=False)
    how = ["-o", "loop", str(image), str(folder)]
    trouble = mount(*how) if made.returncode == 0 else "there is no mkfs.ext4"
    if trouble:
        if os.environ.get("CI"):
            pytest.fail(f"no card may be mounted here: {trouble}")
        pytest.skip(f"no card may be mounted here: {trouble}")
    yield folder, how
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_card_that_the_system_makes_read_only(
    tmp_path: Path, card: tuple[Path, list[str]]
) -> None:
    disk, how = card
    store = disk / "store" / "ievcc.db"
    with house(tmp_path, store, home_a=20) as running:
        running.gets(10)
        until("readings are stored", lambda: len(running.readings(store)) > 3, 20)
        # What ext4 does by itself when it finds an error on the card.
        assert mount("-o", "remount,abort", str(disk)) == ""
        lives_through(running, "read-only")
        running.manager.end()
        subprocess.run(["umount", str(disk)], check=True)
        assert mount(*how) == ""
        running.home_a = 4
        running.start_manager()
        running.gets(26, 60)
        assert running.state()["store"] == "ok"
        last = running.meter.sender.seq
        until("all of it is there", lambda: last in running.readings(store), 10)
    assert set(range(2, last + 1)) <= running.readings(store), "the broker had kept the rest"


def begin(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "manager", "run", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("how", ["overwritten", "cut short", "no database"])
def test_a_damaged_store_is_refused_and_left_as_it_is(tmp_path: Path, how: str) -> None:
    store = tmp_path / "ievcc.db"
    with contextlib.closing(tables.connect(store)) as db:
        row = ("C", 1, 0, 1, 0, 0, 0, 0, None, None, 0, None, None)
        db.executemany(tables.READING, [(row[0], row[1], n, *row[2:]) for n in range(20_000)])
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = store.stat().st_size
    with store.open("r+b") as file:
        if how == "overwritten":
            file.seek(size // 3)
            file.write(os.urandom(size // 3))
        elif how == "cut short":
            file.truncate(size // 2)
        else:
            file.write(b"this was a letter" * 100)
    spoiled = store.read_bytes()
    config = tmp_path / "site.toml"
    config.write_text(f'[site]\nlimit_a = 30\n[store]\npath = "{store}"\n')
    done = begin(config)
    assert done.returncode == 1, done.stderr
    assert "ievcc restore" in done.stderr
    assert "Traceback" not in done.stderr
    assert store.read_bytes() == spoiled, "whoever salvages it finds it as it was"


def test_rubbish_in_the_journal_is_passed_over(tmp_path: Path) -> None:
    store = tmp_path / "ievcc.db"
    with contextlib.closing(tables.connect(store)) as db:
        db.execute(tables.EVENT, (1, "test", "", "kept"))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    Path(f"{store}-wal").write_bytes(os.urandom(64 * 1024))
    with contextlib.closing(tables.connect(store)) as db:
        assert db.execute("SELECT words FROM event").fetchall() == [("kept",)]


def test_a_store_that_spoils_in_use(tmp_path: Path) -> None:
    store = tmp_path / "data" / "ievcc.db"
    with house(tmp_path, store, home_a=20) as running:
        running.gets(10)
        until("readings are stored", lambda: len(running.readings(store)) > 5, 20)
        with contextlib.closing(sqlite3.connect(store)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = store.stat().st_size
        with store.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
        # Pages in memory still serve; that it is damaged shows as soon as others are wanted.
        running.home_a = 23
        running.gets(7)
        assert running.manager.status() is None
