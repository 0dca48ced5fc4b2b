"""The building: its house, its cars at pretended benches, what its meter sees, and what it says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from simulator.building import Building, BuildingError
from simulator.house import House

ROOT = Path(__file__).resolve().parents[2]


class Bench:
    """A charger's bench as plain as can be: contactor closed while the car is in C and duty is on."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {"ev": "A"}
        self.duty = 1000
        self._writers: list[asyncio.StreamWriter] = []

    def line(self) -> dict[str, Any]:
        closed = self.inputs["ev"] == "C" and 80 <= self.duty <= 970
        return {
            "t_ms": 0,
            "pilot": {"duty_permille": self.duty, "high_mv": 9000, "low_mv": -12000},
            "contactor": closed,
            "mains_out": closed,
            "offer_a": round(self.duty * 0.06) if self.duty < 1000 else 0,
        }

    def say(self) -> None:
        for writer in self._writers:
            writer.write(json.dumps(self.line()).encode() + b"\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while line := await reader.readline():
            self.inputs.update(json.loads(line))
            self.say()

    def offer(self, permille: int) -> None:
        self.duty = permille
        self.say()


@asynccontextmanager
async def running(
    folder: Path, config: dict[str, Any], benches: dict[str, Bench]
) -> AsyncIterator[tuple[Building, list[dict[str, Any]]]]:
    truth: list[dict[str, Any]] = []
    servers = [
        await asyncio.start_unix_server(bench.serve, path=str(folder / f"{name}.sock"))
        for name, bench in benches.items()
    ]
    charger = [{"name": name, "bench": f"{name}.sock"} for name in benches]
    building = Building({"charger": charger, **config}, folder, truth.append)
    await building.start()
    try:
        yield building, truth
    finally:
        await building.stop()
        for server in servers:
            server.close()


async def until(holds: Callable[[], Any], s: float = 8) -> None:
    async with asyncio.timeout(s):
        while not holds():  # noqa: ASYNC110 - it asks about another task's doings
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("meter", ["grid", "house"])
def test_what_cars_draw_is_added_to_what_the_meter_reports(tmp_path: Path, meter: str) -> None:
    async def run() -> None:
        bench = Bench()
        config = {"meter": meter, "house": {"steps": [[0, 3.2]]}, "uart": "meter.tty"}
        async with running(tmp_path, config, {"c1": bench}) as (building, truth):
            assert (tmp_path / "meter.tty").is_symlink()
            building.order({"plug": "c1", "car": {"max_a": 20, "follow_ms": 0, "ramp_a_s": 1000}})
            await until(lambda: bench.inputs["ev"] == "B")
            bench.offer(533)
            await until(lambda: bench.inputs.get("car_ma") == [20_000, 0, 0])
            await until(lambda: truth[-1]["total_ma"] == [23_200])
            seen = 23_200 if meter == "grid" else 3200
            assert building.pzems[0].true.current_ma == seen
            assert truth[-1]["cars"]["c1"]["ev"] == "C"
            building.order({"house_a": 10})
            await until(lambda: truth[-1]["total_ma"] == [30_000])
            building.order({"unplug": "c1"})
            await until(lambda: bench.inputs["ev"] == "A")
            await until(lambda: truth[-1]["total_ma"] == [10_000])
        assert not (tmp_path / "meter.tty").exists()

    asyncio.run(run())


def test_arrivals_come_and_leave_on_time(tmp_path: Path) -> None:
    async def run() -> None:
        bench = Bench()
        config = {
            "arrival": [{"charger": "c1", "at_s": 0.3, "leaves_s": 0.9, "car": {"max_a": 16}}]
        }
        async with running(tmp_path, config, {"c1": bench}) as (building, truth):
            await until(lambda: bench.inputs["ev"] == "B")
            assert 0.25 < building.t_s < 0.9
            await until(lambda: bench.inputs["ev"] == "A")
            assert building.t_s > 0.85
            assert [t["t_s"] for t in truth] == sorted(t["t_s"] for t in truth)

    asyncio.run(run())


def test_a_bench_that_comes_later_is_found(tmp_path: Path) -> None:
    async def run() -> None:
        building = Building(
            {"charger": [{"name": "c1", "bench": "c1.sock"}]}, tmp_path, lambda _: None
        )
        await building.start()
        building.order({"plug": "c1"})
        await asyncio.sleep(0.5)
        bench = Bench()
        server = await asyncio.start_unix_server(bench.serve, path=str(tmp_path / "c1.sock"))
        await until(lambda: bench.inputs["ev"] == "B")
        server.close()
        await building.stop()

    asyncio.run(run())


def test_three_phases_go_to_their_own_pzems(tmp_path: Path) -> None:
    async def run() -> None:
        bench = Bench()
        config = {
            "phases": 3, "house": {"steps": [[0, [1, 2, 3]]]},
            "charger": [{"name": "c1", "bench": "c1.sock", "phases": [3, 1]}],
        }  # fmt: skip
        async with running(tmp_path, config, {"c1": bench}) as (building, truth):
            building.order(
                {"plug": "c1", "car": {"max_a": 10, "phases": 2, "follow_ms": 0, "ramp_a_s": 1000}}
            )
            bench.offer(533)
            await until(lambda: truth[-1]["total_ma"] == [11_000, 2000, 13_000])
            assert [p.true.current_ma for p in building.pzems] == [11_000, 2000, 13_000]
            assert [p.address for p in building.pzems] == [1, 2, 3]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"phases": 4}, "phases"),
        ({"meter": "solar"}, "meter"),
        ({"colour": 1}, "no such setting: colour"),
        ({"charger": [{"name": "c1"}]}, "bench is missing"),
        ({"charger": [{"name": "c", "bench": "b"}, {"name": "c", "bench": "d"}]}, "two are named c"),
        ({"charger": [{"name": "c", "bench": "b", "phases": [2]}]}, "phases"),
        ({"arrival": [{"charger": "c", "at_s": 1}]}, "no charger 'c'"),
        ({"arrival": [{"at_s": 1}]}, "charger is missing"),
        ({"house": {"recording": "nowhere"}}, "house"),
        ({"house": {"steps": [[5, 1], [5, 2]]}}, "order of time"),
        ({"house": {"steps": [[0, [1, 2]]]}}, "2 currents for 1 phases"),
        ({"house": {"wind": 3}}, "house"),
    ],
)  # fmt: skip
def test_buildings_that_cannot_be(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(BuildingError, match=words):
        Building(config, tmp_path, lambda _: None)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"plug": "c9"}, "no charger 'c9'"),
        ({"plug": "c1", "car": {"max_a": 200}}, "max_a"),
        ({"plug": []}, "no charger"),
        ({"plug": "c1", "car": 5}, "int"),
        ({"faults": {"gremlin": 1}}, "gremlin"),
        ({"faults": {"crc": 2}}, "rates from 0 to 1"),
        ({"faults": 5}, "rates from 0 to 1"),
        ({"mains_dv": "230"}, "mains_dv"),
        ({"meter": []}, "meter"),
        ({"dance": 1}, "no such order"),
        ({"house_a": [1, 2]}, "2 currents"),
    ],
)
def test_orders_that_cannot_be(tmp_path: Path, order: dict[str, Any], words: str) -> None:
    building = Building(
        {"charger": [{"name": "c1", "bench": "c1.sock"}]}, tmp_path, lambda _: None
    )
    with pytest.raises(BuildingError, match=words):
        building.order(order)


@pytest.mark.parametrize("name", ["uci", "tracebase"])
def test_recordings_play_at_any_speed(name: str) -> None:
    slow, fast = House(recording=name), House(recording=name, speed=60)
    assert [slow.ma(60 * t) for t in range(600)] == [fast.ma(t) for t in range(600)]
    assert max(slow.ma(t)[0] for t in range(0, 86_400, 60)) > 5000
    evening = House(recording=name, from_s=64_800)
    assert evening.ma(10) == slow.ma(64_810)


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text("[house]\nsteps = [[0, 5.0]]\n")
    with subprocess.Popen(
        [sys.executable, "-m", "simulator.building", str(tmp_path / "b.toml")],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready"]
        assert ready["uart"].startswith("/dev/")
        assert json.loads(process.stdout.readline())["total_ma"] == [5000]
        process.stdin.write('{"house_a": 7}\n{"plug": "nobody"}\nnonsense\n')
        process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for _ in range(4)]
        assert any(line.get("total_ma") == [7000] for line in said)
        assert any("nobody" in line.get("error", "") for line in said)
        process.terminate()
        assert process.wait(5) == 0


def test_a_wrong_file_is_refused_in_words(tmp_path: Path) -> None:
    for name, text in (("none.toml", None), ("bad.toml", "= 1"), ("wrong.toml", "phases = 9")):
        if text is not None:
            (tmp_path / name).write_text(text)
        run = subprocess.run(
            [sys.executable, "-m", "simulator.building", str(tmp_path / name)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 2
        assert run.stderr.startswith("building: ")
