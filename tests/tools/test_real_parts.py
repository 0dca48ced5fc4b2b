"""A missing real part: a visible skip on a user's machine, a failure in CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_parts import real_part
from tests.tools.pretend import ROOT


@pytest.mark.parametrize(
    ("setting", "outcome"), [("", "Skipped"), ("0", "Skipped"), ("1", "Failed")]
)
def test_a_missing_part(setting: str, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IEVCC_REQUIRE_REAL_PARTS", setting)
    with pytest.raises(BaseException, match="no-such-part is not installed") as raised:
        real_part("no-such-part")
    assert type(raised.value).__name__ == outcome


def test_servers_in_sbin_are_found_without_it_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = real_part("mosquitto")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert real_part("mosquitto") == installed


def test_any_skip_fails_where_real_parts_are_required(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.skipif(True, reason='no such thing')\n"
        "def test_one(): pass\n"
        "@pytest.mark.xfail(strict=True)\n"
        "def test_two(): assert False\n"
    )
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    closing = {}
    for setting in ("0", "1"):
        env = dict(os.environ, IEVCC_REQUIRE_REAL_PARTS=setting, PYTHONPATH=str(ROOT))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        closing[setting] = done.stdout.splitlines()[-1]
        assert (done.returncode == 0) == (setting == "0"), done.stdout
    assert "1 skipped, 1 xfailed" in closing["0"]
    assert "1 xfailed, 1 error" in closing["1"]
