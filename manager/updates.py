"""New firmware for boards over the network: offered, then handed out piece by piece as they ask.

A bundle is made by `python -m tools.bundle`. The offer carries its SHA-256 and is signed with the
device's own key like everything the manager says, so a device takes the whole bundle or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manager.refusal import Refusal
from shared import protocol

_FIRST_LINE = b"IEVCC1\n"
_PIECE = 128  # bytes: what a message has room for
_LARGEST = 1 << 20


@dataclass
class _Offered:
    number: int
    bundle: bytes
    words: str


class Updates:
    """What is offered to which device, and how far it is."""

    def __init__(self) -> None:
        self._offered: dict[str, _Offered] = {}
        self._number = 0

    def offer(self, device: str, bundle: bytes, version: str, *, signed: bool) -> dict[str, Any]:
        """The message that offers a bundle to a device; an older offer to it is forgotten.

        Refusal for what is no bundle, is too large, or would go unsigned.
        """
        if not signed:
            raise Refusal(f"{device} has no key: it takes no update; give it one first")
        if not bundle.startswith(_FIRST_LINE) or len(bundle) > _LARGEST:
            raise Refusal("that is no bundle: make one with python -m tools.bundle")
        if not 1 <= len(version.encode()) <= 16:
            raise Refusal("a version is 1 to 16 letters")
        self._number += 1
        self._offered[device] = _Offered(self._number, bundle, "offered")
        return {
            "code": protocol.UPDATE_OFFER,
            "update": self._number,
            "version": version,
            "size": len(bundle),
            "sha256": hashlib.sha256(bundle).hexdigest(),
        }

    def heard(self, device: str, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a device says of its update; the piece it asks for, None if it asks for none."""
        offered = self._offered.get(device)
        if offered is None or message["update"] != offered.number:
            return None
        at = message["offset"]
        if message["state"] != "loading":
            offered.words = " ".join(filter(None, (message["state"], message.get("words", ""))))
            return None
        offered.words = f"{100 * at // len(offered.bundle)} %"
        piece = offered.bundle[at : at + _PIECE]
        if not piece:
            return None
        return {
            "code": protocol.UPDATE_CHUNK,
            "update": offered.number,
            "offset": at,
            "data": piece.hex(),
        }

    def said(self, device: str) -> str:
        """How far the update of a device is, in words; "" if none was offered."""
        offered = self._offered.get(device)
        return "" if offered is None else offered.words
