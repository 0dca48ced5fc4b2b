"""Keys in the store are sealed; the key to them is beside it, and no other opens them."""

from __future__ import annotations

from pathlib import Path

import pytest

from manager.refusal import Refusal
from manager.vault import Vault, key_file


def test_sealed_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ievcc.db"
    sealed = Vault(path).seal("00112233")
    assert "00112233" not in sealed
    assert Vault(path).open(sealed) == "00112233"
    assert Vault(path).seal("") == Vault(path).open("") == ""
    assert key_file(path).stat().st_mode & 0o777 == 0o600


def test_another_key_opens_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    sealed = Vault(tmp_path / "one.db").seal("x")
    with pytest.raises(Refusal, match=r"two\.key is not the key of this store: restore"):
        Vault(tmp_path / "two.db").open(sealed)
    key_file(tmp_path / "two.db").write_bytes(b"nonsense")
    with pytest.raises(Refusal, match="cannot be used"):
        Vault(tmp_path / "two.db")
