"""`ievcc backup FILE` and `ievcc restore FILE`: everything an installation is, in one file.

A tar of the site file, the authority, the broker's and the boards' files, and the store as SQLite's
own backup makes it beside a manager that runs. It holds every key there is: the file is its owner's
alone, and encrypted if a password is given: scrypt, then AES-256-GCM piece by piece, each piece
bound to its place and the last one marked, so that nothing can be cut off or put in another order.
"""

from __future__ import annotations

import getpass
import gzip
import hashlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import struct
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Annotated, Any, cast

import typer
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from manager import store
from manager.asking import SITE_FILE, Config
from manager.refusal import Refusal
from manager.running import Running
from manager.site_file import SiteFileError, load, parse
from manager.vault import key_file

MAGIC = b"IEVCC backup 1\n"
_PIECE = 1 << 20
_SCRYPT = {"length": 32, "n": 1 << 16, "r": 8, "p": 1}  # 64 MiB, as the passwords' argon2
_PARTS = (
    "site.toml", "hosts.json", "manager.crt", "manager.key", "web.crt", "web.key", "authority",
    "broker", "devices", "systemd",
)  # fmt: skip
_NOT = (".log", ".pid")  # what a broker started here leaves beside its lists
STORE, STORE_KEY, MANIFEST = "store.db", "store.key", "manifest.json"
_MOST_FILES, _MOST_BYTES = 20_000, 64 << 30
# Boards take nothing of the manager with a start number below the last they heard. How often it was
# started since the backup nobody knows; so far it counts in steps of one.
_STARTS = 1_000_000


class _Sealer(io.RawIOBase):
    """Encrypts what is written to it."""

    def __init__(self, out: IO[bytes], password: str) -> None:
        salt = secrets.token_bytes(16)
        out.write(MAGIC + salt)
        self._out = out
        self._gcm = AESGCM(_key(password, salt))
        self._held = bytearray()
        self._number = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        while len(self._held) > _PIECE:
            self._put(bytes(self._held[:_PIECE]), last=False)
            del self._held[:_PIECE]
        return len(data)

    def finish(self) -> None:
        """The last piece; without it nothing can be read."""
        self._put(bytes(self._held), last=True)

    def _put(self, piece: bytes, *, last: bool) -> None:
        sealed = self._gcm.encrypt(_nonce(self._number, last), piece, None)
        self._out.write(struct.pack(">I", len(sealed)) + sealed)
        self._number += 1


def _key(password: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, **_SCRYPT).derive(password.encode())


def _nonce(number: int, last: bool) -> bytes:
    # The key is of this file alone (its salt), so a count is a nonce.
    return struct.pack(">?xxxQ", last, number)


def _unsealed(file: IO[bytes], password: str) -> Iterator[bytes]:
    gcm = AESGCM(_key(password, file.read(16)))
    for number in range(1 << 40):
        head = file.read(4)
        if len(head) < 4:
            raise Refusal("the backup is cut off")
        (size,) = struct.unpack(">I", head)
        if size > _PIECE + 16:
            raise Refusal("the backup is damaged")
        sealed = file.read(size)
        for last in (False, True):
            with suppress(InvalidTag):
                yield gcm.decrypt(_nonce(number, last), sealed, None)
                break
        else:
            why = "the password is wrong" if number == 0 else "the backup is damaged or cut off"
            raise Refusal(why)
        if last:
            if file.read(1):
                raise Refusal("there is something behind the backup's end")
            return


def is_encrypted(path: Path) -> bool:
    """Whether a backup wants a password. Refusal if it cannot be read."""
    try:
        with path.open("rb") as f:
            return f.read(len(MAGIC)) == MAGIC
    except OSError as e:
        raise Refusal(f"{path}: {e.strerror}") from e


def make(config: Path, target: Path, password: str = "") -> int:
    """Write a backup of the site in `config` to `target`, whole or not at all. Its size in bytes.

    Refusal if there is a file of that name, or one cannot be written.
    """
    site = _load(config)
    folder = config.resolve().parent
    if target.exists():
        raise Refusal(f"{target} is there already: name another file")
    new = target.with_name(f".{target.name}.new")
    try:
        new.unlink(missing_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".backup") as work,
            os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
        ):
            copied = _copy_store(folder / site.store, Path(work) / STORE)
            sealer = _Sealer(out, password) if password else None
            _pack(folder, config, folder / site.store, copied, sealer or out)
            if sealer:
                sealer.finish()
            out.flush()
            os.fsync(out.fileno())
        new.replace(target)
    except OSError as e:
        with suppress(OSError):
            new.unlink()
        raise Refusal(f"no backup made: {e}") from e
    return target.stat().st_size


def _load(config: Path) -> Any:
    try:
        return load(config)
    except SiteFileError as e:
        raise Refusal(f"{config}: {e}") from e


def _copy_store(path: Path, to: Path) -> Path | None:
    if not path.exists():
        return None
    try:
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as source,
            closing(sqlite3.connect(to)) as copy,
        ):
            # All at once: by pieces it would begin anew whenever the manager has written.
            source.backup(copy)
            fault = copy.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as e:
        raise Refusal(f"the store {path} cannot be copied: {e}") from e
    if fault != "ok":
        raise Refusal(f"the store {path} is damaged ({fault}): an older backup is worth more")
    return to


def _pack(folder: Path, config: Path, kept: Path, copied: Path | None, out: Any) -> None:
    files: list[tuple[str, Path]] = [("site.toml", config)]
    for part in _PARTS[1:]:
        place = folder / part
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        files += [
            (str(p.relative_to(folder)), p)
            for p in inside
            if p.is_file() and not p.is_symlink() and not p.name.endswith(_NOT)
        ]
    if copied:
        files.append((STORE, copied))
        if key_file(kept).exists():
            files.append((STORE_KEY, key_file(kept)))
    sums = {}
    with (
        gzip.GzipFile("", "wb", 3, out) as zipped,  # a Raspberry Pi has better to do than level 9
        tarfile.open(fileobj=zipped, mode="w|") as tar,
    ):
        for name, path in files:
            sums[name] = _sum(path)
            info = tar.gettarinfo(path, name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            with path.open("rb") as f:
                tar.addfile(info, f)
        manifest = {"made_s": int(time.time()), "version": 1, "sha256": sums}
        data = json.dumps(manifest).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(data), 0o600
        tar.addfile(info, io.BytesIO(data))


def _sum(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class _Reader(io.RawIOBase):
    """Reads what an iterator yields."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = piece
        n = min(len(buffer), len(self._held))
        buffer[:n], self._held = self._held[:n], self._held[n:]
        return n


def unpack(source: Path, work: Path, password: str = "") -> dict[str, Any]:
    """A backup's files into an empty folder, each checked. Its manifest; Refusal if it is not whole."""
    try:
        with source.open("rb") as f:
            if f.read(len(MAGIC)) == MAGIC:
                if not password:
                    raise Refusal(f"{source} is encrypted: its password is needed")
                reader = io.BufferedReader(_Reader(_unsealed(f, password)))
                _unzip(cast("IO[bytes]", reader), work)
                while reader.read(_PIECE):
                    pass  # so that what is missing at the end is missed
            else:
                f.seek(0)
                _unzip(f, work)
        manifest: dict[str, Any] = json.loads((work / MANIFEST).read_text())
        sums = manifest["sha256"]
        there = {str(p.relative_to(work)) for p in work.rglob("*") if p.is_file()} - {MANIFEST}
        if set(sums) != there or any(_sum(work / name) != s for name, s in sums.items()):
            raise Refusal(f"{source} is damaged: its files are not those it was made with")
    except (OSError, EOFError, ValueError, KeyError, TypeError, tarfile.TarError) as e:
        raise Refusal(f"{source} is no backup of ours, or damaged: {e}") from e
    return manifest


def _unzip(file: IO[bytes], work: Path) -> None:
    with gzip.open(file) as raw:
        with tarfile.open(fileobj=raw, mode="r|") as tar:
            _extract(tar, work)
        while raw.read(_PIECE):
            pass  # to its checksum


def _extract(tar: tarfile.TarFile, work: Path) -> None:
    size = 0
    for count, info in enumerate(tar):
        size += info.size
        parts = Path(info.name).parts
        known = info.name in (STORE, STORE_KEY, MANIFEST) or (parts and parts[0] in _PARTS)
        if not info.isfile() or not known or ".." in parts or info.name.startswith("/"):
            raise Refusal(f"the backup holds {info.name!r}, which is nothing of ours")
        if count > _MOST_FILES or size > _MOST_BYTES:
            raise Refusal("the backup is larger than any of ours")
        path = work / info.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = tar.extractfile(info)
        assert content is not None
        mode = (
            0o644 if info.mode & 0o044 and path.suffix in (".crt", ".service", ".path") else 0o600
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as f:
            shutil.copyfileobj(content, f)
            f.flush()
            os.fsync(f.fileno())


def put_back(source: Path, config: Path, password: str = "") -> tuple[int, Path | None]:
    """Make the site in `config`'s folder what the backup is.

    When it was made, and where what was there lies now (None if nothing was). Refusal, with nothing
    changed, beside a running manager or for a backup that is not whole.
    """
    folder = config.resolve().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".restore") as name:
        work = Path(name)
        manifest = unpack(source, work, password)
        try:
            site = parse((work / "site.toml").read_text(encoding="utf-8"))
        except (SiteFileError, OSError) as e:
            raise Refusal(f"the site file in {source}: {e}") from e
        target = folder / site.store
        with Running(target):
            _bring_forward(work / STORE, target)
            aside = folder / time.strftime("before-restore-%Y%m%d-%H%M%S")
            moves = [(work / p, folder / (config.name if p == "site.toml" else p)) for p in _PARTS]
            moves += [(work / STORE, target), (work / STORE_KEY, key_file(target))]
            old = [here for new, here in moves if new.exists() and here.exists()]
            # The log that belongs to the old store would be taken for the new one's.
            tails = [target.with_name(target.name + tail) for tail in ("-wal", "-shm")]
            old += [p for p in tails if p.exists()]
            if old:
                aside.mkdir(mode=0o700)
            for here in old:
                here.replace(aside / here.name)
            for new, here in moves:
                if new.exists():
                    here.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    new.replace(here)
            os.sync()
    return int(manifest["made_s"]), aside if old else None


def _bring_forward(path: Path, now: Path) -> None:
    """Make a store of yesterday fit for boards of today.

    They remember a higher start number of the manager, may hold leases it has forgotten, and what
    they said since must not be played back to it.
    """
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise Refusal("the store in the backup is damaged")
            kept = {n: json.loads(v) for n, v in db.execute("SELECT name, value FROM site")}
            boots = [int(kept.get("boot", 0))]
            heard: list[Any] = []
            if now.exists():
                with suppress(store.StoreError, ValueError):
                    heard = store.read(now, "SELECT device, boot, seq FROM heard")
                    boots += [int(json.loads(v)) for (v,) in store.read(
                        now, "SELECT value FROM site WHERE name = 'boot'")]  # fmt: skip
            db.execute("BEGIN")
            db.execute(store.SITE, ("boot", json.dumps(max(boots) + _STARTS)))
            db.execute("DELETE FROM site WHERE name LIKE 'charger/%'")
            if "site" in kept:
                # Who is not known is counted at all it can take until its last lease is over.
                forgetful = {**kept["site"], "chargers": []}
                db.execute(store.SITE, ("site", json.dumps(forgetful)))
            newest = {d: (b, s) for d, b, s in db.execute("SELECT device, boot, seq FROM heard")}
            for device, boot, seq in heard:
                if (boot, seq) > newest.get(device, (0, 0)):
                    db.execute(store.HEARD, (device, boot, seq))
            if _has(db, "login"):
                db.execute("DELETE FROM login")
            db.execute("COMMIT")
    except (sqlite3.Error, ValueError, TypeError) as e:
        raise Refusal(f"the store in the backup cannot be used: {e}") from e


def _has(db: sqlite3.Connection, table: str) -> bool:
    asked = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
    return db.execute(asked, (table,)).fetchone() is not None


_Password = Annotated[
    bool, typer.Option("--password", help="encrypt it; the password is asked for")
]
_Stdin = Annotated[
    bool, typer.Option("--stdin", help="the password is the first line of the standard input")
]


def backup(
    file: Annotated[Path, typer.Argument(help="the backup to make")],
    password: _Password = False,
    stdin: _Stdin = False,
    config: Config = SITE_FILE,
) -> None:
    """Back up keys, settings and store into one file; the manager may go on running."""
    word = sys.stdin.readline().rstrip("\n") if stdin else ""
    if password and not stdin:
        word = getpass.getpass("password of the backup: ")
        if getpass.getpass("again: ") != word:
            raise Refusal("not the same")
    if (password or stdin) and len(word) < 10:
        raise Refusal("a password has at least 10 characters")
    size = make(config, file, word)
    how = "encrypted" if word else "NOT encrypted, for you alone to read: it holds every key"
    typer.echo(f"{file}: {size / (1 << 20):.1f} MB, {how}")


def restore(
    file: Annotated[Path, typer.Argument(help="the backup")],
    stdin: _Stdin = False,
    config: Config = SITE_FILE,
) -> None:
    """Make this site what a backup holds; the manager must not run."""
    word = ""
    if is_encrypted(file):
        word = sys.stdin.readline().rstrip("\n") if stdin else getpass.getpass("its password: ")
    made_s, aside = put_back(file, config, word)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(made_s))
    typer.echo(f"restored as of {when}" + (f"; what was here is in {aside}" if aside else ""))
    typer.echo("Everybody has to log in again. Look with `ievcc doctor`, then start the manager.")
