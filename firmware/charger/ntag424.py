"""NTAG 424 DNA: the signed message (SUN) such a card makes anew at every reading, and whether it is true.

NXP AN12196: the card writes into its text its number and reading counter, encrypted (picc, 16
bytes), and a MAC over them
(cmac, 8 bytes). A copied card repeats an old counter, and is refused.
"""

import json

try:
    from cryptolib import aes
except ImportError:
    from ucryptolib import aes  # the older name

from firmware.common.config import write_whole

_ECB, _CBC = 1, 2
_ZERO = bytes(16)
_FILE = "counters"
_KEPT = 100  # cards whose counters are kept


class SunError(ValueError):
    """A message that is not what this site's cards make: picc, cmac, or counter (it was used before)."""


def _doubled(block: bytes) -> bytes:
    n = int.from_bytes(block, "big") << 1
    if n >> 128:
        n ^= (1 << 128) | 0x87
    return n.to_bytes(16, "big")


def cmac(key: bytes, message: bytes) -> bytes:
    """AES-CMAC (RFC 4493), 16 bytes."""
    sub = _doubled(aes(key, _ECB).encrypt(_ZERO))
    last = (
        message[len(message) // 16 * 16 :] if len(message) % 16 or not message else message[-16:]
    )
    head = message[: len(message) - len(last)]
    if len(last) < 16:
        sub = _doubled(sub)
        last = last + b"\x80" + bytes(15 - len(last))
    state = _ZERO
    for at in range(0, len(head), 16):
        state = aes(key, _ECB).encrypt(_xor(state, head[at : at + 16]))
    return bytes(aes(key, _ECB).encrypt(_xor(_xor(state, last), sub)))


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes([x ^ y for x, y in zip(a, b)])


def opened(picc_key: bytes, mac_key: bytes, picc: bytes, mac: bytes) -> "tuple[str, int]":
    """(the card's number in hex, its reading counter). SunError if it is not signed with these keys."""
    data = aes(picc_key, _CBC, _ZERO).decrypt(picc)
    if data[0] != 0xC7:  # number and counter mirrored, a number of 7 bytes
        raise SunError("picc")
    uid = data[1:8]
    counter = data[8:11]
    session = cmac(mac_key, b"\x3c\xc3\x00\x01\x00\x80" + uid + counter)
    whole = cmac(session, b"")
    wrong = 0
    for k in range(8):
        wrong |= whole[2 * k + 1] ^ mac[k]
    if wrong:
        raise SunError("cmac")
    return "".join(["%02x" % b for b in uid]), int.from_bytes(counter, "little")


def found(text: bytes) -> "tuple[str, str] | None":
    """(picc, cmac) in hex out of the card's text, an address like ...?picc_data=<32 digits>&cmac=<16 digits>."""
    runs = {}
    run = ""
    for b in text + b" ":
        c = chr(b)
        if c in "0123456789abcdefABCDEF":
            run += c
        else:
            if len(run) in (32, 16):
                runs[len(run)] = run.lower()
            run = ""
    return (runs[32], runs[16]) if len(runs) == 2 else None


class Counters:
    """The newest reading counter of each card, in flash: what was read once is never taken again."""

    def __init__(self) -> None:
        self._seen: "dict[str, int]" = {}
        try:
            with open(_FILE) as f:
                kept = json.loads(f.read())
            self._seen = {str(k): int(kept[k]) for k in kept}
        except (OSError, ValueError, TypeError):
            pass

    def use(self, card: str, counter: int) -> None:
        """SunError("counter") unless it is higher than the last; OSError if the flash cannot keep it."""
        if counter <= self._seen.get(card, -1):
            raise SunError("counter")
        if card not in self._seen and len(self._seen) >= _KEPT:
            raise SunError("counter")  # no room to remember it: not to be trusted
        new = self._seen.copy()
        new[card] = counter
        write_whole(_FILE, json.dumps(new))
        self._seen = new
