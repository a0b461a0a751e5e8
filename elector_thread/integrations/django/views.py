"""The health view: ``path("elector", elector_thread.integrations.django.views.health)``."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from ...default import default_elector
from ..health import HEADERS, report

__all__ = ["health"]


def health(_: HttpRequest) -> HttpResponse:
    """The process-wide elector's status as JSON: see `elector_thread.integrations.health`."""
    code, body = report(default_elector().status())
    return HttpResponse(body, status=code, headers=HEADERS)
