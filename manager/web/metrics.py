"""`/metrics` for Prometheus: for programs on this computer, for those with the token of the site
file's `[metrics]`, and for operators who are logged in.
"""

from __future__ import annotations

from starlette.responses import Response

from manager.metrics import MEDIA_TYPE, Metrics
from manager.web.api import Call, NotAllowed, Operation


def operations(metrics: Metrics) -> list[Operation]:
    """The one operation. Who may is the guard's business; a tenant may not see all of a building."""

    def scrape(call: Call) -> Response:
        if call.role == "tenant":
            raise NotAllowed("this is for the operator")
        return Response(metrics.text(), headers={"Content-Type": MEDIA_TYPE})

    return [
        Operation(
            "GET", "/metrics", "Everything in figures, for Prometheus", scrape, "anyone",
            answer="text/plain",
            about="From another computer with the header `Authorization: Bearer` and the token of"
            " the site file's [metrics].",
        )
    ]  # fmt: skip
