"""In an ESP8266's room: hostile bytes never take more than a bounded piece of 38 KiB."""

import gc

from shared import protocol
from shared.protocol import ProtocolError

HOSTILE = (
    b"[" * 512,
    b'{"a":' * 102,
    b"[[[[]]]]," * 56,
    b'{"v":1,"code":"0x033",' + b'"a":[[[[1]]]],' * 34 + b'"b":1}',
    b'{"v":1,"x":"' + b"\\u20ac" * 80 + b'"}',
    b"1" * 512,
    b"1e" + b"9" * 510,
    b"[" + b"1," * 254 + b"1]",
    b"[" + b"{}," * 169 + b"{}]",
)


def allocated():
    return gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0  # CPython counts none


def test_hostile_bytes_leave_the_heap_as_it_was():
    for code in (
        protocol.NEW_COUNTER,
        protocol.COUNTER_STATUS,
        protocol.COUNTER_LOAD,
        protocol.AVAILABLE_LOAD,
        protocol.REPLY,
    ):
        protocol.fields(code)  # a board's own messages are taken apart once, then kept
    for data in HOSTILE:
        gc.collect()
        before = allocated()
        for _ in range(200):
            try:
                protocol.decode(data)
                raise AssertionError(data)
            except ProtocolError:
                pass
        gc.collect()
        after = allocated()
        assert after - before < 512, (data[:20], after - before)


def test_what_is_too_long_is_never_copied():
    data = bytearray(4096)
    for _ in range(200):
        try:
            protocol.decode(data)
        except ProtocolError as e:
            assert e.what == "size"
