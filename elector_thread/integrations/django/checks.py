"""System checks: warnings about settings, before the elector is asked for the first time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage
from django.core.checks import Warning as Caution

from ...errors import ConfigurationError
from ...settings import Settings, resolve
from .._environment import find_workers, proxy_for
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
        f"{error}.",
        hint="For local work: ELECTOR_THREAD = {'when_unconfigured': 'lead'}, or 'follow'.",
        id="elector_thread.W002",
    )


def _several_workers(settings: Settings, environ: Mapping[str, str]) -> Iterator[CheckMessage]:
    if settings.scope != "pod":
        return
    working, found = find_workers(settings, environ)
    if working > 1:
        found = [f"{working} processes of this pod have callbacks or while_leader functions"]
    for what in found:
        yield Caution(
            f"{what}, and with scope='pod' each of them is a leader in the leader pod: callbacks "
            f"and while_leader functions run in each.",
            hint="With ELECTOR_THREAD = {'scope': 'process'} exactly one of them is the leader.",
            id="elector_thread.W001",
        )


def _proxy(settings: Settings) -> Iterator[CheckMessage]:
    proxy = None if settings.get_url is None else proxy_for(settings.get_url)
    if proxy is not None and not proxy.exempt:
        yield Caution(
            f"A proxy is set for {proxy.scheme} in the environment, and the elector at "
            f"{settings.where} is not exempt. elector-thread does not use proxies, but other "
            f"clients would send requests for the elector to the proxy.",
            hint=f"Add {proxy.host} to NO_PROXY.",
            id="elector_thread.W003",
        )
