"""The documented HTTP API: one table of operations, from which requests are routed and checked and
the OpenAPI document is made, so that neither can say what the other does not do.

A module of the API has `operations(manager) -> list[Operation]`. An operation's `do` is given a
`Call` whose query and body have been checked, and answers with what JSON can carry, or a Response.
A `Refusal` becomes status 400 with its words; `NotThere` 404, `NotAllowed` 403.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from manager.refusal import Refusal

Method = Literal["GET", "POST", "PUT", "DELETE"]
Role = Literal["anyone", "tenant", "operator", "administrator"]
ROLES: tuple[Role, ...] = ("anyone", "tenant", "operator", "administrator")

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_BODY_MOST = 2 << 20  # bytes: an update's bundle in base64 is the largest


class NotThere(Refusal):
    """What is asked for does not exist."""


class NotAllowed(Refusal):
    """Who asks may not."""


class Conflict(Refusal):
    """It is not as who asks believes it is."""


class TooLarge(Refusal):
    """More than is ever sent here."""


class Query(BaseModel):
    """What stands after the question mark; anything else there is refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class Body(BaseModel):
    """A JSON object sent; nothing is converted (no "6" for 6), nothing unknown is taken."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """A JSON object answered."""


class Said(Answer):
    """What was done, or why it was not, in words."""

    words: str


class Why(Said):
    """Why it was not done, and what is wrong, where that can be said."""

    where: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked. `query` and `body` are of the operation's own models."""

    request: Request
    query: Any = None
    body: Any = None

    @property
    def who(self) -> Any:
        """Who asks: name, role, user_id; None where nobody is asked to log in."""
        return getattr(self.request.state, "who", None)

    @property
    def role(self) -> Role:
        """What who asks may do."""
        return role_of(self.request)

    @property
    def user(self) -> Any:
        """The user whose own things are asked for: None unless a tenant asks."""
        return self.who.user_id if self.role == "tenant" else None

    def path(self, name: str) -> str:
        """The part of the address in braces."""
        return str(self.request.path_params[name])


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked. `role` is the least who may; `answer` a model or a media type."""

    method: Method
    path: str
    summary: str
    do: Callable[[Call], Any | Awaitable[Any]]
    role: Role = "operator"
    query: type[Query] | None = None
    body: type[Body] | None = None
    answer: type[Answer] | str = Said
    about: str = ""
    tag: str = "now"
    takes: str = "application/json"  # another media type: `do` reads request.body() itself

    @property
    def name(self) -> str:
        """Its operationId."""
        words = re.findall(r"[a-z0-9]+", self.path.removeprefix("/api"))
        return "_".join([self.method.lower(), *words])


def role_of(request: Request) -> Role:
    """The role of who asks; an administrator where nobody is asked to log in."""
    who = getattr(request.state, "who", None)
    role: Role = getattr(who, "role", "administrator") or "anyone"
    return role


def routes(operations: Iterable[Operation]) -> list[Route]:
    """One route a path; what else is asked of it is answered 405 with what may be."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        methods = paths.setdefault(operation.path, {})
        if operation.method in methods:
            raise ValueError(f"{operation.method} {operation.path} is there twice")
        methods[operation.method] = operation
    return [
        Route(path, _answering(by_method), methods=list(by_method))
        for path, by_method in paths.items()
    ]


def _answering(by_method: dict[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = by_method[method]
        if ROLES.index(role_of(request)) < ROLES.index(operation.role):
            raise NotAllowed(f"this is for the {operation.role}")
        call = Call(request, _query(operation, request), await _body(operation, request))
        said = operation.do(call)
        if inspect.isawaitable(said):
            said = await said
        if isinstance(said, Response):
            for name, value in HEADERS.items():
                said.headers.setdefault(name, value)
            return said
        if isinstance(said, str):
            said = {"words": said}
        if isinstance(said, BaseModel):
            said = said.model_dump(mode="json")
        return JSONResponse(said, headers=HEADERS)

    return answer


def _query(operation: Operation, request: Request) -> Any:
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise Refusal(f"{name} is given twice")
        given[name] = value
    if operation.query is None:
        if given:
            raise Refusal(f"{next(iter(given))} is not known here")
        return None
    return _checked(operation.query, given)


async def _body(operation: Operation, request: Request) -> Any:
    if operation.takes != "application/json":
        _of_type(request, operation.takes)
        return None
    if operation.body is None:
        return None
    # A form of another site's page can be sent here by the user's own browser, JSON cannot.
    _of_type(request, "application/json")
    try:
        given = json.loads(await whole_body(request))
    except (ValueError, RecursionError) as e:
        raise Refusal("that is not JSON") from e
    if not isinstance(given, dict):
        raise Refusal("send a JSON object")
    return _checked(operation.body, given)


def _of_type(request: Request, kind: str) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip() != kind:
        raise Refusal(f"send {kind}")


async def whole_body(request: Request) -> bytes:
    """Everything sent. TooLarge for more than anything sent here needs."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > _BODY_MOST:
            raise TooLarge(f"at most {_BODY_MOST} bytes")
    return bytes(data)


def _checked(model: type[BaseModel], given: dict[str, Any]) -> Any:
    try:
        return model.model_validate(given)
    except ValidationError as e:
        raise Refusal(_complaint(model, e)) from e


def _complaint(model: type[BaseModel], e: ValidationError) -> str:
    """The first thing that is wrong, by its name and by what it is to be."""
    error = e.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in error["loc"] if not str(part).startswith("function-"))
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"{where} is not known here"
    wanted = model.model_fields[name].description  # every field has one
    if error["type"] == "missing":
        return f"{where} is missing: {wanted}"
    return f"{where}: {wanted}"


async def refused(_: Request, e: Exception) -> Response:
    """What could not be done, in words."""
    status = 400
    if isinstance(e, NotThere):
        status = 404
    elif isinstance(e, NotAllowed):
        status = 403
    elif isinstance(e, Conflict):
        status = 409
    elif isinstance(e, TooLarge):
        status = 413
    return JSONResponse({"words": str(e)}, status_code=status, headers=HEADERS)


_NOT_SO = {404: "there is nothing here", 405: "not to be asked that way"}


async def not_so(_: Request, e: Exception) -> Response:
    """An address that is none, or not to be asked so."""
    assert isinstance(e, HTTPException)
    said = {"words": _NOT_SO.get(e.status_code, e.detail)}
    return JSONResponse(said, e.status_code, headers={**HEADERS, **(e.headers or {})})


_ROLE_WORDS = {
    "anyone": "Anyone may ask.",
    "tenant": "For everybody who is logged in; tenants are given what is their own.",
    "operator": "For operators and administrators.",
    "administrator": "For administrators.",
}


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    table = list(operations)
    models: dict[type[BaseModel], None] = {Why: None}
    for o in table:
        for model in (o.body, o.query, o.answer):
            if isinstance(model, type):
                models[model] = None
    refs, defined = models_json_schema(
        [(m, "serialization" if issubclass(m, Answer) else "validation") for m in models],
        ref_template="#/components/schemas/{model}",
    )
    schemas = defined.get("$defs", {})

    def schema(model: type[BaseModel]) -> dict[str, Any]:
        return refs[model, "serialization" if issubclass(model, Answer) else "validation"]

    paths: dict[str, dict[str, Any]] = {}
    for o in table:
        paths.setdefault(o.path, {})[o.method.lower()] = _described(o, schema, schemas)
    asked_for = {schema(o.query)["$ref"].rpartition("/")[2] for o in table if o.query}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "IEVCC manager",
            "version": version,
            "description": "What a running manager can be asked. Currents in A, times in ms or s"
            " since 1970 (UTC) as their names say. Errors say why in `words`.",
        },
        "paths": paths,
        "components": {
            "schemas": {n: s for n, s in schemas.items() if n not in asked_for},
            "securitySchemes": {"login": {"type": "apiKey", "in": "cookie", "name": COOKIE}},
        },
    }


COOKIE = "ievcc"  # of a login
CSRF = "X-CSRF-Token"


def _described(
    o: Operation,
    schema: Callable[[type[BaseModel]], dict[str, Any]],
    schemas: dict[str, Any],
) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": r"^[^/\s]+$"},
        }
        for name in re.findall(r"{(\w+)", o.path)
    ]
    if o.query is not None:
        asked = schemas[schema(o.query)["$ref"].rpartition("/")[2]]
        for name, property_ in asked.get("properties", {}).items():
            plain = {k: v for k, v in property_.items() if k not in ("title", "description")}
            parameter = {"name": name, "in": "query", "schema": plain}
            if name in asked.get("required", ()):
                parameter["required"] = True
            if "description" in property_:
                parameter["description"] = property_["description"]
            parameters.append(parameter)
    if isinstance(o.answer, str):
        content: dict[str, Any] = {o.answer: {"schema": {"type": "string"}}}
        if o.answer == "application/json":
            content = {o.answer: {"schema": {}}}
    else:
        content = {"application/json": {"schema": schema(o.answer)}}
    words = {"application/json": {"schema": schema(Why)}}
    refusals = {"400": "it cannot be so, and why"}
    if o.body is not None or o.takes != "application/json":
        refusals["409"] = "it is not as who asks believes"
        refusals["413"] = "more than is ever sent here"
    if o.role != "anyone" or o.method != "GET":
        refusals |= {"401": "log in first", "403": "who asks may not"}
    if "{" in o.path or o.body is not None:
        refusals["404"] = "there is none"
    refusals["429"] = "too often"
    described: dict[str, Any] = {
        "operationId": o.name,
        "summary": o.summary,
        "description": " ".join(filter(None, (o.about, _ROLE_WORDS[o.role]))),
        "tags": [o.tag],
        "parameters": parameters,
        "responses": {
            "200": {"description": "done", "content": content},
            **{status: {"description": w, "content": words} for status, w in refusals.items()},
        },
    }
    if o.role != "anyone":
        described["security"] = [{"login": []}, {}]
    if o.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema(o.body)}},
        }
    elif o.takes != "application/json":
        described["requestBody"] = {
            "required": True,
            "content": {o.takes: {"schema": {"type": "string"}}},
        }
    return described
