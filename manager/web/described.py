"""The API describes itself: its OpenAPI document, and the same as a page to read."""

from __future__ import annotations

import html
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from starlette.responses import HTMLResponse

from manager.web.api import Operation, document


def operations(table: Iterable[Operation]) -> list[Operation]:
    """The two operations that describe these and themselves."""
    whole: list[Operation] = list(table)
    whole += [
        Operation(
            "GET", "/api/openapi.json", "This description, as OpenAPI 3.1",
            lambda _: _document(whole), "anyone", answer="application/json", tag="api",
        ),
        Operation(
            "GET", "/api", "This description, to read",
            lambda _: HTMLResponse(page(_document(whole))), "anyone", answer="text/html",
            tag="api",
        ),
    ]  # fmt: skip
    return whole[-2:]


def _document(table: list[Operation]) -> dict[str, Any]:
    return document(table, metadata.version("ievcc-manager"))


def page(doc: dict[str, Any]) -> str:
    """The document as HTML."""
    said = html.escape
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{said(doc['info']['title'])}: HTTP API</title>"
        "<link rel=stylesheet href=/assets/page.css><main class=api><h1>HTTP API</h1>"
        f"<p>{said(doc['info']['description'])} "
        "<a href=/api/openapi.json>The same as an OpenAPI document</a>.</p>"
    )
    out = [head]
    for path, methods in doc["paths"].items():
        for method, o in methods.items():
            out.append(f'<section><h2 id="{said(o["operationId"])}">')
            out.append(f"<code>{method.upper()} {said(path)}</code></h2>")
            out.append(f"<p>{said(o['summary'])}. {said(o['description'])}</p>")
            asked = [(p["name"], p["schema"], p.get("description", "")) for p in o["parameters"]]
            required = [p["name"] for p in o["parameters"] if p.get("required")]
            if (sent := _schema(doc, o.get("requestBody"))) is not None:
                asked += _fields(doc, sent)
                required += sent.get("required", [])
            out.append(_table("Given", asked, required, doc))
            if (answer := _schema(doc, o["responses"]["200"])) is not None:
                out.append(_table("Answered", _fields(doc, answer), None, doc))
            out.append("</section>")
    return "".join([*out, "</main></html>"])


def _schema(doc: dict[str, Any], holder: dict[str, Any] | None) -> dict[str, Any] | None:
    schema = ((holder or {}).get("content") or {}).get("application/json", {}).get("schema")
    return _followed(doc, schema) if schema else None


def _followed(doc: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = doc["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _fields(doc: dict[str, Any], schema: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    return [
        (name, one, one.get("description") or _followed(doc, one).get("description", ""))
        for name, one in schema.get("properties", {}).items()
    ]


def _kind(doc: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(doc, one) for one in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(doc, schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    return f"{kind} {low}..{high}" if low is not None and high is not None else kind


def _table(
    title: str,
    rows: list[tuple[str, dict[str, Any], str]],
    required: list[str] | None,
    doc: dict[str, Any],
) -> str:
    if not rows:
        return ""
    body = "".join(
        f"<tr><th scope=row><code>{html.escape(name)}</code>"
        f"{'' if required is None or name in required else ' (may be left out)'}"
        f"<td>{html.escape(_kind(doc, schema))}<td>{html.escape(words)}"
        for name, schema, words in rows
    )
    return f"<div class=wide><table><caption>{title}</caption><tbody>{body}</table></div>"
