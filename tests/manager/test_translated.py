"""What the manager writes reads in every language: each sentence of its source has a translation."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from manager.core.reasons import _WORDS as REASONS
from manager.core.reasons import Reason, numbers
from manager.translated import _UNITS, LANGUAGES, PARTS, found, translated
from tests.manager.sentences import GAP, every_answer, every_notice, every_sentence

OTHERS = [language for language in LANGUAGES if language != "en"]
FILL = "7"  # fits every gap


@pytest.fixture(scope="module")
def sentences() -> set[str]:
    return {*every_sentence(), *every_notice(), *every_answer()}


def example(sentence: str) -> str:
    return sentence.replace(GAP, FILL)


def left_over(words: str, language: str, used: set[str]) -> str:
    """What of a sentence is not translated, its fills aside; notes the translations used."""
    one = found(words, language)
    if one is None:
        return words.replace(FILL, "").strip(" ,")
    theirs, fills = one
    used.add(theirs)
    return "".join(
        left_over(fill, language, used) if name in PARTS else fill.replace(FILL, "")
        for name, fill in fills.items()
        if name != "field" and not name.endswith(_UNITS)  # a field of the API, and a number
    )


def test_the_source_is_read(sentences: set[str]) -> None:
    assert len(sentences) > 150
    assert {
        "the broker is gone",
        "{}'s card was not accepted: not at this hour",
        "Invalid Message: message {}: not in {}..{}",
        "{} s above {} A on L{}, {} A at most: {} % of the breaker's trip budget",
        "{} is offline",
        "{} is a user now",
        "{}: {} kWh, until {}, at most {} A",
        "line {}: {}: a whole number, not {}",
        "up to 80 letters",
        "tariff {}: clock times are whole quarter hours",
        "{} A is more than {}, which it hangs under, has ({} A)",
        "session {}: its meter counted {} Wh, its quarter hours hold {}",
        "log in first",
    } <= sentences


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_has_a_translation_and_every_translation_a_sentence(
    sentences: set[str], language: str
) -> None:
    used: set[str] = set()
    untold = {s: left_over(example(s), language, used) for s in sorted(sentences) if s != GAP}
    assert {s: rest for s, rest in untold.items() if rest} == {}
    page = resources.files("manager").joinpath("web").joinpath("page")
    table = json.loads(page.joinpath(f"words.{language}.json").read_text("utf-8"))
    said = {key: words for key, words in table.items() if key.startswith("said.")}
    assert {words for words in said.values() if words not in used} == set()
    for key, words in said.items():
        gaps = re.findall(r"{(\w+)}", key)
        assert sorted(gaps) == sorted(re.findall(r"{(\w+)}", words)), key


def test_what_is_filled_in_stays_as_it_is_and_numbers_are_written_as_there() -> None:
    assert translated("Ana's card was not accepted: not at this hour", "pt") == (
        "o cartão de Ana não foi aceite: não a esta hora"
    )
    assert translated("Zé is not at this charger has to stop: this user is blocked", "pt") == (
        "Zé is not at this charger tem de parar: este utilizador está bloqueado"
    )
    overload = "3.5 s above 30 A on L2, 31.2 A at most: 12.5 % of the breaker's trip budget"
    assert translated(overload, "pt") == (
        "3,5 s acima de 30 A em L2, no máximo 31,2 A: 12,5 % do que o disjuntor aguenta sem disparar"
    )
    assert translated("Charger-1.5 is authorised", "pt") == "Charger-1.5 foi admitido"


def test_what_a_refusal_is_made_of_is_translated_part_by_part() -> None:
    said = "line 3: max_a: a whole number, not 'x'"
    assert translated(said, "pt") == "linha 3: max_a: um número inteiro, não 'x'"
    said = "no bill was made: more than one tariff holds at 2026-10-01 00:00 UTC: end all but one of 'a', 'b'"
    assert translated(said, "pt") == (
        "nenhuma fatura foi emitida: mais de uma tarifa vale em 2026-10-01 00:00 UTC: "
        "dê um fim a todas menos uma de 'a', 'b'"
    )
    said = "tariff 'house, 2026': no price on Mon at 08:00"
    assert translated(said, "pt") == "tarifa 'house, 2026': não há preço para seg às 08:00"
    said = "Charger-1: 7.5 kWh, until 07:30, at most 16 A"
    assert translated(said, "pt") == "Charger-1: 7,5 kWh, até às 07:30, no máximo 16 A"
    said = "energy comes from grid; it is not on disk yet: a manager started anew would not know"
    assert translated(said, "pt") == (
        "a energia vem de grid; ainda não está no disco: um gestor reiniciado não o saberia"
    )
    said = "the site has no limit by hand; it is not on disk yet: a manager started anew would not know"
    assert translated(said, "pt") == (
        "o local não tem limite manual; ainda não está no disco: um gestor reiniciado não o saberia"
    )


def test_a_notice_of_a_fault_says_what_to_do() -> None:
    told = translated("Charger-1 has a fault: diode_fault, over_current, some_other", "pt")
    assert told == (
        "Charger-1 tem uma avaria: falta o díodo do carro: desligue o carro;"
        " o carro consumiu mais do que pode: desligue-o; some_other"
    )
    told = translated("Charger-1 has a fault: diode_fault", "en")
    assert told == "Charger-1 has a fault: the car's diode is missing: unplug the car"


def test_what_has_no_translation_stays_as_it_is() -> None:
    assert translated("an older manager's sentence", "pt") == "an older manager's sentence"
    assert translated("the broker is gone", "en") == "the broker is gone"


@pytest.mark.parametrize("kind", REASONS)
def test_the_numbers_of_a_decision_are_found_in_its_words(kind: str) -> None:
    names = re.findall(r"{(\w+)}", REASONS[kind])
    given = {name: n + 6.5 if n % 2 else n + 6 for n, name in enumerate(names)}
    assert numbers(kind, Reason(kind, given).words()) == given
    assert numbers(kind, "what an older manager said") == {}
