"""In which order tests run: a file belongs to one worker, and with a long one begun last all others would
wait for that."""

import pytest

# A minute and more, by themselves on two cores.
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


def longest_first(item: pytest.Item) -> tuple[bool, bool]:
    """A key to sort by: the longest files, then whatever waits for others, then what computes."""
    waits = any(item.get_closest_marker(mark) for mark in ("broker", "board", "datahub"))
    waits = waits or "ocpp" in item.path.parts  # for stations and their timeouts
    return item.path.stem not in LONGEST, not waits
