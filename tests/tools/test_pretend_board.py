"""The pretend board does what mpremote expects of a real one."""

import subprocess
import sys
import time

import pytest
import serial

from simulator.board import HEAP_BYTES
from simulator.pretend_board import FLASH_BYTES, PARTITION_BYTES
from tests.tools.pretend import ROOT, Start

pytestmark = pytest.mark.board
COUNTS_STARTS = """
import time
n = 1
try:
    n += int(open('starts').read())
except OSError:
    pass
with open('starts', 'w') as f:
    f.write(str(n))
while True:
    print('counted')
    time.sleep_ms(10)
"""


@pytest.mark.parametrize(("kind", "chip"), [("charger", "esp32"), ("energy_meter", "esp8266")])
def test_it_is_the_board_it_pretends_to_be(kind: str, chip: str, pretend: Start) -> None:
    board = pretend(kind)
    said = board.mpremote(
        "exec",
        "import os, sys, gc, network, select, umqtt.simple; gc.collect(); s = os.statvfs('/')\n"
        "print(os.uname()[0], sys.platform, s[0] * s[2], gc.mem_free())",
    ).split()
    assert said[:2] == [chip, chip]
    assert int(said[2]) == FLASH_BYTES[kind]
    # The chip's heap and no more, but for what the measuring of the shims is off by.
    assert 0.8 < int(said[3]) / HEAP_BYTES[kind] < 1.05


def test_files_stay_over_resets_and_power_cuts(pretend: Start) -> None:
    board = pretend("charger")
    board.mpremote("exec", "f=open('kept','w'); f.write('kept'); f.close()")
    board.mpremote("soft-reset")
    assert board.mpremote("cat", ":kept") == "kept"
    board.reset()
    board.end()
    board.start()
    assert board.mpremote("cat", ":kept") == "kept"


def test_a_reset_runs_main_and_mpremote_stops_it(pretend: Start) -> None:
    board = pretend("charger")
    (board.flash.parent / "main.py").write_text(COUNTS_STARTS)
    board.mpremote("cp", str(board.flash.parent / "main.py"), ":main.py")
    # A soft reset from the raw REPL, as mpremote makes one before every command, does not run it.
    assert "starts" not in board.mpremote("ls")
    for starts in ("1", "2"):
        board.reset()
        with serial.Serial(board.port, timeout=30) as line:
            assert line.read_until(b"counted").endswith(b"counted")
        assert board.mpremote("cat", ":starts") == starts


def test_ctrl_c_stops_a_program_and_ctrl_d_starts_the_board_anew(pretend: Start) -> None:
    board = pretend("charger")
    with serial.Serial(board.port, timeout=5) as line:
        line.write(b"\r\x03\x02")
        line.read_until(b">>> ")
        line.write(b"while True: pass\r\r")
        time.sleep(0.3)
        line.write(b"\x03")
        assert b"KeyboardInterrupt" in line.read_until(b"KeyboardInterrupt")
        line.read_until(b">>> ")
        line.write(b"\x04")
        assert line.read_until(b"soft reboot\r\n").endswith(b"MPY: soft reboot\r\n")
        assert b"MicroPython" in line.read_until(b">>> ")


def test_an_exception_on_the_board_is_mpremotes_status(pretend: Start) -> None:
    command = [sys.executable, "-m", "mpremote", "connect", pretend("charger").port, "exec", "1/0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stdout + done.stderr


def test_mpremote_deploys_a_romfs_image(pretend: Start) -> None:
    board = pretend("energy_meter")
    tree = board.flash.parent / "romfs"
    (tree / "lib").mkdir(parents=True)
    (tree / "lib" / "of_the_rom.py").write_text("word = 'read in place'\n")
    assert f"has size {PARTITION_BYTES} bytes" in board.mpremote("romfs", "query")
    board.mpremote("romfs", "deploy", str(tree))
    board.reset()
    said = board.mpremote("exec", "import of_the_rom; print(of_the_rom.word)")
    assert said.strip() == "read in place"


def test_a_charger_has_no_romfs_partition(pretend: Start) -> None:
    assert "not enabled" in pretend("charger").mpremote("romfs", "query")
