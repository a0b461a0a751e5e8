"""A framework's ``ELECTOR_THREAD = {…}``: which keys it may have, and what its errors mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from ..errors import ConfigurationError
from ..settings import DEFAULTS, Options, resolve

__all__ = ["check_options", "read_options"]


def read_options(
    given: object, source: str, also: Collection[str] = ()
) -> tuple[Options, dict[str, Any]]:
    """The settings of `Elector` in ``given``, and the adapter's own, which ``also`` names.

    source: where ``given`` comes from, for messages. Raises `ConfigurationError` if it is not
    a mapping or has an unknown key; `Elector` checks the values.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{source}: expected a dict of settings, got {given!r}")
    known = (*DEFAULTS, *also)
    if unknown := ", ".join(repr(key) for key in given if key not in known):
        raise ConfigurationError(
            f"{source}: unknown settings {unknown}; expected some of {', '.join(known)}"
        )
    own = {key: value for key, value in given.items() if key in also}
    options = {key: value for key, value in given.items() if key not in also}
    return cast("Options", options), own


def check_options(options: Options) -> None:
    """Raise `ConfigurationError` for a bad setting, but not for a missing elector URL.

    Without one, images are built and databases are migrated. Where the elector is needed, it
    raises that itself.
    """
    try:
        resolve(**options)
    except ConfigurationError:
        if options.get("get_url") is not None or options.get("sse_url") is not None:
            raise
        configured: Options = {**options, "get_url": "http://localhost/"}
        resolve(**configured)
