"""`python -m bench [PIECE ...] [--small] [--json FILE]`: runs the pieces of the bench and prints
what they measured.

Without a name every piece runs. Exit status 1 if one failed; a piece that lacks something says so
and is left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from bench.table import Row, UnavailableError, as_text

NOT_PIECES = {"__init__", "__main__", "table"}


def pieces() -> list[str]:
    """Names of the pieces: every module of this folder that has a `measure`."""
    here = Path(__file__).parent
    found = (path for path in here.glob("*.py") if path.stem not in NOT_PIECES)
    return sorted(
        path.stem for path in found if "\ndef measure(" in path.read_text(encoding="utf-8")
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure this machine with the real parts."
    )
    parser.add_argument(
        "piece", nargs="*", help=f"one or more of {', '.join(pieces())}; none: all of them"
    )
    parser.add_argument("--small", action="store_true", help="a slice that takes seconds")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there as well"
    )
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.piece) - set(pieces()))
    if unknown:
        parser.error(f"no such piece: {', '.join(unknown)} (there are {', '.join(pieces())})")
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}",
        flush=True,
    )
    figures: dict[str, list[dict[str, object]]] = {}
    failed = False
    for name in asked.piece or pieces():
        try:
            piece = importlib.import_module(f"bench.{name}")
            rows: list[Row] = piece.measure(asked.small)
        except (UnavailableError, ImportError) as e:
            print(f"\n{name}: left out: {e}", flush=True)
            failed = failed or bool(asked.piece)
            continue
        except Exception:  # noqa: BLE001 - one broken piece must not hide what the others measured
            print(f"\n{name}: failed", flush=True)
            traceback.print_exc()
            failed = True
            continue
        print("\n" + as_text(piece.TITLE, rows), flush=True)
        figures[name] = [asdict(row) for row in rows]
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
