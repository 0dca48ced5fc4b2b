"""What the cloud knows reaches the building, and stays there while the cloud is away."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from datahub.fog import intake, record
from manager import forward
from manager.cloud_copy import CloudCopy, CopyError
from simulator.kafka import Kafka, free_ports
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.parcels import T0, load, signed
from tests.datahub.test_forward import fill, waiting
from tests.datahub.test_worker import running, wait_for
from tests.datahub.town import CARD, Town, build

pytestmark = pytest.mark.datahub
KEY = record.site_key(MASTER, "oak", 1)


@pytest.fixture
def town(cloud: Cloud) -> Town:
    return build(cloud)


@contextmanager
def serving(app: object, port: int, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """`tls`: the files of a certificate and its key."""
    # Managers wait for changes: their open questions are given up.
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        port=port,
        log_level="critical",
        timeout_graceful_shutdown=1,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    ends = time.monotonic() + 20
    while not server.started and time.monotonic() < ends:
        time.sleep(0.02)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def test_the_last_signed_copy_goes_on_while_the_cloud_is_away(
    cloud: Cloud, town: Town, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/api/v1"
    copy = CloudCopy(tmp_path / "copy", url, "oak", KEY)
    assert copy.card(CARD) == ("unknown", "")
    with serving(make_app(Settings(cloud.api, MASTER)), port):
        assert copy.fetch()
        assert not copy.fetch()  # nothing newer
        assert copy.card(CARD.upper()) == ("accepted", "Ana")
        cloud.do("UPDATE card SET active = false WHERE site_id = %s", (town.sites["oak"],))
        assert copy.fetch()
        assert copy.card(CARD) == ("unknown", "")
        cloud.do("UPDATE card SET active = true WHERE site_id = %s", (town.sites["oak"],))
        assert copy.fetch()
    with pytest.raises(CopyError, match="away"):
        copy.fetch()
    again = CloudCopy(tmp_path / "copy", url, "oak", KEY)  # a manager started anew, cloud away
    assert again.card(CARD) == ("accepted", "Ana")


def test_a_copy_that_was_altered_or_is_anothers_is_not_used(
    cloud: Cloud, town: Town, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/api/v1"
    with serving(make_app(Settings(cloud.api, MASTER)), port):
        copy = CloudCopy(tmp_path / "copy", url, "oak", KEY)
        copy.fetch()
        with pytest.raises(CopyError, match="401"):
            CloudCopy(tmp_path / "other", url, "elm", KEY).fetch()
    good = (tmp_path / "copy").read_bytes()
    (tmp_path / "copy").write_bytes(good.replace(b'"Ana"', b'"Eve"'))
    assert CloudCopy(tmp_path / "copy", url, "oak", KEY).version == 0
    (tmp_path / "copy").write_bytes(good)
    assert CloudCopy(tmp_path / "copy", url, "elm", KEY).version == 0


def test_a_wish_arrives_while_the_manager_waits_and_its_answer_goes_back(
    cloud: Cloud, town: Town, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    with serving(make_app(Settings(cloud.api, MASTER)), port) as url:
        copy = CloudCopy(tmp_path / "copy", f"{url}/api/v1", "oak", KEY)
        copy.fetch()
        came: list[bool] = []
        waiter = threading.Thread(target=lambda: came.append(copy.fetch(wait_s=10)))
        began = time.monotonic()
        waiter.start()
        time.sleep(0.3)
        cloud.do(
            "INSERT INTO wish (device_id, person_id, command) VALUES (%s, %s, 'stop')",
            (town.devices["oak/charger-1"], town.people["ana"]),
        )
        waiter.join(15)
        assert came == [True]
        assert time.monotonic() - began < 5
        (wish,) = copy.wishes(time.time())
        assert (wish["device"], wish["command"]) == ("charger-1", "stop")
        copy.answer(wish["id"], "stopped")
    assert cloud.ask("SELECT result FROM wish") == [("stopped",)]


def test_through_https_only_the_same_records_arrive(
    kafka: Kafka, cloud: Cloud, site: str, tmp_path: Path
) -> None:
    key = record.site_key(MASTER, site, 1)
    (port,) = free_ports(1)
    certificate = kafka.folder / "server.crt", kafka.folder / "server.key"
    with serving(intake.make_app(kafka.servers, cloud.fog, MASTER), port, certificate) as url:
        settings = forward.Settings(site, key, f"{url}/intake", kafka.ca)
        db = fill(tmp_path / "site.db", key, 700)
        forwarder = forward.Forwarder(tmp_path / "site.db", settings, 1)
        assert forwarder.step(db) == 704
        assert waiting(db) == 0
        other = fill(tmp_path / "third.db", key, 1)
        for wrong, why in (
            (forward.Settings(site, bytes(32), f"{url}/intake", kafka.ca), "401"),
            (forward.Settings(site, key, f"{url}/intake"), "CERTIFICATE_VERIFY_FAILED"),
            (forward.Settings(site, key, f"{url}/elsewhere", kafka.ca), "404"),
        ):
            with pytest.raises(forward.ForwardError, match=why):
                forward.Forwarder(tmp_path / "third.db", wrong, 1).step(other)
        assert waiting(other) == 5
        with running(kafka, cloud, site):
            wait_for(cloud, "SELECT count(*) FROM reading", 700)


def test_what_comes_through_https_is_compressed_and_opens_to_no_more_than_a_parcel(
    kafka: Kafka, cloud: Cloud, site: str
) -> None:
    records = [load("meter-1", i, T0 + i, i) for i in range(1, 501)]
    value, mac = signed(site, records)
    sent: list[bytes] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def heard() -> Any:
            message = await receive()
            sent.append(message.get("body", b""))
            return message

        await app(scope, heard, send)

    app = intake.make_app(kafka.servers, cloud.fog, MASTER)
    (port,) = free_ports(1)
    with serving(watched, port) as url:
        forward.HttpsSink(forward.Settings(site, b"", f"{url}/intake")).send([(value, mac)])
        assert 0 < sum(map(len, sent)) < len(value) / 10
        whole = gzip.compress(value)
        posts = forward.Posts(f"{url}/intake")
        head = {"X-Ievcc-Mac": mac.decode()}
        for encoding, body, status in (
            ("identity", value, 202),  # as managers of earlier versions send
            ("gzip", whole, 202),
            ("gzip", whole[:-20], 400),
            ("gzip", value, 400),
            ("gzip", gzip.compress(bytes(200_000_000), 9), 413),  # 200 kB
            ("gzip", gzip.compress(value.replace(b"3680", b"3681")), 401),
            ("br", whole, 415),
        ):
            assert posts.post("", body, {**head, "Content-Encoding": encoding})[0] == status
        posts.close()
