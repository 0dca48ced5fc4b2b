"""`make deploy` with the real mpremote, against pretend boards: MicroPython on a pty with a
littlefs of the board's size."""

import json
import os
import pty
import subprocess
import sys
import tty
from pathlib import Path

import pytest

from tests.tools.pretend import ROOT, Start, counts, deploy
from tests.tools.running_make import make
from tools.board_kinds import KINDS
from tools.firmware_files import sources

BOTH = pytest.mark.parametrize("kind", ["charger", "energy_meter"])
pytestmark = pytest.mark.board


@BOTH
def test_only_what_changed_is_copied(kind: str, pretend: Start, tree: Path) -> None:
    board = pretend(kind, "--no-romfs")
    number = len(sources(KINDS[kind]))
    first = deploy(board.port, kind, tree=tree)
    assert counts(first) == (number, 0, 0)
    assert ("Flash the image FLASH_2M_ROMFS" in first.stdout) == (kind == "energy_meter")
    assert counts(deploy(board.port, kind, tree=tree)) == (0, 0, number)
    with (tree / "shared" / "protocol.py").open("a") as source:
        source.write("\nCHANGED = True\n")
    done = deploy(board.port, kind, tree=tree)
    assert counts(done) == (1, 0, number - 1)
    assert "[1/1] /lib/shared/protocol.mpy" in done.stdout


def test_byte_code_runs_in_place_where_there_is_a_partition(pretend: Start, tree: Path) -> None:
    board = pretend("energy_meter")
    first = deploy(board.port, "energy_meter", tree=tree)
    assert counts(first) == (1, 0, 0)  # main.py
    assert "byte code rewritten" in first.stdout
    again = deploy(board.port, "energy_meter", tree=tree)
    assert counts(again) == (0, 0, 1)
    assert "rewritten" not in again.stdout
    with (tree / "shared" / "protocol.py").open("a") as source:
        source.write("\nCHANGED = True\n")
    assert "byte code rewritten" in deploy(board.port, "energy_meter", tree=tree).stdout
    where = "from shared import protocol; print(protocol.CHANGED, protocol.__file__)"
    assert board.mpremote("exec", where).split() == ["True", "/rom/lib/shared/protocol.mpy"]


def test_damage_in_the_partition_is_mended(pretend: Start, tree: Path) -> None:
    board = pretend("energy_meter")
    counts(deploy(board.port, "energy_meter", tree=tree))
    partition = board.flash.with_name("flash.img.romfs")
    sound = partition.read_bytes()
    with partition.open("r+b") as flash:
        flash.seek(20_000)
        flash.write(bytes([sound[20_000] ^ 1]))
    assert "byte code rewritten" in deploy(board.port, "energy_meter", tree=tree).stdout
    assert partition.read_bytes() == sound


def test_damage_is_mended_and_what_is_left_over_removed(pretend: Start, tree: Path) -> None:
    board = pretend("charger")
    number = counts(deploy(board.port, "charger", tree=tree))[0]
    board.mpremote(
        "exec",
        "f=open('/lib/firmware/charger/pilot.mpy','r+b'); f.seek(100); f.write(b'?'); f.close()\n"
        "import os; os.remove('/lib/shared/protocol.mpy')\n"
        "open('/lib/shared/protocol.py','w').close(); open('/lib/mine.py','w').close()\n"
        "open('/update.plan','w').close()\n"
        "os.mkdir('/lib/firmware/old'); open('/lib/firmware/old/gone.mpy','w').close()",
    )
    done = deploy(board.port, "charger", tree=tree)
    assert counts(done) == (2, 4, number - 2)
    assert "removed /update.plan" in done.stdout, "the next start would undo this deploy"
    assert "removed /lib/shared/protocol.py" in done.stdout
    listed = board.mpremote("ls", ":/lib")
    assert "mine.py" in listed, "a file that is not ours was touched"
    assert counts(deploy(board.port, "charger", tree=tree)) == (0, 0, number)


def test_the_configuration_goes_with_it_and_is_not_shown(pretend: Start, tmp_path: Path) -> None:
    board = pretend("charger")
    config = tmp_path / "charger.json"
    config.write_text(json.dumps({"id": "charger-1", "wifi_password": "not to be seen"}))
    done = deploy(board.port, "charger", "--config", str(config))
    assert counts(done)[0] > 0
    assert "/config.json" in done.stdout
    assert "not to be seen" not in done.stdout + done.stderr
    assert board.mpremote("cat", ":/config.json") == config.read_text()
    # Without one, the board keeps its own.
    counts(deploy(board.port, "charger"))
    assert board.mpremote("cat", ":/config.json") == config.read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is not JSON"), ("[1]", "must be one JSON object"), (None, "cannot read")],
)
def test_a_broken_configuration_is_refused(
    content: str | None, words: str, tmp_path: Path
) -> None:
    config = tmp_path / "broken.json"
    if content is not None:
        config.write_text(content)
    done = deploy(str(tmp_path), "charger", "--config", str(config))
    assert done.returncode == 1
    assert words in done.stderr


def test_the_wrong_board_is_left_as_it_is(pretend: Start) -> None:
    board = pretend("charger")
    done = deploy(board.port, "energy_meter")
    assert done.returncode == 1
    assert "the board is an esp32, energy_meter needs an esp8266" in done.stderr
    assert "BOARD=charger" in done.stderr
    assert "main.py" not in board.mpremote("ls")


def test_a_full_flash_is_said(pretend: Start) -> None:
    board = pretend("energy_meter", "--no-romfs")
    board.mpremote(
        "exec",
        "n=0\ntry:\n while True:\n  n+=1\n  f=open('/%d.bin'%n,'wb')\n  f.write(bytes(16384))\n"
        "  f.close()\nexcept OSError: pass",
    )
    done = deploy(board.port, "energy_meter")
    assert done.returncode == 1
    assert "flash is full" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--board", "toaster", "--port", "/dev/null"], "there is no board 'toaster'"),
        (["--board", "charger", "--port", ""], "no port is named"),
        (["--board", "charger", "--port", "/dev/ttyUSB99"], "no board at /dev/ttyUSB99"),
        (["--board", "charger", "--port", "/dev/null"], "cannot open /dev/null"),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "tools.deploy", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_where_nobody_answers_is_said() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    done = deploy(os.ttyname(slave), "charger", "--patience", "1")
    assert done.returncode == 1
    assert "no MicroPython answers" in done.stderr
    assert "Traceback" not in done.stderr
    os.close(master)
    os.close(slave)


def test_a_cable_pulled_out_is_said_and_the_next_deploy_mends_it(
    pretend: Start, tree: Path
) -> None:
    board = pretend("charger")
    command = [sys.executable, "-m", "tools.deploy", "--board", "charger", "--port", board.port]
    with subprocess.Popen(
        command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "[5/" in line:
                board.end()
                break
        errors = process.stderr.read()
    assert process.returncode == 1
    assert "lost the board" in errors
    assert "Traceback" not in errors
    board.start()
    written, _, unchanged = counts(deploy(board.port, "charger", tree=tree))
    assert written
    assert unchanged >= 4
    assert counts(deploy(board.port, "charger", tree=tree)) == (0, 0, written + unchanged)


def test_a_source_that_does_not_compile_is_named(pretend: Start, tree: Path) -> None:
    (tree / "firmware" / "charger" / "pilot.py").write_text("def duty(:\n")
    done = deploy(pretend("charger").port, "charger", tree=tree)
    assert done.returncode == 1
    assert "firmware/charger/pilot.py, line 1" in done.stderr


def test_make_deploys_and_opens_the_repl(pretend: Start) -> None:
    port = pretend("charger").port
    for target, words in (
        (["deploy", "BOARD=charger"], "0 removed, 0 unchanged, all verified"),
        (["repl", "ARGS=eval 42-2"], "40\n"),
    ):
        done = make(f"PORT={port}", *target)
        assert words in done.stdout, done.stderr
