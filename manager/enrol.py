"""What a device needs to come in: a key, a certificate or a password, its place in the broker's lists.

For each device the folder `devices/<name>` holds what goes onto its board: `config.json`, and for a
charger `ca.der`, `cert.der` and `key.der`. The key is in the site file too: it is what the manager
checks every message with. Nothing that is there is written over.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomlkit
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from manager import access, authority
from manager.access import Member
from manager.refusal import Refusal
from manager.site_file import SiteFileError, parse
from shared.protocol import is_device_name

KEY_BYTES = 32
PASSWORD_BYTES = 18  # 24 characters
SECRET, SHOWN = 0o600, 0o644


@dataclass(frozen=True, slots=True)
class Folder:
    """Where an installation's files are."""

    path: Path

    @property
    def site_file(self) -> Path:
        """The site file."""
        return self.path / "site.toml"

    @property
    def ca(self) -> Path:
        """The authority's certificate; its key is beside it."""
        return self.path / "authority" / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """Who has this can be any charger, and the broker."""
        return self.path / "authority" / "ca.key"

    @property
    def home_password(self) -> Path:
        """Home Assistant's password at the broker, as `init` made it; it is not needed once it is there."""
        return self.broker / "homeassistant.password"

    @property
    def broker(self) -> Path:
        """What mosquitto reads."""
        return self.path / "broker"

    @property
    def devices(self) -> Path:
        """What goes onto the boards."""
        return self.path / "devices"

    @property
    def units(self) -> Path:
        """What systemd reads."""
        return self.path / "systemd"

    def authority(self) -> authority.Credential:
        """The authority. Refusal without its files."""
        try:
            return authority.Credential(self.ca.read_bytes(), self.ca_key.read_bytes())
        except OSError as e:
            raise Refusal(f"no authority in {self.path} ({e}): run `ievcc init` there") from e

    def installed(self) -> bool:
        """Whether `ievcc init` was here."""
        return self.ca.exists()

    def settings(self, device: str) -> dict[str, Any]:
        """What is to be on this device's board; nothing if it was never enrolled."""
        try:
            found = json.loads((self.devices / device / "config.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def members(self) -> list[Member]:
        """Every device that was enrolled."""
        names = sorted(p.name for p in self.devices.iterdir()) if self.devices.is_dir() else []
        found = [(name, self.settings(name)) for name in names]
        return [Member(n, str(s.get("counter", ""))) for n, s in found if s]


def write_new(path: Path, data: bytes | str, mode: int) -> bool:
    """Write a file that is not there yet, whole or not at all; False if it is there."""
    if path.exists():
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(path, data, mode)
    return True


def replace(path: Path, data: bytes | str, mode: int | None = None) -> None:
    """Write a file whole: after a power cut there is the old one or the new one."""
    if mode is None:
        mode = path.stat().st_mode & 0o777 if path.exists() else SECRET
    raw = data.encode() if isinstance(data, str) else data
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as f:
        os.fchmod(f.fileno(), mode)
        f.write(raw)
        f.flush()
        os.fsync(f.fileno())
    new.replace(path)


def enrol(
    folder: Folder,
    name: str,
    counter: str = "",
    *,
    hosts: Sequence[str],
    tls_port: int = access.TLS_PORT,
    plain_port: int = access.PLAIN_PORT,
    role: str = "house",
) -> str:
    """Make what a device needs: a charger's if it hangs under a `counter`, else a meter's.

    `hosts`: the broker's names, as boards reach it. The answer: what was done, in words; "" if it was
    enrolled before. Refusal for a name that is none, or SiteFileError's words.
    """
    if not is_device_name(name) or name == access.MANAGER:
        raise Refusal(f"{name!r} is no device's name: letters, digits, - and _, at most 24")
    if counter and not is_device_name(counter):
        raise Refusal(f"{counter!r} is no meter's name")
    if folder.settings(name):
        _admit(folder, name)
        return ""
    text = folder.site_file.read_text(encoding="utf-8")
    try:
        site = parse(text)
    except SiteFileError as e:
        raise Refusal(f"{folder.site_file}: {e}") from e
    # A new board, a new key: the one that is listed may be on a board that was stolen.
    key = secrets.token_hex(KEY_BYTES)
    settings: dict[str, Any] = {
        "id": name,
        "site": site.site.settings.name,
        "key": key,
        "broker_host": hosts[0],
    }
    place = folder.devices / name
    if counter:
        made = authority.issue(
            folder.authority(), name, datetime.now(UTC), days=365 * authority.AUTHORITY_YEARS
        )
        cert = x509.load_pem_x509_certificate(made.certificate)
        private = serialization.load_pem_private_key(made.key, None)
        ca = x509.load_pem_x509_certificate(folder.ca.read_bytes())
        der = serialization.Encoding.DER
        write_new(place / "ca.der", ca.public_bytes(der), SHOWN)
        write_new(place / "cert.der", cert.public_bytes(der), SHOWN)
        write_new(
            place / "key.der",
            private.private_bytes(
                der,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            ),
            SECRET,
        )
        settings |= {"counter": counter, "broker_port": tls_port, "broker_tls": 1}
        settings["utc_s"] = int(time.time())
    else:
        settings |= {"broker_port": plain_port, "role": role, "broker_user": name}
        settings["broker_password"] = secrets.token_urlsafe(PASSWORD_BYTES)
    replace(folder.site_file, _with_key(text, name, key), SECRET)
    write_new(place / "config.json", json.dumps(settings, indent=1) + "\n", SECRET)
    _admit(folder, name)
    return f"{'charger' if counter else 'meter'} {name} enrolled: {place}"


def _with_key(text: str, name: str, key: str) -> str:
    """The site file with this key for this device, which is added if it is not listed."""
    document = tomlkit.parse(text)
    for device in document.get("device", []):
        if device.get("id") == name:
            device["key"] = key
            new = tomlkit.dumps(document)
            break
    else:
        new = text.rstrip("\n") + f'\n\n[[device]]\nid = "{name}"\nkey = "{key}"\n'
    parse(new)
    return new


def _admit(folder: Folder, name: str) -> None:
    """Put an enrolled device on the broker's lists, if it is not."""
    settings = folder.settings(name)
    site = str(settings.get("site", ""))
    acl, passwords = folder.broker / "acl", folder.broker / "passwords"
    rules = acl.read_text()
    if f"\nuser {name}\n" not in rules:
        member = Member(name, str(settings.get("counter", "")))
        replace(acl, rules.rstrip("\n") + "\n\n" + access.member_rules(site, member))
    known = passwords.read_text()
    password = str(settings.get("broker_password", ""))
    if password and not any(line.startswith(f"{name}:") for line in known.splitlines()):
        line = access.password_line(name, password, secrets.token_bytes(12))
        replace(passwords, known + line + "\n")


def strike(folder: Folder, name: str) -> bool:
    """Take a device off the broker's lists and out of the folder; False if it was never there.

    Its key stays in the site file: whether it is heard is the manager's to say.
    """
    if not is_device_name(name) or not folder.settings(name):
        return False
    acl, passwords = folder.broker / "acl", folder.broker / "passwords"
    blocks = acl.read_text().split("\n\n")
    kept = [b for b in blocks if f"user {name}" not in b.splitlines()]
    replace(acl, "\n\n".join(kept).rstrip("\n") + "\n")
    lines = [x for x in passwords.read_text().splitlines() if not x.startswith(f"{name}:")]
    replace(passwords, "".join(f"{x}\n" for x in lines))
    shutil.rmtree(folder.devices / name)
    return True
