"""What surrounds callbacks and leader tasks, which run outside of any request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps
from django.db import close_old_connections

__all__ = ["working_connections"]


@contextmanager
def working_connections() -> Iterator[None]:
    """Close old connections before (they may be dead) and after (none is kept needlessly).

    The first one waits until every app is ready: it may belong to a later one, or use its models.
    """
    apps.ready_event.wait()
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
