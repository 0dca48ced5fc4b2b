"""No wrong reading is ever taken for a right one, whatever happens on the line."""

import pytest

from simulator.pzem_campaign import Result, readings
from simulator.pzem_slave import FAULTS


def check(result: Result) -> None:
    assert result.wrong == []
    assert result.right_answers + result.late_here > result.asked * 0.6
    assert result.taken >= 0.95 * result.right_answers
    assert result.slowest <= 2
    assert set(result.faults) >= set(FAULTS)


def test_a_slice_at_the_lines_own_speed() -> None:
    check(readings(300, paced=True, rates=dict.fromkeys(FAULTS, 0.03), seed=4))


@pytest.mark.parametrize("fault", FAULTS)
def test_recovery_from_each_fault_within_two_polls(fault: str) -> None:
    result = readings(20, paced=True, rates={fault: 0.5}, seed=3)
    assert result.wrong == []
    assert result.faults.get(fault, 0) >= 5
    assert result.slowest <= 1  # one good answer missed at most, the next is taken


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_readings_at_the_lines_own_speed() -> None:
    result = readings(10_000, paced=True)
    check(result)
