"""The codec's laws again, searched by hypothesis on CPython."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import protocol
from shared.protocol import ProtocolError

KEY = bytes(range(32))
NAME = string.ascii_letters + string.digits + "_-"
WORD = string.ascii_lowercase + string.digits + "_"
CODES = [row[0] for row in protocol.MESSAGES]
COUNT = st.integers(0, 2**30 - 1)


def value(kind: str, low: int, high: int, words: str) -> st.SearchStrategy[Any]:
    whole = st.integers(low, high)
    return {
        "i": whole,
        "p": st.lists(whole, min_size=1, max_size=3),
        "e": st.sampled_from(words.split("|")),
        "d": st.text(NAME, min_size=max(low, 1), max_size=max(high, 1)),
        "w": st.text(WORD, min_size=max(low, 1), max_size=max(high, 1)),
        "x": st.binary(min_size=max(low, 0), max_size=max(high, 0)).map(bytes.hex),
        "l": st.lists(
            st.text(WORD, min_size=1, max_size=24), min_size=max(low, 0), max_size=max(high, 0)
        ),
        "t": st.text(
            st.characters(exclude_categories=["Cs"], min_codepoint=32), max_size=max(high, 0)
        ).filter(lambda s: low <= len(s.encode()) <= high),
    }[kind]


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    code = draw(st.sampled_from(CODES))
    message: dict[str, Any] = {"code": code, "boot": draw(COUNT), "seq": draw(COUNT)}
    for name, optional, kind, low, high, words in protocol.fields(code):
        if not optional or draw(st.booleans()):
            message[name] = draw(value(kind, low, high, words))
    return message


def encoded(message: dict[str, Any]) -> bytes | None:
    try:
        return protocol.encode(message)
    except ProtocolError as e:
        assert e.what == "size"
        return None


@given(messages())
@settings(max_examples=600)
def test_what_is_sent_arrives(message: dict[str, Any]) -> None:
    data = encoded(message)
    if data is not None:
        assert protocol.decode(data) == message
        assert len(data) <= protocol.MAX_BYTES
        assert list(json.loads(data))[:4] == ["v", "code", "boot", "seq"], (
            "any JSON reader can read it"
        )


# Long ones by repeating short ones: drawing each of 65,536 bytes says no more and takes a hundred times as long.
LONG = st.binary(min_size=1, max_size=64).map(lambda part: (part * 65_536)[:65_536])


@given(st.binary(max_size=600) | LONG)
@settings(max_examples=500)
def test_any_bytes_give_a_message_or_a_protocol_error(data: bytes) -> None:
    try:
        message = protocol.decode(data)
    except ProtocolError:
        return
    assert protocol.decode(protocol.encode(message)) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(messages(), st.data())
@settings(max_examples=600)
def test_any_json_in_any_field_gives_a_message_or_a_protocol_error(
    message: dict[str, Any], data: st.DataObject
) -> None:
    raw = {"v": 1, **message, "code": f"0x{message['code']:03x}"}
    for name in data.draw(st.lists(st.sampled_from(sorted(raw)), max_size=3)):
        raw[name] = data.draw(JSON)
    try:
        got = protocol.decode(json.dumps(raw).encode())
    except ProtocolError:
        return
    assert protocol.decode(protocol.encode(got)) == got


@given(messages(), st.data())
@settings(max_examples=400)
def test_a_signed_message_altered_anywhere_is_refused(
    message: dict[str, Any], data: st.DataObject
) -> None:
    plain = encoded(message)
    if plain is None or len(plain) > protocol.MAX_BYTES - 41:
        return
    signed = protocol.sign(KEY, "t", plain)
    protocol.check(KEY, "t", signed)
    cut = data.draw(st.integers(0, len(signed)))
    end = data.draw(st.integers(cut, len(signed)))
    altered = signed[:cut] + data.draw(st.binary(max_size=40)) + signed[end:]
    if altered != signed:
        with pytest.raises(ProtocolError, match="signature"):
            protocol.check(KEY, "t", altered)


@given(st.lists(st.integers(0, 19), max_size=60))
def test_whatever_the_network_repeats_or_reorders_each_message_is_taken_once_and_in_order(
    order: list[int],
) -> None:
    sender = protocol.Sender(KEY, 1)
    sent = [
        sender.seal("t", {"code": protocol.FAULT, "fault": "rcm", "active": 1}) for _ in range(20)
    ]
    receiver = protocol.Receiver(KEY)
    taken: list[int] = []
    for n in order:
        try:
            taken.append(receiver.open("t", sent[n])["seq"])
        except ProtocolError as e:
            assert e.what == "replay"
    assert taken == sorted(set(taken))
    assert not order or taken[0] == order[0] + 1
