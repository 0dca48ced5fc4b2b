"""Fixtures for all tests: the real parts."""

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.real_parts import real_part, required

# How fast examples are made says how busy this computer is, and nothing about what is tested.
settings.register_profile(
    "any computer", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any computer")


# Files of a minute and more, and then whatever waits for brokers and boards: a file belongs to one worker, and with a
# long one begun last all others would wait for that.
LONGEST = (
    "test_changed_while_running",
    "test_clock_set",
    "test_meter_live",
    "test_any_message",
    "test_lease_law",
    "test_charger_live",
    "test_cards_live",
    "test_commissioning_live",
    "test_survival",
    "test_thesis_live",
    "test_door",
    "test_disk",
    "test_network_update",
    "test_charger_update",
    "test_campaign",
    "test_deploy",
    "test_link_live",
    "test_scenario_runs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; files stay together."""
    items.sort(
        key=lambda item: (
            item.path.stem not in LONGEST,
            not any(item.get_closest_marker(mark) for mark in ("broker", "board")),
        )
    )


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
