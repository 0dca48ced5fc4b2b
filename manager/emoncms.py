"""To emoncms by its input API: POST input/bulk, with the names that the energy meter's own board uses.

A node for each device, with power1, current1, voltage1, energy1 for each phase, and `offer` (A) for
a charger. emoncms keeps whole seconds: of two readings in one it keeps the later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from manager.forward import ForwardError, Onward, Posts, Record
from manager.integrations import Emoncms

_LOADS = ("counter_load", "charger_load")
_OK = 200
_MOST = 500  # in one post: some 100 kB, where PHP takes 8 MB unless told otherwise


def items(node: str, records: Iterable[Record]) -> list[list[Any]]:
    """[s since 1970, node, {input: value}] of each row that emoncms is told of."""
    found: list[list[Any]] = []
    for _, device, _, _, kind, t_ms, text in records:
        fields = json.loads(text)
        if kind in _LOADS:
            inputs: dict[str, float] = {}
            for i, ma in enumerate(fields["current_ma"]):
                inputs |= {
                    f"power{i + 1}": fields["power_w"][i],
                    f"current{i + 1}": ma / 1000,
                    f"voltage{i + 1}": fields["voltage_dv"][i] / 10,
                    f"energy{i + 1}": fields["energy_wh"][i],
                }
            found.append([t_ms // 1000, node + device, inputs])
        elif kind == "decision":
            inputs = {"offer": fields["offer_a"]}
            found.append([t_ms // 1000, node + fields["charger"], inputs])
    return found


class EmoncmsPoster(Onward):
    """Posts the outbox of the store at `path` to an emoncms, from a thread of its own."""

    name = "emoncms"

    def __init__(self, path: Path, settings: Emoncms, boot: int) -> None:
        super().__init__(path, boot)
        self._posts = Posts(settings.url, settings.ca)
        self._node = settings.node
        self._headers = {
            "Authorization": f"Bearer {settings.key}",
            "Content-Type": "application/x-www-form-urlencoded",
        }

    def deliver(self, records: list[Record]) -> None:
        """All of them, or ForwardError: emoncms says "ok", or with status 200 what is wrong."""
        told = items(self._node, records)
        for first in range(0, len(told), _MOST):
            data = json.dumps(told[first : first + _MOST], separators=(",", ":"))
            body = urlencode({"data": data, "time": 0}).encode()  # times are absolute
            status, words = self._posts.post("/input/bulk", body, self._headers)
            if status != _OK or words.strip() != "ok":
                raise ForwardError(f"{status} {words}")

    def let_go(self) -> None:
        """Close the connection."""
        self._posts.close()
