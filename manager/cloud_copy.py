"""The manager's copy of what the cloud knows: cards, users, devices, tariffs, wishes.

Fetched and kept on disk, signed with the site's key. While the cloud is away the last good copy
goes on; an altered or older one is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import itertools
import json
import logging
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from manager.core.rights import User
from manager.core.site import Window
from manager.core.tariffs import QUARTER_S, Rate, Tariff
from manager.outbox import card_hash

log = logging.getLogger(__name__)

_MAC_BYTES = 16
_TIMEOUT_S = 40.0
_MOST = 64 * 1024 * 1024
_U_PER_UNIT = 100  # millionths in 1/10000


class CopyError(RuntimeError):
    """The cloud did not give a copy, or not a good one; the last one stays."""


def sign(key: bytes, data: bytes) -> str:
    """HMAC-SHA256, truncated, as hex."""
    return hmac.digest(key, data, hashlib.sha256)[:_MAC_BYTES].hex()


class CloudCopy:
    """The copy in `path`; `url` is the API's root, https://host/api/v1 (plain only on
    loopback).
    """

    def __init__(
        self, path: Path, url: str, site: str, key: bytes, ca: Path | None = None
    ) -> None:
        self.path = path
        self._site = site
        self._key = key
        self._parts = urlsplit(url)
        self._ca = ca
        if self._parts.scheme != "https" and self._parts.hostname not in (
            "127.0.0.1",
            "localhost",
        ):
            raise CopyError(f"{url}: not without TLS, except to this machine itself")
        self.whole: dict[str, Any] = {}
        self._users: dict[str, User] = {}
        self._holders: dict[str, str] = {}
        self._tariffs: tuple[Tariff, ...] = ()
        self._barred: frozenset[str] = frozenset()
        if path.exists():
            try:
                mac, _, body = path.read_bytes().partition(b"\n")
                self._take(body, mac.decode("ascii", "replace"))
            except CopyError as e:
                log.warning("%s: %s; waiting for a new one", path, e)

    @property
    def version(self) -> int:
        """Of the copy in use; 0: none yet."""
        return int(self.whole.get("version", 0))

    def fetch(self, wait_s: float = 0.0) -> bool:
        """Ask for a newer one, waiting for a change so long; whether one came. CopyError if
        not.
        """
        path = f"/manager/copy?have={self.version}&wait_s={wait_s:g}"
        status, headers, body = self._ask("GET", path, b"")
        if status == http.client.NOT_MODIFIED:
            return False
        if status != http.client.OK:
            raise CopyError(f"{status} {body[:200].decode(errors='replace')}")
        mac = headers.get("X-Ievcc-Mac", "")
        self._take(body, mac)
        fresh = self.path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(mac.encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)  # whole or not at all, whatever happens now
        return True

    def _take(self, body: bytes, mac: str) -> None:
        if not hmac.compare_digest(sign(self._key, body), mac):
            raise CopyError("not signed with this site's key")
        try:
            whole = json.loads(body)
            if whole["site"] != self._site:
                raise CopyError(f"a copy for {whole['site']}")
            if whole["version"] < self.version:
                raise CopyError(f"version {whole['version']} is older than {self.version}")
            owned: dict[int, set[str]] = {}
            for device in whole["devices"]:
                if device.get("person") is not None:
                    owned.setdefault(device["person"], set()).add(device["name"])
            users = [_user(p, frozenset(owned.get(p["id"], ()))) for p in whole["people"]]
            tariffs = _one_at_a_time([_tariff(t, whole["timezone"]) for t in whole["tariffs"]])
            holders = {c["hash"]: user_id(c["person"]) for c in whole["cards"]}
            barred = {d["name"] for d in whole["devices"] if d.get("authorised") is False}
        except (KeyError, TypeError, ValueError) as e:
            raise CopyError(f"not understood: {type(e).__name__}: {e}") from e
        self.whole = whole
        self._users = {u.id: u for u in users}
        self._tariffs = tariffs
        self._holders = holders
        self._barred = frozenset(barred)

    def card(self, number: str) -> tuple[str, str]:
        """("accepted", the user's name) or ("unknown", "") for a card's number."""
        user = self._users.get(self.holder(number) or "")
        return ("unknown", "") if user is None else ("accepted", user.name)

    def holder(self, number: str) -> str | None:
        """The user of a card by its number, an id of `users`; None for a card not known there."""
        return self._holders.get(card_hash(self._key, number))

    def users(self) -> Mapping[str, User]:
        """The site's people and what they may do, by id."""
        return self._users

    def tariffs(self) -> tuple[Tariff, ...]:
        """The site's prices, one at any moment: of several the one that began last counts."""
        return self._tariffs

    def barred(self, device: str) -> bool:
        """Whether an administrator said that this device does not belong to the site."""
        return device in self._barred

    def wishes(self, now_s: float) -> list[dict[str, Any]]:
        """What people asked for and is still wanted: id, device, command, person."""
        return [w for w in self.whole.get("wishes", ()) if w["expires_s"] > now_s]

    def forget_wish(self, wish: int) -> None:
        """It was answered: the copy in use no longer holds it."""
        left = [w for w in self.whole.get("wishes", ()) if w["id"] != wish]
        self.whole = {**self.whole, "wishes": left}

    def answer(self, wish: int, result: str) -> None:
        """Say what became of a wish."""
        body = json.dumps({"result": result[:200]}).encode()
        status, _, words = self._ask("POST", f"/manager/wishes/{wish}", body)
        if status != http.client.OK:
            raise CopyError(f"{status} {words[:200].decode(errors='replace')}")

    def _ask(
        self, method: str, path: str, body: bytes
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        whole = self._parts.path.rstrip("/") + path
        at = int(time.time())
        mac = sign(self._key, f"{method} {whole} {at}\n".encode() + body)
        headers = {
            "Authorization": f"Ievcc {self._site}:{at}:{mac}",
            "Content-Type": "application/json",
        }
        host, port = self._parts.hostname or "", self._parts.port
        connection: http.client.HTTPConnection
        if self._parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
            connection = http.client.HTTPSConnection(
                host, port, timeout=_TIMEOUT_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, whole, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read(_MOST)
        except (OSError, http.client.HTTPException) as e:
            raise CopyError(f"the cloud is away: {type(e).__name__}: {e}") from e
        finally:
            connection.close()


def user_id(person: int) -> str:
    """The id here of a person of the cloud's; no local user has one like it."""
    return f"cloud:{person}"


def _user(person: dict[str, Any], owns: frozenset[str]) -> User:
    """A person with their rights and own chargers; one with no rights set may charge always and at
    all chargers.
    """
    windows = tuple(
        Window(day * 1440 + w["from_min"], day * 1440 + w["to_min"], w["max_a"])
        for w in person.get("windows", ())
        for day in range(7)
        if w["days"] >> day & 1
    )
    return User(
        id=user_id(person["id"]),
        name=person["name"],
        max_a=person.get("max_a"),
        priority=person.get("priority", 0),
        windows=windows,
        quota_wh=person.get("quota_wh"),
        chargers=frozenset(person.get("chargers", ())),
        owns=owns,
    )


def _tariff(said: dict[str, Any], timezone: str) -> Tariff:
    """A price list as the cloud says it, in 1/10000 per kWh; a band comes before the base price."""
    bands = tuple(
        Rate(
            b["per_kwh"] * _U_PER_UNIT,
            frozenset(day for day in range(7) if b["days"] >> day & 1),
            _quarter(b["from_min"]),
            _quarter(b["to_min"]),
        )
        for b in said["bands"]
    )
    return Tariff(
        name=said["name"],
        rates=(*bands, Rate(said["per_kwh"] * _U_PER_UNIT)),
        per_session=said["per_session"],
        currency=said.get("currency", "EUR"),
        timezone=timezone,
        valid_from_s=said["from_s"],
        valid_to_s=said["to_s"],
    )


def _quarter(minute: int) -> int:
    return minute - minute % (QUARTER_S // 60)


def _one_at_a_time(tariffs: list[Tariff]) -> tuple[Tariff, ...]:
    """The same prices cut so that at every moment at most one holds: the one that began last."""
    ends = {t.valid_to_s for t in tariffs if t.valid_to_s is not None}
    cuts: list[int | None] = [*sorted({t.valid_from_s for t in tariffs} | ends), None]
    out: list[Tariff] = []
    for start, end in itertools.pairwise(cuts):
        assert start is not None
        held = [
            t
            for t in tariffs
            if t.valid_from_s <= start and (t.valid_to_s is None or start < t.valid_to_s)
        ]
        if not held:
            continue
        newest = max(reversed(held), key=lambda t: t.valid_from_s)
        last = out[-1] if out else None
        if last is not None and last.valid_to_s == start and _same(last, newest):
            out[-1] = replace(last, valid_to_s=end)
        else:
            out.append(replace(newest, valid_from_s=start, valid_to_s=end))
    return tuple(out)


def _same(one: Tariff, other: Tariff) -> bool:
    """Whether two differ in nothing but when they hold."""
    return replace(one, valid_from_s=other.valid_from_s, valid_to_s=other.valid_to_s) == other
