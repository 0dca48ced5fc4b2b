"""`ievcc init` in a folder, and the doctor: one thing is broken, and that thing is named with its mend."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manager import authority, doctor, init, store
from manager.doctor import Finding, examine
from manager.enrol import Folder, enrol, strike
from manager.init import Wanted, lay_out
from manager.refusal import Refusal

WANTED = Wanted(hosts=("localhost",), web_port=1, program=Path("/bin/true"))
Break = Callable[[Folder], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("made"))
    lay_out(folder, WANTED)
    enrol(folder, "Counter-1", hosts=WANTED.hosts)
    enrol(folder, "Charger-1", "Counter-1", hosts=WANTED.hosts)
    return folder


@pytest.fixture
def folder(made: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """One that is whole; whether a broker runs is not looked at here."""
    monkeypatch.setattr(doctor, "CHECKS", [c for c in doctor.CHECKS if c.__name__ != "_broker"])
    shutil.copytree(made.path, tmp_path / "site")
    return Folder(tmp_path / "site")


def found(folder: Folder, level: str = "bad") -> list[Finding]:
    return [f for f in examine(folder.site_file) if f.level == level]


def test_nothing_is_wrong_with_what_init_made(folder: Folder) -> None:
    assert found(folder) == []
    assert {f.what for f in found(folder, "warn")} <= {
        "broker's configuration", "service", "manager", "clock",
    }  # fmt: skip
    assert len(found(folder, "ok")) >= 8


def edit(path: str, old: str, new: str) -> Break:
    def change(folder: Folder) -> None:
        text = (folder.path / path).read_text()
        assert old in text
        (folder.path / path).write_text(text.replace(old, new))

    return change


def wide(path: str) -> Break:
    return lambda folder: (folder.path / path).chmod(0o644)


def gone(path: str) -> Break:
    return lambda folder: (folder.path / path).unlink()


def aged(path: str, days: int) -> Break:
    """A certificate of this folder's authority that ends in so many days."""

    def change(folder: Folder) -> None:
        now = dt.datetime.now(dt.UTC)
        hosts = ("localhost", "127.0.0.1") if "broker" in path else ()
        fresh = authority.issue(folder.authority(), "x", now, hosts, days)
        (folder.path / path).write_bytes(fresh.certificate)
        (folder.path / path).with_suffix(".key").write_bytes(fresh.key)

    return change


def foreign(folder: Folder) -> None:
    now = dt.datetime.now(dt.UTC)
    other = authority.issue(authority.make_authority("x", now), "manager", now)
    (folder.path / "manager.crt").write_bytes(other.certificate)
    (folder.path / "manager.key").write_bytes(other.key)


def swapped(folder: Folder) -> None:
    shutil.copy(folder.broker / "broker.key", folder.path / "manager.key")


def same_key(folder: Folder) -> None:
    text = folder.site_file.read_text()
    one, other = (folder.settings(n)["key"] for n in ("Counter-1", "Charger-1"))
    folder.site_file.write_text(text.replace(one, other))


def make_store(folder: Folder) -> Path:
    path = folder.path / "ievcc.db"
    store.connect(path).close()
    return path


def damaged_store(folder: Folder) -> None:
    path = make_store(folder)
    data = bytearray(path.read_bytes())
    data[4096:12288] = os.urandom(8192)
    path.write_bytes(data)


def newer_store(folder: Folder) -> None:
    with sqlite3.connect(make_store(folder)) as db:
        db.execute("PRAGMA user_version = 9999")


def clock_set_back(folder: Folder) -> None:
    with sqlite3.connect(make_store(folder)) as db:
        db.execute(store.EVENT, (4_000_000_000_000, "x", "", ""))


@pytest.mark.parametrize(
    ("breaks", "what", "words", "mend"),
    [
        (edit("site.toml", "limit_a = 30", "limit_a = -1"), "site file", "limit_a", "mend the file"),
        (edit("site.toml", "[broker]", "open = true\n[broker]"), "devices", "lets everybody", "authorise"),
        (edit("site.toml", "[store]", '[[device]]\nid = "X"\n[store]'), "devices", "without a key: X", "provision"),
        (same_key, "devices", "same key", "provision"),
        (gone("authority/ca.key"), "authority", "ca.key is missing", "backup"),
        (gone("broker/broker.key"), "broker's certificate", "missing", "init"),
        (edit("manager.crt", "CERTIFICATE", "NONSENSE"), "manager's certificate", "damaged", "init"),
        (aged("broker/broker.crt", -1), "broker's certificate", "ended on", "--renew"),
        (aged("manager.crt", -1), "manager's certificate", "ended on", "--renew"),
        (foreign, "manager's certificate", "not of this authority", "--renew"),
        (swapped, "manager's certificate", "does not belong", "--renew"),
        (edit("hosts.json", "localhost", "pi.example"), "broker's names", "not for pi.example", "--host"),
        (wide("site.toml"), "file modes", "others may read", "chmod 600"),
        (wide("devices/Charger-1/key.der"), "file modes", "key.der", "chmod 600"),
        (edit("broker/mosquitto.conf", "allow_anonymous false", "allow_anonymous true"),
         "broker's configuration", "lacks allow_anonymous false", "init"),
        (edit("broker/mosquitto.conf", "require_certificate true", ""),
         "broker's configuration", "lacks require_certificate", "init"),
        (edit("broker/acl", "user Counter-1\n", "user Counter-1\ntopic readwrite #\n"),
         "access list", "Counter-1 reaches topic readwrite #", "init"),
        (edit("broker/acl", "user manager\n", "pattern readwrite #\nuser manager\n"),
         "access list", "everybody reaches pattern readwrite #", "init"),
        (edit("broker/acl", "user Charger-1", "user Charger-2"),
         "access list", "Charger-1 is enrolled and not on it", "devices add"),
        (edit("broker/passwords", "Counter-1:$7$101$", "Counter-1:$7$101$AAAA"),
         "passwords", "not those on the board: Counter-1", "devices add"),
        (wide("broker/homeassistant.password"), "file modes", "homeassistant.password", "chmod 600"),
        (edit("broker/acl", "user homeassistant\n", "user homeassistant\ntopic write ievcc/#\n"),
         "access list", "homeassistant reaches topic write ievcc/#", "init"),
        (edit("broker/mosquitto.conf", "acl_file", "# acl_file"),
         "broker's configuration", "lacks acl_file", "init"),
        (gone("systemd/ievcc.service"), "service", "missing", "init"),
        (damaged_store, "store", "", "restore"),
        (newer_store, "store", "of version 9999", "update"),
        (clock_set_back, "clock", "further", "timedatectl"),
        (edit("site.toml", 'host = "127.0.0.1"', 'host = "0.0.0.0"'), "page", "", "accounts add"),
        (edit("site.toml", "[store]", '[[notify]]\nname = "Ana"\nurl = "nosuch://x"\n[store]'),
         "who is told", "no url that Apprise knows: Ana", "docs/integrations.md"),
    ],
)  # fmt: skip
def test_what_is_broken_is_named_and_how_to_mend_it(
    folder: Folder, breaks: Break, what: str, words: str, mend: str
) -> None:
    if what == "page":
        make_store(folder)
    breaks(folder)
    wrong = found(folder)
    named = [f for f in wrong if f.what == what and words in f.words and mend in f.mend]
    assert named, wrong


@pytest.mark.parametrize(
    ("breaks", "what", "words", "mend"),
    [
        (edit("broker/mosquitto.conf", "log_dest topic\n", ""),
         "broker's configuration", "refused connections are not counted", "write that line"),
        (edit("broker/acl", "topic read $SYS/broker/log/N\n", ""),
         "access list", "the manager lacks topic read $SYS/broker/log/N", "under `user manager`"),
        (edit("broker/passwords", "homeassistant:$7$101$", "homeassistant:$7$101$AAAA"),
         "passwords", "Home Assistant's is another", "rm "),
        (edit("broker/passwords", "homeassistant:", "somebody:"),
         "passwords", "of nobody enrolled: somebody", "if they are not yours"),
    ],
)  # fmt: skip
def test_what_should_not_stay_so_is_named_too(
    folder: Folder, breaks: Break, what: str, words: str, mend: str
) -> None:
    breaks(folder)
    named = [f for f in found(folder, "warn") if (f.what, words in f.words) == (what, True)]
    assert named, found(folder, "warn")
    assert mend in named[0].mend


WELL: dict[str, Any] = {
    "broker": {"connected": True, "messages_refused": 0, "bytes_refused": 0, "connections_refused": 0},
    "store": "ok", "taken": 7, "refused": {}, "sinks": [{"name": "fog", "sent": 3, "trouble": ""}],
    "meters": [{"id": "Counter-1", "online": True}],
    "chargers": [{"id": "Charger-1", "online": True}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("says", "level", "what", "words"),
    [
        ({}, "ok", "manager", "runs, 7 messages taken"),
        ({}, "ok", "fog", "3 records sent"),
        ({"broker": {**WELL["broker"], "connected": False}}, "bad", "manager", "has no broker"),
        ({"store": "the disk is full"}, "bad", "manager", "cannot write: the disk is full"),
        ({"sinks": [{"name": "influxdb", "sent": 3, "trouble": "503"}]},
         "bad", "influxdb", "records wait for it: 503"),
        ({"chargers": [{"id": "Charger-1", "online": False}]}, "warn", "boards", "offline: Charger-1"),
        ({"refused": {"replay": 2, "signature": 1}}, "warn", "boards", "2 replay, 1 signature"),
        ({"broker": {**WELL["broker"], "messages_refused": 9}}, "warn", "broker", "away 9 messages"),
        ({"broker": {**WELL["broker"], "bytes_refused": 21}}, "warn", "broker", "away 21 bytes"),
        ({"broker": {"connected": True, "messages_refused": 3, "connections_refused": 0}},  # an older one
         "warn", "broker", "away 3 messages"),
        ({"broker": {**WELL["broker"], "connections_refused": 4}},
         "warn", "broker", "away 4 connections"),
    ],
)  # fmt: skip
def test_what_the_running_manager_says_of_itself(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, says: dict[str, object], level: str,
    what: str, words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(doctor, "ask", lambda _: {**WELL, **says})
    assert [f for f in found(folder, level) if f.what == what and words in f.words]


def test_what_ends_soon_is_told_before(folder: Folder) -> None:
    aged("manager.crt", 30)(folder)
    assert found(folder) == []
    [soon] = [f for f in found(folder, "warn") if f.what == "manager's certificate"]
    assert "in 29 days" in soon.words
    assert init.renew(folder, ("localhost",)) == [
        str(folder.path / "manager.crt"), str(folder.path / "manager.key"),
    ]  # fmt: skip
    assert "good until" in next(f.words for f in examine(folder.site_file) if f.what == soon.what)
    assert init.renew(folder, ("localhost",)) == []


def test_a_doctor_tells_no_secrets(folder: Folder) -> None:
    make_store(folder)
    same_key(folder)
    edit("broker/passwords", "$7$101$", "$7$101$AAAA")(folder)
    said = repr(examine(folder.site_file))
    for device in ("Counter-1", "Charger-1"):
        settings = folder.settings(device)
        assert settings["key"] not in said
        assert settings.get("broker_password", "-none-") not in said


def test_no_site_file_and_none_made_by_init(tmp_path: Path) -> None:
    [only] = examine(tmp_path / "site.toml")
    assert (only.what, only.level) == ("site file", "bad")
    (tmp_path / "site.toml").write_text(
        "[site]\nlimit_a = 30\n[web]\nport = 1\n[broker]\nport = 0\n"
    )
    (tmp_path / "site.toml").chmod(0o600)
    said = examine(tmp_path / "site.toml")
    assert [f for f in said if f.level == "bad"] == []
    assert any("ievcc init" in f.mend for f in said)


@pytest.mark.parametrize(
    ("name", "counter", "words"),
    [
        ("manager", "", "no device's name"),
        ("a b", "", "no device's name"),
        ("../../x", "", "no device's name"),
        ("C", "a/b", "no meter's name"),
    ],
)
def test_names_that_cannot_be(folder: Folder, name: str, counter: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        enrol(folder, name, counter, hosts=("localhost",))


def test_enrolled_and_struck_off_leaves_what_was_there(folder: Folder) -> None:
    acl, passwords = (folder.broker / n for n in ("acl", "passwords"))
    before = acl.read_text(), passwords.read_text()
    assert "Counter-2" in enrol(folder, "Counter-2", hosts=("pi.local",))
    assert enrol(folder, "Counter-2", hosts=("pi.local",)) == ""
    config = folder.settings("Counter-2")
    assert (config["broker_host"], config["broker_user"]) == ("pi.local", "Counter-2")
    assert len(bytes.fromhex(config["key"])) == 32
    assert acl.read_text() != before[0]
    assert strike(folder, "Counter-2")
    assert not strike(folder, "Counter-2")
    assert not strike(folder, "../..")
    assert (acl.read_text(), passwords.read_text()) == before


def test_half_an_authority_is_not_made_anew(folder: Folder) -> None:
    folder.ca.unlink()
    with pytest.raises(Refusal, match="every board has to be set up again"):
        lay_out(folder, WANTED)
    with pytest.raises(Refusal, match="run `ievcc init`"):
        enrol(folder, "Charger-5", "Counter-1", hosts=("localhost",))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(hosts=()), "--host"),
        (Wanted(hosts=("a b",)), "neither a name"),
        (Wanted(hosts=("x",), name="a/b"), "--name"),
        (Wanted(hosts=("x",), timezone="Mars/Base"), "time zone"),
        (Wanted(hosts=("x",), limit_a=0), "limit_a"),
    ],
)
def test_what_cannot_be_an_installation(tmp_path: Path, wanted: Wanted, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        lay_out(Folder(tmp_path / "site"), wanted)
    assert not (tmp_path / "site").exists()


def test_the_boards_files_are_readable_by_the_boards_checks(folder: Folder) -> None:
    from firmware.charger.settings import ROWS as CHARGER
    from firmware.common.config import Config
    from firmware.energy_meter.settings import ROWS as METER

    for name, rows in (("Counter-1", METER), ("Charger-1", CHARGER)):
        path = folder.devices / name / "config.json"
        config = Config(rows, str(path))
        assert set(json.loads(path.read_text())) <= set(config.names())
        assert config["id"] == name
