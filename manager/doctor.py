"""`ievcc doctor`: looks at everything an installation rests on; says what is wrong and how to mend it.

It changes nothing. Each check is a function that yields findings; one that cannot be made says so.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import typer
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from manager import access, store
from manager.access import Member
from manager.asking import SITE_FILE, AsJson, Config, address, ask
from manager.enrol import Folder
from manager.init import hosts_of, ports_of
from manager.refusal import Refusal
from manager.site_file import SiteFile, SiteFileError, load
from manager.table import turned_away
from manager.vault import key_file
from manager.web.guard import is_loopback

Level = Literal["ok", "warn", "bad"]
SOON_DAYS = 60
_LEAST_FREE, _LITTLE_FREE = 100 << 20, 500 << 20  # bytes; a day of 20 chargers is some 100 MB
_BUILT = datetime(2026, 1, 1, tzinfo=UTC)  # no clock that is right shows less
_WAIT_S = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and, if it is not well, what to do."""

    what: str
    level: Level
    words: str
    mend: str = ""


def ok(what: str, words: str) -> Finding:
    """All is well."""
    return Finding(what, "ok", words)


def warn(what: str, words: str, mend: str) -> Finding:
    """It works, and should not stay so."""
    return Finding(what, "warn", words, mend)


def bad(what: str, words: str, mend: str) -> Finding:
    """It does not work, or is open to others."""
    return Finding(what, "bad", words, mend)


@dataclass(frozen=True, slots=True)
class Site:
    """What is looked at."""

    config: Path
    file: SiteFile
    folder: Folder

    @property
    def store(self) -> Path:
        """The store's file."""
        return self.folder.path / self.file.store


def examine(config: Path) -> list[Finding]:
    """Every finding, in the order of what rests on what."""
    config = config.resolve()
    try:
        file = load(config)
    except SiteFileError as e:
        mend = "mend the file, or make one with `ievcc init`"
        return [bad("site file", str(e), mend)]
    site = Site(config, file, Folder(config.parent))
    found = [ok("site file", f"{config}: {file.site.settings.name}, {len(file.devices)} devices")]
    for check in CHECKS:
        try:
            found += check(site)
        except PermissionError as e:
            owner = _owner(config)
            mend = f"run it as the manager's user: sudo -u {owner} ievcc doctor --config {config}"
            found.append(bad(_name(check), f"may not read {e.filename}", mend))
        except (OSError, ValueError, Refusal) as e:
            found.append(bad(_name(check), str(e), "see the line above, or restore a backup"))
    return found


def _name(check: Callable[[Site], Iterator[Finding]]) -> str:
    return check.__name__.strip("_").replace("_", " ")


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return f"#{path.stat().st_uid}"


def _site(site: Site) -> Iterator[Finding]:
    if site.file.open:
        yield bad(
            "devices", "open = true lets everybody in", "take it out of [site]: devices can be "
            "let in with `ievcc devices authorise`",
        )  # fmt: skip
    unsigned = [d.id for d in site.file.devices.values() if not d.key]
    if unsigned:
        yield bad(
            "devices", f"without a key: {', '.join(unsigned)}",
            "give each its own: `ievcc devices provision`",
        )  # fmt: skip
    keys = [d.key for d in site.file.devices.values() if d.key]
    if len(set(keys)) < len(keys):
        yield bad("devices", "two have the same key", "provision one of them anew")
    elif keys and not unsigned:
        yield ok("devices", f"{len(keys)} with a key each")


def _certificates(site: Site) -> Iterator[Finding]:
    f = site.folder
    if not f.installed():
        yield warn(
            "certificates", f"{f.path} was not made by `ievcc init`: no authority, no TLS",
            f"ievcc init {f.path}",
        )  # fmt: skip
        return
    if not f.ca_key.exists():
        yield bad("authority", f"{f.ca_key} is missing", "restore it from a backup")
    ca = x509.load_pem_x509_certificate(f.ca.read_bytes())
    renew = f"ievcc init {f.path} --renew, then restart mosquitto and ievcc"
    pairs = [
        ("authority", f.ca, f.ca_key, "every board needs a new one: `ievcc init` elsewhere"),
        ("broker's certificate", f.broker / "broker.crt", f.broker / "broker.key", renew),
        ("manager's certificate", f.path / "manager.crt", f.path / "manager.key", renew),
        ("page's certificate", f.path / "web.crt", f.path / "web.key", renew),
    ]
    for what, certificate, key, mend in pairs:
        yield _pair(what, certificate, key, ca, mend)
    kept = (f.broker / "ca.crt").read_bytes()
    if kept != f.ca.read_bytes():
        yield bad("broker's authority", "broker/ca.crt is another one's", f"cp {f.ca} {f.broker}/")
    yield from _hosts(site)


def _pair(what: str, certificate: Path, key: Path, ca: x509.Certificate, mend: str) -> Finding:
    missing = [str(p) for p in (certificate, key) if not p.exists()]
    if missing:
        return bad(what, f"missing: {', '.join(missing)}", "ievcc init makes what is missing")
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except ValueError as e:
        again = f"remove {certificate} and {key}, then ievcc init"
        return bad(what, f"damaged: {e}", again)
    der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if found.public_key().public_bytes(*der) != private.public_key().public_bytes(*der):
        return bad(what, f"{key} does not belong to {certificate}", mend)
    try:
        found.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError):
        return bad(what, f"{certificate} is not of this authority", mend)
    left = found.not_valid_after_utc - datetime.now(UTC)
    until = f"{found.not_valid_after_utc:%Y-%m-%d}"
    if left.total_seconds() <= 0:
        return bad(what, f"ended on {until}", mend)
    if left.days < SOON_DAYS:
        return warn(what, f"ends on {until}, in {left.days} days", mend)
    return ok(what, f"good until {until}")


def _hosts(site: Site) -> Iterator[Finding]:
    found = x509.load_pem_x509_certificate((site.folder.broker / "broker.crt").read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    covered = {str(n.value) for n in names}
    wanted = set(hosts_of(site.folder)) | {site.file.broker.host}
    lacking = sorted(wanted - covered)
    if lacking:
        b = site.folder.broker
        yield bad(
            "broker's names", f"its certificate is not for {', '.join(lacking)}",
            f"remove {b}/broker.crt and broker.key, then ievcc init with --host for each name",
        )  # fmt: skip
    for host in hosts_of(site.folder):
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            yield warn(
                "broker's names", f"{host} is not found from here",
                "see that boards find it: an entry in the router, or avahi-daemon for .local",
            )  # fmt: skip


def _files(site: Site) -> Iterator[Finding]:
    f = site.folder
    secret = [
        site.config,
        f.ca_key,
        f.broker / "broker.key",
        f.broker / "passwords",
        f.home_password,
        f.path / "manager.key",
    ]
    secret += [
        f.path / "web.key",
        site.store,
        site.store.with_suffix(".token"),
        key_file(site.store),
    ]
    if f.devices.is_dir():
        secret += [p for p in f.devices.rglob("*") if p.name in ("config.json", "key.der")]
    there = [p for p in secret if p.exists()]
    wide = [p for p in there if p.stat().st_mode & 0o077]
    if wide:
        names = " ".join(str(p) for p in wide)
        yield bad("file modes", f"others may read {names}", f"chmod 600 {names}")
    owner = f.path.stat().st_uid
    others = [p for p in [*there, *f.path.glob("ievcc.db*")] if p.stat().st_uid != owner]
    if others:
        names = " ".join(str(p) for p in others)
        yield bad(
            "file owners", f"not of the folder's owner: {names}",
            f"sudo chown {_owner(f.path)}: {names}",
        )  # fmt: skip
    if not wide and not others:
        yield ok("file modes", f"{len(there)} secret files are for {_owner(f.path)} alone")


def _broker_files(site: Site) -> Iterator[Finding]:
    f = site.folder
    if not f.installed():
        return
    conf = (f.broker / "mosquitto.conf").read_text()
    for part in conf.split("\nlistener ")[1:]:
        door = part.split()[0]
        lines = part.splitlines()
        needed = ["allow_anonymous false"]
        if not any(x.startswith("acl_file ") for x in lines):
            needed.append("acl_file")
        if "require_certificate true" not in lines and not any(
            x.startswith("password_file ") for x in lines
        ):
            needed.append("require_certificate true")
        lacking = [n for n in needed if not any(x.startswith(n) for x in lines)]
        if lacking:
            yield bad(
                "broker's configuration", f"listener {door} lacks {', '.join(lacking)}",
                f"remove {f.broker}/mosquitto.conf, then ievcc init and start ievcc-broker",
            )  # fmt: skip
    if "log_dest topic" not in conf.splitlines():
        yield warn(
            "broker's configuration", "without log_dest topic: refused connections are not counted",
            f"write that line into {f.broker}/mosquitto.conf and start ievcc-broker",
        )  # fmt: skip
    installed = Path("/etc/mosquitto/conf.d/ievcc.conf")
    if not installed.exists():
        yield warn(
            "broker's configuration", f"{installed} is not there: not handed to mosquitto yet",
            "sudo systemctl start ievcc-broker",
        )  # fmt: skip
    elif installed.read_text() != conf:
        yield bad(
            "broker's configuration", f"{installed} is not what is in {f.broker}",
            "sudo systemctl start ievcc-broker",
        )  # fmt: skip
    yield from _acl(site)
    yield from _passwords(site)


def _acl(site: Site) -> Iterator[Finding]:
    f, name = site.folder, site.file.site.settings.name
    members = {m.id: m for m in f.members()}
    rules = _by_user((f.broker / "acl").read_text())
    again = f"remove it from {f.broker}/acl, then ievcc init {f.path}"
    good = True
    for user, topics in rules.items():
        if user == access.MANAGER:
            lacking = _by_user(access.rules(name, ()))[user] - topics
            if lacking:
                good = False
                yield warn(
                    "access list", f"the manager lacks {', '.join(sorted(lacking))}",
                    f"write it under `user {user}` in {f.broker}/acl",
                )  # fmt: skip
            continue
        own = members.get(user, Member(user))
        whole = access.rules(name, ()) if user == access.HOME_ASSISTANT else ""
        allowed = _by_user(whole or access.member_rules(name, own))[user]
        beyond = sorted(topics - allowed)
        if not user or beyond:
            good = False
            whose = user or "everybody"
            yield bad("access list", f"{whose} reaches {', '.join(beyond) or 'topics'}", again)
    for user in members:
        if user not in rules:
            good = False
            yield bad(
                "access list", f"{user} is enrolled and not on it", f"ievcc devices add {user}"
            )
    if good:
        yield ok("access list", f"{len(members)} devices, each to its own topics")


def _by_user(acl: str) -> dict[str, set[str]]:
    """Topic lines by user; "" holds those for everybody, and patterns, which are for everybody too."""
    found: dict[str, set[str]] = {}
    user = ""
    for raw in acl.splitlines():
        line = raw.strip()
        if line.startswith("user "):
            user = line.removeprefix("user ").strip()
            found.setdefault(user, set())
        elif line.startswith("pattern"):
            found.setdefault("", set()).add(line)
        elif line.startswith("topic"):
            found.setdefault(user, set()).add(line)
    return found


def _passwords(site: Site) -> Iterator[Finding]:
    f = site.folder
    lines = dict(
        x.split(":", 1) for x in (f.broker / "passwords").read_text().splitlines() if ":" in x
    )
    wrong = []
    for member in f.members():
        password = str(f.settings(member.id).get("broker_password", ""))
        if password and not access.is_password(lines.get(member.id, ""), password):
            wrong.append(member.id)
    if wrong:
        yield bad(
            "passwords", f"not those on the board: {', '.join(wrong)}",
            f"remove its line from {f.broker}/passwords, then ievcc devices add NAME",
        )  # fmt: skip
    if f.home_password.exists():
        password = f.home_password.read_text().strip()
        if not access.is_password(lines.get(access.HOME_ASSISTANT, ""), password):
            yield warn(
                "passwords", f"Home Assistant's is another than in {f.home_password}",
                f"rm {f.home_password}, if it was you who gave it another",
            )  # fmt: skip
    strangers = sorted(set(lines) - {m.id for m in f.members()} - {access.HOME_ASSISTANT})
    if strangers:
        yield warn(
            "passwords", f"of nobody enrolled: {', '.join(strangers)}",
            f"remove them from {f.broker}/passwords if they are not yours",
        )  # fmt: skip
    if not wrong and not strangers:
        yield ok("passwords", f"{len(lines)}, as on the boards")


def _service(site: Site) -> Iterator[Finding]:
    f = site.folder
    made = f.units / "ievcc.service"
    if not f.installed():
        return
    if not made.exists():
        yield bad("service", f"{made} is missing", f"ievcc init {f.path}")
        return
    analyze = shutil.which("systemd-analyze")
    if analyze:
        done = subprocess.run(
            [analyze, "verify", str(made)], capture_output=True, text=True, check=False,
            timeout=30,
        )  # fmt: skip
        wrong = [x for x in done.stderr.splitlines() if "ievcc.service" in x]
        if wrong:
            mend = f"remove {made}, then ievcc init {f.path}"
            yield bad("service", f"systemd says: {'; '.join(wrong)}", mend)
            return
    installed = Path("/etc/systemd/system/ievcc.service")
    if not installed.exists():
        mend = (
            f"sudo cp {f.units}/ievcc* /etc/systemd/system/ && sudo systemctl enable --now ievcc"
        )
        yield warn("service", "not installed: the manager does not start by itself", mend)
    elif installed.read_text() != made.read_text():
        yield warn(
            "service", f"{installed} is another than {made}",
            f"sudo cp {made} {installed} && sudo systemctl daemon-reload",
        )  # fmt: skip
    else:
        yield ok("service", "installed, sandboxed")


def _broker(site: Site) -> Iterator[Finding]:
    b = site.file.broker
    if not b.port:
        yield warn(
            "broker", "the manager starts one of its own, without passwords",
            f"for service: ievcc init {site.folder.path}",
        )  # fmt: skip
        return
    start = "is mosquitto running? sudo systemctl status mosquitto"
    try:
        socket.create_connection((b.host, b.port), _WAIT_S).close()
    except OSError as e:
        yield bad("broker", f"{b.host}:{b.port} does not answer ({e})", start)
        return
    answer = _knock(site, own=True)
    if answer != "Success":
        yield bad(
            "broker", f"{b.host}:{b.port} does not let the manager in: {answer}",
            "sudo systemctl start ievcc-broker; the certificates are looked at above",
        )  # fmt: skip
    elif b.ca is None:
        yield warn("broker", "lets the manager in over a plain link", "see ca in [broker]")
    else:
        yield ok("broker", f"{b.host}:{b.port} lets the manager in over TLS")
    doors = {b.port: b.ca is not None}
    if site.folder.installed():
        tls, plain = ports_of(site.folder)
        doors |= {tls: True, plain: False}
    for port, tls_door in doors.items():
        answer = _knock(site, own=False, port=port, tls=tls_door)
        if answer == "Success":
            yield bad(
                "broker", f"port {port} lets anybody in",
                "sudo systemctl start ievcc-broker, and take other listeners out of mosquitto's "
                "configuration",
            )  # fmt: skip


def _knock(site: Site, *, own: bool, port: int = 0, tls: bool = True) -> str:
    """What the broker says to a connection: ours, or one of nobody."""
    from paho.mqtt.client import Client  # noqa: PLC0415
    from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

    b, here = site.file.broker, site.folder.path
    answers: list[str] = []
    client = Client(CallbackAPIVersion.VERSION2, f"ievcc-doctor-{os.getpid()}")
    client.on_connect = lambda _c, _u, _f, reason, _p: answers.append(str(reason))
    client.on_disconnect = lambda *_: answers.append("cut off")
    client.connect_timeout = _WAIT_S
    try:
        if b.ca is not None and (own or tls):
            context = ssl.create_default_context(cafile=here / b.ca)
            if own and b.certificate and b.private_key:
                context.load_cert_chain(here / b.certificate, here / b.private_key)
            client.tls_set_context(context)
        if own and b.username:
            client.username_pw_set(b.username, b.password)
        client.connect(b.host, port or b.port, 10)
        ends = time.monotonic() + _WAIT_S
        while not answers and time.monotonic() < ends:
            client.loop(0.1)
    except OSError as e:  # an SSLError is one
        return str(e)
    client.disconnect()
    return answers[0] if answers else "no answer"


def _clock(site: Site) -> Iterator[Finding]:
    now = datetime.now(UTC)
    mend = "sudo timedatectl set-ntp true"
    if now < _BUILT:
        yield bad("clock", f"shows {now:%Y-%m-%d %H:%M}", mend)
        return
    newest = 0
    if site.store.exists():
        newest = store.read(site.store, "SELECT coalesce(max(at_ms), 0) FROM event")[0][0]
    ahead_s = newest // 1000 - int(now.timestamp())
    if ahead_s > 60:
        yield bad("clock", f"was {ahead_s // 60} minutes further when it last wrote", mend)
    elif Path("/run/systemd/system").exists() and not _synchronised():
        yield warn("clock", "is not set by the network: bills and schedules go by it", mend)
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M} UTC")


def _synchronised() -> bool:
    try:
        said = subprocess.run(
            ["timedatectl", "show", "-p", "NTPSynchronized", "--value"],
            capture_output=True, text=True, check=False, timeout=10,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return True
    return said.strip() != "no"


def _disk(site: Site) -> Iterator[Finding]:
    free = shutil.disk_usage(site.folder.path).free
    words = f"{free >> 20} MB free at {site.folder.path}"
    mend = "make room: old backups, logs, or a larger card"
    if os.statvfs(site.folder.path).f_flag & os.ST_RDONLY:
        yield bad("disk", f"{site.folder.path} is read-only", "look at the card: dmesg, fsck")
    elif free < _LEAST_FREE:
        yield bad("disk", words, mend)
    elif free < _LITTLE_FREE:
        yield warn("disk", words, mend)
    else:
        yield ok("disk", words)


def _store(site: Site) -> Iterator[Finding]:
    path = site.store
    if not path.exists():
        yield ok("store", "none yet: the manager makes it when it starts")
        return
    restore = "ievcc restore FILE, with the newest backup"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            fault = db.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.DatabaseError as e:
        yield bad("store", f"{path}: {e}", restore)
        return
    knows = len(store.migrations())
    if fault != "ok":
        yield bad("store", f"damaged: {fault}", restore)
    elif version > knows:
        yield bad("store", f"of version {version}, this program knows {knows}", "update ievcc")
    else:
        yield ok("store", f"whole, version {version}, {path.stat().st_size >> 20} MB")


def _page(site: Site) -> Iterator[Finding]:
    host = site.file.web.host
    accounts = 0
    if site.store.exists():
        try:
            accounts = store.read(site.store, "SELECT count(*) FROM account")[0][0]
        except store.StoreError:
            return
    if is_loopback(host):
        yield ok("page", f"on this computer only, {accounts} accounts")
    elif not accounts:
        yield bad(
            "page", f"on {host}, and nobody has an account",
            "ievcc accounts add NAME --role administrator",
        )  # fmt: skip
    elif site.file.web.certificate is None:
        yield warn(
            "page", f"on {host}, {accounts} accounts, whose passwords can be read on the way",
            'in [web]: certificate = "web.crt" and key = "web.key", or a proxy with TLS before it',
        )  # fmt: skip
    else:
        yield ok("page", f"on {host} over HTTPS, {accounts} accounts")


def _manager(site: Site) -> Iterator[Finding]:
    try:
        state: dict[str, Any] = ask(f"{address(site.config, '')}/api/state")
    except Refusal as e:
        yield warn(
            "manager", str(e), "sudo systemctl start ievcc; journalctl -u ievcc says why not"
        )
        return
    if not state["broker"]["connected"]:
        yield bad("manager", "runs, and has no broker", "see broker above")
    elif state["store"] != "ok":
        yield bad(
            "manager", f"runs, and cannot write: {state['store']}", "see disk and store above"
        )
    else:
        yield ok("manager", f"runs, {state['taken']} messages taken")
    for sink in state.get("sinks") or ():
        if sink["trouble"]:
            mend = f"see [{sink['name']}] in the site file, and whether that server runs"
            yield bad(sink["name"], f"records wait for it: {sink['trouble']}", mend)
        else:
            yield ok(sink["name"], f"{sink['sent']} records sent")
    away = [d["id"] for d in (*state["meters"], *state["chargers"]) if not d["online"]]
    if away:
        yield warn("boards", f"offline: {', '.join(away)}", "look at their power and Wi-Fi")
    if counted := turned_away(state):
        yield warn(
            "broker", f"turned away {counted}",
            "whose, says /var/log/mosquitto/mosquitto.log; for messages with log_type debug",
        )  # fmt: skip
    if state["refused"]:
        said = ", ".join(f"{n} {what}" for what, n in sorted(state["refused"].items()))
        yield warn("boards", f"messages refused: {said}", "ievcc devices says whose")


def _told(site: Site) -> Iterator[Finding]:
    rules = site.file.integrations.told
    if not rules:
        return
    try:
        import apprise  # noqa: PLC0415 - an extra
    except ImportError:
        mend = "pip install 'ievcc-manager[notify]'"
        yield bad("who is told", "Apprise is not installed: nobody will be", mend)
        return
    wrong = [rule.name for rule in rules if apprise.Apprise.instantiate(rule.url) is None]
    if wrong:
        mend = "docs/integrations.md has examples"
        yield bad("who is told", f"no url that Apprise knows: {', '.join(wrong)}", mend)
    else:
        words = f"{len(rules)} addresses Apprise knows; `ievcc notify test` tries them"
        yield ok("who is told", words)


CHECKS: tuple[Callable[[Site], Iterator[Finding]], ...] = (
    _site, _certificates, _files, _broker_files, _service, _broker, _clock, _disk, _store, _page,
    _manager, _told,
)  # fmt: skip


def doctor(config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    """Look at everything this installation rests on; say what is wrong and how to mend it."""
    found = examine(config)
    if as_json:
        typer.echo(json.dumps([asdict(f) for f in found]))
    else:
        marks = {"ok": " ok ", "warn": "WARN", "bad": "BAD "}
        for f in found:
            typer.echo(f"{marks[f.level]}  {f.what}: {f.words}")
            if f.mend:
                typer.echo(f"      -> {f.mend}")
    wrong = sum(f.level == "bad" for f in found)
    if wrong:
        raise Refusal(f"{wrong} things are wrong")
