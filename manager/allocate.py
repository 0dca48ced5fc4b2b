"""`ievcc allocate`: one decision a line, JSON lines in, JSON lines out, for other people's chargers and simulators.

    in   {"now_s":..,"period_s":60,"policy":"fair","limit_a":17.4,"house_a":12.6,
          "groups":[{"name","limit_a","ids","coef","angle_deg"}],
          "chargers":[{"id","session","order","min_a","max_a","pilot_a","measured_a","arrival_s",
                       "est_departure_s","requested_kwh","delivered_kwh"}]}
    out  {"id": amps, ...}

`limit_a` is what is left for cars, null where groups rule. Beside `house_a`, `minute` (of the week, local time, 0 is
Monday's first) lets `deadline` learn when the house is about to step. A line that makes no sense is answered by
{"error": "field: why"}, and the next one is read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator

import typer

from manager.core.allocation import Allocator, RequestError


def answers(lines: Iterable[str]) -> Iterator[str]:
    """One line of JSON for each line that is not empty."""
    allocator = Allocator()
    for line in lines:
        if not line.strip():
            continue
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise RequestError("request", "must be an object")
            answer: dict[str, object] = dict(allocator.decide(request))
        except RequestError as e:
            answer = {"error": str(e)}
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            answer = {"error": f"request: not understood ({e})"}
        yield json.dumps(answer, separators=(",", ":"))


def allocate() -> None:
    """Decide who gets how many amperes: one JSON line in, one out, until the input ends."""
    failed = False
    for answer in answers(sys.stdin):
        failed = failed or answer.startswith('{"error"')
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
    if failed:
        raise typer.Exit(1)
