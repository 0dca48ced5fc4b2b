"""Why a charger is offered what it is offered: a kind and the numbers behind it, for programs and for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# kind -> words; the names in braces are keys of `numbers`.
_WORDS = {
    "none": "not heard of yet",
    "no_car": "no car",
    "not_authorised": "waits for a card",
    "stopped": "the car has stopped charging",
    "asleep": "offered {offer_a} A, the car does not take any",
    "fault": "fault: {faults}",
    "out_of_service": "out of service, or testing itself",
    "silent": "not heard for {silent_s} s; counted at {worst_a} A until that is safely over",
    "own_mode": "goes by its own rule ({mode}); counted at {worst_a} A",
    "whole": "as much as it can take ({max_a} A)",
    "share": "{offer_a} A, its share: {room_a} A for {cars} cars",
    "alone": "{offer_a} A, all there is for cars",
    "capped": "draws {drawn_a} A, so {offer_a} A; the rest goes to others",
    "limited": "limited to {limit_a} A by its limits",
    "driver_limit": "limited to {limit_a} A by its driver",
    "rights_limit": "limited to {limit_a} A by its user's rights",
    "quota": "standby: its user's energy of this month is used up",
    "hour": "standby: its user may not charge at this hour",
    "place": "standby: its user may not charge here",
    "blocked": "standby: its user is blocked",
    "standby": "standby: {short_a} A short",
    "turn": "standby: {short_a} A short, next turn in {wait_min} min at the latest",
    "time_to_spare": "standby: has time to wait, {spare_a} A are left to the house's next step",
    "planned": "standby: charges in better hours, from {at}",
    "resting": "standby: not started again for another {wait_s} s",
    "raise_waits": "{offer_a} A now, {target_a} A as soon as others have given them up",
    "max_active": "standby: {max_active} chargers at once",
    "window": "standby: limited to {limit_a} A at this time",
    "no_sun": "standby: {surplus_a} A of sun, {min_a} A needed",
    "solar": "{offer_a} A of sun",
    "meter_lost": "standby: the meter is silent, {house_a} A kept for the house",
}
KINDS = tuple(_WORDS)


@dataclass(frozen=True, slots=True)
class Reason:
    """A typed reason. `kind` is one of `KINDS` and goes into the lease as its reason word."""

    kind: str = "none"
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)

    def words(self) -> str:
        """The same for people."""
        return _WORDS[self.kind].format_map(self.numbers)

    def plain(self) -> dict[str, object]:
        """For JSON: kind, words and every number."""
        return {"kind": self.kind, "words": self.words(), **self.numbers}


def numbers(kind: str, words: str) -> dict[str, float | str]:
    """The numbers in words that were kept, so that they can be said in another language; empty if another
    version of this program wrote them.
    """
    parts = re.split(r"{(\w+)}", _WORDS.get(kind, ""))
    for n, part in enumerate(parts):
        parts[n] = f"(?P<{part}>.*?)" if n % 2 else re.escape(part)
    match = re.fullmatch("".join(parts), words, re.DOTALL)
    found = match.groupdict() if match else {}
    return {name: _number(value) for name, value in found.items()}


def _number(value: str) -> float | str:
    return float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else value
