"""What a start does about an update: change over, give the new firmware three tries, or go back.

The plan is one file; each of its stages can be cut short at any moment and is gone on with at the
next start. No update replaces this file, so that there is always a way back.
"""

import json
import os

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

PLAN = "update.plan"
NEW, OLD = ".new", ".old"
_TRIES = 3  # starts without reaching the manager before the old firmware comes back


def remove(path: str) -> None:
    """Delete a file if it is there."""
    try:
        os.remove(path)
    except OSError:
        pass


def exists(path: str) -> bool:
    """Is there such a file?"""
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def plan() -> "dict[str, Any] | None":
    """The update under way, None if there is none (or its plan is no plan)."""
    try:
        with open(PLAN) as f:
            got = json.load(f)
        return got if type(got) is dict and "added" in got else None
    except (OSError, ValueError):
        return None


def _write(new: "dict[str, Any]") -> None:
    with open(PLAN + ".tmp", "w") as f:
        f.write(json.dumps(new))
    os.rename(PLAN + ".tmp", PLAN)


def at_start() -> None:
    """Do what the plan says; before anything an update may have replaced is imported."""
    now = plan()
    if now is None:
        return
    if now["stage"] == "swap":
        for path in now["files"]:
            if exists(path + NEW):
                if exists(path) and not exists(path + OLD):
                    os.rename(path, path + OLD)
                os.rename(path + NEW, path)
        now["stage"] = "try"
        now["starts"] = 1
        _write(now)
    elif now["stage"] == "try":
        now["starts"] += 1
        if now["starts"] > _TRIES:
            now["stage"] = "back"
        _write(now)
    if now["stage"] == "back":
        for path in now["files"]:
            if exists(path + OLD):
                os.rename(path + OLD, path)
            elif path in now["added"]:
                remove(path)
        now["stage"] = "reverted"
        _write(now)


def settle() -> "tuple[int, str] | None":
    """The manager has been reached: keep what runs. (number, "done" or "reverted") of an update
    that has come to its end, None if there is none."""
    now = plan()
    if now is None or now["stage"] not in ("try", "reverted"):
        return None
    done = now["stage"] == "try"
    if done:
        for path in now["files"]:
            remove(path + OLD)
    remove(PLAN)
    return now["update"], "done" if done else "reverted"
