"""The health view: ``path("elector", elector_thread.integrations.django.views.health)``."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from ...default import default_elector
from ..health import report

__all__ = ["health"]


def health(request: HttpRequest) -> HttpResponse:
    """The process-wide elector's status as JSON: see `elector_thread.integrations.health`."""
    query = request.META.get("QUERY_STRING", "")
    code, headers, body = report(default_elector().status(), query)
    return HttpResponse(body, status=code, headers=headers)
