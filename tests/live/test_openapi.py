"""The HTTP API of a running manager against its own OpenAPI document: whatever the document allows is answered as it
says and never by a fault of the manager's, whatever it does not is refused; and it can be read.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.live.running import Device, Running

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

# That a version must be the newest, a name one that exists, a month one that is over, no schema says.
BEYOND_A_SCHEMA: list[Any] = [positive_data_acceptance]
EXAMPLES = 6  # of each kind for each operation
STREAM = "/api/live"  # does not end; it has a test of its own


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Running]:
    system = Running(tmp_path_factory.mktemp("openapi"), "[site]\nlimit_a = 30\nopen = true\n")
    meter = Device(system, "Counter-1")
    meter.announce_counter()
    meter.measure(5.5)
    charger = Device(system, "Charger-1")
    charger.announce_charger()
    yield system
    meter.close()
    charger.close()
    system.stop()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_keeps_to_its_document(running: Running, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{running.url}/api/openapi.json")
    tried = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        said = operation.definition.raw
        nothing_to_get_wrong = not said["parameters"] and "requestBody" not in said
        if operation.path == STREAM or (mode is GenerationMode.NEGATIVE and nothing_to_get_wrong):
            continue

        @hypothesis.settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(timeout=20, excluded_checks=BEYOND_A_SCHEMA)

        ask()
        tried.append(operation.label)
    assert len(tried) >= 30
    assert running.manager.status() is None
    assert running.connected()
    log = (running.folder / "manager.log").read_text()
    assert "Traceback" not in log


def test_the_document_has_every_route_and_every_route_is_in_it(running: Running) -> None:
    with urllib.request.urlopen(f"{running.url}/api/openapi.json", timeout=5) as answer:
        paths = json.load(answer)["paths"]
    assert {
        "/api/state",
        "/api/live",
        "/api/history",
        "/api/settings",
        "/api/openapi.json",
    } <= set(paths)
    names = [o["operationId"] for methods in paths.values() for o in methods.values()]
    assert len(names) == len(set(names))
    with urllib.request.urlopen(f"{running.url}/api", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        page = answer.read().decode()
    for path, methods in paths.items():
        for method in methods:
            assert f"{method.upper()} {path}" in page
