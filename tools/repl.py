"""Talk to a board: mpremote's terminal at PORT, with a plain word where there is no board."""

import argparse
import subprocess
import sys

from tools.board_kinds import ToolError, port


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.repl", description=__doc__)
    parser.add_argument("--port", default="")
    parser.add_argument("rest", nargs="*", help="mpremote commands instead of the terminal")
    given = parser.parse_args(arguments)
    try:
        at = port(given.port)
    except ToolError as error:
        print(f"repl: {error}", file=sys.stderr)
        return 1
    command = ["mpremote", "connect", at, *(given.rest or ["repl"])]
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
