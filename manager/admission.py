"""Which devices are heard: those of the site file, those let in by hand, and none that was sent away.

A device that is neither waits. It is let in by its key, or by a click while a pairing window is
open: then a board that has no key yet is given one. What it was given goes to its own topic, and is
worth what the way there is: over TLS nobody else reads it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manager.refusal import Refusal
from manager.store import Row
from shared import protocol

WAITING_MOST = 50  # remembered; the one longest unheard is forgotten for a newer one
PAIRING_MOST_MIN = 60
CONFIRM_MS = 30_000  # for a board to say that it has its new key
_KEY_BYTES = 16, 64

DEVICE = (
    "INSERT INTO device (id, key, state, at_ms, who) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET key = excluded.key, state = excluded.state,"
    " at_ms = excluded.at_ms, who = excluded.who"
)


@dataclass(slots=True)
class Waiting:
    """A device that has announced itself and is not known. Times are ms of UTC."""

    id: str
    kind: str  # meter, charger
    counter: str
    model: str
    firmware: str
    signed: bool
    boot: int
    seq: int
    first_ms: int
    heard_ms: int
    times: int = 1


@dataclass(slots=True)
class _Offered:
    key: str
    who: str
    at_ms: int


class Admission:
    """`keys`: every device that is heard, with its key, None for one that does not sign."""

    def __init__(
        self,
        listed: Mapping[str, bytes | None],
        kept: Iterable[tuple[str, str, str]] = (),
        seal: Callable[[str], str] = str,
        *,
        everybody: bool = False,
    ) -> None:
        """`listed`: the site file's; `kept`: (name, key, state); `everybody`: those nobody knows too.

        `seal`: keys for the store.
        """
        self._seal = seal
        self._listed = dict(listed)
        self._hand: dict[str, bytes | None] = {}
        self.everybody = everybody
        self.revoked: set[str] = set()
        self.keys: dict[str, bytes | None] = dict(listed)
        self.waiting: dict[str, Waiting] = {}
        self.pairing_until_ms = 0
        self._pairing_since_ms = 0
        self._offered: dict[str, _Offered] = {}
        for device, key, state in kept:
            if state == "revoked":
                self.revoked.add(device)
            if key or state != "revoked":
                self._hand[device] = bytes.fromhex(key) or None
        self._settle()

    def _settle(self) -> None:
        self.keys = {**self._hand, **self._listed}
        for device in self.revoked:
            self.keys.pop(device, None)

    def relist(self, listed: Mapping[str, bytes | None]) -> list[str]:
        """Go by another list of the site file; those whose key is another now, or gone."""
        before = self.keys
        self._listed = dict(listed)
        self._settle()
        every = {*before, *self.keys}
        return [d for d in sorted(every) if before.get(d, b"") != self.keys.get(d, b"")]

    def hears(self, device: str) -> bool:
        """Whether its messages are looked at."""
        return device in self.keys or (self.everybody and device not in self.revoked)

    def pair(self, minutes: int, utc_ms: int) -> str:
        """Open the pairing window for so long; 0 closes it. Words."""
        if not 0 <= minutes <= PAIRING_MOST_MIN:
            raise Refusal(f"a pairing window is open for 0 to {PAIRING_MOST_MIN} minutes")
        if self.pairing_until_ms <= utc_ms:
            self._pairing_since_ms = utc_ms
        self.pairing_until_ms = utc_ms + minutes * 60_000 if minutes else 0
        return f"pairing window open for {minutes} minutes" if minutes else "no pairing window"

    def is_pairing(self, utc_ms: int) -> bool:
        """Whether the window is open. A clock set back closes it."""
        return self._pairing_since_ms <= utc_ms < self.pairing_until_ms

    def stranger(self, message: Mapping[str, Any], signed: bool, utc_ms: int) -> str:
        """Somebody not known has announced itself: remember it. What to tell it."""
        device = str(message["id"])
        old = self.waiting.pop(device, None)
        if device in self.revoked:
            return f"{device} was sent away: authorise it anew, or take it off the network"
        while len(self.waiting) >= WAITING_MOST:
            self.waiting.pop(next(iter(self.waiting)))
        self.waiting[device] = Waiting(
            id=device,
            kind="meter" if message["code"] == protocol.NEW_COUNTER else "charger",
            counter=str(message.get("counter", "")),
            model=str(message.get("model", "")),
            firmware=str(message.get("firmware", "")),
            signed=signed,
            boot=int(message["boot"]),
            seq=int(message["seq"]),
            first_ms=old.first_ms if old else utc_ms,
            heard_ms=utc_ms,
            times=old.times + 1 if old else 1,
        )
        if self.is_pairing(utc_ms) and not signed:
            return f"{device} waits to be let in"
        return f"{device} is not on the list of devices: add it with its key to the site file"

    def let_in(self, device: str, key: str | None, who: str, utc_ms: int) -> tuple[str, list[Row]]:
        """Hear a device from now on by its key, or again after it was sent away. Words and rows.

        Refusal if its key is not known; see `offer` for a board that has none.
        """
        if key is None and device in self.revoked:
            self.revoked.discard(device)
            had = self._listed.get(device) or self._hand.get(device)
            if had is None:
                self.revoked.add(device)
                raise Refusal(f"the key of {device} is not known here any more: give it")
            key = had.hex()
        if key is None and device in self.keys:
            return f"{device} is authorised already", []
        if key is None:
            raise Refusal(f"{device} has not announced itself: give its key")
        if not protocol.is_device_name(device):
            raise Refusal(f"{device!r} is no device's name")
        try:
            raw = bytes.fromhex(key)
        except ValueError as e:
            raise Refusal("the key is not hexadecimal") from e
        least, most = _KEY_BYTES
        if not least <= len(raw) <= most:
            raise Refusal(f"a key has {least} to {most} bytes")
        if self._listed.get(device) not in (None, raw):
            raise Refusal(f"{device} has another key in the site file: change it there")
        self.revoked.discard(device)
        self.waiting.pop(device, None)
        self._offered.pop(device, None)
        self._hand[device] = raw
        self._settle()
        return f"{device} is authorised", [
            (DEVICE, (device, self._seal(key), "authorised", utc_ms, who))
        ]

    def offer(self, device: str, who: str, utc_ms: int) -> tuple[Waiting, dict[str, Any]]:
        """A click: make a key for a board that has none. Where to, and the message that carries it.

        Refusal without a window, or for a board that signs with a key nobody here knows.
        """
        found = self.waiting.get(device)
        if found is None:
            raise Refusal(f"{device} has not announced itself: give its key")
        if found.signed:
            raise Refusal(f"{device} signs with a key that is not known here: give it")
        if not self.is_pairing(utc_ms) or found.heard_ms < self._pairing_since_ms:
            raise Refusal("open a pairing window first, and wait for it to announce itself")
        key = secrets.token_hex(_KEY_BYTES[0])
        self._offered[device] = _Offered(key, who, utc_ms)
        return found, {
            "code": protocol.CONFIG_SET,
            "name": "key",
            "value": json.dumps(key),
            "re_boot": found.boot,
            "re_seq": found.seq,
        }

    def confirmed(
        self, device: str, message: Mapping[str, Any], utc_ms: int
    ) -> tuple[str, list[Row]] | None:
        """A board that was offered a key says something: words and rows if it is that it has it."""
        offered = self._offered.get(device)
        if offered is None:
            return None
        if not 0 <= utc_ms - offered.at_ms < CONFIRM_MS:
            del self._offered[device]
            return None
        if message["code"] != protocol.CONFIG_VALUE or message["name"] != "key":
            return None
        del self._offered[device]
        if message["result"] != "ok":
            return f"{device} did not take its key", []
        return self.let_in(device, offered.key, offered.who, utc_ms)

    def send_away(self, device: str, who: str, utc_ms: int) -> tuple[str, list[Row]]:
        """Hear a device no more. Words and rows; Refusal if it was never heard."""
        if device not in self.keys and not (self.everybody and protocol.is_device_name(device)):
            if self.waiting.pop(device, None) is not None:
                return f"{device} waits no more", []
            raise Refusal(f"no device {device} is authorised")
        key = self._hand.get(device)
        self.revoked.add(device)
        self._offered.pop(device, None)
        self._settle()
        kept = self._seal(key.hex()) if key else ""
        return f"{device} is heard no more", [(DEVICE, (device, kept, "revoked", utc_ms, who))]
