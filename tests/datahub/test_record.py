"""Records: their schemas are the table's, current, and say the same as the checks that run."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datahub.fog import record, schemas
from datahub.fog.batch import Message, fold
from shared import protocol
from tests.datahub.folding import Places, messages
from tests.datahub.parcels import T0, load, note, signed


@pytest.mark.parametrize("kind", record.KINDS)
def test_the_published_schemas_are_current(kind: str) -> None:
    path = schemas.FOLDER / f"{kind}.json"
    assert path.read_text() == schemas.text(kind), "run: python -m datahub.fog.schemas"


def test_no_schema_is_left_over() -> None:
    assert {p.stem for p in schemas.FOLDER.glob("*.json")} == set(record.KINDS)


def values(kind: str, low: int, high: int, words: str) -> st.SearchStrategy[Any]:
    """Values of a field of the table, good ones and ones just outside."""
    number = st.one_of(
        st.integers(low - 2, low + 2),
        st.integers(high - 2, high + 2),
        st.integers(low, high),
        st.booleans(),
    )
    text = st.one_of(
        st.text(max_size=high + 2),
        st.sampled_from(["meter-1", "a\n", "", "ä", "04a1b2c3", "04A1", "\x00"]),
    )
    return {
        "i": number,
        "p": st.lists(number, max_size=4),
        "e": st.one_of(st.sampled_from(words.split("|")), text),
        "l": st.lists(text, max_size=high + 1),
    }.get(kind, text)


@st.composite
def records(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(sorted(record.FROM_DEVICES)))
    fields = {}
    for name, _, sort, low, high, words in protocol.fields(record.FROM_DEVICES[kind]):
        if draw(st.integers(0, 9)):
            fields[name] = draw(values(sort, low, high, words))
    return kind, {"device": "d-1", "boot": 1, "seq": 1, "kind": kind, "t_ms": T0, "fields": fields}


@given(records())
def test_the_checks_that_run_accept_what_the_schema_accepts(
    made: tuple[str, dict[str, Any]],
) -> None:
    kind, whole = made
    valid = jsonschema.Draft202012Validator(record.schema(kind)).is_valid(whole)
    try:
        record.open_record(json.dumps(whole).encode())
        taken = True
    except record.Rejected:
        taken = False
    assert taken == valid


@given(
    st.one_of(
        st.binary(max_size=200),
        st.from_type(dict).map(lambda d: json.dumps(d, default=str).encode()),
    )
)
def test_whatever_the_bytes_there_is_a_record_or_a_reason(data: bytes) -> None:
    for opening in (record.open_record, record.open_parcel):
        try:
            opening(data)
        except record.Rejected as e:
            assert e.reason in {"record", "parcel", "kind", "fields", "clock"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{}", "record"),
        (note("meter-1", 1, T0, "no_such", {}), "kind"),
        (note("meter 1", 1, T0, "log", {"level": "info", "words": ""}), "record"),
        (note("meter-1\n", 1, T0, "log", {"level": "info", "words": ""}), "record"),
        (note("manager", 1, 12, "log", {"level": "info", "words": ""}), "clock"),
        (
            note("manager", 1, T0 - 500 * 86_400_000, "log", {"level": "info", "words": ""}),
            "clock",
        ),
        (note("manager", 1, T0, "log", {"level": "info", "words": "a\x00b"}), "fields"),
        (load("meter-1", 1, T0, -1), "fields"),
        (load("meter-1", 1, T0, 1, power_w=60_001), "fields"),
        (load("meter-1", 1, T0, 1, current_ma=[1, 2]), "fields"),
        (load("meter-1", 2**31, T0, 1), "record"),
        (load("manager", 2**31, T0, 1), "record"),
    ],
)
def test_a_bad_record_is_buried_with_its_reason_and_its_neighbours_live(
    raw: bytes, reason: str
) -> None:
    value, mac = signed(
        "house", [load("meter-2", 1, T0, 1), raw, load("meter-2", 2, T0 + 1000, 1)], sent_ms=T0
    )
    facts = fold([Message(0, 0, T0 + 5000, value, mac)], Places())
    assert [d.reason for d in facts.dead] == [reason]
    assert facts.dead[0].record == raw
    assert facts.taken == 2


def test_what_a_parcel_carries_that_nobody_knows_is_not_kept() -> None:
    raw = note("manager", 1, T0, "log", {"level": "info", "words": "x", "more": {"deep": "\x00"}})
    value, mac = signed("house", [raw], sent_ms=T0)
    facts = fold([Message(0, 0, T0, value, mac)], Places())
    assert json.loads(facts.records[0][6]) == {"level": "info", "words": "x"}


def test_a_parcel_of_a_stranger_or_altered_is_buried_whole() -> None:
    (good,) = messages([1])
    stranger = messages([1], site="elsewhere")[0]
    altered = Message(0, 1, T0, good.value.replace(b"3680", b"3681"), good.mac)
    unsigned = Message(0, 2, T0, good.value, None)
    facts = fold([stranger, altered, unsigned], Places())
    assert [d.reason for d in facts.dead] == ["site", "signature", "signature"]
    assert facts.taken == 0


def test_a_new_key_version_revokes_the_old_key() -> None:
    assert record.site_key(bytes(32), "house", 1) != record.site_key(bytes(32), "house", 2)
    assert record.site_key(bytes(32), "house", 1) != record.site_key(bytes(32), "house2", 1)


def test_every_kind_a_device_sends_up_is_known_or_stays_in_the_building() -> None:
    from manager.outbox import _RANKS

    assert {protocol.name_of(code) for code in _RANKS} == set(record.FROM_DEVICES)
