"""A house with a meter and chargers: the boards' own firmware, a PZEM on a pty, cars that follow
their pilot after a moment. The test is the house and the drivers.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from manager.process import Child, wait_until_ended
from simulator.pzem_slave import LineThread, Pzem
from tests.live.running import LateError, Running, until

FOLLOW_S = 0.4  # a brisk car; the standard gives it 5 s


class Cable:
    """A charger's bench socket: the car on its end, drawing what the pilot offers."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        until(f"{path.name} answers", lambda: not self._socket.connect_ex(str(path)), 15)
        self.seen: dict[str, Any] = {}
        self.drawn_ma = 0
        self._due = 0.0
        threading.Thread(target=self._read, daemon=True).start()
        self.put(get=True)
        until(f"{path.name} tells how it is", lambda: self.seen, 15)

    def put(self, **inputs: Any) -> None:
        self._socket.sendall(json.dumps(inputs).encode() + b"\n")

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            for line in lines:
                before = self._draws()
                self.seen = json.loads(line)
                if self._draws() != before:
                    # A contactor that opens takes the current away at once.
                    self._due = time.monotonic() + (FOLLOW_S if self.seen["contactor"] else 0)

    def _draws(self) -> int:
        charging = self.seen.get("contactor") and self.seen.get("state") == "C2"
        return int(self.seen["offer_a"]) * 1000 if charging else 0

    def follow(self) -> None:
        """Let the car do what it is due to do by now."""
        if time.monotonic() >= self._due and self.drawn_ma != self._draws():
            self.drawn_ma = self._draws()
            self.put(car_ma=[self.drawn_ma, 0, 0])

    def close(self) -> None:
        self._socket.close()


class Garage(Running):
    """Three chargers and a meter of this role under one manager, all signed."""

    def __init__(self, folder: Path, settings: str, role: str, chargers: int = 3) -> None:
        names = ["Counter-1", *(f"Charger-{n + 1}" for n in range(chargers))]
        self.keys = {name: secrets.token_hex(16) for name in names}
        devices = "".join(
            f'[[device]]\nid = "{name}"\nkey = "{key}"\n' for name, key in self.keys.items()
        )
        super().__init__(folder, f"[site]\nlimit_a = 30\n{settings}\n{devices}")
        self.role = role
        self.house_a = 0.0
        self.pzem = Pzem()
        self.line = LineThread([self.pzem])
        self.line.__enter__()
        self.boards: dict[str, Child] = {}
        self.cables: dict[str, Cable] = {}
        self._ending = threading.Event()
        self._world = threading.Thread(target=self._turn, daemon=True)
        self._world.start()
        try:
            self._start_boards(names)
        except BaseException:
            self.stop()
            raise

    def _start_boards(self, names: list[str]) -> None:
        self.start_board("Counter-1")
        until("the meter is registered", lambda: self.state()["meters"], 40)
        for name in names[1:]:
            # One after the other: their order is the order in which they register.
            self.start_board(name)
            until(f"{name} is registered", partial(self.charger, name), 40)
            self.cables[name] = Cable(self.folder / f"{name}.sock")

    def start_board(self, name: str, flash: str = "", **changes: Any) -> Child:
        """Start the board of this name, on its own flash or on that of another copy of it."""
        flash = flash or name
        kind = "energy_meter" if name.startswith("Counter") else "charger"
        config = {
            "id": name,
            "site": self.root.split("/")[1],
            "key": self.keys[name],
            "wifi_ssid": "bench",
            "broker_host": "127.0.0.1",
            "broker_port": self.broker.port,
            "repl_window_ms": 0,
        }
        if kind == "charger":
            config |= {"counter": "Counter-1", "start_delay_s": 0, "resume_s": 1}
        else:
            config |= {"role": self.role}
        file = self.folder / f"{flash}.json"
        file.write_text(json.dumps(config | changes))
        command = [sys.executable, "-m", "manager", "board", kind, "--config", str(file)]
        command += ["--fs", str(self.folder / f"{flash}.flash")]
        if kind == "charger":
            command += ["--bench", str(self.folder / f"{flash}.sock")]
        else:
            command += ["--uart", self.line.path]
        child = self.boards[flash] = Child(flash, command, self.folder / f"{flash}.log")
        return child

    def _turn(self) -> None:
        while not self._ending.wait(0.05):
            cables = list(self.cables.values())
            with contextlib.suppress(OSError):
                for cable in cables:
                    cable.follow()
            cars = sum(c.drawn_ma for c in cables) if self.role == "grid" else 0
            total = round(self.house_a * 1000) + cars
            if self.pzem.true.current_ma != total:
                self.pzem.set(current_ma=total)

    def plug(self, name: str, state: str) -> None:
        """What the car on this charger shows: A none, B plugged in, C ready."""
        self.cables[name].put(ev=state)

    def offers(self) -> tuple[int, ...]:
        """What each pilot shows to a car that is ready, from the pins and not from the manager."""
        return tuple(
            int(c.seen["offer_a"]) if c.seen["state"] == "C2" else 0 for c in self.cables.values()
        )

    def settle(self, offers: tuple[int, ...], within_s: float, what: str = "") -> None:
        """Wait until the pilots show this; LateError with all that could explain why not."""
        try:
            until(f"{what} {offers}", lambda: self.offers() == offers, within_s)
        except LateError as e:
            state = self.state()
            pilots = {n: c.seen for n, c in self.cables.items()}
            raise LateError(
                f"{e}: {self.offers()}, house metered as {self.role}\n{state['chargers']}\n"
                f"{state['feeders']}\n{state['events'][:6]}\n{pilots}"
            ) from e

    def stop(self) -> None:
        self._ending.set()
        self._world.join()
        for cable in self.cables.values():
            cable.close()
        wait_until_ended(list(self.boards.values()), 3)
        self.line.__exit__(None, None, None)
        super().stop()
