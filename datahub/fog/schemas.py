"""Writes the JSON Schemas of all records from the wire's table: `python -m
datahub.fog.schemas`.
"""

from __future__ import annotations

import json
from pathlib import Path

from datahub.fog import record

FOLDER = Path(__file__).parent / "schema"


def text(kind: str) -> str:
    """One schema as it stands in its file."""
    return json.dumps(record.schema(kind), indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write every schema, remove those of kinds that are no more."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        if old.stem not in record.KINDS:
            old.unlink()
    for kind in record.KINDS:
        (FOLDER / f"{kind}.json").write_text(text(kind))


if __name__ == "__main__":
    main()
