"""Tables for other programs: the same rows as JSON, CSV and XLSX.

Amounts and energy stay exact: decimals written from whole numbers, never through a float of ours.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

Kind = Literal["text", "whole", "energy", "money", "time"]  # Wh, 1/10000 and s since 1970 (UTC)
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_HEADS = {"energy": "_kwh", "time": "", "money": "", "whole": "", "text": ""}
_NAMES = {"energy": "_wh", "time": "_s", "money": "", "whole": "", "text": ""}
_FORMATS = {"energy": "#,##0.000", "money": "#,##0.00##", "time": "yyyy-mm-dd hh:mm", "whole": "0"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """`columns` by name and kind; a cell is None where there is nothing to say."""

    title: str
    columns: Sequence[tuple[str, Kind]]
    rows: Sequence[Sequence[Any]]
    timezone: str = "UTC"  # of times as people read them

    def plain(self) -> list[dict[str, Any]]:
        """For JSON: Wh and seconds as whole numbers, amounts as text."""
        return [
            {
                name + _NAMES[kind]: _amount(cell) if kind == "money" else cell
                for (name, kind), cell in zip(self.columns, row, strict=True)
            }
            for row in self.rows
        ]

    def heads(self) -> list[str]:
        """The columns' names as people read them."""
        return [name + _HEADS[kind] for name, kind in self.columns]

    def words(self, row: Sequence[Any]) -> list[str]:
        """A row as people read it, and as CSV has it."""
        zone = ZoneInfo(self.timezone)
        cells = []
        for (_, kind), cell in zip(self.columns, row, strict=True):
            if cell is None:
                cells.append("")
            elif kind == "energy":
                cells.append(f"{Decimal(cell) / 1000:.3f}")
            elif kind == "money":
                cells.append(_amount(cell) or "")
            elif kind == "time":
                cells.append(datetime.fromtimestamp(cell, zone).isoformat())
            else:
                cells.append(str(cell))
        return cells

    def csv(self) -> str:
        """RFC 4180; times with their offset from UTC."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(self.heads())
        for row in self.rows:
            words = self.words(row)
            texts = (kind == "text" for _, kind in self.columns)
            writer.writerow([_safe(w) if t else w for w, t in zip(words, texts, strict=True)])
        return out.getvalue()

    def xlsx(self) -> bytes:
        """A workbook with one sheet; numbers are numbers, times are times of the site's clock."""
        import xlsxwriter  # noqa: PLC0415 - costs a Raspberry Pi seconds, and is seldom asked for

        zone = ZoneInfo(self.timezone)
        out = io.BytesIO()
        # A text that begins like a formula or an address stays a text.
        options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        with xlsxwriter.Workbook(out, options) as book:
            page = book.add_worksheet(self.title[:31])
            bold = book.add_format({"bold": True})
            formats = {k: book.add_format({"num_format": f}) for k, f in _FORMATS.items()}
            for n, head in enumerate(self.heads()):
                page.write_string(0, n, head, bold)
            for line, row in enumerate(self.rows, 1):
                for n, ((_, kind), cell) in enumerate(zip(self.columns, row, strict=True)):
                    if cell is None:
                        continue
                    if kind == "text":
                        page.write_string(line, n, str(cell))
                    elif kind == "time":
                        at = datetime.fromtimestamp(cell, zone).replace(tzinfo=None)
                        page.write_datetime(line, n, at, formats["time"])
                    else:
                        scale = {"energy": 1000, "money": 10_000}.get(kind, 1)
                        page.write_number(line, n, Decimal(cell) / scale, formats[kind])
            page.freeze_panes(1, 0)
            page.autofit()
        return out.getvalue()


def _amount(cell: int | None) -> str | None:
    """1/10000 as a decimal with two to four places."""
    if cell is None:
        return None
    text = f"{Decimal(cell) / 10_000:.4f}"
    return text.removesuffix("00")


def _safe(text: str) -> str:
    # A name that begins like a formula would be run as one by a spreadsheet.
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text
