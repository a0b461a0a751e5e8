"""Whether this process serves requests, and so whether and when the elector starts in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from enum import Enum

from .._process import is_preloading_master, loaders

__all__ = ["Start", "when_to_start"]


class Start(Enum):
    """When the elector starts in this process."""

    NOW = "now"
    IN_WORKERS = "in the workers that this process will fork"
    NEVER = "not automatically: a management command, a test, a script"


def when_to_start(start_in: Collection[str]) -> Start:
    """For ``ready()``. ``start_in`` names further management commands in which to start."""
    loading = loaders()
    if "django.core.management" in loading:
        return Start.NOW if _command_serves(sys.argv, start_in) else Start.NEVER
    if not loading & {"django.core.wsgi", "django.core.asgi"}:
        return Start.NEVER
    return Start.IN_WORKERS if is_preloading_master(loading) else Start.NOW


def _command_serves(argv: list[str], start_in: Collection[str]) -> bool:
    command = argv[1] if len(argv) > 1 else ""
    if command in start_in:
        return True
    if command not in ("runserver", "runserver_plus"):
        return False
    # the autoreloader's parent only watches its child, which has one of these variables
    in_child = "true" in (os.environ.get("RUN_MAIN"), os.environ.get("WERKZEUG_RUN_MAIN"))
    return in_child or "--noreload" in argv
