"""What the cloud knows reaches the building, and stays there while the cloud is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from datahub.fog import intake, record
from manager import forward
from manager.cloud_copy import CloudCopy, CopyError
from simulator.kafka import Kafka, free_ports
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.test_forward import fill, waiting
from tests.datahub.test_worker import running, wait_for
from tests.datahub.town import CARD, Town, build

pytestmark = pytest.mark.datahub
KEY = record.site_key(MASTER, "oak", 1)


@pytest.fixture
def town(cloud: Cloud) -> Town:
    return build(cloud)


@contextmanager
def serving(app: object, port: int) -> Iterator[str]:
    # Managers wait for changes: their open questions are given up.
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        port=port,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    ends = time.monotonic() + 20
    while not server.started and time.monotonic() < ends:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
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
    with serving(intake.make_app(kafka.servers, cloud.fog, MASTER), port) as url:
        settings = forward.Settings(site, key, f"{url}/intake")
        db = fill(tmp_path / "site.db", key, 700)
        forwarder = forward.Forwarder(tmp_path / "site.db", settings, 1)
        assert forwarder.step(db) == 704
        assert waiting(db) == 0
        wrong = forward.Settings(site, bytes(32), f"{url}/intake")
        other = fill(tmp_path / "third.db", key, 1)
        with pytest.raises(forward.ForwardError, match="401"):
            forward.Forwarder(tmp_path / "third.db", wrong, 1).step(other)
        with running(kafka, cloud, site):
            wait_for(cloud, "SELECT count(*) FROM reading", 700)
