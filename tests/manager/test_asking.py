"""A command's question to a manager that goes while it answers: words, never a traceback."""

from __future__ import annotations

import socket
import threading

import pytest

from manager.asking import NoAnswer, ask

HALVES = (
    b"",
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 OK\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n{",
    b"\x00\xff\r\n\r\n",
)


@pytest.mark.parametrize("half", HALVES)
def test_half_an_answer_is_none(half: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            asking, _ = server.accept()
            with asking:
                asking.recv(4096)
                asking.sendall(half)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NoAnswer, match="no manager answers"):
            ask(f"http://127.0.0.1:{server.getsockname()[1]}/api/state")
        thread.join()
