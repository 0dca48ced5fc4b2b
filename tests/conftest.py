"""Fixtures for all tests: the real parts."""

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.order import longest_first
from tests.real_parts import real_part, required

# How fast examples are made says how busy this computer is, and nothing about what is tested.
settings.register_profile(
    "any computer", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any computer")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""
    items.sort(key=longest_first)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where real parts are required nothing is skipped, whoever skips it and however."""
    report = yield
    if required() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where real parts are required: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def micropython() -> str:
    """MicroPython's unix port."""
    return real_part("micropython")


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The broker's program; who needs it running starts it on a port of his own."""
    return real_part("mosquitto")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser the page is tested in."""
    return real_part("chromium")
