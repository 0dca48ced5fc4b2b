"""The codec's laws, the same on CPython and MicroPython."""

from shared import protocol
from shared.protocol import ProtocolError

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
TOPIC = "ievcc/house/Charger-1/up"


class Dice:
    """xorshift32: the same numbers on every Python."""

    def __init__(self, seed):
        self.x = seed or 1

    def roll(self, n):
        x = self.x
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self.x = x
        return x % n

    def between(self, low, high):
        return (low, high, low + self.roll(high - low + 1))[self.roll(3)]


def any_value(dice, kind, low, high, words):
    """A value in the field's range, its ends more often than the middle."""
    if kind == "i":
        return dice.between(low, high)
    if kind == "p":
        return [dice.between(low, high) for _ in range(1 + dice.roll(3))]
    if kind == "e":
        choices = words.split("|")
        return choices[dice.roll(len(choices))]
    if kind == "d":
        return "".join(["aZ09_-"[dice.roll(6)] for _ in range(dice.between(low, high))])
    if kind == "w":
        return "".join(["az09_"[dice.roll(5)] for _ in range(dice.between(low, high))])
    if kind == "x":
        return "".join(["%02x" % dice.roll(256) for _ in range(dice.between(low, high))])
    if kind == "l":
        return ["w%d" % dice.roll(100) for _ in range(dice.between(low, high))]
    text = ""
    while True:
        more = text + 'a "\\/{}[]:,é€𝄞'[dice.roll(14)]
        if len(more.encode()) > high or dice.roll(40) == 0:
            return text if len(text.encode()) >= low else "x" * low
        text = more


def largest(kind, high, words):
    """The value that takes most bytes; words of 16 letters, as the longest faults."""
    if kind == "i":
        return high
    if kind == "p":
        return [high] * 3
    if kind == "l":
        return ["w" * 16] * high
    if kind == "e":
        return max(words.split("|"), key=len)
    return ("ff" if kind == "x" else "x") * high


def any_message(dice, code):
    message = {"code": code, "boot": dice.between(0, 2**30 - 1), "seq": dice.between(0, 2**30 - 1)}
    for name, optional, kind, low, high, words in protocol.fields(code):
        if not optional or dice.roll(2):
            message[name] = any_value(dice, kind, low, high, words)
    return message


def refused(call, *args):
    """The ProtocolError that the call must raise."""
    try:
        got = call(*args)
    except ProtocolError as e:
        return e
    raise AssertionError("accepted: %r" % (got,))


def lease(**changes):
    message = {
        "code": protocol.AVAILABLE_LOAD,
        "boot": 7,
        "seq": 9,
        "re_boot": 2,
        "re_seq": 5,
        "limit_a": 16,
        "ttl_ms": 15000,
        "lease": 4,
        "reason": "fair",
    }
    message.update(changes)
    return message


def test_every_message_comes_back_as_it_was_sent():
    dice = Dice(2022)
    for row in protocol.MESSAGES:
        for _ in range(60):
            message = any_message(dice, row[0])
            try:
                data = protocol.encode(message)
            except ProtocolError as e:
                # only texts full of characters that need escaping can make a message too long
                assert e.what == "size", e
                continue
            assert protocol.decode(data) == message


def test_every_message_at_its_largest_still_fits_when_signed():
    for row in protocol.MESSAGES:
        message = {"code": row[0], "boot": 2**30 - 1, "seq": 2**30 - 1}
        for name, _, kind, _, high, words in protocol.fields(row[0]):
            message[name] = largest(kind, high, words)
        data = protocol.sign(KEY, TOPIC, protocol.encode(message))
        assert len(data) <= protocol.MAX_BYTES, (row[1], len(data))
        assert protocol.decode(data) == message


def test_the_published_codes():
    published = {
        0x001: "new_counter",
        0x002: "new_charger",
        0x011: "del_counter",
        0x012: "del_charger",
        0x021: "counter_status",
        0x022: "charger_status",
        0x031: "counter_load",
        0x032: "charger_load",
        0x033: "available_load",
    }
    for code, name in published.items():
        assert protocol.name_of(code) == name
    assert sorted([row[0] for row in protocol.MESSAGES]) == [row[0] for row in protocol.MESSAGES]


def test_bytes_on_the_wire_are_the_same_on_both_pythons():
    assert protocol.encode(lease()) == (
        b'{"v":1,"code":"0x033","boot":7,"seq":9,"re_boot":2,"re_seq":5,"limit_a":16,"ttl_ms":15000,"lease":4,"reason":"fair"}'
    )


def test_unknown_fields_pass_and_are_left_out():
    data = protocol.encode(lease())[:-1] + b',"colour":"red","deep":[[[{"a":null}]]]}'
    assert protocol.decode(data) == lease()


def test_what_is_wrong_is_named():
    good = protocol.encode(lease())
    for data, what, field in (
        (b"", "json", ""),
        (b"null", "json", ""),
        (b"[]", "json", ""),
        (b'"text"', "json", ""),
        (good[:-1], "json", ""),
        (good + b" " * 512, "size", ""),
        (b"\x00" * 65536, "size", ""),
        (b"[" * 512, "json", ""),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "size", ""),
        (b'{"a":' * 80 + b"1" + b"}" * 80, "json", ""),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "version", ""),
        (b"\xff\xfe", "text", ""),
        (good.replace(b"fair", b"fa\xc3r"), "text", ""),
        (good.replace(b'"v":1', b'"v":2'), "version", ""),
        (good.replace(b'"v":1', b'"v":true'), "version", ""),
        (good.replace(b'"v":1,', b""), "version", ""),
        (good.replace(b"0x033", b"0x000"), "code", ""),
        (good.replace(b"0x033", b"0X033"), "code", ""),
        (good.replace(b'"0x033"', b"51"), "code", ""),
        (good.replace(b"0x033", b"0x+33"), "code", ""),
        (good.replace(b'"limit_a":16', b'"limit_a":81'), "field", "limit_a"),
        (good.replace(b'"limit_a":16', b'"limit_a":-1'), "field", "limit_a"),
        (good.replace(b'"limit_a":16', b'"limit_a":16.0'), "field", "limit_a"),
        (good.replace(b'"limit_a":16', b'"limit_a":1e1'), "field", "limit_a"),
        (good.replace(b'"limit_a":16', b'"limit_a":true'), "field", "limit_a"),
        (good.replace(b'"limit_a":16', b'"limit_a":"16"'), "field", "limit_a"),
        (good.replace(b'"limit_a":16', b'"limit_a":null'), "field", "limit_a"),
        (good.replace(b'"limit_a":16', b'"limit_a":[16]'), "field", "limit_a"),
        (good.replace(b'"limit_a":16', b'"limit_a":' + b"9" * 300), "field", "limit_a"),
        (good.replace(b'"limit_a":16,', b""), "field", "limit_a"),
        (good.replace(b'"seq":9', b'"seq":1073741824'), "field", "seq"),
        (good.replace(b'"boot":7,', b""), "field", "boot"),
        (good.replace(b"fair", b"Fair"), "field", "reason"),
        (good.replace(b"fair", b""), "field", "reason"),
    ):
        e = refused(protocol.decode, data)
        assert (e.what, e.field) == (what, field), (data[:60], e.what, e.field, what, field)
        assert str(e).startswith("Invalid Message: message "), str(e)
    assert (
        str(refused(protocol.decode, good.replace(b"0x033", b"0x000")))
        == "Invalid Message: message code"
    )


def test_texts_that_json_hides_are_seen():
    data = protocol.encode(
        {
            "code": protocol.REPLY,
            "boot": 1,
            "seq": 1,
            "re_boot": 1,
            "re_seq": 1,
            "result": 0,
            "words": "WORDS",
        }
    )
    for hidden in (b"\\u0000", b"\\n", b"\\ud800", b"\\udfff\\ud800", b"a" * 97, b"\\u20ac" * 33):
        e = refused(protocol.decode, data.replace(b"WORDS", hidden))
        assert e.field == "words", hidden
    for plain in (b"\\u00e9", b"\\u20ac" * 32, b"", b'\\\\ \\"', "é€".encode()):
        protocol.decode(data.replace(b"WORDS", plain))


def test_the_sender_of_a_bad_announcement_is_known():
    data = b'{"v":1,"code":"0x000","boot":1,"seq":1,"id":"Counter-1"}'
    assert refused(protocol.decode, data).sender == "Counter-1"
    assert refused(protocol.decode, data.replace(b"Counter-1", b"Counter/1")).sender == ""
    assert refused(protocol.decode, data.replace(b'"Counter-1"', b"[1]")).sender == ""


def test_a_device_name_is_safe_in_a_topic_and_a_file():
    for name in ("Counter-1", "charger_17", "A", "x" * 24):
        assert protocol.is_device_name(name)
    for other in ("", "x" * 25, "a/b", "a+b", "#", "a b", "..", "é", "a\n", None, 1, ["a"]):
        assert not protocol.is_device_name(other), other


def test_what_cannot_be_sent_is_refused_before_it_is_sent():
    for changes, field in (
        ({"limit_a": 81}, "limit_a"),
        ({"limit_a": 6.0}, "limit_a"),
        ({"limit_a": True}, "limit_a"),
        ({"extra": 1}, "extra"),
        ({"boot": -1}, "boot"),
        ({"reason": "no spaces"}, "reason"),
    ):
        assert refused(protocol.encode, lease(**changes)).field == field
    missing = lease()
    del missing["ttl_ms"]
    assert refused(protocol.encode, missing).field == "ttl_ms"
    assert refused(protocol.encode, {"boot": 1, "seq": 1}).what == "code"
    assert refused(protocol.encode, {"code": 0, "boot": 1, "seq": 1}).what == "code"


def test_damaged_bytes_give_a_message_or_a_protocol_error():
    dice = Dice(7)
    for _ in range(1500):
        row = protocol.MESSAGES[dice.roll(len(protocol.MESSAGES))]
        try:
            data = bytearray(protocol.encode(any_message(dice, row[0])))
        except ProtocolError:
            continue
        for _ in range(1 + dice.roll(4)):
            how = dice.roll(4)
            at = dice.roll(len(data))
            if how == 0:
                data[at] ^= 1 << dice.roll(8)
            elif how == 1:
                data = data[: at + 1]
            elif how == 2:
                data = data[:at] + bytes([dice.roll(256)]) + data[at:]
            else:
                data = data[at:] + data[:at]
        try:
            message = protocol.decode(bytes(data))
        except ProtocolError:
            continue
        assert protocol.decode(protocol.encode(message)) == message


def test_random_bytes_give_a_message_or_a_protocol_error():
    dice = Dice(99)
    shapes = b'{}[]",:0123456789truefalsn\\ux \x00\xff\xc3\xe2'
    for _ in range(1500):
        data = bytes([shapes[dice.roll(len(shapes))] for _ in range(dice.roll(80))])
        try:
            protocol.decode(data)
        except ProtocolError:
            pass


def test_hmac_is_rfc_4231s():
    # RFC 4231 test cases 1, 2, 5 (cut to 128 bits there too) and 6.
    from binascii import hexlify, unhexlify

    for key, data, mac in (
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
        (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f",
        ),
    ):
        # Our MAC covers the topic too: the vectors are checked below it.
        import hashlib

        inner, outer = protocol._pads(key)
        got = hashlib.sha256(outer + hashlib.sha256(inner + data).digest()).digest()[:16]
        assert hexlify(got) == mac.encode(), unhexlify(mac)
    assert (
        protocol.sign(b"key", "t", b'{"a":1}')
        == b'{"a":1,"mac":"' + hexlify(_hmac(b"key", b't\n{"a":1'))[:32] + b'"}'
    )


def _hmac(key, data):
    import hashlib

    key = key + bytes(64 - len(key))
    inner = hashlib.sha256(bytes([b ^ 0x36 for b in key]) + data).digest()
    return hashlib.sha256(bytes([b ^ 0x5C for b in key]) + inner).digest()


def test_every_altered_bit_is_refused():
    data = protocol.sign(KEY, TOPIC, protocol.encode(lease()))
    protocol.check(KEY, TOPIC, data)
    for at in range(len(data)):
        for bit in range(8):
            altered = bytearray(data)
            altered[at] ^= 1 << bit
            assert refused(protocol.check, KEY, TOPIC, bytes(altered)).what == "signature"
    for cut in range(len(data)):
        assert refused(protocol.check, KEY, TOPIC, data[:cut]).what == "signature"
    for other in (data + b" ", b" " + data, data[:-1] + b',"limit_a":32}', data * 2, b"x" * 65536):
        assert refused(protocol.check, KEY, TOPIC, other).what == "signature"


def test_a_signature_holds_for_one_key_and_one_topic():
    data = protocol.sign(KEY, TOPIC, protocol.encode(lease()))
    assert refused(protocol.check, OTHER_KEY, TOPIC, data).what == "signature"
    assert refused(protocol.check, KEY, "ievcc/house/Charger-2/up", data).what == "signature"
    assert refused(protocol.check, KEY, TOPIC, protocol.encode(lease())).what == "signature"


def test_a_replayed_or_reordered_message_is_refused():
    sender = protocol.Sender(KEY, 3)
    sent = [sender.seal(TOPIC, lease()) for _ in range(6)]
    receiver = protocol.Receiver(KEY)
    receiver.open(TOPIC, sent[1])
    receiver.open(TOPIC, sent[4])
    for again in (sent[0], sent[1], sent[2], sent[3], sent[4]):
        assert refused(receiver.open, TOPIC, again).what == "replay"
    receiver.open(TOPIC, sent[5])
    later = protocol.Sender(KEY, 4)
    receiver.open(TOPIC, later.seal(TOPIC, lease()))
    assert refused(receiver.open, TOPIC, sender.seal(TOPIC, lease())).what == "replay"
    assert refused(protocol.Receiver(KEY, (4, 1)).open, TOPIC, sent[5]).what == "replay"


def test_a_refused_message_changes_nothing():
    receiver = protocol.Receiver(KEY, (3, 5))
    forged = protocol.Sender(OTHER_KEY, 2**29).seal(TOPIC, lease())
    assert refused(receiver.open, TOPIC, forged).what == "signature"
    assert receiver.last == (3, 5)


def test_a_device_takes_only_what_answers_its_present_boot():
    manager = protocol.Sender(KEY, 9)
    device = protocol.Receiver(KEY, own_boot=2)
    assert device.open(TOPIC, manager.seal(TOPIC, lease(re_boot=2)))["limit_a"] == 16
    old = manager.seal(TOPIC, lease(re_boot=2))
    restarted = protocol.Receiver(KEY, own_boot=3)  # it has forgotten what it saw before
    assert refused(restarted.open, TOPIC, old).what == "stale"


def test_without_a_key_a_repeat_is_dropped_and_a_restart_is_not():
    sender = protocol.Sender(None, 5)
    receiver = protocol.Receiver(None)
    first = sender.seal(TOPIC, lease())
    receiver.open(TOPIC, first)
    assert refused(receiver.open, TOPIC, first).what == "replay"
    receiver.open(TOPIC, protocol.Sender(None, 1).seal(TOPIC, lease()))


def test_numbering_goes_on_only_for_what_was_sent():
    sender = protocol.Sender(KEY, 3)
    refused(sender.seal, TOPIC, lease(limit_a=99))
    assert sender.seq == 0
    message = lease()
    sender.seal(TOPIC, message)
    assert message == lease(), "the caller's message is left alone"
    assert sender.seq == 1
