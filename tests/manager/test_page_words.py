"""The page's languages: every word in each, none that nobody says, and none missing for what the manager says."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from firmware.charger.interlocks import NAMES, NORMAL
from manager.core.leases import OWN_RULE
from manager.core.reasons import _WORDS as REASONS
from manager.core.site import POLICIES, SOURCES
from manager.view import _KNOWN, _ROLES, _STATES

PAGE = resources.files("manager").joinpath("web").joinpath("page")
MANAGER = Path(__file__).parents[2] / "manager"
SCRIPTS = {
    f.name: f.read_text("utf-8") for f in PAGE.iterdir() if f.name.endswith((".js", ".html"))
}


def words(language: str) -> dict[str, str]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), "a key is there twice"
        return dict(pairs)

    text = PAGE.joinpath(f"words.{language}.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text, object_pairs_hook=once)
    return found


LANGUAGES = {
    f.name.split(".")[1]: words(f.name.split(".")[1])
    for f in PAGE.iterdir()
    if f.name.startswith("words.") and f.name.endswith(".json")
}
OURS = {
    name: {k: w for k, w in w.items() if not k.startswith(("told.", "said."))}
    for name, w in LANGUAGES.items()
}


def gaps(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


def test_there_are_english_and_portuguese() -> None:
    assert set(LANGUAGES) == {"en", "pt"}
    assert "told.state.C2" not in LANGUAGES["en"]  # the manager itself speaks English


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_keys_and_the_same_gaps(language: str) -> None:
    assert OURS[language].keys() == OURS["en"].keys()
    for key, english in OURS["en"].items():
        assert OURS[language][key].strip(), key
        assert gaps(OURS[language][key]) == gaps(english), key


def said(script: str) -> tuple[set[str], set[str]]:
    """The keys a script asks for: whole ones, and beginnings of those made while it runs."""
    whole = set(re.findall(r'\bt\("([^"]+)"', script))
    whole |= {
        key for pair in re.findall(r'\bt\(\w+ \? "([^"]+)" : "([^"]+)"', script) for key in pair
    }
    begun = set(re.findall(r"\bt\(`([\w.-]+)\$\{", script))
    return whole, begun


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_says_is_in_the_tables(name: str) -> None:
    whole, begun = said(SCRIPTS[name])
    assert whole <= OURS["en"].keys()
    for beginning in begun:
        assert any(key.startswith(beginning) for key in OURS["en"]), beginning


def test_no_word_is_kept_that_nobody_says() -> None:
    everything = "\n".join(SCRIPTS.values())
    begun = set.union(*(said(script)[1] for script in SCRIPTS.values()))
    unsaid = {
        key
        for key in OURS["en"]
        if f'"{key}"' not in everything and not key.startswith(tuple(begun))
    }
    # Said by a name that is only known while it runs: `figure("limit")`.
    assert unsaid == set()


def test_the_settings_offer_every_policy_and_source_there_is() -> None:
    script = SCRIPTS["view_settings.js"]
    for name, known in (("policy", POLICIES), ("source", SOURCES)):
        offered = re.search(rf'\["{name}", (\[[^\]]*\])\]', script)
        assert offered
        assert json.loads(offered[1]) == list(known)
        assert {f"settings.{name}.{one}" for one in known} <= OURS["en"].keys()


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_what_the_manager_says_has_words_in_every_language(language: str) -> None:
    table = LANGUAGES[language]
    wanted: dict[str, str] = {}
    wanted |= {f"told.reason.{kind}": words for kind, words in REASONS.items()}
    wanted |= {f"told.state.{state}": "" for state in _STATES}
    wanted |= {f"told.role.{role}": "" for role in _ROLES}
    wanted |= {f"told.known.{grade}": "" for grade in _KNOWN}
    assert {key for key in wanted if key not in table} == set()
    for key, english in wanted.items():
        assert gaps(table[key]) == gaps(english), key


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_every_kind_of_event_has_a_name_in_every_language(language: str) -> None:
    kinds = {OWN_RULE, "overload"}
    for file in MANAGER.rglob("*.py"):
        kinds |= set(re.findall(r'\b[Nn]ote\(\s*"(\w+)"', file.read_text("utf-8")))
    assert len(kinds) > 20
    assert {kind for kind in kinds if f"told.event.{kind}" not in LANGUAGES[language]} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fault_is_told_in_words_with_what_to_do(language: str) -> None:
    told = {key for key in LANGUAGES[language] if key.startswith("told.fault.")}
    assert told == {f"told.fault.{name}" for name in NAMES if name not in NORMAL}
