"""Writes docs/protocol.md from the table in shared/protocol.py: `python -m tools.protocol_page`.

The explanations are the comments beside the table's rows: on a board they cost nothing.
"""

import re
import sys
from pathlib import Path

from shared import protocol

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "shared" / "protocol.py"
PAGE = ROOT / "docs" / "protocol.md"

KINDS = {
    "i": "whole number",
    "p": "whole number per phase",
    "d": "device name",
    "w": "word",
    "e": "word",
    "t": "text",
    "x": "hex",
    "l": "words",
}
WAYS = {"up": "device to manager", "down": "manager to device", "both": "either way"}

INTRODUCTION = """\
# The wire protocol

<!-- Made by `make docs` from the table in shared/protocol.py: change it there. -->

Every message is compact JSON of at most {size} bytes on an MQTT topic below `ievcc/<site>/`,
version {version}. Whole numbers only: the boards' floats hold six digits. A field's name carries
its unit.

| topic | who publishes | what |
|---|---|---|
| `hello/new` | meter, charger | announces itself; a charger names the meter it hangs under |
| `<counter>/new` | charger | the same, on its meter's own topic |
| `<device>/up` | device | everything it says to the manager, QoS 1, not retained |
| `<device>/down` | manager | everything the manager says to it, QoS 1, not retained |
| `<device>/state` | device, broker | `online`, or by its last will `offline`; retained |

**Every message** begins with `v` (version), `code`, `boot` and `seq`: how often its sender has
started, and a count of its messages since. Devices put no clock on the wire. What goes to a
device says also `re_boot` and `re_seq`: which of the device's messages it answers. A device
takes nothing that does not answer its present boot.

**Signed messages** end with `mac`: HMAC-SHA256 with the device's own key, over the topic, a line
feed, and every byte of the message up to the comma before `"mac"`, truncated to {mac} bytes, in
hex. (boot, seq) of a signed sender may only rise: what is altered, replayed or out of order is
dropped and counted.

**The lease** (`available_load`): the charger may offer `limit_a` for `ttl_ms`, counted from the
moment at which *it* sent the message that the lease answers. However late the lease arrives,
both sides know when it is over, without a common clock. The highest lease number wins; the
charger confirms it at once with a `charger_status`.

**Unknown fields** pass and are ignored; a missing or wrong one is refused by name. The manager's
words for what it refuses: "Invalid Message: message code", "Invalid Message: message topic",
"Invalid Message: message <field>: <why>", "Max registered counters achieved"; for what it
accepts: "Counter registered: Counter-1", "Charger registered: Charger-1".
"""


def comments() -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """What the source says beside each message and each field."""
    messages: dict[str, str] = {}
    fields: dict[tuple[str, str], str] = {}
    above = message = ""
    for line in SOURCE.read_text().splitlines():
        if head := re.match(r'    \(([A-Z_]+), "(\w+)", "(up|down|both)",$', line):
            message = head[2]
            messages[message] = above
        elif field := re.match(r'     "(\w+)\??:.*?"\)?,?(?:  # (.*))?$', line):
            fields[message, field[1]] = field[2] or ""
        elif comment := re.match(r"    # (.*)$", line):
            above = comment[1]
    return messages, fields


def limits(kind: str, low: int, high: int, unit: str) -> str:
    if kind in "ip":
        return f"{low} to {high}" + (f" {unit}" if unit else "")
    if kind == "e":
        return ", ".join(unit.split("|"))
    if kind == "l":
        return f"{low} to {high} words"
    if kind == "x":
        return f"{low} to {high} bytes" if low != high else f"{low} bytes"
    if kind == "t":
        return f"{low} to {high} bytes"
    return f"{low} to {high} characters"


def page() -> str:
    messages, fields = comments()
    out = [
        INTRODUCTION.format(
            size=protocol.MAX_BYTES, version=protocol.VERSION, mac=protocol.MAC_BYTES
        ),
        "## Messages",
        "",
        "| code | name | way | what |",
        "|---|---|---|---|",
    ]
    for code, name, way, _ in protocol.MESSAGES:
        out.append(
            f"| 0x{code:03x} | [{name}](#0x{code:03x}-{name}) | {WAYS[way]} | {messages[name]} |"
        )
    for code, name, way, _ in protocol.MESSAGES:
        out += [
            "",
            f"### 0x{code:03x} {name}",
            "",
            f"{messages[name]} ({WAYS[way]})",
            "",
            "| field | kind | range | meaning |",
            "|---|---|---|---|",
        ]
        for field, optional, kind, low, high, unit in protocol.fields(code):
            if field in ("re_boot", "re_seq"):
                continue  # the same in every message to a device: in the introduction
            meaning = fields[name, field].replace("|", "\\|")
            name_cell = f"`{field}`{' (optional)' if optional else ''}"
            span = limits(kind, low, high, unit)
            out.append(f"| {name_cell} | {KINDS[kind]} | {span} | {meaning} |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(page())
