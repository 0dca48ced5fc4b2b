"""The API of boards: new firmware for them."""

from __future__ import annotations

import base64

from pydantic import Field

from manager.refusal import Refusal
from manager.run import Manager
from manager.web.api import Body, Call, Operation


class Update(Body):
    """New firmware, or a question how far it is."""

    device: str = Field(description="a device's name")
    bundle: str | None = Field(
        default=None, description="in base64; left out: how far is the last one?"
    )
    version: str = Field(default="", description="of the firmware in it")


def operations(manager: Manager) -> list[Operation]:
    """These operations on this manager."""

    def update(call: Call) -> str:
        body: Update = call.body
        if body.bundle is None:
            return manager.updates.said(body.device) or f"no update was offered to {body.device}"
        try:
            bundle = base64.b64decode(body.bundle, validate=True)
        except ValueError as e:
            raise Refusal("the bundle is not base64") from e
        return manager.offer_update(body.device, bundle, body.version)

    return [
        Operation(
            "POST", "/api/update", "Give a board new firmware, or ask how far that is", update,
            body=Update, tag="devices",
        ),
    ]  # fmt: skip
