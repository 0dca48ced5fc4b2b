"""A PZEM-004T v3 that is not ours: frames, CRC and decoding are pymodbus', the registers are here.

    pzem = Pzem(address=1)
    pzem.set(voltage_dv=2305, current_ma=16_000, power_dw=36_880, pf_pct=100, freq_dhz=500)
    with LineThread([pzem]) as line:  # in an event loop: line = Line([pzem]); line.open()
        master = open(line.path, "r+b")  # the tty for whoever asks; 9600 8N1, raw
        line.fault_next("crc")  # the next answer only; several calls queue up
        line.fault_rates = {"silence": 0.02, "noise": 0.05}  # per answer, drawn with `seed`
        line.log  # one Exchange an answer: what was asked, what went out, `right` or not

One to three Pzems share a line (addresses must differ). Bytes go out at 9600 baud, `chunk` at a
time (1: byte by byte; the default saves the computer's time), after `think_ms`; `paced=False`
answers at once. `Pzem(update_s=1.0)` latches its registers once a second, as the real one does;
`step_response=True` averages over windows of 1.3 s, so that a step shows after up to 1.3 s and
has settled after up to 2.6 s; `update_s=0` shows what was set at once. Energy is counted from the
true power on the clock of the line.

Faults: "crc" (one bit of the answer turned), "cut" (its end is missing), "split" (a pause of 60
ms in it), "late" (all of it 400 ms late), "silence", "noise" (garbage before and after),
"exception" (an exception instead), "other" (a good frame of another device: address 100), "zero"
(a good frame, every value zero), "stale" (the answer before this one again), "echo" (the request
comes back before the answer, as half-duplex adapters do).
"""

from __future__ import annotations

import asyncio
import os
import pty
import random
import struct
import threading
import time
import tty
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersResponse,
    ReadInputRegistersResponse,
    WriteSingleRegisterResponse,
)

GENERAL = 0xF8
BYTE_S = 10 / 9600
GAP_S = 0.004  # 3.5 characters of silence end a frame
_CALIBRATION_S = 3.5
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _SLAVE_ERROR = 1, 2, 3, 4
FAULTS = (
    "crc", "cut", "split", "late", "silence", "noise", "exception", "other", "zero", "stale", "echo",
)  # fmt: skip


class ResetEnergy(ModbusPDU):
    """Function 0x42: no data, and none in the answer."""

    function_code = 0x42
    rtu_frame_size = 4


class Calibrate(ModbusPDU):
    """Function 0x41, at the general address only, with the factory's password."""

    function_code = 0x41
    rtu_frame_size = 6
    password = 0

    def encode(self) -> bytes:
        """The password comes back."""
        return struct.pack(">H", self.password)

    def decode(self, data: bytes) -> None:
        """Two bytes."""
        (self.password,) = struct.unpack(">H", data[:2])


@dataclass
class Values:
    """What is measured: 0.1 V, mA, 0.1 W, 0.1 Hz, %."""

    voltage_dv: int = 2300
    current_ma: int = 0
    power_dw: int = 0
    freq_dhz: int = 500
    pf_pct: int = 0


class Pzem:
    """One module. Thread-safe as far as `set` goes: it replaces all values at once."""

    def __init__(
        self,
        address: int = 1,
        *,
        update_s: float = 1.0,
        step_response: bool = False,
        energy_wh: float = 0.0,
        alarm_w: int = 23_000,
    ) -> None:
        if not 1 <= address <= 0xF7:
            raise ValueError(f"a PZEM's address is 1 to 247, not {address}")
        self.address = address
        self.powered = True  # it lives on the mains it measures
        self.energy_wh = energy_wh
        self.alarm_w = alarm_w
        self.true = Values()
        self._window_s = 1.3 if step_response else update_s
        self._step = step_response
        self._shown = Values()
        self._sum = [0.0] * 5
        self._summed_s = 0.0
        self._at: float | None = None
        self._latched: float | None = None

    def set(
        self,
        *,
        voltage_dv: int | None = None,
        current_ma: int | None = None,
        power_dw: int | None = None,
        freq_dhz: int | None = None,
        pf_pct: int | None = None,
    ) -> None:
        """What the mains do from now on. Without `power_dw` it is voltage times current times the
        power factor."""
        old = self.true
        v = old.voltage_dv if voltage_dv is None else voltage_dv
        i = old.current_ma if current_ma is None else current_ma
        pf = (old.pf_pct or 100) if pf_pct is None else pf_pct
        self.advance()
        self.true = Values(
            voltage_dv=v,
            current_ma=i,
            power_dw=round(v * i * pf / 100_000) if power_dw is None else power_dw,
            freq_dhz=old.freq_dhz if freq_dhz is None else freq_dhz,
            pf_pct=pf if i else 0,
        )

    def advance(self, now: float | None = None) -> None:
        """Count energy up to now and latch what is due."""
        now = time.monotonic() if now is None else now
        if self._at is None or self._latched is None:
            self._at = self._latched = now
            self._shown = self.true
            return
        true = self.true
        parts = (true.voltage_dv, true.current_ma, true.power_dw, true.freq_dhz, true.pf_pct)
        while self._at < now:
            window_ends = self._latched + self._window_s if self._window_s else now
            until = min(now, window_ends)
            elapsed = max(0.0, until - self._at)
            self.energy_wh += true.power_dw / 10 * elapsed / 3600
            for k, part in enumerate(parts):
                self._sum[k] += part * elapsed
            self._summed_s += elapsed
            self._at = until
            if until >= window_ends:
                if self._step and self._summed_s:
                    self._shown = Values(*(round(total / self._summed_s) for total in self._sum))
                else:
                    self._shown = true
                self._sum, self._summed_s = [0.0] * 5, 0.0
                self._latched = until
        if not self._window_s:
            self._shown = true

    def input_registers(self) -> list[int]:
        """The ten of function 04, low word first."""
        self.advance()
        seen = self._shown
        wh = int(self.energy_wh) % 10_000_000  # 9999.999 kWh, then it begins anew
        alarm = 0xFFFF if seen.power_dw > self.alarm_w * 10 else 0
        return [
            seen.voltage_dv,
            seen.current_ma & 0xFFFF, seen.current_ma >> 16,
            seen.power_dw & 0xFFFF, seen.power_dw >> 16,
            wh & 0xFFFF, wh >> 16,
            seen.freq_dhz,
            seen.pf_pct,
            alarm,
        ]  # fmt: skip

    def answer(self, request: ModbusPDU) -> ModbusPDU:
        """What the module says to a request."""
        code = request.function_code
        if code == 4:
            if request.address + request.count > 10:
                return ExceptionResponse(code, _ILLEGAL_ADDRESS)
            registers = self.input_registers()
            return ReadInputRegistersResponse(
                registers=registers[request.address : request.address + request.count]
            )
        if code == 3:
            if request.address < 1 or request.address + request.count > 3:
                return ExceptionResponse(code, _ILLEGAL_ADDRESS)
            registers = [0, self.alarm_w, self.address]
            return ReadHoldingRegistersResponse(
                registers=registers[request.address : request.address + request.count]
            )
        if code == 6:
            value = request.registers[0]
            if request.address == 1 and value <= 25_000:
                self.alarm_w = value
            elif request.address == 2 and 1 <= value <= 0xF7:
                self.address = value
            elif request.address in {1, 2}:
                return ExceptionResponse(code, _ILLEGAL_VALUE)
            else:
                return ExceptionResponse(code, _ILLEGAL_ADDRESS)
            return WriteSingleRegisterResponse(address=request.address, registers=[value])
        if code == 0x42:
            self.advance()
            self.energy_wh = 0.0
            return ResetEnergy()
        if code == 0x41:
            if (
                request.dev_id != GENERAL
                or not isinstance(request, Calibrate)
                or request.password != 0x3721
            ):
                return ExceptionResponse(code, _ILLEGAL_VALUE)
            return request
        return ExceptionResponse(code, _ILLEGAL_FUNCTION)


@dataclass
class Exchange:
    """One request and what was made of it. `right`: a good answer to it went out whole and in
    time, as far as this computer kept time: `done` is when its last byte went, 0 before."""

    at: float
    request: bytes
    answer: bytes
    fault: str
    right: bool
    registers: list[int] = field(default_factory=list)
    done: float = 0.0


class Line:
    """Up to three Pzems on one pty."""

    def __init__(
        self,
        pzems: Sequence[Pzem],
        *,
        paced: bool = True,
        chunk: int = 6,
        think_ms: float = 35.0,
        seed: int = 0,
        link: str | None = None,
    ) -> None:
        """`link`: a symbolic link to make to the tty. `think_ms` 35 makes a reading's round trip
        about 70 ms."""
        if len({p.address for p in pzems}) != len(pzems):
            raise ValueError("two PZEMs on a line with one address: both would answer at once")
        self.pzems = list(pzems)
        self.paced = paced
        self.chunk = chunk
        self.think_s = think_ms / 1000
        self.path = ""
        self.log: deque[Exchange] = deque(maxlen=100_000)
        self.fault_rates: dict[str, float] = {}
        self.heard: Callable[[Exchange], None] | None = None  # called after each exchange
        self._link = link
        self._queue: deque[str] = deque()
        self._random = random.Random(seed)
        decoder = DecodePDU(True)
        decoder.register(ResetEnergy)
        decoder.register(Calibrate)
        self._framer = FramerRTU(decoder)
        self._buffer = b""
        self._previous = b""
        self._master = self._slave = -1
        self._gap: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def fault_next(self, *names: str) -> None:
        """These befall the next answers, one each. ValueError for one that does not exist."""
        for name in names:
            if name and name not in FAULTS:
                raise ValueError(f"no such fault: {name!r}; there are {', '.join(FAULTS)}")
        self._queue.extend(names)

    def open(self) -> str:
        """Make the pty, in a running event loop; the path of the master's side."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        if self._link:
            if os.path.islink(self._link):  # noqa: PTH114
                os.unlink(self._link)  # noqa: PTH108
            os.symlink(self.path, self._link)  # noqa: PTH211
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        return self.path

    def close(self) -> None:
        """Take the pty away; whoever holds its other side reads an end of file or an error."""
        if self._master < 0:
            return
        asyncio.get_event_loop().remove_reader(self._master)
        if self._gap is not None:
            self._gap.cancel()
        for task in self._tasks:
            task.cancel()
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        if self._link and os.path.islink(self._link):  # noqa: PTH114
            os.unlink(self._link)  # noqa: PTH108

    # -- receiving

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        self._buffer += data
        loop = asyncio.get_running_loop()
        if self._gap is not None:
            self._gap.cancel()
        # The pty delivers at once what the line would carry in this time.
        on_line = len(data) * BYTE_S if self.paced else 0.0
        self._gap = loop.call_later(on_line + (GAP_S if self.paced else 0.001), self._frame_over)

    def _frame_over(self) -> None:
        self._gap = None
        frame, self._buffer = self._buffer, b""
        request = self._decode(frame)
        if request is None:
            return
        task = asyncio.get_running_loop().create_task(self._respond(frame, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _decode(self, frame: bytes) -> ModbusPDU | None:
        try:
            _, request = self._framer.handleFrame(frame, 0, 0)
        except ModbusException:
            request = None
        if request is not None:
            return request
        # pymodbus passes over functions it does not know; a PZEM answers them with exception 1.
        if len(frame) >= 4 and FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big")):
            request = ModbusPDU(dev_id=frame[0])
            request.function_code = frame[1] & 0x7F
            return request
        return None

    # -- answering

    async def _respond(self, frame: bytes, request: ModbusPDU) -> None:
        asked = request.dev_id
        answers = []
        for pzem in self.pzems:
            if pzem.powered and asked in {0, GENERAL, pzem.address}:
                reply = pzem.answer(request)
                reply.dev_id = (
                    GENERAL if asked == GENERAL else pzem.address if asked == 0 else asked
                )
                answers.append(self._framer.buildFrame(reply))
        if not answers or asked == 0:
            return
        registers = self._registers(answers[0])
        if len(answers) > 1:
            # Open collectors on one wire: a 0 of anybody wins.
            longest = max(len(a) for a in answers)
            padded = [a + b"\xff" * (longest - len(a)) for a in answers]
            answer = bytes(_all_of(column) for column in zip(*padded, strict=True))
        else:
            answer = answers[0]
        fault = self._draw()
        delay, parts, right = self._spoil(fault, frame, answer)
        if request.function_code == 0x41:
            delay += _CALIBRATION_S
        whole = b"".join(parts)
        right = right and len(answers) == 1
        exchange = Exchange(time.monotonic(), frame, whole, fault, right, registers)
        self.log.append(exchange)
        if self.paced:
            await asyncio.sleep(self.think_s + delay)
        elif delay:
            await asyncio.sleep(delay)
        for k, part in enumerate(parts):
            if k:
                await asyncio.sleep(0.06)
            await self._send(part)
        exchange.done = time.monotonic()
        self._previous = answer
        if self.heard is not None:
            self.heard(exchange)

    @staticmethod
    def _registers(answer: bytes) -> list[int]:
        if len(answer) > 5 and answer[1] in {3, 4}:
            return list(struct.unpack(f">{answer[2] // 2}H", answer[3:-2]))
        return []

    def _draw(self) -> str:
        if self._queue:
            return self._queue.popleft()
        throw = self._random.random()
        for name, rate in self.fault_rates.items():
            throw -= rate
            if throw < 0:
                return name
        return ""

    def _spoil(self, fault: str, frame: bytes, answer: bytes) -> tuple[float, list[bytes], bool]:
        """(delay in s, parts to send with pauses between them, whether a master can read the
        right answer)."""
        rng = self._random
        if fault == "crc":
            bad = bytearray(answer)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            return 0, [bytes(bad)], False
        if fault == "cut":
            return 0, [answer[: rng.randrange(1, len(answer))]], False
        if fault == "split":
            at = rng.randrange(1, len(answer))
            return 0, [answer[:at], answer[at:]], False
        if fault == "late":
            return 0.4, [answer], False
        if fault == "silence":
            return 0, [], False
        if fault == "noise":
            return (
                0,
                [rng.randbytes(rng.randrange(1, 6)) + answer + rng.randbytes(rng.randrange(3))],
                False,
            )
        if fault == "exception":
            return 0, [self._frame(bytes((answer[0], answer[1] | 0x80, _SLAVE_ERROR)))], False
        if fault == "other":
            return 0, [self._frame(b"\x64" + answer[1:-2])], False
        if fault == "zero":
            data = answer[3:-2] if len(answer) > 5 else b""
            return 0, [self._frame(answer[:3] + bytes(len(data)))], False
        if fault == "stale" and self._previous:
            return 0, [self._previous], self._previous == answer
        if fault == "echo":
            return 0, [frame + answer], True
        return 0, [answer], True

    @staticmethod
    def _frame(body: bytes) -> bytes:
        return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")

    async def _send(self, data: bytes) -> None:
        size = self.chunk if self.paced else len(data)
        for at in range(0, len(data), size or 1):
            part = data[at : at + size]
            if self.paced:
                await asyncio.sleep(len(part) * BYTE_S)
            if self._master < 0:
                return
            try:
                os.write(self._master, part)
            except OSError:
                return  # nobody reads: a wire does not mind


def _all_of(column: tuple[int, ...]) -> int:
    result = 0xFF
    for byte in column:
        result &= byte
    return result


class LineThread(Line):
    """The same in a thread of its own, for callers without an event loop. A context manager."""

    _loop: asyncio.AbstractEventLoop
    _thread: threading.Thread

    def __enter__(self) -> Self:
        ready = threading.Event()

        async def live() -> None:
            self._loop = asyncio.get_running_loop()
            self._end = asyncio.Event()
            self.open()
            ready.set()
            await self._end.wait()
            self.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
        self._thread.start()
        if not ready.wait(5):
            raise RuntimeError("the PZEM's line did not open within 5 s")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(5)
