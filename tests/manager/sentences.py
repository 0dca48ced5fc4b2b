"""Every sentence the manager can write among the events, tell somebody, or answer on the page, read out of its own
source; `{}` stands for what is filled in.

Where the words of a note or an answer come from elsewhere, `ELSEWHERE` says from where. Words that are
neither to be read nor listed there are an error: they would be shown in English to everybody.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations, product
from pathlib import Path

from ocpp.v16.enums import FirmwareStatus
from ocpp.v201.enums import FirmwareStatusEnumType

from manager.store import _MEND

ROOT = Path(__file__).parents[2]
WEB = ROOT / "manager" / "web"
GAP = "{}"
SAYS = ("note", "_note", "Note", "_refuse")  # the third they are given are the words
PLACED = ("SettingsError", "SiteFileError", "BreakerError", "error")  # whose first is a place
REFUSED = ("SiteFileError", "TariffError", "BillError", "BreakerError")  # become refusals
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
_TARIFF = ("tariff", "tariff {}", "tariff {}, row {}", "tariff {}, spot")
_WISH = ("{} kWh", "until {}", "at most {} A")
_UNNUMBERED = "messages of {} bytes that it does not number"
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
        *("{} message", "{} messages", "{} connection", "{} connections", _UNNUMBERED),
        *(f"{{}} message{m} and {{}} connection{c}" for m, c in product(("", "s"), repeat=2)),
        *(f"{_UNNUMBERED} and {{}} connection{c}" for c in ("", "s")),
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
    # What the page is answered.
    "api.py: answer: said": (),  # an operation's
    "api.py: answer: operation.role": ("tenant", "operator", "administrator"),
    "guard.py: guarded: role": ("tenant", "operator", "administrator"),
    "guard.py: refusal: words": (),  # of those who refuse
    "api.py: refused: str(e)": (),
    "login.py: _refused: str(e)": (),
    "settings.py: change: str(e)": (),
    "api.py: not_so: _NOT_SO.get(e.status_code, e.detail)": ("{api.py:_NOT_SO}",),
    "api.py: _checked: _complaint(model, e)": ("{api.py:_complaint}",),
    "api.py: _complaint: wanted": ("a whole number",),  # one of `every_wish`
    "login.py: me: guard.NO_ACCOUNT": ("{guard.py:NO_ACCOUNT}",),
    "logins.py: spend: int(max(waits)) + 1": ("{logins.py:__init__}",),
    "admission.py: authorise: manager.kept(words)": ("{run.py:authorise}", "{run.py:kept}"),
    "admission.py: revoke: manager.kept(manager.revoke(call.path('device'), _name(call)))": (
        "{admission.py:send_away}",
    ),
    "run.py: authorise: words": ("{admission.py:let_in}",),
    "run.py: kept: words": (
        *("{run.py:set_priority}", "{run.py:limit_by_hand}", "{run.py:choose_source}"),
        *("{run.py:authorise}", "{admission.py:send_away}"),
    ),
    "run.py: reread: e": ("{site_file.py:load}", "{site_file.py:__init__}"),
    "now.py: limit: manager.kept(words)": ("{run.py:limit_by_hand}",),
    "now.py: priority: manager.kept(words)": ("{run.py:set_priority}",),
    "now.py: charging: manager.command(charger.id, 'start' if call.body.on else 'stop')": (
        "{run.py:command}",
    ),
    "devices.py: update: manager.offer_update(body.device, bundle, body.version)": (
        "{run.py:offer_update}",
    ),
    "devices.py: update: manager.updates.said(body.device)": (  # with a board's own words
        *("offered", "{} %", "ready", "busy", "done", "reverted", "failed", "failed {}"),
    ),
    "energy.py: wanted: energy.wish(body.charger, body.kwh, body.until, body.max_a)": (
        "{energy.py:wish}",
    ),
    "energy.py: wish: ', '.join(words)": tuple(
        ", ".join(some) for n in range(1, 4) for some in combinations(_WISH, n)
    ),
    "energy.py: source: manager.kept(manager.choose_source(call.body.source))": (
        "{run.py:choose_source}",
    ),
    "energy.py: foreseen: energy.hours(*given)": ("{energy.py:hours}",),
    "money.py: make: words": (),  # numbers and amounts
    "money.py: checked: looked(billing.check)": tuple(
        f"{{billing.py:{name}}}" for name in ("_numbers", "_sums", "_sessions", "_meters")
    ),
    "billing.py: make: e": ("{tariffs.py:tariff_at}", "{bills.py:__post_init__}"),
    "bills.py: __post_init__: self.label": ("{bills.py:label}",),
    "bills.py: make_bills: s.label": ("{bills.py:label}",),
    "people.py: remove: changed(do)": ("{people.py:drop_user}",),
    "people.py: do: people.drop_user(db, name)": (),
    "people.py: import_csv: e": ("{people.py:_number}",),
    "prices.py: __init__: where": _TARIFF,
    "prices.py: error: self.where": _TARIFF,
    "prices.py: error: why": ("is missing",),
    "prices.py: tariff_from_plain: str(e)": (),
    "settings.py: text: config.read_text(encoding='utf-8')": (),  # no answer
    "settings.py: shown: e": ("{site_file.py:__init__}",),
    "settings.py: changed: str(e).partition(': ')[2] if e.line else str(e)": (
        "{site_file.py:__init__}",
    ),
    "site_file.py: __init__: why": ("is missing",),
    "site_file.py: error: why": (),
    "site_file.py: _breaker: str(e).removeprefix(f'{e.field}: ')": (),
    "store.py: connect: _migrate(db, path)": ("{store.py:_migrate}",),
    "store.py: connect: f'cannot use {path}: {what}: {mend}'": (
        *(f"cannot use {{}}: {what}: {mend}" for what, mend in _MEND.values()),
        "cannot use {}: {}: see whose it is",
    ),
}


# What nobody at the page can bring about, though it stands in a file that is loaded for it.
COMMANDS = ("asking.py", "cli_money.py", "cloud_copy.py")  # files
NOT_THE_PAGES = (
    *("app.py: _uplot", "app.py: listen", "app.py: serve"),  # there would be no page
    *(
        "logins.py: check_name",
        "logins.py: add",
        "logins.py: remove",
        "logins.py: set_password",
    ),  # `ievcc accounts`
    *("prices.py: tariffs_from_text", "prices.py: import_omie"),  # `ievcc tariffs`
    *("site_books.py: at", "site_books.py: of_file"),  # commands, with and without a month
    *(
        "energy.py: provider_says",
        "prices.py: fetch",
    ),  # others' servers, to the log and the events
    *("reception.py: wish", "reception.py: start"),  # asked by OCPP and the cloud
    *("breaker.py: contract_ma", "breaker.py: _checked"),  # what no site file can say
)


class UnreadError(LookupError):
    """Words that come from somewhere that is not known here."""


Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parsed(path: Path) -> ast.Module:
    """A file's source, read once."""
    return ast.parse(path.read_text("utf-8"))


@cache
def files() -> dict[str, list[ast.Module]]:
    """All of it, by the names of the files."""
    found: dict[str, list[ast.Module]] = {}
    for path in (
        *sorted((ROOT / "manager").rglob("*.py")),
        ROOT / "shared" / "protocol.py",
        ROOT / "firmware" / "charger" / "network_lane.py",
    ):
        found.setdefault(path.name, []).append(parsed(path))
    return found


@cache
def functions(tree: ast.AST) -> tuple[Function, ...]:
    """Each function, those inside others on their own."""
    return tuple(node for node in ast.walk(tree) if isinstance(node, Function))


@cache
def own(function: ast.AST) -> tuple[ast.AST, ...]:
    """What stands in a function and not in one inside it."""
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, Function):
            found += (node, *own(node))
    return tuple(found)


def assigned(name: str, within: ast.AST) -> list[ast.expr]:
    """What is given to a name there."""
    return [
        node.value
        for node in own(within)
        if isinstance(node, ast.Assign)
        and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
    ]


def called(call: ast.Call) -> str:
    """The name of what is called, without whose it is."""
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def words_of(raised: ast.Call) -> ast.expr:
    """The words among what an exception is made of."""
    return raised.args[1 if called(raised) in PLACED else 0]


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
            case ast.Await(value=value):
                return self.texts(value)
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
                case ast.Raise(exc=ast.Call(args=[_, *_]) as raised):
                    texts |= self.texts(words_of(raised))
                case ast.Expr(value=ast.Call(func=ast.Attribute(attr="__init__"), args=[words])):
                    texts |= self.texts(words)
                case ast.Expr(value=ast.Yield(value=ast.JoinedStr() as words)):
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
    for tree in files()[file]:
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
    for file, trees in files().items():
        for tree in trees:
            for function in functions(tree):
                for node in own(function):
                    if not isinstance(node, ast.Call) or len(node.args) < 3:
                        continue
                    if called(node) not in SAYS:
                        continue
                    where = f"{file}: {function.name}: {ast.unparse(node.args[2])}"
                    if where not in ANOTHERS:
                        found |= Reader(file, tree, function).texts(node.args[2])
    return found - {""}


def every_notice() -> set[str]:
    """What people are told beside the events."""
    found: set[str] = set()
    for tree in files()["notify.py"]:
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


# What the page is answered.


def reached() -> Iterator[tuple[Path, ast.Module]]:
    """Every file of the manager that is loaded for the page, and those loaded for these."""
    wanted, seen = [WEB / "app.py"], set[Path]()
    while wanted:
        path = wanted.pop()
        if path in seen or not path.is_file() or path.name in COMMANDS:
            continue
        seen.add(path)
        tree = parsed(path)
        yield path, tree
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("manager"):
                module = ROOT.joinpath(*str(node.module).split("."))
                wanted += [
                    module.with_suffix(".py"),
                    *(module / f"{a.name}.py" for a in node.names),
                ]


def kinds_of(trees: Iterable[ast.Module], *names: str) -> set[str]:
    """These classes and all that are made of them there."""
    classes = [node for tree in trees for node in ast.walk(tree)]
    found = set(names)
    while True:
        more = {
            c.name
            for c in classes
            if isinstance(c, ast.ClassDef)
            and any(isinstance(base, ast.Name) and base.id in found for base in c.bases)
        }
        if more <= found:
            return found
        found |= more


def every_refusal() -> set[str]:
    """What cannot be done, as the API turns it into words."""
    refusals = kinds_of((tree for _, tree in reached()), "Refusal") | {"error", *REFUSED}
    found: set[str] = set()
    left = set(NOT_THE_PAGES)
    for path, tree in reached():
        for function in functions(tree):
            where = f"{path.name}: {function.name}"
            if where in NOT_THE_PAGES:
                left.discard(where)
                continue
            for node in own(function):
                match node:
                    case (
                        ast.Raise(exc=ast.Call() as raised)
                        | ast.Return(value=ast.Call() as raised)
                    ) if called(raised) in refusals:
                        found |= Reader(path.name, tree, function).texts(words_of(raised))
                    case _:
                        pass
    assert not left, f"not there, or not loaded for the page: {left}"
    return found


def every_wish() -> set[str]:
    """What the fields of a request are to be: what is said of one that is not so."""
    found: set[str] = set()
    for path in sorted(WEB.glob("*.py")):
        tree = parsed(path)
        requests = kinds_of([tree], "Body", "Query")
        nobodys = ast.parse("def _(): pass").body[0]
        assert isinstance(nobodys, ast.FunctionDef)
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or node.name not in requests:
                continue
            for field in node.body:
                match field:
                    case ast.AnnAssign(target=ast.Name(id="model_config")):
                        pass
                    case ast.AnnAssign(value=ast.Call(keywords=given)):
                        [words] = [k.value for k in given if k.arg == "description"]
                        found |= Reader(path.name, tree, nobodys).texts(words)
                    case ast.AnnAssign():
                        raise UnreadError(f"{path.name}: {node.name}: {ast.unparse(field)}")
                    case _:
                        pass
    return found


def every_answer() -> set[str]:
    """What the page is answered to a change or a refusal. UnreadError as above."""
    found = every_refusal() | every_wish()
    for path in sorted(WEB.glob("*.py")):
        tree = parsed(path)
        for function in functions(tree):
            reader = Reader(path.name, tree, function)
            within = {f for o in functions(tree) if o.name == "operations" for f in ast.walk(o)}
            answers = function in within and ast.unparse(function.returns or function) == "str"
            for node in own(function):
                match node:
                    case ast.Dict(keys=keys, values=values):
                        for key, words in zip(keys, values, strict=True):
                            if isinstance(key, ast.Constant) and key.value in ("words", "faults"):
                                found |= reader.texts(words)
                    case ast.Call(args=[_, words, *_]) if called(node) == "refusal":
                        found |= reader.texts(words)
                    case ast.Call(keywords=given):
                        for keyword in given:
                            if keyword.arg == "words":
                                found |= reader.texts(keyword.value)
                    case ast.Return(value=ast.expr() as words) if answers:
                        found |= reader.texts(words)
                    case _:
                        pass
    return found - {""}
