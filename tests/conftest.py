"""Fixtures for all tests: the real parts."""

import pytest

from tests.real_parts import real_part


@pytest.fixture(scope="session")
def micropython() -> str:
    """MicroPython's unix port."""
    return real_part("micropython")


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The broker's program; who needs it running starts it on a port of his own."""
    return real_part("mosquitto")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser the page is tested in."""
    return real_part("chromium")
