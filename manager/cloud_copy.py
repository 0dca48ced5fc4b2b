"""The manager's copy of what the cloud knows: cards, users, devices, tariffs, wishes.

Fetched and kept on disk, signed with the site's key. While the cloud is away the last good copy
goes on; an altered or older one is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import os
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from manager.outbox import card_hash

log = logging.getLogger(__name__)

_MAC_BYTES = 16
_TIMEOUT_S = 40.0
_MOST = 64 * 1024 * 1024


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
        whole = json.loads(body)
        if whole["site"] != self._site:
            raise CopyError(f"a copy for {whole['site']}")
        if whole["version"] < self.version:
            raise CopyError(f"version {whole['version']} is older than {self.version}")
        self.whole = whole

    def card(self, number: str) -> tuple[str, str]:
        """("accepted", the user's name) or ("unknown", "") for a card's number."""
        wanted = card_hash(self._key, number)
        names = {p["id"]: p["name"] for p in self.whole.get("people", ())}
        for card in self.whole.get("cards", ()):
            if card["hash"] == wanted:
                return "accepted", str(names.get(card["person"], ""))
        return "unknown", ""

    def wishes(self, now_s: float) -> list[dict[str, Any]]:
        """What people asked for and is still wanted: id, device, command."""
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
