"""What the manager reads out of the cloud's copy: people's rights, prices, who is barred."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manager.cloud_copy import CloudCopy, sign
from manager.core.rights import judge
from manager.core.tariffs import tariff_at
from manager.outbox import card_hash

KEY = bytes(range(32))
CARD = "04a1b2c3"
MONDAY_10 = 10 * 60
SUNDAY_23 = 6 * 1440 + 23 * 60


def copy_of(folder: Path, **parts: Any) -> CloudCopy:
    """A copy as it lies on disk after a fetch."""
    whole = {
        "site": "oak",
        "version": 3,
        "timezone": "Europe/Madrid",
        "cards": [],
        "people": [],
        "devices": [],
        "tariffs": [],
        "wishes": [],
        **parts,
    }
    body = json.dumps(whole).encode()
    (folder / "copy").write_bytes(sign(KEY, body).encode() + b"\n" + body)
    return CloudCopy(folder / "copy", "https://cloud.example/api/v1", "oak", KEY)


def ana(**rights: Any) -> dict[str, Any]:
    return {"id": 7, "name": "Ana", **rights}


def price_list(name: str, from_s: int, to_s: int | None = None, **more: Any) -> dict[str, Any]:
    base = {"per_kwh": 2000, "per_session": 0, "currency": "EUR", "bands": []}
    return {"name": name, "from_s": from_s, "to_s": to_s, **base, **more}


def test_a_card_leads_to_its_user(tmp_path: Path) -> None:
    copy = copy_of(
        tmp_path, cards=[{"hash": card_hash(KEY, CARD), "person": 7}], people=[ana(max_a=16)]
    )
    assert copy.holder(CARD.upper()) == "cloud:7"
    assert copy.holder("04ffffff") is None
    assert copy.card(CARD) == ("accepted", "Ana")
    assert copy.users()["cloud:7"].max_a == 16


@pytest.mark.parametrize(
    ("rights", "minute", "used_wh", "charger", "word", "max_a"),
    [
        ({}, MONDAY_10, 0, "c1", "accepted", 80),
        ({"max_a": 16}, MONDAY_10, 0, "c1", "accepted", 16),
        ({"chargers": ["c2"]}, MONDAY_10, 0, "c1", "refused", 0),
        ({"quota_wh": 5000}, MONDAY_10, 4999, "c1", "accepted", 80),
        ({"quota_wh": 5000}, MONDAY_10, 5000, "c1", "quota", 0),
        (
            {"windows": [{"days": 64, "from_min": 1320, "to_min": 1440, "max_a": 10}]},
            SUNDAY_23,
            0,
            "c1",
            "accepted",
            10,
        ),
        (
            {"windows": [{"days": 63, "from_min": 0, "to_min": 1440, "max_a": 32}]},
            SUNDAY_23,
            0,
            "c1",
            "refused",
            0,
        ),
    ],
)
def test_rights_are_judged_as_those_of_a_local_user(
    tmp_path: Path,
    rights: dict[str, Any],
    minute: int,
    used_wh: int,
    charger: str,
    word: str,
    max_a: int,
) -> None:
    from manager.core.rights import Card

    users = copy_of(tmp_path, people=[ana(**rights)]).users()
    verdict = judge(Card("x", "cloud:7"), users, charger, minute, used_wh)
    assert (verdict.word, verdict.max_a) == (word, max_a)


def test_of_several_prices_the_one_that_began_last_holds_and_then_the_older_again(
    tmp_path: Path,
) -> None:
    copy = copy_of(
        tmp_path,
        tariffs=[price_list("all year", 0), price_list("summer", 1000, 2000, per_kwh=1500)],
    )
    names = [tariff_at(copy.tariffs(), at).name for at in (0, 999, 1000, 1999, 2000, 10**9)]
    assert names == ["all year", "all year", "summer", "summer", "all year", "all year"]
    assert tariff_at(copy.tariffs(), 1500).price_u(900, {}) == 150_000  # 0.15 a kWh


def test_two_prices_of_one_name_stay_two(tmp_path: Path) -> None:
    copy = copy_of(
        tmp_path, tariffs=[price_list("base", 0, 900), price_list("base", 900, per_kwh=3000)]
    )
    assert [t.price_u(900, {}) for t in copy.tariffs()] == [200_000, 300_000]


def test_a_band_comes_before_the_base_price_in_the_sites_own_time(tmp_path: Path) -> None:
    night = {"days": 127, "from_min": 0, "to_min": 480, "per_kwh": 800}
    (tariff,) = copy_of(tmp_path, tariffs=[price_list("base", 0, bands=[night])]).tariffs()
    midnight_madrid_s = 1_795_388_400  # 2026-11-22 23:00 UTC
    assert tariff.price_u(midnight_madrid_s, {}) == 80_000
    assert tariff.price_u(midnight_madrid_s + 8 * 3600, {}) == 200_000


def test_only_a_device_somebody_barred_is_barred(tmp_path: Path) -> None:
    devices = [
        {"name": n, "kind": "charger", "person": None, "authorised": a}
        for n, a in (("c1", None), ("c2", True), ("c3", False))
    ]
    copy = copy_of(tmp_path, devices=devices)
    assert [copy.barred(n) for n in ("c1", "c2", "c3", "c4")] == [False, False, True, False]


def test_a_charger_is_whose_the_cloud_says(tmp_path: Path) -> None:
    devices = [
        {"name": n, "kind": "charger", "person": p}
        for n, p in (("c1", 7), ("c2", None), ("c3", 8))
    ]
    users = copy_of(tmp_path, devices=devices, people=[ana(), {"id": 9, "name": "Rui"}]).users()
    assert {u.name: u.owns for u in users.values()} == {"Ana": {"c1"}, "Rui": frozenset()}


@pytest.mark.parametrize(
    "parts",
    [
        {"people": [{"id": 7}]},
        {"people": [ana(windows=[{"days": "all"}])]},
        {"tariffs": [price_list("backwards", 900, 0)]},
        {"cards": None},
    ],
)
def test_a_copy_nobody_understands_is_not_used(tmp_path: Path, parts: dict[str, Any]) -> None:
    assert copy_of(tmp_path, **parts).version == 0
