"""Laws that hold for any bytes and any text (CPython only: hypothesis makes them)."""

import struct
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.common.bundle import BundleError, bundle, permitted
from firmware.common.config import Config, ConfigError
from firmware.common.modbus import ModbusError, crc16, find_reply, frame
from firmware.common.portal import escaped, form_fields, unquoted
from firmware.common.pzem import Reading, jump, parse
from firmware.common.resolve import answer

HEAD = bytes((1, 4, 20))
WORDS = st.lists(st.integers(0, 0xFFFF), min_size=7, max_size=10)
READINGS = st.builds(
    Reading,
    st.integers(500, 3000),
    st.integers(0, 110_000),
    st.integers(0, 270_000),
    st.integers(0, 9_999_999),
    st.integers(400, 700),
    st.integers(0, 100),
    st.booleans(),
    st.just(0),
)


@given(st.binary(max_size=160))
def test_what_is_found_is_a_good_frame_that_was_there(heard: bytes) -> None:
    try:
        found = find_reply(heard, HEAD, 25)
    except ModbusError as e:
        assert e.what == "exception"
        return
    if found is not None:
        assert found in heard
        assert found.startswith(HEAD)
        assert crc16(found) == 0


@given(st.binary(max_size=40), st.binary(min_size=20, max_size=20), st.binary(max_size=40))
def test_a_good_answer_is_found_wherever_it_lies(before: bytes, data: bytes, after: bytes) -> None:
    whole = frame(HEAD + data)
    try:
        found = find_reply(before + whole + after, HEAD, 25)
    except ModbusError:
        return  # the noise before it was a refusal with its checksum
    assert found is not None
    assert crc16(found) == 0


@given(WORDS)
def test_any_good_frame_is_a_reading_within_range_or_refused(words: list[int]) -> None:
    body = bytes((1, 4, 2 * len(words))) + struct.pack(f">{len(words)}H", *words)
    try:
        r = parse(frame(body))
    except ModbusError as e:
        assert e.what == "impossible"
        return
    assert 500 <= r.voltage_dv <= 3000
    assert 0 <= r.current_ma <= 110_000
    assert 0 <= r.power_dw <= 270_000
    assert 0 <= r.pf_pct <= 100
    assert 400 <= r.freq_dhz <= 700


@given(READINGS, READINGS, st.integers(0, 600_000))
def test_a_change_of_current_alone_is_always_believed(
    old: Reading, new: Reading, passed_ms: int
) -> None:
    new.voltage_dv, new.freq_dhz, new.energy_wh = old.voltage_dv, old.freq_dhz, old.energy_wh
    new.power_dw = min(new.power_dw, new.voltage_dv * new.current_ma // 1000)
    assert jump(old, new, passed_ms) == ""


@given(st.binary(max_size=600), st.integers(0, 0xFFFF))
def test_any_datagram_is_an_address_or_nothing(data: bytes, number: int) -> None:
    try:
        found = answer(data, number)
    except OSError:
        return
    assert found == "" or len(found.split(".")) == 4


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=5))
def test_a_form_says_what_was_typed(fields: dict[str, str]) -> None:
    assert form_fields(urllib.parse.urlencode(fields)) == fields


@given(st.text(max_size=60))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        unquoted(text)
    except ValueError:
        pass
    assert not set(escaped(text)) & set("<>\"'")


@given(
    st.sampled_from(Config().names()),
    st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.floats(), st.binary()),
)
def test_any_value_is_kept_as_it_is_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    path: Path = tmp_path_factory.mktemp("flash") / "config.json"
    c = Config((), str(path))
    before = c[name]
    try:
        c.change({name: value})
    except ConfigError as e:
        assert e.name == name
        assert c[name] == before
        assert not path.exists()
        return
    assert Config((), str(path))[name] == c[name]


@given(st.text(max_size=30))
def test_a_bundle_reaches_nothing_outside_its_folder(path: str) -> None:
    if permitted(path):
        assert path == "rom.img" or (path.startswith("lib/") and ".." not in path)
        assert bundle({path: b"x"}).endswith(b"x")
    else:
        with pytest.raises(BundleError):
            bundle({path: b"x"})
