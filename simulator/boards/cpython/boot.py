"""boot.py for CPython: the same shims and the same firmware where there is no MicroPython.

Board code gets modules and built-ins of its own: what it imports is looked for among the shims, in
the firmware, and among the few of CPython's modules that a board has too; the computer's standard
library stays as it is for everybody else. What a board has not is not here either.
"""

import builtins
import os
import sys
import types

HERE = os.path.dirname(os.path.abspath(__file__))
SIM = os.environ["BOARD_SIM"]
LIB = os.environ["BOARD_LIB"]
ROOT = os.environ["BOARD_ROOT"]
# Modules of the boards that CPython has under the same name.
_SHARED = {
    "array", "asyncio", "binascii", "collections", "errno", "hashlib", "heapq", "io", "json",
    "math", "random", "re", "struct",
}  # fmt: skip
_modules: dict[str, types.ModuleType] = {}


def _path(path: object) -> object:
    """A path of the board as one of the computer."""
    if isinstance(path, str) and path.startswith("/"):
        return ROOT + path
    return path


def board_open(path, mode="r", *rest, **how):  # type: ignore[no-untyped-def]
    """`open` below the board's root. Text is UTF-8 on a board."""
    if "b" not in mode:
        how.setdefault("encoding", "utf-8")
    return open(_path(path), mode, *rest, **how)


def _source(name: str) -> str | None:
    """The file of a module, a folder for a package; None if the board has no such thing."""
    rest = name.replace(".", "/")
    for place in (ROOT, LIB, HERE, SIM):
        at = f"{place}/{rest}"
        if os.path.isfile(at + ".py"):
            return at + ".py"
        if os.path.isdir(at) and place != HERE:
            return at
    return None


def _load(name: str) -> types.ModuleType:
    if name in _modules:
        return _modules[name]
    if name[0] == "u" and _source(name) is None and (name[1:] in _SHARED or _source(name[1:])):
        return _load(name[1:])  # `usocket` is `socket` for ever
    parent, _, last = name.rpartition(".")
    above = _load(parent) if parent else None
    if name in _SHARED:
        module = _modules[name] = builtins.__import__(name)
        return module
    source = _source({"_thread": "threads", "sys": "board_sys"}.get(name, name))
    if source is None:
        raise ImportError(f"no module named '{name}'")
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = _builtins
    module.__file__ = source
    _modules[name] = module
    if source.endswith(".py"):
        # The one shim that talks to the computer gets the computer's own modules.
        if name == "host":
            module.__dict__["__builtins__"] = builtins.__dict__
        try:
            with open(source, encoding="utf-8") as f:
                code = compile(f.read(), source, "exec")
            exec(code, module.__dict__)
        except BaseException:
            del _modules[name]
            raise
    if above is not None:
        setattr(above, last, module)
    return module


def board_import(name, globals=None, locals=None, fromlist=(), level=0):  # type: ignore[no-untyped-def]
    """`import` for board code."""
    if level:
        raise ImportError("the boards' code imports by full names")
    if name == "__future__" or name.split(".")[0] in _SHARED:
        return builtins.__import__(name, globals, locals, fromlist, level)
    module = _load(name)
    if not fromlist:
        return _modules[name.split(".")[0]] if "." in name else module
    for part in fromlist:
        if part != "*" and not hasattr(module, part):
            try:
                _load(f"{name}.{part}")
            except ImportError as e:
                raise ImportError(f"can't import name {part}") from e
    return module


_builtins = dict(builtins.__dict__)
_builtins["__import__"] = board_import
_builtins["open"] = board_open


def _run(name: str, machine: types.ModuleType) -> None:
    try:
        with open(f"{ROOT}/{name}", encoding="utf-8") as f:
            source = f.read()
    except OSError:
        return
    try:
        code = compile(source, name, "exec")
        exec(code, {"__name__": "__main__", "__builtins__": _builtins})
    except SystemExit as e:
        if e.code == 44:
            raise
        machine.soft_reset()
    except BaseException as e:
        sys.stdout.flush()
        _load("sys").print_exception(e)


def main() -> None:
    """Run boot.py and main.py, then wait as a REPL does."""
    # A board's `print` is seen at once, and asyncio's tasks live as long as the interpreter.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    machine = _load("machine")
    wiring = _load("wiring")
    wiring.look()
    wiring.say(83, 0)  # "S"
    _run("boot.py", machine)
    _run("main.py", machine)
    while True:
        wiring.sleep_us(1_000_000)


if __name__ == "__main__":
    main()
