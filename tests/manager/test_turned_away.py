"""What the broker turned away, worked out from what it counts: rises that stay are refusals."""

from __future__ import annotations

import pytest

from manager.mqtt import Arrival, Known
from manager.turned_away import LOG, OCTETS, RECEIVED, Tally, TurnedAway


@pytest.mark.parametrize(
    ("beyond", "refused"),
    [
        ([5] * 20, 0),
        ([5, 5, 5, 12, 12, 12], 7),
        ([5, 5, 5, 6, 7, 12, 12, 12], 7),
        ([5, 5, 5, 12, 12], 0),  # not yet sure
        ([5, 5, 5, 9, 5, 8, 5, 7, 5], 0),  # on their way to us when it counted
        ([1, 5, 4, 5, 5, 5, 2, 3, 5, 5, 5], 0),  # some had overtaken the count
        ([5, 5, 5, *[3] * 12, 4, 4, 4], 1),
        ([-900, -900, -900, -899, -899, -899], 1),
    ],
)
def test_what_stays_is_refused(beyond: list[int], refused: int) -> None:
    tally = Tally()
    for n in beyond:
        tally = tally.seen(n)
    assert tally.refused == refused


def test_a_new_connection_begins_anew_and_forgets_nothing() -> None:
    tally = Tally()
    for n in (0, 0, 0, 4, 4, 4):
        tally = tally.seen(n)
    tally = tally.anew()
    for n in (-900, -900, -900, -899, -899, -899):
        tally = tally.seen(n)
    assert tally.refused == 5


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (b"1795748226: Client <unknown> disconnected, not authorised.", 1),
        (b"2026-01-01T00:00:00: Client <unknown> disconnected due to protocol error.", 1),
        (b"1795748226: Client Charger-1 disconnected: Protocol error.", 1),
        (b"1795748226: Socket error on client <unknown>, disconnecting.", 1),
        (b"1: Client connection from 127.0.0.1 failed: error:1:SSL routines::no certificate.", 1),
        (b"1: Client connection from 127.0.0.1 failed: SSL routines::unexpected eof.", 0),
        (b"1795748226: Client dev closed its connection.", 0),
        (b"1795748226: Client Charger-1 has exceeded timeout, disconnecting.", 0),
        (b"1795748226: New connection from 127.0.0.1:47809 on port 28831.", 0),
    ],
)
def test_lines_of_the_log(line: bytes, counts: int) -> None:
    away = TurnedAway(lambda _: None)
    away.heard(Arrival(LOG, line, False, False, 1, 1, 1), 0)
    assert away.connections == counts


def test_it_is_told_once_a_minute_and_what_is_kept_counts_for_nothing() -> None:
    told: list[str] = []
    away = TurnedAway(told.append)
    away.heard(Arrival(RECEIVED, b"99", True, False, 1, 1, 1, Known(9, 0)), 0)
    line = b"Client <unknown> disconnected, not authorised."
    for second in range(100):
        away.heard(Arrival(LOG, line, False, False, 1, 1, 1), second * 1000)
        away.heard(
            Arrival(RECEIVED, b"%d" % (9 + second), False, False, 1, 1, 1, Known(9, 0)),
            second * 1000,
        )
    assert told == [
        "the broker turned away 1 connection",
        "the broker turned away 55 messages and 60 connections",
    ]


def test_what_the_broker_does_not_number_is_told_in_bytes() -> None:
    told: list[str] = []
    away = TurnedAway(told.append)
    away.known_elsewhere.append(lambda: Known(2, 20))
    known = Known(5, 50)
    for second, octets in enumerate([70, 70, 70, *[91] * 7]):
        for topic, count in ((RECEIVED, 7), (OCTETS, octets)):
            arrival = Arrival(topic, b"%d" % count, False, False, 1, 1, 1, known)
            away.heard(arrival, second * 60_000)
    assert (away.messages, away.octets) == (0, 21)
    assert told == ["the broker turned away messages of 21 bytes that it does not number"]


@pytest.mark.parametrize("order", [(RECEIVED, OCTETS), (OCTETS, RECEIVED)])
@pytest.mark.parametrize("late", [(0, 0), (1, 0), (0, 1)])
def test_the_bytes_of_numbered_messages_are_told_with_them(
    order: tuple[str, str], late: tuple[int, int]
) -> None:
    told: list[str] = []
    away = TurnedAway(told.append)
    for look in range(12):
        for topic in order:
            more = look >= 4 + late[topic == OCTETS]
            count = (7 + more) if topic == RECEIVED else 70 + 20 * more
            arrival = Arrival(topic, b"%d" % count, False, False, 1, 1, 1, Known(7, 70))
            away.heard(arrival, look * 60_000)
    assert (away.messages, away.octets) == (1, 20)
    assert told == ["the broker turned away 1 message"]
