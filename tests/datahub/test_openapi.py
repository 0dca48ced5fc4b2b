"""The API against its own OpenAPI document: whatever the document allows, the answers are of it
and none is a fault of the server's; whatever it does not, is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.test_api import login
from tests.datahub.town import Town, build

pytestmark = pytest.mark.datahub
# That one field must not be below another no schema says.
BEYOND_A_SCHEMA: list[Any] = [positive_data_acceptance]
EXAMPLES = 9  # of each kind for each operation, in turn by tenant, administrator and operator


@pytest.fixture
def town(cloud: Cloud) -> Town:
    return build(cloud)


@pytest.fixture
def client(cloud: Cloud, town: Town) -> Iterator[TestClient]:
    unlimited = Settings(cloud.api, MASTER, rate=1e6, burst=1e6, login_rate=1e6, login_burst=1e6)
    with TestClient(make_app(unlimited)) as client:
        yield client


def test_every_operation_keeps_to_its_document(client: TestClient) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    roles = itertools.cycle([login(client, who) for who in ("ana", "admin", "grid")])
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        strategy = result.ok().as_strategy()

        @hypothesis.settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=strategy)
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers=next(roles), excluded_checks=BEYOND_A_SCHEMA)

        ask()
        tried += 1
    assert tried >= 25
