"""Which way the arrows point; the core does no I/O, reads no clock, draws no random number."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "shared": set(),
    "firmware": {"shared"},
    "manager": {"shared"},
    "datahub": {"shared"},
    "simulator": {"shared", "firmware", "manager", "datahub"},
}
OURS = {*MAY_IMPORT, "tools", "tests", "bench"}
IMPURE = {
    "asyncio",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "paho",
    "random",
    "secrets",
    "select",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
    "starlette",
    "uvicorn",
    "typer",
    "rich",
}
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval"}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_point_one_way(package: str) -> None:
    for path in files(package):
        ours = {n.split(".")[0] for n in imported(ast.parse(path.read_text()))} & OURS
        assert ours <= MAY_IMPORT[package] | {package}, path


def test_the_charger_and_the_meter_do_not_know_each_other() -> None:
    for board, other in (
        ("charger", "energy_meter"),
        ("energy_meter", "charger"),
        ("common", "charger"),
        ("common", "energy_meter"),
    ):
        for path in files(f"firmware/{board}"):
            assert not any(
                n.startswith(f"firmware.{other}") for n in imported(ast.parse(path.read_text()))
            ), path


@pytest.mark.parametrize("path", files("manager/core"), ids=lambda p: p.name)
def test_the_core_is_pure(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for name in imported(tree):
        assert name.split(".")[0] not in IMPURE, name
        assert not name.startswith("manager.") or name.startswith("manager.core"), name
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"line {node.lineno}: {node.func.id}()"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in CLOCKS, f"line {node.lineno}: .{node.attr}"
        assert not isinstance(node, ast.Global), f"line {node.lineno}: global"
