"""A page that shows the leader."""

import os

from django.http import HttpRequest, JsonResponse

from elector_thread import default_elector


def index(_: HttpRequest) -> JsonResponse:
    elector = default_elector()
    return JsonResponse(
        {"leader": elector.leader, "is_leader": elector.is_leader, "pid": os.getpid()}
    )
