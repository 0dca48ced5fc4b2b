"""The files a stranger's first two commands hang on: locks, Makefile, set-up."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.order import LONGEST
from tests.tools.running_make import make
from tools.frozen_modules import DEPS, SSD1306, UMQTT, FetchError, FrozenModule

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
TARGETS = (
    "setup",
    "demo",
    "test",
    "lint",
    "bench",
    "soak",
    "lock",
    "flash",
    "deploy",
    "repl",
    "clean",
)


def pins(lock: str) -> dict[str, list[str]]:
    """Requirement line -> its hashes."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in (ROOT / lock).read_text().splitlines():
        if line.startswith("    --hash="):
            found[name].append(line.strip(" \\").removeprefix("--hash="))
        else:
            name = line.rstrip(" \\")
            found[name] = []
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_and_hashes_and_nothing_else(lock: str) -> None:
    for requirement, hashes in pins(lock).items():
        assert re.match(r"[a-z0-9.-]+==[\w.!+]+( ; .+)?$", requirement), requirement
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_address_and_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"(^|\s)(-i|-f|-e|--[a-gi-z][a-z-]+|file:|/)", text)


def test_the_locks_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = {"requirements.lock": project["dependencies"]}
    asked["requirements-dev.lock"] = sum(extras.values(), project["dependencies"])
    for lock, requirements in asked.items():
        locked = {requirement.partition("==")[0] for requirement in pins(lock)}
        named = {re.split(r"[\[<>=;! ]", each, maxsplit=1)[0] for each in requirements}
        assert named - {project["name"]} <= locked


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_target(target: str) -> None:
    done = make("--dry-run", target)
    assert done.returncode == 0, done.stderr


def test_the_longest_files_of_tests_are_files() -> None:
    there = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}
    assert set(LONGEST) <= there


def test_make_alone_lists_the_targets() -> None:
    done = make()
    listed = re.findall(r"^  make (\w+) ", done.stdout, re.MULTILINE)
    assert set(TARGETS) <= set(listed)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("flash", "flash: no board is named: BOARD=charger"),
        ("flash BOARD=charger", "flash: no firmware is named: FIRMWARE=file.bin"),
        ("flash BOARD=charger FIRMWARE=Makefile", "flash: Makefile is text, not an image"),
        ("deploy BOARD=charger", "deploy: no port is named: PORT=/dev/ttyUSB0"),
        ("deploy BOARD=energy_meter PORT=/dev/ttyUSB99", "deploy: no board at /dev/ttyUSB99"),
        ("deploy BOARD=charger CONFIG=none.json", "deploy: cannot read the configuration"),
        ("repl PORT=/dev/ttyUSB99", "repl: no board at /dev/ttyUSB99"),
    ],
)
def test_make_hands_the_board_tools_what_they_need(line: str, words: str) -> None:
    done = make(*line.split())
    assert done.returncode != 0
    assert words in done.stderr


def test_set_up_says_what_it_skips_and_goes_on() -> None:
    env = dict(os.environ, IEVCC_NO_APT="1")
    command = ["tools/setup.sh", "system", "no-such-part"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "SKIPPED no-such-part" in done.stdout
    assert "sudo apt-get install no-such-part" in done.stdout


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("exit 1", "Python 3.11 or newer is needed"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "sudo apt-get install python3-venv"),
    ],
    ids=["too old", "Debian's, without python3-venv"],
)
def test_set_up_refuses_a_python_it_cannot_use(python: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    setup = shutil.copy(ROOT / "tools" / "setup.sh", tmp_path / "tools")
    fake = tmp_path / "python3"
    fake.write_text(f"#!/bin/sh\n{python}\n")
    fake.chmod(0o755)
    env = dict(os.environ, PYTHON=str(fake), IEVCC_NO_APT="1")
    command = [setup, "environment"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_another_archive_than_the_known_one_is_not_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "micropython-umqtt.simple-1.3.4.tar.gz"
    archive.write_bytes(b"something else")
    with pytest.raises(FetchError, match="SHA-256"):
        UMQTT.unpack(archive, tmp_path)
    assert not (tmp_path / "umqtt").exists()


@pytest.mark.parametrize(
    ("module", "holds"), [(UMQTT, "class MQTTClient"), (SSD1306, "class SSD1306_I2C")]
)
def test_frozen_modules_are_there_after_set_up(module: FrozenModule, holds: str) -> None:
    assert holds in (DEPS / module.path).read_text()
