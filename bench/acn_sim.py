"""Our allocation beside others', inside ACN-Sim. Runs under a Python that has `acnportal` (bench/race.py
makes one), prints JSON.

    python bench/acn_sim.py house --allocate "python -m manager allocate" [--days 14]
    python bench/acn_sim.py unseen --allocate ...
    python bench/acn_sim.py site  --allocate ...
    python bench/acn_sim.py speed

house: 30 A shared by a house and five chargers; the house's current is known one minute late, so the
    limit every contestant is given is 30 A less what the house drew a minute ago.
unseen: the same with days and users on which nothing was tuned.
site: 54 chargers between the lines of the Caltech garage under one small transformer.
speed: one decision for those 54.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import json
import math
import shlex
import subprocess
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
from acnportal import acnsim  # noqa: E402
from acnportal.acnsim.models import EV, Battery, FiniteRatesEVSE  # noqa: E402
from acnportal.algorithms import (  # noqa: E402
    BaseAlgorithm,
    RoundRobin,
    SortedSchedulingAlgo,
    earliest_deadline_first,
    first_come_first_served,
    least_laxity_first,
)

HERE = Path(__file__).parent
VOLTS = 230
LIMIT_A = 30
MAX_A = 32
PILOTS = [0, *range(6, MAX_A + 1)]
START = dt.datetime(2019, 12, 15)
BEGIN_S = 30 * 86_400  # time of the first minute of a race, so that there is one before it
HOUSE_BEGINS_MIN = 6 * 1440  # of the week: the house's recording begins on a Sunday


def house_a(minutes: int) -> list[float]:
    """One house, A, minute by minute; where nothing was recorded, the last value."""
    path = HERE.parent / "simulator" / "data" / "house_uci_1min.csv.gz"
    out: list[float] = []
    with gzip.open(path, "rt") as file:
        for line in file:
            if line.startswith("#") or line.startswith("amps"):
                continue
            out.append(float(line) if line.strip() else (out[-1] if out else 0.0))
    return out[:minutes]


def minute_of_week(minute: int) -> int:
    """Of the house's recording."""
    return (HOUSE_BEGINS_MIN + minute) % (7 * 1440)


def stays(
    name: str, start: dt.datetime, period_min: int
) -> list[tuple[str, str, int, int, float]]:
    """(session, user, first period, period it leaves in, kWh)."""
    out = []
    with (HERE / "data" / name).open() as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            first, last = (
                int((dt.datetime.fromisoformat(row[key]) - start).total_seconds() // 60)
                // period_min
                for key in ("arrives", "leaves")
            )
            if last > first:
                out.append((row["session"], row["user"], first, last, float(row["kwh"])))
    return out


class Asked(BaseAlgorithm):
    """`ievcc allocate`, asked once a period over a pipe."""

    def __init__(
        self, command: str, policy: str, house=None, margin: float = 0, before=()
    ) -> None:
        """`house`: as it is known, less `margin` A; `before`: what it drew before it begins, minute by minute."""
        super().__init__()
        self.max_recompute = 1
        self.policy = policy
        self.house = house
        self.margin = margin
        self.order: dict[str, int] = {}
        self.pipe = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.minutes_before = len(before)
        for n, amps in enumerate(before):
            quiet = {"now_s": (n - len(before)) * 60 + BEGIN_S, "policy": policy, "chargers": []}
            self.ask({**quiet, "limit_a": 0, "house_a": amps, "minute": minute_of_week(n)})

    def request(self, sessions) -> dict:
        at = self.interface.current_time
        seconds = self.interface.period * 60
        info = self.interface.infrastructure_info()
        groups, limit = [], None
        if self.house is None:
            for row, magnitude, name in zip(
                info.constraint_matrix, info.constraint_limits, info.constraint_ids
            ):
                on = np.nonzero(row)[0]
                groups.append(
                    {
                        "name": name,
                        "limit_a": float(magnitude),
                        "ids": [info.station_ids[i] for i in on],
                        "coef": [float(row[i]) for i in on],
                        "angle_deg": [float(info.phases[i]) for i in on],
                    }
                )
        else:
            limit = LIMIT_A - self.house[max(0, at - 1)] - self.margin
        chargers = [
            {
                "id": s.station_id,
                "session": s.session_id,
                "order": self.order.setdefault(s.session_id, len(self.order)),
                "min_a": float(self.interface.min_pilot_signal(s.station_id) or 6),
                "max_a": float(self.interface.max_pilot_signal(s.station_id)),
                "arrival_s": s.arrival * seconds + BEGIN_S,
                "est_departure_s": s.estimated_departure * seconds + BEGIN_S,
                "requested_kwh": s.requested_energy,
                "delivered_kwh": s.energy_delivered,
            }
            for s in sessions
        ]
        request = {
            "now_s": at * seconds + BEGIN_S, "period_s": seconds, "policy": self.policy, "limit_a": limit,
            "groups": groups, "chargers": chargers,
        }  # fmt: skip
        if self.house is not None:
            request["house_a"] = self.house[max(0, at - 1)]
            request["minute"] = minute_of_week(self.minutes_before + at)
        return request

    def ask(self, request: dict) -> dict:
        self.pipe.stdin.write(json.dumps(request) + "\n")
        self.pipe.stdin.flush()
        answer = json.loads(self.pipe.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def schedule(self, active_sessions):
        return {name: [amps] for name, amps in self.ask(self.request(active_sessions)).items()}

    def close(self) -> None:
        self.pipe.stdin.close()
        self.pipe.wait(10)


class Late(BaseAlgorithm):
    """An algorithm of ACN-Sim's, given the house as it was a minute ago, less a margin."""

    def __init__(self, inner, house, margin) -> None:
        super().__init__()
        self.max_recompute = 1
        self.inner = inner
        self.house = house
        self.margin = margin  # amperes, or a function of the house so far

    def register_interface(self, interface):
        super().register_interface(interface)
        self.inner.register_interface(interface)

    def schedule(self, active_sessions):
        at = self.interface.current_time
        margin = self.margin(at) if callable(self.margin) else self.margin
        room = max(0, math.floor(LIMIT_A - self.house[max(0, at - 1)] - margin))
        self.interface._simulator.network.magnitudes[0] = room
        return self.inner.schedule(active_sessions)


def step_quantile(house):
    """The 95 % quantile of the house's steps from minute to minute so far."""
    steps: list[float] = []
    seen = 0

    def margin(at: int) -> float:
        nonlocal seen
        while seen < at - 1:
            steps.append(house[seen + 1] - house[seen])
            seen += 1
        return max(0.0, float(np.quantile(steps, 0.95))) if len(steps) > 60 else 0.0

    return margin


def sorted_by(how):
    return SortedSchedulingAlgo(how)


def run_house(algorithm, house, sessions):
    network = acnsim.ChargingNetwork(violation_tolerance=1000)
    users = sorted({s[1] for s in sessions})
    for user in users:
        network.register_evse(FiniteRatesEVSE(user, PILOTS), VOLTS, 0)
    network.add_constraint(acnsim.Current(users), LIMIT_A, name="house")
    events = acnsim.EventQueue()
    for session, user, first, last, kwh in sessions:
        battery = Battery(kwh, 0, MAX_A * VOLTS / 1000)
        events.add_event(acnsim.PluginEvent(first, EV(first, last, kwh, user, session, battery)))
    sim = acnsim.Simulator(
        network, algorithm, events, START.replace(tzinfo=dt.timezone.utc), period=1, verbose=False
    )
    sim.run()
    rates = sim.charging_rates
    pilots = sim.pilot_signals
    periods = min(rates.shape[1], len(house))
    drawn = rates[:, :periods].sum(axis=0)
    over = np.minimum(drawn, np.maximum(0, drawn + np.array(house[:periods]) - LIMIT_A))
    asked = sum(s[4] for s in sessions)
    got = sum(ev.energy_delivered for ev in sim.ev_history.values())
    on = pilots[:, :periods] > 0
    starts = int((on[:, 1:] & ~on[:, :-1]).sum() + on[:, 0].sum())
    return {
        "energy": 100 * got / asked,
        "minutes": int((over > 1e-6).sum()),
        "ah": float(over.sum() / 60),
        "starts": starts,
    }


def clairvoyant(house, sessions):
    """The most energy anybody could deliver who knows house and cars beforehand, without one overload."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix

    rows, cols, data, bounds, limit = [], [], [], [], []
    var = 0
    room_of: dict[int, int] = {}
    n_rows = 0
    for _, _, first, last, kwh in sessions:
        limit.append(kwh * 60_000 / VOLTS)
        mine = n_rows
        n_rows += 1
        for t in range(first, min(last, len(house))):
            rows.append(mine)
            cols.append(var)
            data.append(1.0)
            if t not in room_of:
                room_of[t] = n_rows
                limit.append(max(0.0, LIMIT_A - house[t]))
                n_rows += 1
            rows.append(room_of[t])
            cols.append(var)
            data.append(1.0)
            bounds.append((0, MAX_A))
            var += 1
    got = linprog(
        -np.ones(var), A_ub=coo_matrix((data, (rows, cols)), shape=(n_rows, var)), b_ub=limit,
        bounds=(0, MAX_A), method="highs",
    )  # fmt: skip
    asked = sum(s[4] for s in sessions) * 60_000 / VOLTS
    return {"energy": 100 * -got.fun / asked, "minutes": 0, "ah": 0.0, "starts": -1}


def six_weeks(users: list[str], start: dt.datetime, days: int):
    """As `stays`, of these users out of the six weeks of all garages."""
    path = HERE.parent / "simulator" / "data" / "garages_trondheim_2019-11-11_6_weeks.csv.gz"
    out = []
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            first, last = (
                int((dt.datetime.fromisoformat(row[key]) - start).total_seconds() // 60)
                for key in ("arrives", "leaves")
            )
            if row["user"] in users and 0 <= first < last < days * 1440:
                out.append((row["session"], row["user"], first, last, float(row["kwh"])))
    return out


# Name, users, first day of theirs, first day of the house's recording. What `deadline` goes by was
# chosen on five users of garage Bl2 from 2019-12-15 and on days 0 to 13 of the house.
BL2 = ["Bl2-1", "Bl2-2", "Bl2-3", "Bl2-4", "Bl2-5", "Bl2-6", "Bl2-7"]
FRONTIER = (0, 1, 2, 3, 4)  # A, the margins of others that are shown
UNSEEN = (
    ("other house days, same garage earlier", BL2, dt.datetime(2019, 11, 28), 11),
    ("other house days, other users", ["UT7-1", "UT7-2", "UT7-3", "UT7-4", "UT7-5"], dt.datetime(2019, 11, 28), 11),
    ("other users", ["MS1-1", "MS1-2", "AdO1-1", "AdO1-2", "NR1-1"], dt.datetime(2019, 11, 17), 0),
)  # fmt: skip


def race_unseen(command: str, days: int) -> list[dict]:
    recorded = house_a(25 * 1440)
    out = []
    for name, users, start, house_day in UNSEEN:
        house = recorded[house_day * 1440 :]
        sessions = six_weeks(users, start, days)
        for margin in FRONTIER:
            late = Late(sorted_by(earliest_deadline_first), house, margin)
            figures = run_house(late, house, sessions)
            out.append({"name": f"{name}: EDF less {margin} A", **figures})
        for margin in (0, 0.5, 1, 2):
            asked = Asked(command, "deadline", house, margin, recorded[: house_day * 1440])
            figures = run_house(asked, house, sessions)
            asked.close()
            out.append({"name": f"{name}: ours: deadline less {margin} A", **figures})
        out.append({"name": f"{name}: clairvoyant", **clairvoyant(house, sessions)})
    return out


def race_house(command: str, days: int) -> list[dict]:
    house = house_a(25 * 1440)
    sessions = [
        s for s in stays("garage_trondheim_bl2_14_days.csv", START, 1) if s[2] < days * 1440
    ]
    out = []

    def add(name, figures):
        out.append({"name": name, **figures})

    def late(how, margin=0):
        return run_house(Late(how, house, margin), house, sessions)

    add("first come, first served", late(sorted_by(first_come_first_served)))
    for margin in FRONTIER:
        add(f"EDF less {margin} A", late(sorted_by(earliest_deadline_first), margin))
    add("EDF less 95 % of steps", late(sorted_by(earliest_deadline_first), step_quantile(house)))
    add("least laxity first", late(sorted_by(least_laxity_first)))
    add("round robin", late(RoundRobin(first_come_first_served, continuous_inc=1)))
    for policy, name in (
        ("equal", "the thesis' rule"),
        ("fair", "ours: fair"),
        ("deadline", "ours: deadline"),
    ):
        asked = Asked(command, policy, house)
        add(name, run_house(asked, house, sessions))
        asked.close()
    for margin in (0.5, 1, 2):
        asked = Asked(command, "deadline", house, margin)
        add(f"ours: deadline less {margin:g} A", run_house(asked, house, sessions))
        asked.close()
    add("clairvoyant linear program", clairvoyant(house, sessions))
    return out


def garage(cap_kw: float):
    """The Caltech garage: 54 chargers between its lines, its group limits, whole amperes."""
    built = acnsim.sites.caltech_acn(basic_evse=True, voltage=208, transformer_cap=cap_kw)
    network = acnsim.ChargingNetwork()
    for n, name in enumerate(built.station_ids):
        evse = FiniteRatesEVSE(name, PILOTS)
        network.register_evse(evse, built.voltages[name], float(built._phase_angles[n]))
    network.constraint_matrix = built.constraint_matrix
    network.constraint_index = built.constraint_index
    network.magnitudes = built.magnitudes
    return network


SITE_START = dt.datetime(2019, 12, 16)
PERIOD_MIN = 5


def site_simulation(algorithm, cap_kw: float, days: int):
    network = garage(cap_kw)
    free_at = dict.fromkeys(network.station_ids, 0)
    events = acnsim.EventQueue()
    asked = 0.0
    for session, _, first, last, kwh in stays(
        "garages_trondheim_3_days.csv", SITE_START, PERIOD_MIN
    ):
        station = next((s for s, at in free_at.items() if at <= first), None)
        if station is None or first >= days * 288:
            continue
        free_at[station] = last + 1
        asked += kwh
        battery = Battery(kwh, 0, MAX_A * 208 / 1000)
        events.add_event(
            acnsim.PluginEvent(first, EV(first, last, kwh, station, session, battery))
        )
    sim = acnsim.Simulator(
        network,
        algorithm,
        events,
        SITE_START.replace(tzinfo=dt.timezone.utc),
        PERIOD_MIN,
        verbose=False,
    )
    return sim, asked


def race_site(command: str, cap_kw: float = 20, days: int = 1) -> list[dict]:
    out = []
    for name, algorithm in (
        ("least laxity first", sorted_by(least_laxity_first)),
        ("round robin", RoundRobin(first_come_first_served, continuous_inc=1)),
        ("ours: deadline", Asked(command, "deadline")),
        ("ours: fair", Asked(command, "fair")),
    ):
        sim, asked = site_simulation(algorithm, cap_kw, days)
        sim.run()
        got = sum(ev.energy_delivered for ev in sim.ev_history.values())
        forbidden = 0
        for column in range(sim.pilot_signals.shape[1]):
            if not sim.network.is_feasible(sim.pilot_signals[:, [column]]):
                forbidden += 1
        out.append({"name": name, "energy": 100 * got / asked, "forbidden": forbidden})
        if isinstance(algorithm, Asked):
            algorithm.close()
    return out


def speed(repeats: int = 20) -> list[dict]:
    """One decision for 54 cars that all want current, in ms: the median of several."""
    sys.path.insert(0, str(HERE.parent))
    from acnportal.acnsim import Interface
    from manager.core.allocation import Allocator

    network = garage(150)
    events = acnsim.EventQueue()
    for n, name in enumerate(network.station_ids):
        battery = Battery(40, 0, 6.6)
        events.add_event(acnsim.PluginEvent(0, EV(0, 100 + n, 40, name, f"s{n}", battery)))

    class Timed(BaseAlgorithm):
        def __init__(self) -> None:
            super().__init__()
            self.max_recompute = 1
            self.ms: dict[str, list[float]] = {
                "round robin": [],
                "ours: fair": [],
                "ours: deadline": [],
            }
            self.others = [("round robin", RoundRobin(first_come_first_served, continuous_inc=1))]
            self.request = Asked("true", "fair")

        def register_interface(self, interface: Interface) -> None:
            super().register_interface(interface)
            self.request.register_interface(interface)
            for _, one in self.others:
                one.register_interface(interface)

        def schedule(self, active_sessions):
            answer = {}
            for name, one in self.others:
                start = time.perf_counter()
                answer = one.schedule(active_sessions)
                self.ms[name].append((time.perf_counter() - start) * 1000)
            for policy in ("fair", "deadline"):
                request = {**self.request.request(active_sessions), "policy": policy}
                start = time.perf_counter()
                Allocator().decide(request)
                self.ms[f"ours: {policy}"].append((time.perf_counter() - start) * 1000)
            if len(self.ms["round robin"]) >= repeats:
                raise StopIteration
            return answer

    timed = Timed()
    sim = acnsim.Simulator(
        network,
        timed,
        events,
        SITE_START.replace(tzinfo=dt.timezone.utc),
        PERIOD_MIN,
        verbose=False,
    )
    try:
        sim.run()
    except StopIteration:
        pass
    return [{"name": name, "ms": float(np.median(ms))} for name, ms in timed.ms.items()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["house", "unseen", "site", "speed"])
    parser.add_argument("--allocate", default="")
    parser.add_argument("--days", type=int, default=14)
    asked = parser.parse_args()
    if asked.what == "house":
        print(json.dumps(race_house(asked.allocate, asked.days)))
    elif asked.what == "unseen":
        print(json.dumps(race_unseen(asked.allocate, asked.days)))
    elif asked.what == "site":
        print(json.dumps(race_site(asked.allocate, days=min(asked.days, 3))))
    else:
        print(json.dumps(speed()))


if __name__ == "__main__":
    main()
