"""What runs on the ESP8266 uses only what its MicroPython has.

Checked in the source, since no host enforces it. The lists are ports/esp8266/mpconfigport.h and
the frozen manifest of the 2 MiB image, MicroPython v1.29.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# firmware/common holds a few files for the ESP32 alone; their docstring says so.
ESP32_ONLY = "ESP32 only"

MODULES = {
    "array",
    "asyncio",
    "binascii",
    "builtins",
    "collections",
    "deflate",
    "errno",
    "esp",
    "framebuf",
    "gc",
    "hashlib",
    "io",
    "json",
    "machine",
    "math",
    "micropython",
    "network",
    "ntptime",
    "onewire",
    "os",
    "random",
    "re",
    "select",
    "socket",
    "ssd1306",
    "struct",
    "sys",
    "time",
    "uctypes",
    "umqtt",
    "umqtt.simple",
    "vfs",
    "requests",
    "dht",
    "neopixel",
}
MISSING_NAMES = {
    "compile",
    "execfile",
    "complex",
    "NotImplemented",
    "frozenset_",
    "input_",
    "ascii",
    "breakpoint",
    "vars",
    "format_map",
}
MISSING_ATTRIBUTES = {
    "partition",
    "rpartition",
    "splitlines",
    "center",
    "removeprefix",
    "removesuffix",
    "zfill",
    "isalnum",
    "isascii",
    "casefold",
    "ljust",
    "rjust",
    "hexdigest",
    "crc32",
    "randint",
    "choice",
    "uniform",
    "randrange",
    "shuffle",
    "monotonic",
    "strftime",
    "md5",
    "fullmatch",
    "inf",
    "nan",
    "tau",
    "isclose",
    "factorial",
    "to_thread",
    "Queue",
    "__file__",
    "__dict__",
    "ps1",
    "_replace",
    "perf_counter",
}
SYNTAX = {
    ast.Match: "match",
    ast.TryStar: "except*",
    ast.AsyncFor: "async for",
}


def sources() -> list[Path]:
    found = [
        *ROOT.glob("shared/*.py"),
        *ROOT.glob("firmware/common/*.py"),
        *ROOT.glob("firmware/energy_meter/**/*.py"),
    ]
    return [
        p for p in found if ESP32_ONLY not in (ast.get_docstring(ast.parse(p.read_text())) or "")
    ]


def faults(tree: ast.AST) -> Iterator[str]:
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any(isinstance(h.type, ast.Name) and h.type.id == "ImportError" for h in node.handlers)
        for part in (*node.body, *node.handlers)
        for inner in ast.walk(part)
    }
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if part is not None
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue  # what stands in `except ImportError` is CPython's part
        where = f"line {getattr(node, 'lineno', 0)}: "
        if type(node) in SYNTAX:
            yield where + SYNTAX[type(node)]
        if isinstance(node, ast.arguments) and node.posonlyargs:
            yield "positional-only arguments"
        if (
            isinstance(node, ast.List | ast.Tuple | ast.Set)
            and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
            and any(isinstance(e, ast.Starred) for e in node.elts)
            and id(node) not in annotations
        ):
            yield where + "a * inside a list"
        if isinstance(node, ast.Dict) and None in node.keys:
            yield where + "a ** inside a dict"
        if isinstance(node, ast.comprehension) and node.is_async:
            yield where + "async comprehension"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            for name in names:
                if name not in MODULES and name.split(".")[0] not in ("shared", "firmware"):
                    yield where + f"import {name}"
                if name.startswith("firmware.charger"):
                    yield where + "imports the charger's firmware"
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            yield where + "from __future__"
        if isinstance(node, ast.Attribute) and node.attr in MISSING_ATTRIBUTES:
            yield where + "." + node.attr
        if isinstance(node, ast.Name) and node.id in MISSING_NAMES:
            yield where + node.id
        if isinstance(node, ast.Constant) and isinstance(node.value, complex):
            yield where + "complex number"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = {k.arg for k in node.keywords}
            if node.func.attr == "dumps" and words & {"sort_keys", "indent", "ensure_ascii"}:
                yield where + "json.dumps with CPython's options"
            if node.func.attr == "decode" and "errors" in words:
                yield where + "decode(errors=)"
            if node.func.attr in ("split", "rsplit") and "maxsplit" in words:
                yield where + "split(maxsplit=)"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            words = {k.arg for k in node.keywords}
            if node.func.id == "zip" and "strict" in words:
                yield where + "zip(strict=)"
            if node.func.id == "pow" and len(node.args) == 3:
                yield where + "pow with three arguments"
        if isinstance(node, ast.Delete):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice):
                    yield where + "del of a slice"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_source_stays_within_the_esp8266(path: Path) -> None:
    assert list(faults(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations",
        "import typing",
        "from dataclasses import dataclass",
        "import hmac",
        "a = [*b, *c]",
        "a = {**b}",
        "def f(x, /): pass",
        "match a:\n case 1: pass",
        "s.partition(':')",
        "s.splitlines()",
        "json.dumps(a, sort_keys=True)",
        "random.randint(1, 2)",
        "hashlib.sha256(b'').hexdigest()",
        "del a[:2]",
        "pow(2, 3, 5)",
        "zip(a, b, strict=True)",
        "s.split(maxsplit=1)",
        "1j",
        "math.inf",
        "binascii.crc32(b'')",
        "compile('1', '', 'eval')",
        "b.decode('utf-8', errors='ignore')",
        "from firmware.charger import evse",
        "import _thread",
    ],
)
def test_the_check_sees_what_the_board_lacks(source: str) -> None:
    assert list(faults(ast.parse(source)))
