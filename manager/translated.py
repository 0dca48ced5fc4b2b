"""Sentences of the manager's in the language of who reads them.

The manager writes down what happened in English, once, whoever will look: what it wrote years ago reads
as well as what it writes now. The page's table of words has each sentence with its translation
(`said.{device} is authorised`), the page goes by it as it shows an event (`words.js`), and this module
does for what leaves the manager otherwise. What has no translation stays as it was written.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources

LANGUAGES = ("en", "pt")
PARTS = ("what", "why", "todo", "whose")  # gaps filled with what is a sentence of the table itself
NAMES = ("device", "charger", "mark", "field", "command", "url")  # gaps filled with one word
_UNITS = ("_a", "_s", "_pct", "_kwh", "_n")  # at the end of a gap filled with a number
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_SAID = "said."


@cache
def _words(language: str) -> dict[str, str]:
    page = resources.files("manager").joinpath("web").joinpath("page")
    words: dict[str, str] = json.loads(page.joinpath(f"words.{language}.json").read_text("utf-8"))
    return words


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = re.split(r"{(\w+)}", sentence)
    for n, part in enumerate(parts):
        fill = _NUMBER if part.endswith(_UNITS) else r"\S+" if part in NAMES else ".*?"
        parts[n] = f"(?P<{part}>{fill})" if n % 2 else re.escape(part)
    return re.compile("".join(parts), re.DOTALL)


@cache
def _sentences(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Those that say most in words of their own first: others might take them for a gap."""
    said = [
        (key.removeprefix(_SAID), theirs)
        for key, theirs in _words(language).items()
        if key.startswith(_SAID)
    ]
    said.sort(key=lambda one: -len(re.sub(r"{\w+}", "", one[0])))
    return tuple((_pattern(ours), theirs) for ours, theirs in said)


def found(words: str, language: str) -> tuple[str, dict[str, str]] | None:
    """The translation of a sentence with its gaps, and what fills them; None if there is none."""
    for pattern, theirs in _sentences(language):
        if match := pattern.fullmatch(words):
            return theirs, match.groupdict()
    return None


def translated(words: str, language: str) -> str:
    """The sentence in this language; as it is if that has none for it."""
    one = found(words, language)
    if one is None:
        return words
    theirs, fills = one
    for name, fill in fills.items():
        if name in PARTS:
            fills[name] = translated(fill, language)
        elif name == "faults":
            names = fill.split(", ")
            fills[name] = "; ".join(_words(language).get(f"told.fault.{n}", n) for n in names)
        elif name == "weekday":
            fills[name] = _words(language).get(f"day.{fill.lower()}", fill)
        elif name.endswith(_UNITS):
            fills[name] = fill.replace(".", _words(language)["decimal"])
    return theirs.format_map(fills)
