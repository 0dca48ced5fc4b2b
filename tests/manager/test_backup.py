"""Backup and restore: everything comes back, nothing half, nothing beside a running manager."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tarfile
from pathlib import Path

import pytest

from manager import backup, logins, store
from manager.enrol import Folder, enrol
from manager.init import Wanted, lay_out
from manager.refusal import Refusal
from manager.running import Running
from manager.vault import Vault

GOOD = "correct horse battery"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A site with two devices, an account, a login, and readings that compress badly."""
    folder = Folder(tmp_path_factory.mktemp("made"))
    lay_out(folder, Wanted(hosts=("localhost",)))
    enrol(folder, "Counter-1", hosts=("localhost",))
    enrol(folder, "Charger-1", "Counter-1", hosts=("localhost",))
    db = store.connect(folder.path / "ievcc.db")
    db.execute(store.SITE, ("boot", "7"))
    site = {"chargers": [{"id": "Charger-1"}], "meters": [{"id": "Counter-1"}]}
    db.execute(store.SITE, ("site", json.dumps(site)))
    db.execute(store.SITE, ("charger/Charger-1", "{}"))
    db.execute(store.HEARD, ("Counter-1", 3, 500))
    db.execute(logins.LOGIN, ("token", "Ana", 1, 1, 1))
    db.execute("BEGIN")
    for n in range(4400):
        db.execute(store.EVENT, (n, "x", "", os.urandom(500).hex()))
    db.execute("COMMIT")
    db.close()
    Vault(folder.path / "ievcc.db")
    logins.add(folder.path / "ievcc.db", "Ana", "administrator", None, GOOD)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a password costs to guess is not what is tested here."""
    monkeypatch.setattr(backup, "_SCRYPT", {"length": 32, "n": 2, "r": 8, "p": 1})


@pytest.fixture
def folder(made: Folder, tmp_path: Path) -> Folder:
    shutil.copytree(made.path, tmp_path / "site")
    return Folder(tmp_path / "site")


def content(folder: Folder) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder.path)): p.read_bytes()
        for p in folder.path.rglob("*")
        if p.is_file()
        and not p.name.startswith(("ievcc.db", "ievcc.lock"))
        and "before-" not in str(p)
    }


@pytest.mark.parametrize("password", ["", GOOD])
def test_all_of_it_comes_back_elsewhere(folder: Folder, tmp_path: Path, password: str) -> None:
    file = tmp_path / "backup"
    backup.make(folder.site_file, file, password)
    assert file.stat().st_mode & 0o777 == 0o600
    assert backup.is_encrypted(file) is bool(password)
    there = Folder(tmp_path / "elsewhere")
    made_s, aside = backup.put_back(file, there.site_file, password)
    assert made_s > 1_700_000_000
    assert aside is None
    assert content(there) == content(folder)
    assert "ievcc.key" in content(there)
    for path in there.path.rglob("*"):
        if path.is_file() and path.suffix not in (".crt", ".service", ".path"):
            assert path.stat().st_mode & 0o077 == 0, path
    kept = store.read(there.path / "ievcc.db", "SELECT at_ms, words FROM event")
    assert kept == store.read(folder.path / "ievcc.db", "SELECT at_ms, words FROM event")
    assert [a.name for a in logins.accounts(there.path / "ievcc.db")] == ["Ana"]
    assert store.read(there.path / "ievcc.db", "SELECT * FROM login") == []


def test_what_is_restored_is_fit_for_the_boards_of_today(folder: Folder, tmp_path: Path) -> None:
    backup.make(folder.site_file, tmp_path / "b")
    with sqlite3.connect(folder.path / "ievcc.db") as db:
        db.execute(store.SITE, ("boot", "9"))
        db.execute(store.HEARD, ("Counter-1", 4, 20))
        db.execute(store.HEARD, ("Charger-1", 2, 2))
    _, aside = backup.put_back(tmp_path / "b", folder.site_file)
    restored = store.Store(folder.path / "ievcc.db")
    try:
        # They take no start number below the last; what they said since is not to be played back.
        assert restored.raise_boot() == 1_000_010
        assert restored.heard() == {"Counter-1": (4, 20), "Charger-1": (2, 2)}
        # A charger nobody knows is counted at its worst until its last lease is over.
        assert restored.site()["site"]["chargers"] == []
        assert set(restored.site()) == {"boot", "site"}
        assert restored.site()["site"]["meters"]
    finally:
        restored._db.close()
    assert aside is not None
    assert (
        json.loads(
            store.read(aside / "ievcc.db", "SELECT value FROM site WHERE name='boot'")[0][0]
        )
        == 9
    )


def test_not_beside_a_running_manager_and_not_over_a_file(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    with Running(folder.path / "ievcc.db"):
        backup.make(folder.site_file, file)  # that may be done
        before = content(folder)
        with pytest.raises(Refusal, match="a manager runs"):
            backup.put_back(file, folder.site_file)
    assert content(folder) == before
    with pytest.raises(Refusal, match="already"):
        backup.make(folder.site_file, file)
    assert not [p for p in folder.path.iterdir() if p.name.startswith((".backup", ".restore"))]


def test_a_backup_is_made_while_the_store_is_written_to(folder: Folder, tmp_path: Path) -> None:
    writing = store.Store(folder.path / "ievcc.db")
    writing.start()
    try:
        for n in range(500):
            writing.write([(store.EVENT, (10_000 + n, "y", "", ""))], now=True)
            if n == 100:
                backup.make(folder.site_file, tmp_path / "b")
        writing.flush()
    finally:
        writing.close()
    there = Folder(tmp_path / "elsewhere")
    backup.put_back(tmp_path / "b", there.site_file)
    asked = "SELECT at_ms - 10000 FROM event WHERE kind = 'y' ORDER BY id"
    kept = [n for (n,) in store.read(there.path / "ievcc.db", asked)]
    assert kept == list(range(len(kept)))  # up to a moment, and nothing after it


def refused(file: Path, folder: Folder, password: str = "") -> str:
    before = content(folder)
    with pytest.raises(Refusal) as e:
        backup.put_back(file, folder.site_file, password)
    assert content(folder) == before
    assert not [p for p in folder.path.iterdir() if p.name.startswith(".restore")]
    return str(e.value)


@pytest.mark.parametrize("password", ["", GOOD])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d[: len(d) // 2],
        lambda d: d[:-1],
        lambda d: d[: len(d) // 2] + bytes([d[len(d) // 2] ^ 1]) + d[len(d) // 2 + 1 :],
        lambda d: d[:0],
        lambda d: b"nonsense" + d,
    ],
    ids=["half", "one byte short", "one bit", "empty", "another file"],
)
def test_what_is_not_whole_changes_nothing(
    folder: Folder, tmp_path: Path, password: str, spoil: object
) -> None:
    file = tmp_path / "backup"
    backup.make(folder.site_file, file, password)
    file.write_bytes(spoil(file.read_bytes()))  # type: ignore[operator]
    assert refused(file, folder, password)


def test_pieces_in_another_order_or_behind_the_end(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    backup.make(folder.site_file, file, GOOD)
    data = file.read_bytes()
    head = len(backup.MAGIC) + 16
    size = 4 + int.from_bytes(data[head : head + 4], "big")
    first, second = data[head : head + size], data[head + size : head + 2 * size]
    assert len(second) == size, "the test's store is to be longer than two pieces"
    file.write_bytes(data[:head] + second + first + data[head + 2 * size :])
    assert "password is wrong" in refused(file, folder, GOOD)
    file.write_bytes(data[: head + size] + data[head + 2 * size :])
    assert "damaged" in refused(file, folder, GOOD)
    file.write_bytes(data + b"x")
    assert "behind" in refused(file, folder, GOOD)


def test_the_password(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    backup.make(folder.site_file, file, GOOD)
    assert "its password is needed" in refused(file, folder)
    assert "password is wrong" in refused(file, folder, "another password")
    data = file.read_bytes()
    for device in ("Counter-1", "Charger-1"):
        assert folder.settings(device)["key"].encode() not in data
    assert b"ievcc" not in data


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "authority/../../x", "other/x", "site.toml/../../x", "authority"],
)
def test_a_file_that_is_none_of_ours_is_not_unpacked(
    folder: Folder, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "evil"
    with tarfile.open(file, "w:gz") as tar:
        info = tarfile.TarInfo(name)
        if name == "authority":
            info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        else:
            info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    assert "nothing of ours" in refused(file, folder)


def test_a_damaged_store_is_not_backed_up_as_if_it_were_whole(
    folder: Folder, tmp_path: Path
) -> None:
    path = folder.path / "ievcc.db"
    data = bytearray(path.read_bytes())
    data[8192:200_000] = os.urandom(200_000 - 8192)
    path.write_bytes(data)
    with pytest.raises(Refusal, match=r"damaged|cannot be copied"):
        backup.make(folder.site_file, tmp_path / "b")
    assert not (tmp_path / "b").exists()
