"""A missing real part: a visible skip on a user's machine, a failure in CI."""

import pytest

from tests.real_parts import real_part


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
