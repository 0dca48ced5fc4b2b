"""The pure parts' tests again, under MicroPython."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
METER = HERE.parent / "energy_meter"
PURE = (
    HERE / "test_modbus.py",
    HERE / "test_pzem.py",
    HERE / "test_config.py",
    HERE / "test_registration.py",
    HERE / "test_resolve.py",
    HERE / "test_update.py",
    HERE / "test_portal_forms.py",
    METER / "test_energy.py",
    METER / "test_emoncms_form.py",
    METER / "test_display.py",
)


@pytest.mark.board
@pytest.mark.parametrize("file", PURE, ids=lambda path: path.stem)
def test_the_pure_parts_on_micropython(micropython: str, file: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [micropython, "-X", "heapsize=300wk", ROOT / "tests/run_micropython.py", ROOT, file],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
