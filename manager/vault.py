"""What the store must keep and nobody may read in it: sealed with a key that lies beside it.

A copy of the store alone, a dump of it, a card taken out of it for a look: none shows a device's key.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from manager.refusal import Refusal


class Vault:
    """Seals and opens texts with the key beside this store, made when there is none yet."""

    def __init__(self, store: Path) -> None:
        path = key_file(store)
        try:
            try:
                key = path.read_bytes()
            except FileNotFoundError:
                key = Fernet.generate_key()
                path.parent.mkdir(parents=True, exist_ok=True)
                with os.fdopen(
                    os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
                ) as f:
                    f.write(key)
                    f.flush()
                    os.fsync(f.fileno())
            self._fernet = Fernet(key)
            self._key = key
        except (OSError, ValueError) as e:
            raise Refusal(f"the store's key {path} cannot be used ({e}): restore a backup") from e
        self._path = path

    def secret(self, purpose: str) -> bytes:
        """32 bytes that are this purpose's alone, the same each time."""
        return hmac.digest(self._key, b"secret " + purpose.encode(), "sha256")

    def seal(self, text: str) -> str:
        """The text for the store; "" for ""."""
        return self._fernet.encrypt(text.encode()).decode() if text else ""

    def open(self, sealed: str) -> str:
        """What was sealed. Refusal if it was with another key."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode() if sealed else ""
        except InvalidToken as e:
            raise Refusal(f"{self._path} is not the key of this store: restore a backup") from e


def key_file(store: Path) -> Path:
    """Where the key of a store is."""
    return store.with_suffix(".key")
