"""OCPP-J: calls, results and errors over one web socket, checked against the published schemas.

Both sides of the trade use this: towards a central system and towards a charger. What comes in is
mended where the field is known to be careless (`quirks`), and refused in the standard's words where
it cannot be. What goes out is held to the schema without mercy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from ocpp.messages import MessageType, get_validator
from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

from manager.ocpp import quirks

log = logging.getLogger(__name__)

Payload = dict[str, Any]
SUBPROTOCOLS = {"ocpp1.6": "1.6", "ocpp2.0.1": "2.0.1"}
MAX_BYTES = 64 * 1024  # a local list of a few hundred cards; more is sent in parts
CALL_S = 30.0  # a charger that has not answered by then is taken not to have got it
BURST = 200  # messages at once: a charger that was offline for a day empties its queue
PER_S = 20.0  # and then no more than these
_BAD_MOST = 50  # frames that are none, on one connection: it is no charger then

# The two versions spell these differently.
_FORMAT = {"1.6": "FormationViolation", "2.0.1": "FormatViolation"}
_OCCURRENCE = {"1.6": "OccurenceConstraintViolation", "2.0.1": "OccurrenceConstraintViolation"}
_COUNTED = ("required", "minItems", "maxItems")
_FAULTS = {
    "type": "TypeConstraintViolation",
    "maxLength": "PropertyConstraintViolation",
    "enum": "PropertyConstraintViolation",
    "minimum": "PropertyConstraintViolation",
    "maximum": "PropertyConstraintViolation",
    "multipleOf": "PropertyConstraintViolation",
}


class CallFailed(Exception):  # noqa: N818 - the other side's answer, not our mistake
    """The other side answered with an error, or not at all (`code` "Timeout", "Gone")."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code}: {words}" if words else code)
        self.code = code
        self.words = words


class Refused(Exception):  # noqa: N818 - an answer in the protocol's own words
    """Raised by a handler to answer a call with an error."""

    def __init__(self, code: str, words: str = "") -> None:
        super().__init__(words or code)
        self.code = code
        self.words = words


def fault_of(kind: int, action: str, version: str, payload: object) -> tuple[str, str]:
    """The error code and words for what is wrong with a payload by its schema; ("", "") if nothing is."""
    try:
        validator = get_validator(kind, action, version)
    except OSError:
        return "NotImplemented", f"no action {action[:40]} in OCPP {version}"
    for e in validator.iter_errors(payload):
        if e.validator == "multipleOf" and _tenths(e.instance):
            continue  # 16.1 is a whole number of tenths, whatever binary fractions make of it
        broken = str(e.validator)
        code = (
            _OCCURRENCE[version] if broken in _COUNTED else _FAULTS.get(broken, _FORMAT[version])
        )
        return code, str(e.message)[:200]
    return "", ""


def _tenths(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value * 10 - round(value * 10)) < 1e-6


def schema_of(kind: int, action: str, version: str) -> Payload:
    """The published schema of a call (2) or a result (3)."""
    schema: Payload = get_validator(kind, action, version).schema
    return schema


Answer = Callable[[str, Payload], Awaitable[Payload]]


class Talk:
    """One end of one connection.

    `answer(action, payload)` is called for every call that is well formed, in the order they came,
    and must not itself `call`: the answer to that would wait behind it. `refused` counts what was
    not taken, by kind; `mended` what a charger got wrong but was understood.
    """

    def __init__(
        self,
        socket: Connection,
        version: str,
        name: str,
        answer: Answer,
        refused: Counter[str],
        mended: Counter[str] | None = None,
        *,
        now: Callable[[], str] = lambda: "",
    ) -> None:
        self.version = version
        self.name = name
        self.refused = refused
        self.mended: Counter[str] = Counter() if mended is None else mended
        self._socket = socket
        self._answer = answer
        self._now = now
        self._waiting: dict[str, tuple[str, asyncio.Future[Payload]]] = {}
        self._one = asyncio.Lock()  # the standard allows one open call a side
        self.after: Callable[[], None] = lambda: None  # called when an answer of ours is under way
        self._bad = 0
        self._room = float(BURST)
        self._room_s = asyncio.get_running_loop().time()

    async def serve(self) -> None:
        """Take what comes until the connection ends, however it ends."""
        try:
            async for raw in self._socket:
                if self._flooded():
                    self.refused["flood"] += 1
                    await self._socket.close(1008, "too many messages")
                    return
                await self._take(raw)
                if self._bad > _BAD_MOST:
                    await self._socket.close(1008, "this is no OCPP")
                    return
        except ConnectionClosed as e:
            if e.sent is not None and e.sent.code == 1009:
                self.refused["size"] += 1
        finally:
            if self._socket.close_code == 1009:
                self.refused["size"] += 1
            for _, waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(CallFailed("Gone", "the connection ended"))

    async def call(
        self, action: str, payload: Payload, within_s: float = CALL_S, number: str = ""
    ) -> Payload:
        """The answer to a call of ours; CallFailed if it is an error or does not come.

        `number` names a call that is made again, so that the other side can tell.
        """
        code, words = fault_of(MessageType.Call, action, self.version, payload)
        if code:
            raise CallFailed(code, f"our own {action} is wrong: {words}")
        async with self._one:
            number = number or str(uuid.uuid4())
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Payload] = loop.create_future()
            self._waiting[number] = action, future
            try:
                await self._send([MessageType.Call, number, action, payload])
                async with asyncio.timeout(within_s):
                    return await future
            except TimeoutError:
                raise CallFailed("Timeout", f"no answer to {action} in {within_s:g} s") from None
            except ConnectionClosed:
                raise CallFailed("Gone", "the connection ended") from None
            finally:
                del self._waiting[number]
                if future.done() and not future.cancelled():
                    future.exception()  # who waited may have been told to stop in this very moment

    async def close(self, code: int = 1000, words: str = "") -> None:
        """End the connection, without waiting long for the other side's leave."""
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(2):
                await self._socket.close(code, words)

    async def _send(self, frame: list[Any]) -> None:
        await self._socket.send(json.dumps(frame, separators=(",", ":")))

    async def _error(self, number: str, code: str, words: str) -> None:
        self.refused[code] += 1
        with contextlib.suppress(ConnectionClosed):
            await self._send([MessageType.CallError, number, code, words[:255], {}])

    def _flooded(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._room = min(float(BURST), self._room + (now - self._room_s) * PER_S)
        self._room_s = now
        self._room -= 1
        return self._room < 0

    async def _take(self, raw: str | bytes) -> None:
        frame = _frame(raw)
        if frame is None:
            self._bad += 1
            await self._error(
                "-1", "RpcFrameworkError" if self._new else "GenericError", "no frame"
            )
            return
        kind, number = frame[0], frame[1]
        if kind == MessageType.Call:
            await self._called(number, frame[2], frame[3])
            return
        action, future = self._waiting.get(number, ("", None))
        if future is None or future.done():
            self.refused["stray"] += 1  # an answer nobody waits for, perhaps any more
            return
        self._room += 1  # it was asked for: no part of a flood
        if kind == MessageType.CallError:
            future.set_exception(CallFailed(str(frame[2]), str(frame[3])[:200]))
        else:
            payload, code, words = self._checked(MessageType.CallResult, action, frame[2])
            if code:
                self.refused[code] += 1
                future.set_exception(CallFailed(code, words))
            else:
                future.set_result(payload)

    @property
    def _new(self) -> bool:
        return self.version != "1.6"

    def _checked(self, kind: int, action: str, payload: Payload) -> tuple[Payload, str, str]:
        code, words = fault_of(kind, action, self.version, payload)
        if code and code != "NotImplemented":
            schema = schema_of(kind, action, self.version)
            payload, said = quirks.mended(payload, schema, self._now())
            code, words = fault_of(kind, action, self.version, payload)
            if not code:
                self.mended.update(said)
        return payload, code, words

    async def _called(self, number: str, action: str, payload: Payload) -> None:
        payload, code, words = self._checked(MessageType.Call, action, payload)
        if code:
            self._bad += 1
            await self._error(number, code, words)
            return
        try:
            answer = await self._answer(action, payload)
        except Refused as e:
            await self._error(number, e.code, e.words)
            return
        except Exception:
            log.exception("%s: %s %r", self.name, action, payload)
            await self._error(number, "InternalError", "")
            return
        code, words = fault_of(MessageType.CallResult, action, self.version, answer)
        if code:
            log.error("%s: our own answer to %s is wrong: %s", self.name, action, words)
            await self._error(number, "InternalError", "")
            return
        with contextlib.suppress(ConnectionClosed):
            await self._send([MessageType.CallResult, number, answer])
        self.after()


def _whole(text: str) -> int:
    if len(text) > 16:
        raise ValueError("no number of this trade's")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not -1e15 < value < 1e15:
        raise ValueError("no number of this trade's")
    return value


def _frame(raw: str | bytes) -> list[Any] | None:
    """The frame in these bytes; None if it is none. What is too much at an error's end is let be."""
    try:
        frame = json.loads(raw, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None
    if not isinstance(frame, list) or len(frame) < 3 or type(frame[0]) is not int:
        return None
    kind, number = frame[0], frame[1]
    if not isinstance(number, str) or not 0 < len(number) <= 36:
        return None
    if kind == MessageType.Call:
        good = len(frame) == 4 and isinstance(frame[2], str) and isinstance(frame[3], dict)
    elif kind == MessageType.CallResult:
        good = len(frame) == 3 and isinstance(frame[2], dict)
    else:
        good = kind == MessageType.CallError and len(frame) >= 4
    return frame if good else None
