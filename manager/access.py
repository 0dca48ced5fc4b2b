"""Who may do what at the broker: mosquitto's configuration, access list and passwords.

Two doors. Port 8883 speaks TLS and asks for a certificate of our authority: chargers and the
manager. Port 1883 asks for a password: energy meters on an ESP8266, which cannot verify a
certificate; there the signature on every message is what protects. Nobody is anonymous, and each
device reaches its own topics only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from manager.turned_away import TOPICS
from shared import protocol

MANAGER = "manager"
HOME_ASSISTANT = "homeassistant"  # whose password is the building's own to give

TLS_PORT = 8883
PLAIN_PORT = 1883
_ROUNDS = 101  # mosquitto's own default; the passwords are 128 random bits, not words


@dataclass(frozen=True, slots=True)
class Member:
    """A device of the site; `counter` is the meter that a charger hangs under, "" for a meter."""

    id: str
    counter: str = ""


def rules(site: str, members: Iterable[Member]) -> str:
    """mosquitto's acl_file: own topics only.

    A charger also hears its meter: its own rule needs it when the manager is away.
    """
    root = f"ievcc/{site}"
    lines = [
        "# Made by `ievcc init`; devices are added with `ievcc devices add`.",
        f"user {MANAGER}",
        f"topic readwrite {root}/#",
        "topic write homeassistant/#",
        "topic read homeassistant/status",
        *(f"topic read {topic}" for topic in TOPICS),
        "",
        f"user {HOME_ASSISTANT}",
        "topic read homeassistant/#",
        "topic write homeassistant/status",
        f"topic read {root}/home/#",
        f"topic write {root}/home/+/set/+",
    ]
    own = [member_rules(site, member) for member in members]
    return "\n".join(["\n".join(lines) + "\n", *own])


def member_rules(site: str, member: Member) -> str:
    """The part of `rules` that is about one device."""
    root = f"ievcc/{site}"
    lines = [
        f"user {member.id}",
        f"topic write {root}/{member.id}/up",
        f"topic write {root}/{member.id}/state",
        f"topic read {root}/{member.id}/down",
    ]
    if member.counter:
        lines += [
            f"topic write {root}/{member.counter}/new",
            f"topic read {root}/{member.counter}/up",
        ]
    else:
        lines.append(f"topic write {root}/{protocol.HELLO}")
    return "\n".join(lines) + "\n"


def password_line(user: str, password: str, salt: bytes) -> str:
    """One line of mosquitto's password_file: PBKDF2-HMAC-SHA512 as mosquitto_passwd writes it."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    b64 = base64.b64encode
    return f"{user}:$7${_ROUNDS}${b64(salt).decode()}${b64(digest).decode()}"


def is_password(line: str, password: str) -> bool:
    """Whether a line of password_file, without its user, is of this password."""
    try:
        _, kind, rounds, salt, digest = line.split("$")
        wanted = base64.b64decode(digest)
        raw = base64.b64decode(salt)
        made = hashlib.pbkdf2_hmac("sha512", password.encode(), raw, int(rounds))
    except ValueError:
        return False
    return kind == "7" and hmac.compare_digest(made, wanted)


def configuration(
    folder: Path, tls_port: int = TLS_PORT, plain_port: int = PLAIN_PORT, host: str = ""
) -> str:
    """For mosquitto's conf.d: the files in `folder`: ca.crt, broker.crt, broker.key, acl, passwords.

    What Debian's own mosquitto.conf says (persistence, log) is not said again: mosquitto takes it
    for a mistake.
    """
    bind = f" {host}" if host else ""
    return f"""\
# Made by `ievcc init`.
per_listener_settings true
connection_messages true
# Beside its file, for the manager: connections that were refused are counted.
log_dest topic
set_tcp_nodelay true
# Devices send at most {protocol.MAX_BYTES} bytes; the manager's to home automation are longer.
message_size_limit 16384
max_inflight_messages 2000
max_queued_messages 20000
# A device that is gone for so long is forgotten with what waited for it.
persistent_client_expiration 14d

listener {tls_port}{bind}
cafile {folder}/ca.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.key
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file {folder}/acl
tls_version tlsv1.2

# Energy meters: what they say is signed, what they hear too; here it can be read on the way.
listener {plain_port}{bind}
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
max_connections 200
"""
