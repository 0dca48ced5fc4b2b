"""Our charge points at a central system that wants TLS: profile 2 with a password, 3 with a certificate of their own.

The central system is npm's ocpp-rpc behind node's TLS. Profile 1 is in `test_strict_central.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from manager.ocpp.point import Point
from manager.ocpp.settings import Up
from manager.ocpp.upward import Upward
from tests.manager.ocpp.building import building, run, site_text, until
from tests.manager.ocpp.rpc import Peer
from tests.manager.ocpp.test_strict_central import Board, peered

NAME = "Left"  # for which there is a certificate
SECRET = "a password of a network"


@asynccontextmanager
async def at(
    folder: Path, peer: Peer, version: str, scheme: str = "wss", **ours: Any
) -> AsyncGenerator[tuple[Board, Upward]]:
    """A manager whose one charger is the charge point `NAME` at this central system."""
    port = await peered(peer)
    async with building(folder, site_text("Elsewhere")) as here:
        url = f"{scheme}://localhost:{port}/ocpp"
        up = Up(url, NAME, version, each=False, chargers=("Charger-1",), **ours)
        upward = Upward(here.manager, up, folder)
        board = Board(here, "Charger-1")
        board.announce()
        here.beside(upward.run())
        here.beside(board.live())
        yield board, upward


async def charges(peer: Peer, board: Board) -> None:
    """It is accepted, and a session gets there."""
    await until("it is accepted", lambda: "Available" in str(peer.calls("StatusNotification")))
    board.begin(1)
    methods = ("StartTransaction", "TransactionEvent")
    await until("its session is told of", lambda: any(map(peer.calls, methods)))
    assert peer.violations == []


async def gets_nowhere(upward: Upward) -> Point:
    """The point, once it was refused."""
    await until("a point is made", lambda: NAME in upward.points)
    point = upward.points[NAME]
    await until("it gets nowhere", lambda: point.refused["connection"])
    return point


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_profile_2(version: str, tmp_path: Path, certificates: Path) -> None:
    async def test() -> None:
        tls = {"cert": f"{certificates}/central.pem", "key": f"{certificates}/central.key"}
        async with Peer("central", {NAME: SECRET}, tls) as peer:
            ca = certificates / "ca.pem"
            (tmp_path / "good").mkdir()
            async with at(tmp_path / "good", peer, version, password=SECRET, ca=ca) as (board, _):
                await charges(peer, board)
            seen = len(peer.of("connected"))
            for name, scheme, ours in (
                ("wrong", "wss", {"password": "another", "ca": ca}),
                ("untrusted", "wss", {"password": SECRET}),
                ("plain", "ws", {"password": SECRET}),
            ):
                (tmp_path / name).mkdir()
                async with at(tmp_path / name, peer, version, scheme, **ours) as (board, upward):
                    point = await gets_nowhere(upward)
                    board.begin(1)
                    await until("what it has to tell waits", partial(len, point.queue))
            assert len(peer.of("connected")) == seen
            assert peer.of("refused"), "the wrong password got as far as the central system"

    run(test)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_profile_3(version: str, tmp_path: Path, certificates: Path) -> None:
    async def test() -> None:
        ca = certificates / "ca.pem"
        tls = {
            "cert": f"{certificates}/central.pem",
            "key": f"{certificates}/central.key",
            "ca": str(ca),
        }

        def proof(name: str) -> dict[str, Any]:
            return {
                "ca": ca,
                "certificate": certificates / f"{name}.pem",
                "key": certificates / f"{name}.key",
            }

        async with Peer("central", {}, tls) as peer:
            (tmp_path / "good").mkdir()
            async with at(tmp_path / "good", peer, version, **proof(NAME)) as (board, _):
                await charges(peer, board)
            seen = len(peer.of("connected"))
            for name in ("Right", "forged"):  # another charger's, and another authority's
                (tmp_path / name).mkdir()
                async with at(tmp_path / name, peer, version, **proof(name)) as (board, upward):
                    await gets_nowhere(upward)
            assert len(peer.of("connected")) == seen

    run(test)
