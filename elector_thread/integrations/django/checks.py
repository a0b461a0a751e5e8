"""System checks: what is worth a warning before the elector is asked for the first time."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from django.core.checks import CheckMessage
from django.core.checks import Warning as Caution

from ...errors import ConfigurationError
from ...settings import Settings, resolve
from . import conf

__all__ = ["check_elector"]


def check_elector(**_: Any) -> list[CheckMessage]:
    """W001 several workers with pod scope; W002 unconfigured; W003 a proxy that is not used."""
    try:
        settings = resolve(**conf.read().elector)
    except ConfigurationError as error:
        return [_unconfigured(error)]
    return [*_several_workers(settings, os.environ), *_proxy(settings)]


def _unconfigured(error: ConfigurationError) -> CheckMessage:
    return Caution(
        f"There is no elector to ask: {error}.",
        hint="For local work: ELECTOR_THREAD = {'when_unconfigured': 'lead'}, or 'follow'.",
        id="elector_thread.W002",
    )


def _several_workers(settings: Settings, environ: Mapping[str, str]) -> Iterator[CheckMessage]:
    if settings.scope != "pod":
        return
    for source, count in _worker_counts(environ):
        if count > 1:
            yield Caution(
                f"{source} asks for {count} workers, and with scope='pod' each worker of the "
                f"leader pod leads: callbacks and guarded calls run {count} times.",
                hint="ELECTOR_THREAD = {'scope': 'process'} lets exactly one of them lead.",
                id="elector_thread.W001",
            )


def _worker_counts(environ: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """What the environment tells servers; what a command line says cannot be seen here."""
    for name in ("WEB_CONCURRENCY", "UVICORN_WORKERS"):
        if (value := environ.get(name, "")).isdecimal():
            yield name, int(value)
    try:
        words = shlex.split(environ.get("GUNICORN_CMD_ARGS", "").replace("=", " "))
    except ValueError:  # gunicorn will tell
        return
    for option, value in pairwise(words):
        if option in ("-w", "--workers") and value.isdecimal():
            yield "GUNICORN_CMD_ARGS", int(value)


def _proxy(settings: Settings) -> Iterator[CheckMessage]:
    if settings.get_url is None:
        return
    parts = urlsplit(settings.get_url)
    proxies = getproxies()
    if parts.scheme in proxies and not proxy_bypass(parts.netloc.rpartition("@")[2]):
        yield Caution(
            f"A proxy is set for {parts.scheme} in the environment, and the elector at "
            f"{settings.where} is not exempt. elector-thread never uses proxies; whatever "
            f"else asks the elector from here would.",
            hint=f"Add {parts.hostname} to NO_PROXY.",
            id="elector_thread.W003",
        )
