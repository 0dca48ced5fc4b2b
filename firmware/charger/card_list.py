"""The cards that may charge while the manager is away: hashes only, so that the flash gives no card away."""

import binascii
import hashlib
import json

from firmware.common.config import write_whole

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_FILE = "cards"
HASH_BYTES = 8


def hashed(key: bytes, card: str) -> str:
    """HMAC-SHA256 of the card's number (hex), its first 8 bytes in hex."""
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    key = key + bytes(64 - len(key))
    inner = hashlib.sha256(bytes([b ^ 0x36 for b in key]))
    inner.update(bytes.fromhex(card))
    outer = hashlib.sha256(bytes([b ^ 0x5C for b in key]))
    outer.update(inner.digest())
    return str(binascii.hexlify(outer.digest()[:HASH_BYTES]), "ascii")


class CardList:
    """The list in flash, and the one coming in parts: it replaces the old one whole, when its last part has come."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.number = 0
        self._cards: "list[str]" = []
        self._coming = 0
        self._parts: "dict[int, list[str]]" = {}
        try:
            with open(_FILE) as f:
                kept = json.loads(f.read())
            self.number = int(kept["list"])
            self._cards = [str(c) for c in kept["cards"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def heard(self, message: "dict[str, Any]") -> bool:
        """A part of a list; True when with it a newer list is whole and kept. OSError if the flash takes it not."""
        number = message["list"]
        if number <= self.number or message["part"] >= message["parts"]:
            return False
        if number != self._coming:
            self._coming = number
            self._parts = {}
        self._parts[message["part"]] = message["cards"]
        if len(self._parts) < message["parts"]:
            return False
        cards: "list[str]" = []
        for part in range(message["parts"]):
            cards += self._parts[part]
        write_whole(_FILE, json.dumps({"list": number, "cards": cards}))
        self.number = number
        self._cards = cards
        self._parts = {}
        return True

    def knows(self, card: str) -> bool:
        """Whether this card is on it."""
        return hashed(self.key, card) in self._cards
