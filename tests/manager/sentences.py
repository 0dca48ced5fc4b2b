"""Every sentence the manager can write among the events or tell somebody, read out of its own source; `{}` stands for
what is filled in.

Where the words of a note come from elsewhere, `ELSEWHERE` says from where. A note whose words are
neither to be read nor listed there is an error: it would be shown in English to everybody.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from ocpp.v16.enums import FirmwareStatus
from ocpp.v201.enums import FirmwareStatusEnumType

ROOT = Path(__file__).parents[2]
GAP = "{}"
SAYS = ("note", "_note", "Note", "_refuse")  # the third they are given are the words
ANOTHERS = {  # functions of the same names
    "overloads.py: seen: account.limit_ma",
    "downward.py: _admit: http.HTTPStatus.NOT_FOUND",
    "downward.py: _admit: http.HTTPStatus.UNAUTHORIZED",
}

_WIRE = (
    *(
        f"Invalid Message: message {what}"
        for what in ("size", "text", "json", "version", "code", "signature", "replay", "stale")
    ),
    "Invalid Message: message {}: missing",
    "Invalid Message: message {}: {protocol.py:_fault}",
)
_PRICES = (
    "{prices.py:fetch}",
    "{prices.py:import_omie}",
    "{beside.py:look}",
    "{beside.py:change}",
)
_RIGHTS = ("{rights.py:judge}", "{rights.py:allowed}")
_BY_HAND = ("{run.py:limit_by_hand}", "{home_assistant.py:_charging}")

# file: function: words -> what these may be. `{file:function}` is all that one returns or raises,
# `{file:name}` every text in that constant, `{file:function:name}` what is assigned there. Empty: a
# device's or another program's own words, or those of somebody listed here.
ELSEWHERE: dict[str, Iterable[str]] = {
    "decide.py: decide: why": ("{registration.py:forget}",),
    "heard.py: announced: words": tuple(
        f"{{registration.py:{name}}}" for name in ("announce", "_counter", "_charger")
    ),
    "heard.py: meter_report: message['state']": ("starting", "ok", "silent", "updating"),
    "heard.py: meter_report: message['reason']": (),
    "heard.py: charger_report: message['reason']": (),
    "heard.py: charger_report: message['fault']": (),  # `told.fault`, and `is over`, by the page
    "heard.py: charger_report: f\"{message['fault']} is over\"": (),
    "heard.py: status: state": (),  # `told.state`
    "day_ahead.py: look: self._said": _PRICES,
    "prices.py: import_omie: taken": (),
    "prices.py: import_omie: str(e)": ("{omie.py:prices}", "{omie.py:_number}"),
    "home_assistant.py: _arrived: wish(device, arrival.data[:64].decode())": _BY_HAND,
    "home_assistant.py: _arrived: e": (
        GAP,
        *_BY_HAND,
        "{run.py:_known}",
        "{home_assistant.py:_limit}",
        "{home_assistant.py:_arrived}",
    ),
    "home_assistant.py: _limit: self._manager.limit_by_hand(charger, None if amps >= most else int(amps))": (),
    "home_assistant.py: _charging: self._manager.limit_by_hand(device, 0)": (),
    "home_assistant.py: _charging: self._manager.limit_by_hand(device, self._was_a.pop(device, None))": (),
    "errands.py: _tried: what": ("the central system's firmware", "a log"),
    "errands.py: _tried: e": (GAP, "{remote_files.py:_checked}", "{remote_files.py:_fetch}"),
    "remote_files.py: _checked: url": (),
    "remote_files.py: _fetch: data": (),
    "remote_files.py: _fetch: str(e)": (),
    "errands.py: _update: e": ("{updates.py:offer}",),
    "station.py: note: words": (),
    "station16.py: _on_firmware_status_notification: str(p['status'])": sorted(
        {str(s.value) for e in (FirmwareStatus, FirmwareStatusEnumType) for s in e}
    ),
    "station201.py: _on_firmware_status_notification: str(p['status'])": (),
    "station16.py: _on_security_event_notification: str(p.get('type', ''))[:80]": (),  # OCPP's name
    "station201.py: _on_security_event_notification: str(p.get('type', ''))[:80]": (),
    "reception.py: _card: verdict.why": (*_RIGHTS, "somebody else has reserved it"),
    "reception.py: _judge: verdict.why": _RIGHTS,
    "reception.py: _say_list: str(e)": ("{rights.py:list_messages}",),
    "run.py: __init__: words": ("{turned_away.py:heard}",),
    "turned_away.py: heard: ' and '.join(words)": (
        *("{} message", "{} messages", "{} connection", "{} connections"),
        *(f"{{}} message{m} and {{}} connection{c}" for m, c in product(("", "s"), repeat=2)),
    ),
    "run.py: _do: command.words": (),
    "run.py: _do: command.kind.replace('_', ' ')": (),  # `told.event`, by the page
    "run.py: note: words": (),
    "run.py: _take: message.get('words', '')": (GAP, "{network_lane.py:_command:refused}"),
    "run.py: _announced: str(e)": _WIRE,
    "run.py: _reported: str(e)": _WIRE,
    "run.py: _admitted: str(e)": _WIRE,
    "run.py: _stranger: self.admission.stranger(message, _SIGNED in arrival.data, utc_ms)": (
        "{admission.py:stranger}",
    ),
    "run.py: _let_in: words": ("{admission.py:confirmed}", "{admission.py:let_in}"),
    "admission.py: confirmed: self.let_in(device, offered.key, offered.who, utc_ms)": (),
    "run.py: revoke: words": ("{admission.py:send_away}",),
    "run.py: _refuse: words": (),
    "run.py: _refuse: what": ("retained", GAP),
    "notify.py: _noted: words": (),  # the event's
    "notify.py: hear: words": (),
    "run.py: _look_at_store: trouble": ("{store.py:_words}",),
    "store.py: _words: what": (GAP, "{store.py:_MEND}"),
    "store.py: _words: mend": (
        "it is tried again every second",
        "{store.py:_MEND}",
        "{store.py:_DAMAGED}",
    ),
    "admission.py: pairing: words": ("{admission.py:pair}",),
}


class UnreadError(LookupError):
    """Words that come from somewhere that is not known here."""


Function = ast.FunctionDef | ast.AsyncFunctionDef
FILES: dict[str, list[ast.Module]] = {}
for _file in (
    *sorted((ROOT / "manager").rglob("*.py")),
    ROOT / "shared" / "protocol.py",
    ROOT / "firmware" / "charger" / "network_lane.py",
):
    FILES.setdefault(_file.name, []).append(ast.parse(_file.read_text("utf-8")))


def functions(tree: ast.AST) -> Iterator[Function]:
    """Each function, those inside others on their own."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def own(function: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function and not in one inside it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, Function):
            yield node
            yield from own(node)


def assigned(name: str, within: ast.AST) -> list[ast.expr]:
    """What is given to a name there."""
    return [
        node.value
        for node in own(within)
        if isinstance(node, ast.Assign)
        and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
    ]


class Reader:
    """Reads the words in one function of a file."""

    def __init__(self, file: str, tree: ast.Module, function: Function) -> None:
        self.file, self.tree, self.function = file, tree, function

    def texts(self, words: ast.expr) -> set[str]:
        """All that these words may be. UnreadError if that is not to be seen."""
        listed = ELSEWHERE.get(f"{self.file}: {self.function.name}: {ast.unparse(words)}")
        if listed is not None:
            try:
                return {text for one in listed for text in expanded(one)}
            except UnreadError as e:  # what is listed has to be readable, within a sentence too
                raise AssertionError(str(e)) from e
        match words:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.JoinedStr(values=parts):
                return {"".join(some) for some in product(*map(self.part, parts))}
            case ast.IfExp(body=a, orelse=b):
                return self.texts(a) | self.texts(b)
            case ast.BoolOp(values=values):
                return set[str]().union(*map(self.texts, values))
            case ast.Subscript(value=value, slice=ast.Slice()):
                return self.texts(value)
            case ast.Subscript(value=ast.Name(id=name)):
                found = assigned(name, self.function)
                if len(found) == 1 and isinstance(found[0], ast.Tuple):
                    return set[str]().union(*map(self.texts, found[0].elts))
            case ast.BinOp(left=left, op=ast.Mod()):
                return {re.sub(r"%[ds]", GAP, text) for text in self.texts(left)}
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                sums = {"".join(some) for some in product(self.part(left), self.part(right))}
                if sums != {GAP + GAP}:  # of numbers
                    return sums
            case ast.Call(func=ast.Attribute(value=ast.Name() as text, attr="format")):
                return {re.sub(r"{\w+}", GAP, one) for one in self.texts(text)}
            case ast.Name(id=name):
                found = assigned(name, self.function) or assigned(name, self.tree)
                if found:
                    return set[str]().union(*map(self.texts, found))
            case _:
                pass
        raise UnreadError(f"{self.file}: {self.function.name}: {ast.unparse(words)}")

    def part(self, part: ast.expr) -> set[str]:
        """The same of a piece of a sentence, which may be anything."""
        words = part.value if isinstance(part, ast.FormattedValue) else part
        try:
            return self.texts(words) or {GAP}
        except UnreadError:
            return self.some(words) or {GAP}

    def some(self, words: ast.expr) -> set[str]:
        """Of `a or b` and `a if c else b` what can be seen, and a gap for what cannot."""
        match words:
            case ast.IfExp(body=a, orelse=b):
                return self.part(a) | self.part(b)
            case ast.BoolOp(values=values):
                return set[str]().union(*map(self.part, values))
            case ast.Name(id=name):
                return set[str]().union(*map(self.some, assigned(name, self.function)))
            case _:
                return set()

    def given(self) -> set[str]:
        """What the function returns or raises, in words."""
        texts: set[str] = set()
        for node in own(self.function):
            match node:
                case ast.Return(value=ast.Tuple(elts=elements)):
                    for element in elements:
                        try:
                            texts |= self.texts(element)
                        except UnreadError:
                            continue  # a site, a row, a number
                case ast.Return(value=ast.Call(func=ast.Name(id="Verdict"), args=[_, why, *_])):
                    texts |= self.texts(why)
                case ast.Raise(exc=ast.Call(args=[words, *_])):
                    texts |= self.texts(words)
                case ast.Return(value=ast.Constant(value=None)) | ast.Return(value=None):
                    pass
                case ast.Return(value=ast.expr() as words):
                    try:
                        texts |= self.texts(words)
                    except UnreadError:
                        if isinstance(words, ast.Name):
                            raise  # words, for all one can see; what is made up here is none
                case ast.Expr(value=ast.Call(func=ast.Attribute(attr="_tell"), args=[words])):
                    texts |= self.texts(words)
                case _:
                    pass
        return texts


def expanded(text: str) -> set[str]:
    """A text of `ELSEWHERE` with what it refers to filled in."""
    parts = re.split(r"({[\w.]+:[\w:]+})", text)
    fills = [known(p[1:-1]) if n % 2 else {p} for n, p in enumerate(parts)]
    return {"".join(some) for some in product(*fills)}


def known(reference: str) -> set[str]:
    """What is at `file:function`, `file:function:name` or `file:name`."""
    file, name, *inside = reference.split(":")
    texts: set[str] = set()
    for tree in FILES[file]:
        for function in functions(tree):
            if function.name == name:
                reader = Reader(file, tree, function)
                texts |= (
                    set[str]().union(*map(reader.texts, assigned(inside[0], function)))
                    if inside
                    else reader.given()
                )
        for value in assigned(name, tree):
            texts |= {
                node.value
                for node in ast.walk(value)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    assert texts, f"nothing is said at {reference}"
    return texts - {""}


def every_sentence() -> set[str]:
    """All of them. UnreadError names the first whose words come from who knows where."""
    found: set[str] = set()
    for file, trees in FILES.items():
        for tree in trees:
            for function in functions(tree):
                for node in own(function):
                    if not isinstance(node, ast.Call) or len(node.args) < 3:
                        continue
                    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    where = f"{file}: {function.name}: {ast.unparse(node.args[2])}"
                    if called in SAYS and where not in ANOTHERS:
                        found |= Reader(file, tree, function).texts(node.args[2])
    return found - {""}


def every_notice() -> set[str]:
    """What people are told beside the events."""
    found: set[str] = set()
    for tree in FILES["notify.py"]:
        for function in functions(tree):
            reader = Reader("notify.py", tree, function)
            for node in own(function):
                match node:
                    case ast.Assign(
                        targets=[ast.Subscript(value=ast.Name(id="found"))],
                        value=ast.Tuple(elts=[words, _]),
                    ):
                        found |= reader.texts(words)
                    case (
                        ast.Assign(
                            targets=[ast.Subscript(value=ast.Attribute(attr="_noticed"))],
                            value=words,
                        )
                        | ast.Call(func=ast.Name(id="translated"), args=[words, _])
                    ):
                        found |= reader.texts(words)
                    case _:
                        pass
    return found
