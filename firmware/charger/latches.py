"""Latched faults in flash: two copies, each replaced whole, so that no power cut loses one."""

import json

from firmware.common.config import write_whole

_FILES = ("latches", "latches.bak")
# What is assumed when there was something to read and it cannot be read: it takes a user to look and clear it.
UNREADABLE = "residual_current"


def load() -> "dict[str, int]":
    """The latches as last saved; none if none ever were."""
    unreadable = False
    for name in _FILES:
        try:
            with open(name) as f:
                text = f.read()
        except OSError:
            continue
        try:
            latches = json.loads(text)
            if type(latches) is dict:
                return {str(k): int(latches[k]) for k in latches}
        except (ValueError, TypeError):
            pass
        unreadable = True
    return {UNREADABLE: 1} if unreadable else {}


def save(latches: "dict[str, int]") -> None:
    """Keep them; OSError if the flash takes neither copy."""
    text = json.dumps(latches)
    failed = None
    for name in _FILES:
        try:
            write_whole(name, text)
        except OSError as e:
            failed = e
    if failed is not None:
        raise failed
