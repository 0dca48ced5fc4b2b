"""The site file changed from the page: comments stay, what cannot be is refused, keys are not shown."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from manager import settings
from manager.refusal import Refusal
from manager.site_file import parse

FILE = """# our building
[site]
name = "home"       # on the sign
limit_a = 30        # as in the contract
worst_house_a = 24

[broker]
password = "secret-password"

[[device]]
id = "Charger-1"    # beside the gate
key = "00112233445566778899aabbccddeeff"

[[window]]
start = "18:00"
end = "21:00"
max_a = 16
"""


def test_what_is_shown_holds_no_key_and_no_password() -> None:
    said = settings.shown(FILE)
    assert said["site"] == {"limit_a": 30, "worst_house_a": 24}
    assert said["devices"] == [{"id": "Charger-1"}]
    assert said["windows"] == [{"start": "18:00", "end": "21:00", "max_a": 16}]
    assert "0011" not in str(said)
    assert "secret" not in str(said)


def test_a_change_leaves_every_comment_and_key() -> None:
    new, site = settings.changed(
        FILE,
        {
            "site": {"limit_a": 25, "policy": "equal", "worst_house_a": None},
            "devices": [{"id": "Charger-1", "priority": 3}],
            "feeders": [{"name": "garage", "limit_a": 20}],
        },
    )
    assert site.site.settings.policy == "equal"
    assert site.site.feeders["main"].limit_ma == (25_000,)
    assert site.site.feeders["garage"].limit_ma == (20_000,)
    assert site.devices["Charger-1"].priority == 3
    for kept in ("# our building", "# on the sign", "# as in the contract", "# beside the gate"):
        assert kept in new
    assert 'key = "00112233445566778899aabbccddeeff"' in new
    assert "worst_house_a" not in new
    assert settings.changed(new, {"feeders": [], "windows": []})[1].site.settings.windows == ()


def test_what_is_usual_is_what_holds_where_nothing_is_said() -> None:
    said = settings.usual()
    assert (said["policy"], said["turn_min"], said["ttl_s"], said["max_chargers"]) == (
        "fair", 15, 15, 64,
    )  # fmt: skip
    assert set(settings.SITE) - set(said) == {"limit_a", "worst_house_a"}
    text = "[site]\nlimit_a = 30\n"
    written = text + "".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items())
    assert parse(written).site.settings == parse(text).site.settings


def test_nothing_changed_is_the_same_text() -> None:
    assert settings.changed(FILE, {"site": {"limit_a": 30}})[0] == FILE


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"site": {"limit_a": 0}}, "site.limit_a", "0 is not a number within 1..6300"),
        ({"site": {"limit_a": None}}, "site.limit_a", "is missing"),
        ({"site": {"policy": "greedy"}}, "site.policy", "'greedy' is not one of"),
        ({"site": {"renew_s": 10}}, "site.renew_s", "renewed at least twice"),
        ({"site": {"name": "x"}}, "site.name", "not changed here"),
        ({"windows": [{"start": "25:00", "end": "1:00", "max_a": 6}]}, "window[1].start", "25:00"),
        ({"windows": [{"start": "1:00"}]}, "window[1].end", "is missing"),
        ({"windows": [{"begin": "1:00"}]}, "window[1].begin", "not changed here"),
        ({"feeders": [{"name": "g", "limit_a": 31}]}, "feeder[1].limit_a", "more than main"),
        ({"devices": [{"id": "x", "priority": 1}]}, "device[1].id", "x is not listed"),
        ({"devices": [{"id": "Charger-1", "key": ""}]}, "device[1].key", "not changed here"),
        ({"devices": [{"id": "Charger-1", "failsafe_a": 16}]}, "device", "= 40 A"),
        ({"devices": [{"id": "Charger-1", "feeder": "g"}]}, "device[1].feeder", "no feeder g"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(
    changes: dict[str, Any], where: str, words: str
) -> None:
    with pytest.raises(settings.SettingsError) as e:
        settings.changed(FILE, changes)
    assert e.value.where == where
    assert words in str(e.value)
    assert "line " not in str(e.value)


def test_writing_replaces_the_file_and_keeps_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(FILE)
    path.chmod(0o640)
    settings.write(path, "[site]\nlimit_a = 20\n")
    assert path.read_text() == "[site]\nlimit_a = 20\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["site.toml"]


def test_a_disk_that_refuses_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(FILE)
    (tmp_path / ".site.toml.new").mkdir()
    with pytest.raises(Refusal, match=r"cannot write site\.toml: .*nothing was changed"):
        settings.write(path, "")
    assert path.read_text() == FILE
