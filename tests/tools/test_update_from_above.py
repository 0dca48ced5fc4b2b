"""A central system gives our charger new firmware and asks for its log: strict central system, real manager and broker,
the whole firmware on a pretend board, files over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.common.bundle import bundle
from tests.firmware.charger.bench import SETTINGS
from tests.firmware.energy_meter.rig import KEY
from tests.live.running import Device, Running
from tests.manager.ocpp.building import until
from tests.manager.ocpp.files import Files, served
from tests.manager.ocpp.rpc import Peer
from tests.tools.pretend import Pretend, counts, deploy
from tests.tools.test_charger_update import newer

pytestmark = [pytest.mark.board, pytest.mark.broker, pytest.mark.timeout(400)]
POINT = "IEVCC-home-Charger-1"
SITE = """
[site]
name = "home"
limit_a = 30

[[device]]
id = "Counter-1"
key = "{key}"

[[device]]
id = "Charger-1"
key = "{key}"

[ocpp.up]
url = "ws://127.0.0.1:{port}/ocpp"
version = "{version}"
name = "IEVCC-home"
password = "of the network"
"""


@pytest.fixture
def files() -> Iterator[Files]:
    with served() as server:
        yield server


def statuses(peer: Peer, method: str) -> list[str]:
    return [p["status"] for p in peer.calls(method)]


@pytest.mark.parametrize("version", ["1.6", pytest.param("2.0.1", marks=pytest.mark.soak)])
def test_firmware_and_log(
    version: str, tmp_path: Path, files: Files, mosquitto: str, micropython: str
) -> None:
    old = version == "1.6"
    files.here["/9.9.bundle"] = bundle(newer(tmp_path))

    def update(name: str, number: int) -> dict[str, Any]:
        where, when = f"{files.url}/{name}", "2026-01-01T00:00:00Z"
        if old:
            return {"location": where, "retrieveDate": when, "retries": 0}
        firmware = {"location": where, "retrieveDateTime": when}
        return {"requestId": number, "firmware": firmware, "retries": 0}

    async def test(peer: Peer, system: Running) -> None:
        async def ask(method: str, params: dict[str, Any]) -> Any:
            return await peer.ask(to=POINT, method=method, params=params)

        def firmware() -> str:
            return str((system.charger("Charger-1") or {}).get("firmware"))

        await until("it is a charge point", lambda: peer.calls("StatusNotification"), 60)
        said = "FirmwareStatusNotification"
        await ask("UpdateFirmware", update("nothing.bundle", 1))
        await until("that is not there", lambda: "DownloadFailed" in statuses(peer, said))
        before = len(statuses(peer, said))
        await ask("UpdateFirmware", update("9.9.bundle", 2))
        await until("it is installed", lambda: "Installed" in statuses(peer, said), 120)
        assert statuses(peer, said)[before:] == [
            "Downloading",
            "Downloaded",
            "Installing",
            "Installed",
        ]
        if not old:
            assert {p["requestId"] for p in peer.calls(said)[before:]} == {2}
        assert firmware() == "9.9"

        where = {"location": files.url} if old else {"log": {"remoteLocation": files.url}}
        more = {} if old else {"logType": "DiagnosticsLog", "requestId": 3}
        answer = await ask("GetDiagnostics" if old else "GetLog", {**where, **more})
        name = answer["fileName" if old else "filename"]
        said = f"{'Diagnostics' if old else 'Log'}StatusNotification"
        await until("it is left", lambda: "Uploaded" in statuses(peer, said))
        assert statuses(peer, said) == ["Uploading", "Uploaded"]
        found = json.loads(files.left[f"/{name}"])
        assert set(found["chargers"]) == {"Charger-1"}
        assert KEY not in json.dumps(found)
        assert peer.violations == []

    async def whole() -> None:
        async with Peer("central", {POINT: "of the network"}) as peer:
            await until("it listens", lambda: peer.of("listening"))
            port = peer.of("listening")[0]["port"]
            text = SITE.format(key=KEY, port=port, version=version)
            system = await asyncio.to_thread(Running, tmp_path, text)
            board = Pretend("charger", tmp_path / "board")
            try:
                meter = Device(system, "Counter-1", key=bytes.fromhex(KEY))
                assert "registered" in await asyncio.to_thread(meter.announce_counter)
                config = tmp_path / "charger.json"
                config.write_text(json.dumps({**SETTINGS, "broker_port": system.broker.port}))
                deployed = await asyncio.to_thread(
                    deploy, board.port, "charger", "--config", str(config)
                )
                assert counts(deployed)[0] > 0
                await test(peer, system)
                meter.client.disconnect()
                meter.client.loop_stop()
            finally:
                board.end()
                system.stop()

    asyncio.run(whole())
