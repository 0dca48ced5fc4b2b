"""Certificates for the security profiles that want some."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from manager import authority


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server and chargers of it, and a stranger's."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.now(UTC)
    ca, stranger = authority.make_authority("home", now), authority.make_authority("else", now)
    (folder / "ca.pem").write_bytes(ca.certificate)
    for name, whose in (("central", ca), ("Left", ca), ("Right", ca), ("forged", stranger)):
        common = "Left" if name == "forged" else name
        if name == "central":
            one = authority.issue(whose, common, now, hosts=("localhost", "127.0.0.1"))
        else:
            one = authority.issue(whose, common, now)
        (folder / f"{name}.pem").write_bytes(one.certificate)
        (folder / f"{name}.key").write_bytes(one.key)
    return folder
