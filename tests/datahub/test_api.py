"""The API on a real PostgreSQL: everybody sees their own and nothing else, whatever they ask."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import psycopg
import pytest
from psycopg import sql
from starlette.testclient import TestClient

from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from datahub.fog import record
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.town import CARD, PASSWORD, Town, build

pytestmark = pytest.mark.datahub


@pytest.fixture
def town(cloud: Cloud) -> Town:
    return build(cloud)


@pytest.fixture
def client(cloud: Cloud, town: Town) -> Iterator[TestClient]:
    with TestClient(make_app(Settings(cloud.api, MASTER, login_burst=100, burst=1000))) as client:
        yield client


def login(client: TestClient, who: str) -> dict[str, str]:
    answer = client.post(
        "/api/v1/token", data={"username": f"{who}@example.org", "password": PASSWORD}
    )
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def items(client: TestClient, path: str, who: dict[str, str]) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1{path}", headers=who)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def span(hours: float = 5) -> str:
    now = datetime.now(UTC) + timedelta(minutes=1)
    stamps = [(now - timedelta(hours=hours)), now]
    return "&".join(
        f"{n}={t.isoformat().replace('+00:00', 'Z')}"
        for n, t in zip(("from_at", "to_at"), stamps, strict=True)
    )


def test_a_tenant_sees_their_own_and_nothing_else(client: TestClient, town: Town) -> None:
    ana = login(client, "ana")
    assert [s["name"] for s in items(client, "/sites", ana)] == ["oak"]
    assert {d["name"] for d in items(client, "/devices", ana)} == {"charger-1", "charger-2"}
    sessions = items(client, "/sessions", ana)
    assert len(sessions) == 2
    assert {s["person"] for s in sessions} == {town.people["ana"]}
    assert [c["person"] for c in items(client, "/cards", ana)] == [town.people["ana"]]
    for place, rows in (
        ("oak/charger-1", 1),
        ("oak/charger-2", 0),
        ("oak/meter-1", 0),
        ("elm/charger-1", 0),
    ):
        for width in ("raw", "minute", "quarter"):
            got = items(
                client, f"/readings?device={town.devices[place]}&width={width}&{span()}", ana
            )
            assert len(got) == rows, (place, width)
    for path in ("/users", "/fleet", f"/grid?{span()}"):
        assert client.get(f"/api/v1{path}", headers=ana).status_code == 403


def test_an_administrator_sees_their_sites_whole_and_no_other(
    client: TestClient, town: Town
) -> None:
    admin = login(client, "admin")
    assert [s["name"] for s in items(client, "/sites", admin)] == ["oak"]
    assert {d["site"] for d in items(client, "/devices", admin)} == {town.sites["oak"]}
    assert {s["person"] for s in items(client, "/sessions", admin)} == {town.people["ana"]}
    assert {u["name"] for u in items(client, "/users", admin)} == {"Ana", "Admin"}
    (row,) = items(client, "/fleet", admin)
    assert (row["chargers"], row["grid_w"], row["charging_w"]) == (2, 3680, 7360)
    elsewhere = {"site": town.sites["elm"]}
    for path, body in (
        ("/users", {**elsewhere, "login": "x", "password": PASSWORD}),
        ("/tariffs", {**elsewhere, "name": "x", "from_at": "2026-01-01T00:00:00Z", "per_kwh": 1}),
    ):
        assert client.post(f"/api/v1{path}", json=body, headers=admin).status_code == 403, path
    card = {**elsewhere, "person": town.people["ben"], "number": "04a1b2c3"}
    assert client.post("/api/v1/cards", json=card, headers=admin).status_code == 404


def test_an_administrator_draws_no_stranger_into_their_site(
    client: TestClient, cloud: Cloud, town: Town
) -> None:
    """It would show them the stranger's name, and give the stranger's card a charger."""
    admin = login(client, "admin")
    ben = town.people["ben"]
    card = {"site": town.sites["oak"], "person": ben, "number": "04a1b2c3"}
    assert client.post("/api/v1/cards", json=card, headers=admin).status_code == 403
    device = f"/api/v1/devices/{town.devices['oak/charger-2']}"
    assert client.patch(device, json={"person": ben}, headers=admin).status_code == 403
    for person in (town.people["ana"], None):
        assert client.patch(device, json={"person": person}, headers=admin).status_code == 200
    with psycopg.connect(cloud.api) as db:
        db.execute("SELECT set_config('ievcc.person', %s, true)", (str(town.people["admin"]),))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(
                "INSERT INTO membership (person_id, role, site_id) VALUES (%s, 'tenant', %s)",
                (ben, town.sites["oak"]),
            )


def test_an_operator_sees_sums_and_nobody(client: TestClient, town: Town) -> None:
    grid = login(client, "grid")
    rows = items(client, f"/grid?{span()}", grid)
    assert {r["name"] for r in rows} == {"F1"}
    assert sum(r["grid_w"] for r in rows) == 2 * 920 * 4
    assert sum(r["flexible_w"] for r in rows) == 4 * 920 * 4
    for path in (
        "/sessions",
        "/cards",
        "/bills",
        "/devices",
        f"/readings?device={town.devices['oak/meter-1']}&{span()}",
    ):
        assert items(client, path, grid) == [], path


def test_row_policies_hold_below_the_api_too(cloud: Cloud, town: Town) -> None:
    """With nobody logged in the API's database role sees no row of any table it may ask."""
    tables = cloud.ask(
        "SELECT c.relname, c.relrowsecurity, a.attname FROM pg_class c JOIN pg_attribute a"
        " ON a.attrelid = c.oid AND a.attnum = 1 WHERE c.relkind IN ('r', 'p')"
        " AND has_column_privilege('ievcc_api', c.oid, a.attname, 'SELECT')"
        " AND c.relnamespace = 'public'::regnamespace"
    )
    assert len(tables) >= 18
    with psycopg.connect(cloud.api) as db:
        for table, secured, column in tables:
            assert secured, table
            question = sql.SQL("SELECT {} FROM {}").format(
                sql.Identifier(column), sql.Identifier(table)
            )
            assert db.execute(question).fetchall() == [], table


def test_a_password_hash_and_a_partition_are_out_of_the_apis_reach(
    cloud: Cloud, town: Town
) -> None:
    partition = cloud.ask("SELECT make_partition('reading', now())")[0][0]
    for question in (
        "SELECT password FROM person",
        sql.SQL("SELECT * FROM {}").format(sql.Identifier(partition)),
        "DELETE FROM bill",
        "SELECT * FROM kafka_offset",
    ):
        with psycopg.connect(cloud.api) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(question)


def test_pages_follow_one_another(client: TestClient, town: Town) -> None:
    admin = login(client, "admin")
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        answer = client.get(f"/api/v1/devices?limit=2&after={after}", headers=admin).json()
        seen += [d["name"] for d in answer["items"]]
        after = answer["next"]
    assert seen == ["meter-1", "charger-1", "charger-2"]


def test_wrong_passwords_and_tokens_are_refused(
    client: TestClient, cloud: Cloud, town: Town
) -> None:
    for who, password in (("ana@example.org", "wrong"), ("nobody@example.org", PASSWORD)):
        assert (
            client.post("/api/v1/token", data={"username": who, "password": password}).status_code
            == 401
        )
    ana = login(client, "ana")
    token = ana["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = jwt.encode({**claims, "sub": str(town.people["ben"])}, "x" * 32, algorithm="HS256")
    none = jwt.encode(claims, "", algorithm="none")
    for bad in (forged, none, token[:-2], ""):
        assert (
            client.get("/api/v1/me", headers={"Authorization": f"Bearer {bad}"}).status_code == 401
        )
    cloud.do("UPDATE person SET token_version = 2 WHERE id = %s", (town.people["ana"],))
    assert client.get("/api/v1/me", headers=ana).status_code == 401


def test_asking_too_often_is_answered_with_a_time_to_wait(cloud: Cloud, town: Town) -> None:
    with TestClient(
        make_app(Settings(cloud.api, MASTER, rate=1, burst=5, login_rate=0.1, login_burst=3))
    ) as client:
        ana = login(client, "ana")
        answers = [client.get("/api/v1/me", headers=ana) for _ in range(8)]
        assert [a.status_code for a in answers][:5] == [200] * 5
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["Retry-After"]) >= 1
        tries = [
            client.post(
                "/api/v1/token", data={"username": "ana@example.org", "password": "guess"}
            ).status_code
            for _ in range(4)
        ]
        assert tries == [401, 401, 429, 429]


def test_a_bill_is_the_sessions_at_the_tariff(client: TestClient, town: Town) -> None:
    admin, ana, ben = (login(client, who) for who in ("admin", "ana", "ben"))
    now = datetime.now(UTC)
    period = {
        "site": town.sites["oak"],
        "from_at": (now - timedelta(days=30)).isoformat(),
        "to_at": now.isoformat(),
    }
    assert client.post("/api/v1/bills", json=period, headers=admin).status_code == 409  # no tariff
    tariff = {
        "site": town.sites["oak"],
        "name": "flat",
        "from_at": "2020-01-01T00:00:00Z",
        "per_kwh": 2500,
        "per_session": 1000,
    }
    assert client.post("/api/v1/tariffs", json=tariff, headers=admin).status_code == 201
    assert client.post("/api/v1/bills", json=period, headers=ana).status_code == 403
    assert client.post("/api/v1/bills", json=period, headers=admin).json() == {"made": 1}
    assert client.post("/api/v1/bills", json=period, headers=admin).status_code == 409
    (bill,) = items(client, "/bills", ana)
    assert (bill["total"], bill["energy_wh"], len(bill["lines"])) == (
        2 * (7 * 2500 + 1000),
        14000,
        2,
    )
    assert items(client, "/bills", ben) == []


def test_start_and_stop_reach_only_ones_own_chargers(client: TestClient, town: Town) -> None:
    ana = login(client, "ana")
    for place, status in (
        ("oak/charger-1", 201),
        ("oak/charger-2", 201),
        ("oak/meter-1", 404),
        ("elm/charger-1", 404),
    ):
        answer = client.post(
            "/api/v1/wishes", json={"device": town.devices[place], "command": "stop"}, headers=ana
        )
        assert answer.status_code == status, place


def test_a_session_is_whose_card_or_wish_or_charger_it_was(cloud: Cloud, town: Town) -> None:
    """In this order; a wish counts that was made just before and that the building did not refuse."""
    ana, admin = town.people["ana"], town.people["admin"]
    own, shared = town.devices["oak/charger-1"], town.devices["oak/charger-2"]
    card = record.card_hash(record.site_key(MASTER, "oak", 1), CARD)
    for number, (wished, result, device, how, given, whose) in enumerate(
        [
            ("1 minute", None, shared, "manager", None, admin),
            ("1 minute", "sent to charger-2", shared, "manager", None, admin),
            ("1 minute", "refused: not at this hour", shared, "manager", None, None),
            ("20 minutes", "sent to charger-2", shared, "manager", None, None),
            ("1 minute", None, shared, "free", None, None),
            ("1 minute", None, shared, "card", card, ana),
            ("1 minute", None, own, "manager", None, admin),
            ("20 minutes", None, own, "manager", None, ana),
            ("1 minute", None, own, "free", None, ana),
        ],
        start=10,
    ):
        cloud.do("DELETE FROM wish")
        cloud.do(
            "INSERT INTO wish (device_id, person_id, command, made_at, result)"
            " VALUES (%s, %s, 'start', now() - %s::interval, %s)",
            (device, admin, wished, result),
        )
        cloud.do(
            "INSERT INTO session (device_id, number, started_at, how, card)"
            " VALUES (%s, %s, now(), %s, %s)",
            (device, number, how, given),
        )
        asked = "SELECT person_id FROM session WHERE number = %s"
        assert cloud.ask(asked, (number,)) == [(whose,)], number


def test_a_new_user_and_their_card_go_down_to_the_building(client: TestClient, town: Town) -> None:
    admin = login(client, "admin")
    new = {
        "site": town.sites["oak"],
        "login": "Cleo@example.org",
        "password": PASSWORD,
        "name": "Cleo",
    }
    made = client.post("/api/v1/users", json=new, headers=admin)
    assert made.status_code == 201
    assert client.post("/api/v1/users", json=new, headers=admin).status_code == 409
    card = {"site": town.sites["oak"], "person": made.json()["id"], "number": "0499AABBCC"}
    assert client.post("/api/v1/cards", json=card, headers=admin).status_code == 201
    assert client.post("/api/v1/cards", json=card, headers=admin).status_code == 409
    cleo = client.post(
        "/api/v1/token", data={"username": "cleo@example.org", "password": PASSWORD}
    )
    assert cleo.json()["scope"] == "own"
    path = "/api/v1/manager/copy"
    whole = client.get(path, headers=signed("oak", "GET", path)).json()
    assert "Cleo" in {p["name"] for p in whole["people"] if p["id"] == made.json()["id"]}
    key = record.site_key(MASTER, "oak", 1)
    wanted = {"hash": record.card_hash(key, "0499aabbcc"), "person": made.json()["id"]}
    assert wanted in whole["cards"]


def copy_at(client: TestClient, site: str) -> dict[str, Any]:
    """The copy a site's manager is given now."""
    path = "/api/v1/manager/copy"
    answer = client.get(path, headers=signed(site, "GET", path))
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def test_rights_are_an_administrators_to_set_and_go_down(client: TestClient, town: Town) -> None:
    admin, ana, grid = (login(client, who) for who in ("admin", "ana", "grid"))
    right = {
        "site": town.sites["oak"],
        "person": town.people["ana"],
        "max_a": 16,
        "priority": 2,
        "quota_wh": 300_000,
        "windows": [{"days": 31, "from_min": 480, "to_min": 1080, "max_a": 10}],
        "chargers": ["charger-1"],
    }
    before = copy_at(client, "oak")["version"]
    assert client.put("/api/v1/rights", json=right, headers=ana).status_code == 403
    made = client.put("/api/v1/rights", json=right, headers=admin)
    assert made.status_code == 200
    whole = copy_at(client, "oak")
    assert whole["version"] > before
    (said,) = [p for p in whole["people"] if p["id"] == town.people["ana"]]
    assert said == {k: v for k, v in right.items() if k not in ("site", "person")} | {
        "id": town.people["ana"],
        "name": "Ana",
    }
    assert [r["max_a"] for r in items(client, "/rights", ana)] == [16]
    assert items(client, "/rights", grid) == []
    for other in ({"site": town.sites["elm"]}, {"person": town.people["ben"]}):
        answer = client.put("/api/v1/rights", json={**right, **other}, headers=admin)
        assert answer.status_code == 403, other
    for wrong in ({"max_a": 5}, {"priority": 10}, {"quota_wh": -1}, {"chargers": ["a b"]}):
        answer = client.put("/api/v1/rights", json={**right, **wrong}, headers=admin)
        assert answer.status_code == 422, wrong
    ended = client.delete(f"/api/v1/rights/{made.json()['id']}", headers=admin)
    assert ended.status_code == 200
    (said,) = [p for p in copy_at(client, "oak")["people"] if p["id"] == town.people["ana"]]
    assert (said["max_a"], said["windows"], said["chargers"]) == (None, [], [])


def test_who_moves_out_charges_here_no_more_and_keeps_their_bills(
    client: TestClient, town: Town
) -> None:
    admin, ana = login(client, "admin"), login(client, "ana")
    assert len(copy_at(client, "oak")["cards"]) == 1
    path = f"/api/v1/sites/{town.sites['oak']}/users/{town.people['ana']}"
    assert client.delete(path, headers=ana).status_code == 403
    assert client.delete(path, headers=admin).status_code == 200
    assert client.delete(path, headers=admin).status_code == 404
    whole = copy_at(client, "oak")
    assert whole["cards"] == []
    assert town.people["ana"] not in {p["id"] for p in whole["people"]}
    assert len(items(client, "/sessions", ana)) == 2
    elsewhere = f"/api/v1/sites/{town.sites['elm']}/users/{town.people['ben']}"
    assert client.delete(elsewhere, headers=admin).status_code == 404


def test_a_device_is_barred_and_let_in_and_its_owner_stays(client: TestClient, town: Town) -> None:
    admin = login(client, "admin")
    number = town.devices["oak/charger-1"]
    for authorised in (False, True, None):
        before = copy_at(client, "oak")["version"]
        answer = client.patch(
            f"/api/v1/devices/{number}", json={"authorised": authorised}, headers=admin
        )
        assert answer.json() == {"person": town.people["ana"], "authorised": authorised}
        whole = copy_at(client, "oak")
        (said,) = [d for d in whole["devices"] if d["name"] == "charger-1"]
        assert said["authorised"] is authorised
        assert whole["version"] > before
    stranger = client.patch(
        f"/api/v1/devices/{town.devices['elm/charger-1']}",
        json={"authorised": False},
        headers=admin,
    )
    assert stranger.status_code == 404


def test_every_change_a_manager_works_from_raises_its_copys_version(
    client: TestClient, cloud: Cloud, town: Town
) -> None:
    oak, ana = town.sites["oak"], town.people["ana"]
    before, elsewhere = copy_at(client, "oak")["version"], copy_at(client, "elm")["version"]
    for statement, values in (
        ("UPDATE site SET timezone = 'Europe/Lisbon' WHERE id = %s", (oak,)),
        ("UPDATE device SET person_id = NULL WHERE site_id = %s AND name = 'charger-1'", (oak,)),
        (
            "INSERT INTO device (site_id, name, kind, person_id) VALUES (%s, 'c9', 'charger', %s)",
            (oak, ana),
        ),
        ("UPDATE card SET active = false WHERE site_id = %s", (oak,)),
        ("UPDATE person SET name = 'Anna' WHERE id = %s", (ana,)),
        ("UPDATE person SET active = false WHERE id = %s", (ana,)),
        ("INSERT INTO charging_right (site_id, person_id) VALUES (%s, %s)", (oak, ana)),
        ("DELETE FROM membership WHERE person_id = %s", (ana,)),
        (
            "INSERT INTO tariff (site_id, name, from_at, per_kwh) VALUES (%s, 'x', now(), 1)",
            (oak,),
        ),
    ):
        cloud.do(statement, values)
        version = copy_at(client, "oak")["version"]
        assert version > before, statement
        before = version
    assert copy_at(client, "elm")["version"] == elsewhere


def test_questions_that_would_read_the_whole_store_are_refused(
    client: TestClient, town: Town
) -> None:
    admin = login(client, "admin")
    for width, hours in (("raw", 7), ("minute", 8 * 24), ("quarter", 401 * 24)):
        answer = client.get(
            f"/api/v1/readings?device={town.devices['oak/meter-1']}&width={width}&{span(hours)}",
            headers=admin,
        )
        assert answer.status_code == 400, width


def test_the_openapi_page_names_every_scope(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    scheme = page["components"]["securitySchemes"]["OAuth2PasswordBearer"]
    assert set(scheme["flows"]["password"]["scopes"]) == {"own", "site", "grid"}
    assert {"/api/v1/sessions", "/api/v1/bills", "/api/v1/manager/copy", "/api/v1/grid"} <= set(
        page["paths"]
    )


def signed(
    site: str, method: str, path: str, body: bytes = b"", at: int | None = None, version: int = 1
) -> dict[str, str]:
    at = int(time.time()) if at is None else at
    mac = record.mac(
        record.site_key(MASTER, site, version), f"{method} {path} {at}\n".encode() + body
    ).decode()
    return {"Authorization": f"Ievcc {site}:{at}:{mac}"}


def test_a_manager_proves_its_site_by_its_key(
    client: TestClient, cloud: Cloud, town: Town
) -> None:
    path = "/api/v1/manager/copy"
    assert client.get(path, headers=signed("oak", "GET", path)).status_code == 200
    for headers in (
        {},
        signed("nowhere", "GET", path),
        signed("oak", "GET", "/api/v1/other"),
        signed("oak", "POST", path),
        signed("oak", "GET", path, at=int(time.time()) - 3600),
        signed("oak", "GET", path, version=2),
    ):
        assert client.get(path, headers=headers).status_code == 401
    cloud.do("UPDATE site SET key_version = 2 WHERE name = 'oak'")
    assert client.get(path, headers=signed("oak", "GET", path)).status_code == 401


def test_a_card_is_asked_for_by_its_hash(client: TestClient, town: Town) -> None:
    path = "/api/v1/manager/card"
    for number, verdict in ((CARD, "accepted"), ("04ffffff", "unknown")):
        body = (
            b'{"hash":"%s"}' % record.card_hash(record.site_key(MASTER, "oak", 1), number).encode()
        )
        answer = client.post(
            path,
            content=body,
            headers={**signed("oak", "POST", path, body), "Content-Type": "application/json"},
        )
        assert answer.json()["verdict"] == verdict
