"""Many chargers of another make in one process: `python -m simulator.ocpp_many URL PASSWORD COUNT VERSION`.

Each begins a transaction; then a line of JSON for every limit that arrives: [time in ns, name, A].
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from simulator.ocpp_charger import Charger


class Timed(Charger):
    """Says when a limit came."""

    def _on_SetChargingProfile(self, p: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        answer = super()._on_SetChargingProfile(p)
        raw = p.get("csChargingProfiles") or p["chargingProfile"]
        if raw["chargingProfilePurpose"] == "TxProfile":
            schedule = raw["chargingSchedule"]
            schedule = schedule[0] if isinstance(schedule, list) else schedule
            limit = schedule["chargingSchedulePeriod"][0]["limit"]
            print(json.dumps([at, self.name, limit]), flush=True)
        return answer


async def main(url: str, password: str, count: int, version: str) -> None:
    """Run until standard input ends."""
    cars = [Timed(url, f"C{n}", password, version, sample_s=5) for n in range(count)]
    for car in cars:
        await car.connect()
        await car.begin(f"04A1B2{int(car.name[1:]):02X}", 32)
    lives = [asyncio.create_task(car.live()) for car in cars]
    await asyncio.to_thread(sys.stdin.read)
    for task in lives:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
