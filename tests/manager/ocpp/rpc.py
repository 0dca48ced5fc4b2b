"""npm's ocpp-rpc in strict mode, as another process: a peer that is not ours and keeps to the schemas."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from pathlib import Path
from typing import Any, Self

from tests.real_parts import missing, real_part

HERE = Path(__file__).parent / "peers"


def node() -> str:
    """The program, with ocpp-rpc installed."""
    program = real_part("node")
    if not (HERE / "node_modules" / "ocpp-rpc").is_dir():
        missing("real part missing: ocpp-rpc is not installed (make peers)")
    return program


class Peer:
    """One of `peers/*.mjs`. `events` is all it said; `violations` what broke a schema, on either side."""

    def __init__(self, script: str, *arguments: object, hurry: object = None) -> None:
        """`hurry`: what `peers/hurry.mjs` takes, for a clock that is fast."""
        self._script = str(HERE / f"{script}.mjs")
        self._command = [node(), self._script, *map(json.dumps, arguments)]
        if hurry is not None:
            self._command[1:1] = ["--import", str(HERE / "hurry.mjs")]
        self._environment = {**os.environ, "HURRY": json.dumps(hurry)}
        self.events: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
            env=self._environment,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def restart(self, *arguments: object) -> None:
        """Kill it and start it anew with these arguments; what it said stays said."""
        await self.__aexit__()
        for future in self._answers.values():
            if not future.done():
                future.set_result({"error": "Gone", "words": "it was killed"})
        self._answers.clear()
        self._command[self._command.index(self._script) + 1 :] = map(json.dumps, arguments)
        await self.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._reading.cancel()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "answer":
                future = self._answers.pop(event["n"], None)
                if future is not None and not future.done():
                    future.set_result(event)
            else:
                self.events.append(event)

    async def ask(self, within_s: float = 30, **order: Any) -> Any:
        """Order it to do something; what came of it, or the error's code as {"error": code}."""
        assert self._process.stdin is not None
        n = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._answers[n] = future
        self._process.stdin.write(json.dumps({"n": n, **order}).encode() + b"\n")
        answer = await asyncio.wait_for(future, within_s)
        if "error" in answer:
            return {"error": answer["error"], "words": answer["words"]}
        return answer.get("result")

    def of(self, kind: str, **more: Any) -> list[dict[str, Any]]:
        """Events of this kind, with these fields."""
        return [
            e
            for e in self.events
            if e["event"] == kind and all(e.get(k) == v for k, v in more.items())
        ]

    def calls(self, method: str) -> list[dict[str, Any]]:
        """What was called with this method, in order."""
        return [e["params"] for e in self.of("call", method=method)]

    @property
    def violations(self) -> list[dict[str, Any]]:
        return self.of("violation")
