"""A building for tests of the core: a meter and chargers that answer at once, on a clock of their own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from manager.core.commands import Note, Send
from manager.core.decide import decide
from manager.core.events import Announced, Event, Report, Tick
from manager.core.site import Site
from shared import protocol


@dataclass
class Board:
    """A charger and its car, obeying at once; the car draws what it is offered up to `car_a`."""

    name: str
    boot: int = 1
    seq: int = 0
    state: str = "A"
    offer_a: int = 0
    lease: int = 0
    car_a: float = 32
    reachable: bool = True
    phases: int = 1
    wiring: tuple[int, ...] = (1,)
    more: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)  # what its status says of a mode of its own

    @property
    def drawn_ma(self) -> int:
        return (
            round(min(self.offer_a, self.car_a) * 1000)
            if self.state == "C" and self.offer_a
            else 0
        )

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq


class Plant:
    """Feeds a site with events and keeps what it sends. Time moves in `step_ms`."""

    def __init__(self, site: Site, role: str = "house", step_ms: int = 250) -> None:
        self.site = site
        self.now = 0
        self.step_ms = step_ms
        self.role = role
        self.house_ma = [0] * site.feeders["main"].phases
        self.boards: dict[str, Board] = {}
        self.waiting: deque[Event] = deque()
        self.busy = False
        self.deaf = False  # the manager is away
        self.notes: list[Note] = []
        self.sent: list[tuple[int, str, dict[str, Any]]] = []
        self.meter_seq = 0
        self.meter_speaks = True
        self.minute = 0
        self.utc_s = 0  # as the clock began; 0: nobody knows
        phases = site.feeders["main"].phases
        self.put(
            Announced(
                "hello/new",
                self.meter(
                    protocol.NEW_COUNTER,
                    id="Counter-1",
                    model="",
                    firmware="",
                    phases=phases,
                    role=role,
                ),
            )
        )

    def meter(self, code: int, **more: Any) -> dict[str, Any]:
        self.meter_seq += 1
        return {"code": code, "boot": 1, "seq": self.meter_seq, **more}

    def put(self, event: Event) -> None:
        """Hand over one event; what the boards answer follows in the order it was sent."""
        if self.deaf:
            return
        self.waiting.append(event)
        if self.busy:
            return
        self.busy = True
        while self.waiting:
            self.site, commands = decide(self.site, self.waiting.popleft(), self.now)
            for command in commands:
                if isinstance(command, Note):
                    self.notes.append(command)
                elif isinstance(command, Send):
                    self.sent.append((self.now, command.device, dict(command.message)))
                    self.deliver(command)
        self.busy = False

    def deliver(self, command: Send) -> None:
        board = self.boards.get(command.device)
        message = command.message
        if board is None or not board.reachable or message["code"] != protocol.AVAILABLE_LOAD:
            return
        assert message["re_boot"] == board.boot
        assert message["lease"] > board.lease
        board.lease = message["lease"]
        board.offer_a = message["limit_a"]
        self.status(board)

    def add(self, name: str, **more: Any) -> Board:
        board = Board(name, **more)
        self.boards[name] = board
        self.put(
            Announced(
                "Counter-1/new",
                {
                    "code": protocol.NEW_CHARGER,
                    "boot": board.boot,
                    "seq": board.next_seq(),
                    "id": name,
                    "counter": "Counter-1",
                    "model": "",
                    "firmware": "",
                    "min_a": 6,
                    "max_a": 32,
                    "phases": board.phases,
                    "wiring": list(board.wiring),
                    "failsafe_a": 0,
                    "meter": 1,
                    **board.more,
                },
            )
        )
        self.status(board)
        return board

    def status(self, board: Board) -> None:
        if not board.reachable:
            return
        drawing = board.state == "C" and board.offer_a > 0
        self.put(
            Report(
                board.name,
                {
                    "code": protocol.CHARGER_STATUS,
                    "boot": board.boot,
                    "seq": board.next_seq(),
                    "state": board.state + ("2" if board.offer_a else "1"),
                    "offer_a": board.offer_a,
                    "lease": board.lease,
                    "lease_ms": 15_000,
                    "contactor": int(drawing),
                    "mode": "managed",
                    "faults": [],
                    "rejected": 0,
                    "uptime_s": 1,
                    **board.own,
                },
            )
        )

    def state(self, name: str, state: str) -> None:
        board = self.boards[name]
        board.state = state
        self.status(board)

    def load(self, board: Board) -> None:
        if board.reachable and board.more.get("meter", 1):
            n = board.phases
            self.put(
                Report(
                    board.name,
                    {
                        "code": protocol.CHARGER_LOAD,
                        "boot": board.boot,
                        "seq": board.next_seq(),
                        "current_ma": [board.drawn_ma] * n,
                        "voltage_dv": [2300] * n,
                        "power_w": [board.drawn_ma * 230 // 1000] * n,
                        "energy_wh": [0] * n,
                        "age_ms": 0,
                    },
                )
            )

    def totals_ma(self) -> list[int]:
        total = list(self.house_ma)
        for board in self.boards.values():
            for phase in board.wiring:
                total[phase - 1] += board.drawn_ma
        return total

    def read(self) -> None:
        current = self.totals_ma() if self.role == "grid" else self.house_ma
        n = len(current)
        self.put(
            Report(
                "Counter-1",
                self.meter(
                    protocol.COUNTER_LOAD,
                    current_ma=[abs(ma) for ma in current],  # the sign is the power's
                    voltage_dv=[2300] * n,
                    power_w=[ma * 230 // 1000 for ma in current],
                    energy_wh=[0] * n,
                    age_ms=0,
                ),
            )
        )

    def house(self, amps: float, *more: float) -> None:
        self.house_ma = [round(a * 1000) for a in (amps, *more)]

    def run(self, seconds: float) -> None:
        """Let time pass: readings every second, a tick every step."""
        end = self.now + round(seconds * 1000)
        while self.now < end:
            self.now += self.step_ms
            if self.now % 1000 == 0:
                for board in self.boards.values():
                    self.load(board)
                if self.meter_speaks:
                    self.read()
            utc_s = self.utc_s + self.now // 1000 if self.utc_s else 0
            self.put(Tick(minute=self.minute, utc_s=utc_s))

    def offers(self) -> tuple[int, ...]:
        return tuple(b.offer_a for b in self.boards.values())
