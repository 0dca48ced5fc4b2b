"""The real programs tests run against: a missing one is a visible skip, and in CI a failure."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

# Debian keeps servers in sbin, which is not on a plain user's PATH; the venv's own scripts need
# no activated venv.
_PLACES = (str(Path(sys.executable).parent), "/usr/sbin", "/usr/local/sbin")
_OTHER_NAMES = {"chromium": ("chromium", "chromium-browser")}


def find(name: str) -> str | None:
    """The path of program `name`, or None."""
    path = os.pathsep.join((*_PLACES[:1], os.environ.get("PATH", ""), *_PLACES[1:]))
    for each in _OTHER_NAMES.get(name, (name,)):
        found = shutil.which(each, path=path)
        if found:
            return found
    return None


def required() -> bool:
    """Whether a missing real part is a failure: IEVCC_REQUIRE_REAL_PARTS is set, as in CI."""
    return os.environ.get("IEVCC_REQUIRE_REAL_PARTS", "") not in {"", "0"}


def real_part(name: str) -> str:
    """The path of program `name`; without it the test is skipped, or fails where required."""
    found = find(name)
    if found is None:
        missing(f"real part missing: {name} is not installed")
    return found


def missing(words: str) -> NoReturn:
    """Skip this test visibly, or fail it where real parts are required."""
    if required():
        pytest.fail(words, pytrace=False)
    pytest.skip(words)
