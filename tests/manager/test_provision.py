"""A board on a USB port becomes a device: real mpremote, a pretend board with its flash and its REPL."""

import json
import tomllib
from pathlib import Path

import pytest

from manager.enrol import Folder
from manager.init import Wanted, lay_out
from manager.provision import ProvisionError, make_device, pairs, settings_on
from tests.tools.conftest import pretend  # noqa: F401 - the fixture
from tests.tools.pretend import Start

pytestmark = pytest.mark.board
SITE = '[site]\nname = "home"\nlimit_a = 30\n\n[broker]\nhost = "192.168.1.10"\nport = 1884\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


def test_a_board_becomes_a_device(site: Path, pretend: Start) -> None:  # noqa: F811
    board = pretend("charger")
    more = {"max_a": 16, "wifi_ssid": "a b"}
    with board.restarting():
        make_device(board.port, "Charger-1", "Counter-1", "", site, more)
    found = settings_on(board.port)
    listed = tomllib.loads(site.read_text())["device"]
    assert listed == [{"id": "Charger-1", "key": found["key"]}]
    assert len(bytes.fromhex(found["key"])) == 16
    assert found == {
        "id": "Charger-1",
        "site": "home",
        "key": found["key"],
        "counter": "Counter-1",
        "broker_host": "192.168.1.10",
        "broker_port": 1884,
        "max_a": 16,
        "wifi_ssid": "a b",
    }
    # Again: the same key, the site file as it was, what was set before kept.
    before = site.read_text()
    with board.restarting():
        make_device(board.port, "Charger-1", "Counter-2", "", site, {})
    again = settings_on(board.port)
    assert site.read_text() == before
    assert again == found | {"counter": "Counter-2"}


def test_where_init_was_a_board_gets_its_certificate_or_its_password(
    tmp_path: Path,
    pretend: Start,  # noqa: F811
) -> None:
    folder = Folder(tmp_path / "installed")
    lay_out(folder, Wanted(hosts=("pi.local", "192.168.1.10")))
    site = folder.site_file
    charger = pretend("charger")
    with charger.restarting():
        make_device(charger.port, "Charger-1", "Counter-1", "", site, {"max_a": 16})
    found = settings_on(charger.port)
    assert found == folder.settings("Charger-1") | {"max_a": 16}
    assert (found["broker_host"], found["broker_port"], found["broker_tls"]) == (
        "pi.local",
        8883,
        1,
    )
    for name in ("ca.der", "cert.der", "key.der"):
        there = charger.mpremote("exec", f"print(open('{name}', 'rb').read().hex())").strip()
        assert there == (folder.devices / "Charger-1" / name).read_bytes().hex()
    meter = pretend("energy_meter")
    with meter.restarting():
        make_device(meter.port, "Counter-1", "", "192.168.1.10", site, {})
    found = settings_on(meter.port)
    assert (found["broker_host"], found["broker_port"]) == ("192.168.1.10", 1883)
    assert found["broker_user"] == "Counter-1"
    assert len(found["broker_password"]) >= 20
    listed = {d["id"]: d["key"] for d in tomllib.loads(site.read_text())["device"]}
    assert listed == {n: folder.settings(n)["key"] for n in ("Charger-1", "Counter-1")}


def test_what_cannot_be(site: Path, tmp_path: Path) -> None:
    for name, broker in (("no name", ""), ("Charger-1", "127.0.0.1")):
        with pytest.raises(ProvisionError):
            make_device("/dev/null", name, "", broker, site, {})
    with pytest.raises(ProvisionError):
        make_device(str(tmp_path / "none"), "Charger-1", "", "", site, {})
    assert site.read_text() == SITE
    for word in ("max_a", "=5", "a b=c"):
        with pytest.raises(ProvisionError):
            pairs([word])
    assert pairs(["max_a=16", "wifi_password=12345678", "schedule=mo 1:00-2:00"]) == {
        "max_a": 16,
        "wifi_password": "12345678",
        "schedule": "mo 1:00-2:00",
    }
    assert json.dumps(pairs([])) == "{}"
