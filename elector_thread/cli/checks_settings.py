"""``doctor``: whether the library could start with the settings in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .. import ConfigurationError
from ..settings import DEFAULTS, Settings, resolve
from .findings import PROBLEM, Finding

__all__ = ["IDENTITY", "SCOPE", "VERIFY", "Usable", "check_settings"]

IDENTITY, SCOPE, VERIFY = (f"ELECTOR_THREAD_{name}" for name in ("IDENTITY", "SCOPE", "VERIFY"))

MAY_BE_IGNORED = (
    "ELECTOR_SSE_URL",
    "ELECTOR_THREAD_GRACE_PERIOD",  # it may be at odds with any of the other numbers
    *(f"ELECTOR_THREAD_{name.upper()}" for name in DEFAULTS if not name.endswith("_url")),
)
"""Variables without which there is still an elector to ask."""


class Usable(NamedTuple):
    """What is left of the environment without the variables that cannot be used.

    settings: None if that is not enough to ask an elector.
    env: the environment without the variables in `ignored`.
    """

    settings: Settings | None
    env: Mapping[str, str]
    ignored: frozenset[str]


def check_settings(env: Mapping[str, str]) -> tuple[list[Finding], Usable]:
    """A finding for each variable that cannot be used, and what is left without them."""
    left, findings = dict(env), []
    while isinstance(found := _resolved(left), str):
        name = next((name for name in MAY_BE_IGNORED if _depends_on(name, found, left)), None)
        if name is None:
            findings.append(Finding(PROBLEM, "settings", found))
            break
        del left[name]
        findings.append(
            Finding(PROBLEM, "settings", f"{found}; the checks below ignore the variable {name}")
        )
    settings = None if isinstance(found, str) else found
    return findings, Usable(settings, left, frozenset(env.keys() - left.keys()))


def _resolved(env: Mapping[str, str]) -> Settings | str:
    """The settings, or what is wrong with them."""
    try:
        return resolve(env)
    except ConfigurationError as error:
        return str(error)


def _depends_on(name: str, problem: str, env: Mapping[str, str]) -> bool:
    """Whether there is no such problem without the variable."""
    return name in env and _resolved({k: v for k, v in env.items() if k != name}) != problem
