"""The wire codec: every message of the system, one table, the same file on CPython, ESP32 and ESP8266.

A message is a plain dict: ``{"code": COUNTER_LOAD, "boot": 3, "seq": 17, "current_ma": [16000], ...}``.
`encode` turns it into compact JSON of at most 512 bytes, `decode` turns bytes back; whatever the bytes,
`decode` gives a message or raises `ProtocolError`. `Sender` and `Receiver` number, sign and check.

Lists hold one whole number per phase (1 to 3). Units are in the fields' names: mA, dV (0.1 V), W, Wh, mHz, %, A, ms.
The text after ``#`` in the table is the documentation: docs/protocol.md is made from this file.
"""

import binascii
import hashlib
import json

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

try:
    from hmac import compare_digest as _same
except ImportError:  # the boards have no hmac

    def _same(want: bytes, data: bytes) -> bool:  # type: ignore[no-redef]
        # No early exit: the time taken tells nothing about the right signature.
        wrong = len(want) ^ len(data)
        for a, b in zip(want, data):
            wrong |= a ^ b
        return not wrong


VERSION = 1
MAX_BYTES = (
    512  # the whole message, signature included: fits an ESP8266's receive buffer with its topic
)
MAC_BYTES = 16  # HMAC-SHA256 truncated (RFC 2104 section 5 allows half the hash)
HELLO = "hello/new"  # where a meter announces itself; a charger does so on "<counter>/new"

NEW_COUNTER = 0x001
NEW_CHARGER = 0x002
DEL_COUNTER = 0x011
DEL_CHARGER = 0x012
COUNTER_STATUS = 0x021
CHARGER_STATUS = 0x022
COUNTER_LOAD = 0x031
CHARGER_LOAD = 0x032
AVAILABLE_LOAD = 0x033
REPLY = 0x041
CARD_READ = 0x042
CARD_VERDICT = 0x043
SESSION_BEGIN = 0x044
SESSION_END = 0x045
SESSION_ACK = 0x046
FAULT = 0x047
CONFIG_GET = 0x048
CONFIG_SET = 0x049
CONFIG_VALUE = 0x04A
TIME = 0x04B
COMMAND = 0x04C
UPDATE_OFFER = 0x04D
UPDATE_CHUNK = 0x04E
UPDATE_STATUS = 0x04F
CARD_LIST = 0x050
COMMAND_RESULT = 0x051

# Results carried by a reply.
OK = 0
BAD_CODE = 1
BAD_TOPIC = 2
FULL = 3
BAD_MESSAGE = 4
REFUSED = 5
UNKNOWN_DEVICE = 6  # the manager does not know the sender (any more): announce again

# One row a message: code, name, direction, fields. One field: name, kind, lowest, highest, unit; "?" marks an optional one.
# Kinds: i whole number; p whole numbers, one per phase; d device name; w word; e one of the words in the last place;
# t text (length in UTF-8 bytes); x bytes as lower-case hex; l list of words (how many).
# Text and not tuples: a row costs an ESP8266 its length in bytes, and is only taken apart when first used.
# fmt: off
MESSAGES = (
    # A meter presents itself.
    (NEW_COUNTER, "new_counter", "up",
     "id:d:1:24 "  # the meter's own name
     "model:t:0:24 "  # hardware
     "firmware:t:0:16 "  # version
     "phases:i:1:3 "  # phases measured
     "role:e:::house|grid|solar|feeder "  # house: the building without the cars; grid: all of it; solar: production; feeder: one cable of the tree
     "reset?:w:1:24"),  # why the board last started
    # A charger presents itself under the meter it hangs on.
    (NEW_CHARGER, "new_charger", "up",
     "id:d:1:24 "  # the charger's own name
     "counter:d:1:24 "  # the meter it hangs under
     "model:t:0:24 "  # hardware
     "firmware:t:0:16 "  # version
     "min_a:i:6:80:A "  # least current it can offer (6 A by IEC 61851-1)
     "max_a:i:6:80:A "  # most it may ever offer (cable, contactor, circuit)
     "phases:i:1:3 "  # phases connected
     "wiring:p:1:3 "  # building phase on each of the charger's phases
     "failsafe_a:i:0:80:A "  # what it offers when its lease has run out; 0 pauses
     "meter?:i:0:1 "  # 1: it measures its car itself
     "reset?:w:1:24"),  # why the board last started
    # A meter leaves, or is told to.
    (DEL_COUNTER, "del_counter", "both",
     "id:d:1:24 "  # who leaves
     "reason:t:0:48"),  # in words
    # A charger leaves, or is told to.
    (DEL_CHARGER, "del_charger", "both",
     "id:d:1:24 "  # who leaves
     "reason:t:0:48"),  # in words
    # How a meter is; on change and every 10 s.
    (COUNTER_STATUS, "counter_status", "up",
     "state:e:::starting|ok|silent|updating "  # silent: the measuring circuit does not answer
     "faults:l:0:6 "  # names of active faults
     "rejected:i:0:2147483647 "  # messages refused since start: altered, replayed, malformed
     "uptime_s:i:0:2147483647:s "  # since start
     "errors?:i:0:2147483647 "  # wrong or missing answers of the measuring circuit since start
     "free?:i:0:16777216:B "  # free memory
     "rssi?:i:-127:0:dBm"),  # Wi-Fi signal
    # How a charger is; on change, on every lease, and every 10 s.
    (CHARGER_STATUS, "charger_status", "up",
     "state:e:::A1|A2|B1|B2|C1|C2|D1|D2|E1|E2|F1|F2 "  # IEC 61851-1 Annex A; 2: the pilot offers current
     "offer_a:i:0:80:A "  # current offered on the pilot now
     "lease:i:0:2147483647 "  # number of the newest lease accepted; 0: none since start
     "lease_ms:i:0:600000:ms "  # how long that lease still lasts
     "contactor:i:0:1 "  # 1: closed
     "mode:e:::managed|intelligent|manual "  # who decides: the manager's lease, the charger's own rule, a fixed current
     "faults:l:0:6 "  # names of active faults
     "rejected:i:0:2147483647 "  # messages refused since start: altered, replayed, malformed
     "uptime_s:i:0:2147483647:s "  # since start
     "cap_a?:i:0:80:A "  # most it can offer now (cable, temperature); absent: max_a
     "authorised?:i:0:1 "  # 0: waits for a card
     "free?:i:0:16777216:B "  # free memory
     "rssi?:i:-127:0:dBm"),  # Wi-Fi signal
    # What a meter measures.
    (COUNTER_LOAD, "counter_load", "up",
     "current_ma:p:0:200000:mA "  # per phase
     "voltage_dv:p:0:5000:dV "  # per phase
     "power_w:p:-60000:60000:W "  # per phase; negative: fed in
     "energy_wh:p:0:2147483647:Wh "  # per phase, counts up only
     "pf_pct?:p:0:100:% "  # power factor
     "freq_mhz?:i:40000:70000:mHz "  # mains frequency
     "age_ms:i:0:600000:ms "  # how old the oldest of these values is as it is sent
     "suspect?:i:0:1"),  # 1: an implausible jump, shown and not hidden
    # What a charger's own meter measures.
    (CHARGER_LOAD, "charger_load", "up",
     "current_ma:p:0:200000:mA "  # per phase of the charger
     "voltage_dv:p:0:5000:dV "  # per phase
     "power_w:p:-60000:60000:W "  # per phase
     "energy_wh:p:0:2147483647:Wh "  # per phase, counts up only
     "pf_pct?:p:0:100:% "  # power factor
     "freq_mhz?:i:40000:70000:mHz "  # mains frequency
     "age_ms:i:0:600000:ms "  # how old the oldest of these values is as it is sent
     "suspect?:i:0:1 "  # 1: an implausible jump, shown and not hidden
     "session?:i:0:2147483647 "  # number of the running session
     "session_wh?:i:0:2147483647:Wh"),  # energy of the running session
    # The lease: so many amperes, for so long, counted from the moment the charger sent message (re_boot, re_seq).
    (AVAILABLE_LOAD, "available_load", "down",
     "limit_a:i:0:80:A "  # most the car may be offered; 0 pauses, 1 to 5 do not occur
     "ttl_ms:i:0:600000:ms "  # life of the lease
     "lease:i:1:2147483647 "  # raised with every lease: the highest number wins
     "reason:w:1:24"),  # why this much
    # Answer to an announcement, a command, or a message that was refused.
    (REPLY, "reply", "down",
     "result:i:0:255 "  # 0 ok, 1 code, 2 topic, 3 full, 4 malformed, 5 refused, 6 unknown device
     "words:t:0:96"),  # the same for people
    # A card is held to the reader.
    (CARD_READ, "card_read", "up",
     "card:x:4:10 "  # its number (UID)
     "picc?:x:16:16 "  # NTAG 424 DNA: encrypted PICC data
     "cmac?:x:8:8"),  # NTAG 424 DNA: its MAC
    # What the manager says about it.
    (CARD_VERDICT, "card_verdict", "down",
     "card:x:4:10 "  # the same number
     "verdict:e:::accepted|refused|unknown|busy|quota "  # why not, if not
     "max_a?:i:0:80:A "  # this user's own limit
     "user?:t:0:32"),  # name to show
    # A charging session begins.
    (SESSION_BEGIN, "session_begin", "up",
     "session:i:1:2147483647 "  # number, raised by one each session, kept over restarts
     "how:e:::card|list|free|manager "  # who allowed it: manager on a card, the signed list while offline, nobody asked, the manager
     "energy_wh:i:0:2147483647:Wh "  # meter at the beginning
     "age_s:i:0:2147483647:s "  # how long ago it began
     "card?:x:4:10"),  # whose
    # A charging session has ended; repeated until acknowledged.
    (SESSION_END, "session_end", "up",
     "session:i:1:2147483647 "  # its number
     "energy_wh:i:0:2147483647:Wh "  # delivered in it
     "duration_s:i:0:2147483647:s "  # from plug to unplug
     "age_s:i:0:2147483647:s "  # how long ago it ended
     "why:w:1:24 "  # unplugged, card, fault, power_cut, ...
     "card?:x:4:10"),  # whose
    # The manager has it on disk: the charger may forget it.
    (SESSION_ACK, "session_ack", "down",
     "session:i:1:2147483647"),  # its number
    # A fault begins or ends.
    (FAULT, "fault", "up",
     "fault:w:1:24 "  # its name in the field's terms
     "active:i:0:1 "  # 1 begins, 0 ends
     "detail?:t:0:64"),  # in words
    # Ask for a setting.
    (CONFIG_GET, "config_get", "down",
     "name:w:1:24"),  # of the setting
    # Change a setting.
    (CONFIG_SET, "config_set", "down",
     "name:w:1:24 "  # of the setting
     "value:t:0:160"),  # as JSON text
    # A setting as it is now.
    (CONFIG_VALUE, "config_value", "up",
     "name:w:1:24 "  # of the setting
     "result:e:::ok|unknown|refused "  # of the change or question
     "value?:t:0:160"),  # as JSON text; never a key or a password
    # The time, for schedules; devices send none.
    (TIME, "time", "down",
     "utc_s:i:0:4294967295:s "  # since 1970-01-01
     "offset_min:i:-840:840:min"),  # local time less UTC, now
    # Do something now.
    (COMMAND, "command", "down",
     "command:e:::reset|identify|clear_fault|start|stop|unlock|self_test "
     "argument?:t:0:48"),  # a fault's name, a current, ...
    # New firmware is ready to be sent.
    (UPDATE_OFFER, "update_offer", "down",
     "update:i:1:2147483647 "  # number of this update
     "version:t:1:16 "  # firmware version
     "size:i:1:1048576:B "  # of the whole bundle
     "sha256:x:32:32"),  # of the whole bundle
    # One piece of it; the next is sent when the device asks.
    (UPDATE_CHUNK, "update_chunk", "down",
     "update:i:1:2147483647 "  # number of this update
     "offset:i:0:1048576:B "  # where the piece belongs
     "data:x:1:128"),  # the piece
    # How far an update is; asks for the piece at `offset` while loading.
    (UPDATE_STATUS, "update_status", "up",
     "update:i:0:2147483647 "  # number of this update
     "state:e:::loading|ready|busy|failed|done|reverted "  # busy: a car charges
     "offset:i:0:1048576:B "  # next piece wanted
     "words?:t:0:64"),  # what went wrong
    # Cards that may charge while the manager is away.
    (CARD_LIST, "card_list", "down",
     "list:i:1:2147483647 "  # version: a whole new list
     "part:i:0:255 "  # which part
     "parts:i:1:255 "  # of how many
     "cards:l:0:8"),  # HMAC of each card's number, 16 hex digits, so that the list gives no cards away
    # What became of a command.
    (COMMAND_RESULT, "command_result", "up",
     "command:w:1:24 "  # the one it answers
     "result:e:::done|refused "  # done: taken, and under way
     "words?:t:0:48"),  # why it is refused
)
# fmt: on

# What every message to a device says as well: which of its messages this answers. A device accepts only what answers
# its present boot: nothing recorded before a restart can be played to it again, and a lease's life is counted from there.
_ANSWERS = "re_boot:i:0:1073741823 re_seq:i:0:1073741823 "
_COUNT_MAX = 1073741823  # 2**30 - 1: a small integer on a 32-bit MicroPython
_MAX_BRACKETS = 64
_MAC_OPEN = b',"mac":"'
_MAC_LEN = len(_MAC_OPEN) + 2 * MAC_BYTES + 2


class ProtocolError(ValueError):
    """A message that is not one. `what` is one of size, text, json, version, code, field, signature, replay, stale;
    `field` names the field at fault, `sender` the device it seems to come from ("" if unknown)."""

    def __init__(self, what: str, field: str = "", why: str = "", sender: str = "") -> None:
        words = "Invalid Message: message " + (field if what == "field" else what)
        super().__init__(words + (": " + why if why else ""))
        self.what = what
        self.field = field
        self.why = why
        self.sender = sender


_fields: "dict[int, tuple[tuple[str, bool, str, int, int, str], ...]]" = {}  # code -> ((name, optional, kind, low, high, words), ...), made when first used


def fields(code: int) -> "tuple[tuple[str, bool, str, int, int, str], ...]":
    """The fields of a message, in wire order: (name, optional, kind, low, high, words). ProtocolError for an unknown code."""
    got = _fields.get(code)
    if got is None:
        for row in MESSAGES:
            if row[0] == code:
                break
        else:
            raise ProtocolError("code")
        out = []
        for spec in ((_ANSWERS if row[2] == "down" else "") + row[3]).split():
            part = spec.split(":")
            name = part[0]
            optional = name[-1] == "?"
            words = part[4] if len(part) > 4 else ""
            low = int(part[2] or 0)
            high = int(part[3] or 0)
            out.append((name[:-1] if optional else name, optional, part[1], low, high, words))
        got = _fields[code] = tuple(out)
    return got


def _is_name(text: "Any", low: int, high: int, more: str) -> bool:
    if type(text) is not str or not low <= len(text) <= high:
        return False
    for c in text:
        if not ("a" <= c <= "z" or "0" <= c <= "9" or c in more):
            return False
    return True


_DEVICE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-"


def is_device_name(text: object) -> bool:
    """Letters, digits, - and _, at most 24: safe inside a topic and a file name."""
    return _is_name(text, 1, 24, _DEVICE)


def _fault(kind: str, low: int, high: int, words: str, value: "Any") -> str:
    """What is wrong with a value, or "" if nothing is."""
    t = type(value)
    if kind == "i":
        if t is not int:
            return "not a whole number"
        if not low <= value <= high:
            return "not in %d..%d" % (low, high)
    elif kind == "p":
        if t is not list or not 1 <= len(value) <= 3:
            return "not a list of 1 to 3"
        for v in value:
            if type(v) is not int or not low <= v <= high:
                return "not whole numbers in %d..%d" % (low, high)
    elif kind == "d":
        if not is_device_name(value):
            return "not a device name"
    elif kind == "w":
        if not _is_name(value, low, high, "_"):
            return "not a word"
    elif kind == "e":
        if t is not str or value not in words.split("|"):
            return "not one of " + words
    elif kind == "x":
        if not _is_name(value, 2 * low, 2 * high, "") or len(value) % 2:
            return "not %d to %d bytes in hex" % (low, high)
        for c in value:
            if c > "f":
                return "not hex"
    elif kind == "l":
        if t is not list or not low <= len(value) <= high:
            return "not a list of at most %d" % high
        for v in value:
            if not _is_name(v, 1, 24, "_"):
                return "not a list of words"
    else:  # t
        if t is not str:
            return "not text"
        size = 0
        for c in value:
            n = ord(c)
            # Half a surrogate pair cannot be sent as UTF-8; the two Pythons disagree on what it is.
            if n < 32 or 0xD800 <= n <= 0xDFFF:
                return "has a control character"
            size += 1 if n < 128 else 2 if n < 2048 else 3 if n < 65536 else 4
        if not low <= size <= high:
            return "not %d to %d bytes" % (low, high)
    return ""


def encode(message: "dict[str, Any]") -> bytes:
    """The message as bytes, fields in the table's order on both Pythons. ProtocolError names what cannot be sent."""
    code = message.get("code")
    if type(code) is not int:
        raise ProtocolError("code")
    specs = fields(code)
    out = ['{"v":%d,"code":"0x%03x"' % (VERSION, code)]
    used = 1
    for name in ("boot", "seq"):
        value: "Any" = message.get(name)
        why = _fault("i", 0, _COUNT_MAX, "", value)
        if why:
            raise ProtocolError("field", name, why)
        out.append(',"%s":%d' % (name, value))
        used += 1
    for name, optional, kind, low, high, words in specs:
        if name not in message:
            if optional:
                continue
            raise ProtocolError("field", name, "missing")
        value = message[name]
        why = _fault(kind, low, high, words, value)
        if why:
            raise ProtocolError("field", name, why)
        used += 1
        if kind == "i":
            out.append(',"%s":%d' % (name, value))
        elif kind == "p":
            out.append(',"%s":[%s]' % (name, ",".join([str(v) for v in value])))
        elif kind == "l":
            out.append(',"%s":[%s]' % (name, ",".join(['"%s"' % v for v in value])))
        else:
            if kind == "t":
                value = value.replace("\\", "\\\\").replace('"', '\\"')
            out.append(',"%s":"%s"' % (name, value))
    if used != len(message):
        for name in message:
            if name not in ("code", "boot", "seq") and name not in [s[0] for s in specs]:
                raise ProtocolError("field", str(name), "unknown")
    out.append("}")
    data = "".join(out).encode()
    if len(data) > MAX_BYTES:
        raise ProtocolError("size")
    return data


def decode(data: "bytes | bytearray") -> "dict[str, Any]":
    """The message in these bytes, without the fields the table does not know. ProtocolError whatever else they are."""
    if len(data) > MAX_BYTES:  # before anything is parsed: memory stays bounded
        raise ProtocolError("size")
    try:
        text = str(data, "utf-8")
    except UnicodeError:
        raise ProtocolError("text") from None
    # 512 opening brackets would become 24 kB of lists on an ESP8266; no message needs more than a few.
    if text.count("[") + text.count("{") > _MAX_BRACKETS:
        raise ProtocolError("json")
    try:
        raw = json.loads(text)
    except (
        ValueError,
        RuntimeError,
        MemoryError,
    ):  # RuntimeError: nested too deep for the stack that is left
        raise ProtocolError("json") from None
    if type(raw) is not dict:
        raise ProtocolError("json")
    try:
        return _validated(raw)
    except ProtocolError as e:
        if is_device_name(raw.get("id")):
            e.sender = raw["id"]
        raise


def _validated(raw: "dict[str, Any]") -> "dict[str, Any]":
    version = raw.get("v")
    if type(version) is not int or version != VERSION:
        raise ProtocolError("version")
    word = raw.get("code")
    if type(word) is not str or len(word) != 5 or word[:2] != "0x":
        raise ProtocolError("code")
    code = 0
    for c in word[2:]:
        digit = "0123456789abcdef".find(c)
        if digit < 0:
            raise ProtocolError("code")
        code = code * 16 + digit
    message = {"code": code}
    specs = fields(code)
    for name in ("boot", "seq"):
        value: "Any" = raw.get(name)
        why = _fault("i", 0, _COUNT_MAX, "", value)
        if why:
            raise ProtocolError("field", name, why if name in raw else "missing")
        message[name] = value
    for name, optional, kind, low, high, words in specs:
        if name in raw:
            value = raw[name]
            why = _fault(kind, low, high, words, value)
            if why:
                raise ProtocolError("field", name, why)
            message[name] = value
        elif not optional:
            raise ProtocolError("field", name, "missing")
    return message


def name_of(code: int) -> str:
    """The message's name in the table; ProtocolError for an unknown code."""
    for row in MESSAGES:
        if row[0] == code:
            return row[1]
    raise ProtocolError("code")


def _pads(key: bytes) -> "tuple[bytes, bytes]":
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    key = key + bytes(64 - len(key))
    return bytes([b ^ 0x36 for b in key]), bytes([b ^ 0x5C for b in key])


def _mac(pads: "tuple[bytes, bytes]", topic: str, body: bytes) -> bytes:
    # HMAC (RFC 2104) by hand: the boards have no hmac module.
    inner = hashlib.sha256(pads[0])
    inner.update(topic.encode() + b"\n")
    inner.update(body)
    outer = hashlib.sha256(pads[1])
    outer.update(inner.digest())
    return binascii.hexlify(outer.digest()[:MAC_BYTES])


def _signed(pads: "tuple[bytes, bytes]", topic: str, data: bytes) -> bytes:
    if len(data) + _MAC_LEN - 1 > MAX_BYTES:
        raise ProtocolError("size")
    body = data[:-1]
    return body + _MAC_OPEN + _mac(pads, topic, body) + b'"}'


def _checked(pads: "tuple[bytes, bytes]", topic: str, data: bytes) -> None:
    # The signature always closes the message, so what is signed are the very bytes that came, never a re-encoding.
    body = bytes(data[:-_MAC_LEN])
    want = body + _MAC_OPEN + _mac(pads, topic, body) + b'"}'
    if not _same(want, data) or len(data) <= _MAC_LEN or len(data) > MAX_BYTES:
        raise ProtocolError("signature")


def sign(key: bytes, topic: str, data: bytes) -> bytes:
    """The encoded message with its signature over topic and content; ProtocolError if it no longer fits 512 bytes."""
    return _signed(_pads(key), topic, data)


def check(key: bytes, topic: str, data: bytes) -> None:
    """ProtocolError("signature") unless exactly these bytes were signed for this topic with this key."""
    _checked(_pads(key), topic, data)


class Sender:
    """Numbers and signs what one party sends. `boot` must be higher at each start of it; no key: unsigned."""

    def __init__(self, key: bytes | None, boot: int, seq: int = 0) -> None:
        self._pads = _pads(key) if key else None
        self.boot = boot
        self.seq = seq

    def check(self, topic: str, data: bytes) -> None:
        """ProtocolError("signature") unless the other party signed these bytes with the same key; passes without one."""
        if self._pads:
            _checked(self._pads, topic, data)

    def seal(self, topic: str, message: "dict[str, Any]") -> bytes:
        """The message as bytes, with this boot and the next sequence number."""
        message = message.copy()
        message["boot"] = self.boot
        message["seq"] = self.seq + 1
        data = encode(message)
        if self._pads:
            data = _signed(self._pads, topic, data)
        self.seq += 1
        return data


class Receiver:
    """Checks what one party sends: signature, then freshness. `last` is the newest (boot, seq) seen of it before.

    With a key, (boot, seq) may only rise: a replayed or reordered message is refused for ever. Without one, a message
    of another boot is taken as a restart. `own_boot`: only messages that answer this boot of ours are taken.
    """

    def __init__(
        self, key: bytes | None, last: "tuple[int, int]" = (0, 0), own_boot: int = -1
    ) -> None:
        self._pads = _pads(key) if key else None
        self.last = last
        self.own_boot = own_boot

    def open(self, topic: str, data: bytes) -> "dict[str, Any]":
        """The message, new and unaltered, or ProtocolError (signature, replay, stale, or as `decode`)."""
        if self._pads:
            _checked(self._pads, topic, data)
        message = decode(data)
        new = (message["boot"], message["seq"])
        if (self._pads or new[0] == self.last[0]) and new <= self.last:
            raise ProtocolError("replay", "", "", message.get("id", ""))
        if self.own_boot >= 0 and message.get("re_boot", self.own_boot) != self.own_boot:
            raise ProtocolError("stale")
        self.last = new
        return message
