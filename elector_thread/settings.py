"""Arguments and environment, turned into one frozen, checked `Settings`.

The only module that reads the environment, with its parts `_lease_settings` and
`_variables`. Invalid settings are reported here, by name; other modules rely on them.
"""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, get_args
from urllib.parse import urlsplit

from ._lease_settings import LeaseSettings, lease_settings
from ._urls import check_url, shown
from ._variables import from_env, variable
from .errors import ConfigurationError

__all__ = [
    "DEFAULTS",
    "METHOD_SIGNATURE",
    "SIGNATURE",
    "LeaseSettings",
    "Options",
    "Settings",
    "resolve",
    "shown",
]

Scope: TypeAlias = Literal["pod", "process"]
Verify: TypeAlias = Literal["none", "lease"]
WhenUnconfigured: TypeAlias = Literal["error", "lead", "follow"]


class Options(TypedDict, total=False):
    """The settings of an `Elector`, as its callers spell them; described there."""

    get_url: str | None
    sse_url: str | None
    identity: str | None
    poll_interval: float
    reconcile_interval: float
    grace_period: float
    request_timeout: float
    scope: Scope
    verify: Verify
    when_unconfigured: WhenUnconfigured
    lock_path: str | os.PathLike[str] | None


DEFAULTS: Final[Options] = {
    "get_url": None,
    "sse_url": None,
    "identity": None,
    "poll_interval": 5.0,
    "reconcile_interval": 15.0,
    "grace_period": 45.0,
    "request_timeout": 2.0,
    "scope": "pod",
    "verify": "none",
    "when_unconfigured": "error",
    "lock_path": None,
}
"""The default of each setting."""

SIGNATURE = inspect.Signature(
    [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in DEFAULTS.items()
    ]
)
METHOD_SIGNATURE = SIGNATURE.replace(
    parameters=[
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY),
        *SIGNATURE.parameters.values(),
    ]
)
"""How `help` shows a function, and a method, that takes `Options`."""


class Settings(NamedTuple):
    """Everything an elector needs to know. All numbers are seconds.

    get_url, sse_url: where to ask and where to listen; both None when nothing is
        configured, ``sse_url`` alone None to poll only. They may hold credentials.
    identity: the name that means this process, compared exactly.
    when_unconfigured: what to assume without a URL.
    lock_path: the pod's lock file (``scope="process"``), None for the default.
    lease: for ``verify="lease"``, else None.
    """

    get_url: str | None
    sse_url: str | None
    identity: str
    poll_interval: float
    reconcile_interval: float
    grace_period: float
    request_timeout: float
    scope: str
    when_unconfigured: str
    lock_path: Path | None = None
    lease: LeaseSettings | None = None

    def __repr__(self) -> str:
        return f"<Settings of {self.identity!r} at {self.where}>"  # no URL: credentials

    @property
    def configured(self) -> bool:
        """Whether there is a sidecar to ask."""
        return self.get_url is not None

    @property
    def holds_secrets(self) -> bool:
        """Whether a URL has a user, a password or a query, which an answer may echo."""
        parts = [urlsplit(url) for url in (self.get_url, self.sse_url) if url is not None]
        return any(part.query or "@" in part.netloc for part in parts)

    @property
    def where(self) -> str:
        """The sidecar's address for people and logs, without credentials."""
        return shown(self.get_url) if self.get_url else f"nowhere ({self.when_unconfigured})"


def resolve(environ: Mapping[str, str] | None = None, /, **options: Unpack[Options]) -> Settings:
    """Options first, then ``ELECTOR_THREAD_*``, then the platform's variables, then defaults.

    An option that is None counts as not given. Raises `ConfigurationError`, naming the
    setting, if one is missing or wrong, and TypeError for an unknown option.
    """
    env = os.environ if environ is None else environ
    if unknown := ", ".join(sorted(options.keys() - DEFAULTS.keys())):
        raise TypeError(f"unknown settings: {unknown}; expected some of {', '.join(DEFAULTS)}")
    given: dict[str, Any] = {name: options.get(name) for name in DEFAULTS}
    numbers = {name: _seconds(name, given[name], env) for name in _NUMBERS}
    verifies = _choice("verify", given, env, get_args(Verify)) == "lease"
    _check_grace(**numbers, verifies=verifies)
    unconfigured = _choice("when_unconfigured", given, env, get_args(WhenUnconfigured))
    get_url, sse_url = given["get_url"], given["sse_url"]
    get_name, sse_name = "get_url", "sse_url"
    if get_url is None and sse_url is None:
        (get_name, get_url), (sse_name, sse_url) = _urls_from(env)
    elif get_url is None:
        raise ConfigurationError(
            "get_url is missing: the stream at sse_url is only trusted if it can be checked by "
            "GET; set both, or get_url alone"
        )
    if get_url is None:
        _check_unconfigured(unconfigured, env)
    identity = _identity(given["identity"], env)
    return Settings(
        get_url=None if get_url is None else check_url(get_name, get_url),
        sse_url=None if sse_url is None else check_url(sse_name, sse_url),
        identity=identity,
        scope=_choice("scope", given, env, get_args(Scope)),
        when_unconfigured=unconfigured,
        lock_path=_path("lock_path", given["lock_path"], env),
        lease=lease_settings(identity, env) if verifies and get_url is not None else None,
        **numbers,
    )


_NUMBERS = ("poll_interval", "reconcile_interval", "grace_period", "request_timeout")


def _seconds(name: str, value: object, env: Mapping[str, str]) -> float:
    source = name
    if value is None:
        text = from_env(name, env)
        if text is None:
            return float(SIGNATURE.parameters[name].default)
        source = variable(name)
        try:
            value = float(text)
        except ValueError:
            value = text
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{source}: expected a number of seconds, got {value!r}")
    try:
        seconds = float(value)
    except OverflowError:  # an int with more digits than Python prints
        raise ConfigurationError(
            f"{source}: expected a positive, finite number of seconds, got a far larger one"
        ) from None
    if not isfinite(seconds) or not 0 < seconds <= 1e9:
        raise ConfigurationError(
            f"{source}: expected a positive, finite number of seconds, got {value!r}"
        )
    return seconds


def _check_grace(
    *,
    poll_interval: float,
    reconcile_interval: float,
    grace_period: float,
    request_timeout: float,
    verifies: bool,
) -> None:
    exchanges = 2 if verifies else 1  # the Lease is read after the sidecar was asked
    least = max(poll_interval, reconcile_interval) + exchanges * request_timeout
    if grace_period <= least:
        times = "twice request_timeout, as verify='lease' needs" if verifies else "request_timeout"
        raise ConfigurationError(
            f"grace_period: expected more than the larger of poll_interval and "
            f"reconcile_interval plus {times} ({least:g} s), got {grace_period:g} s; "
            f"leadership would expire between two answers"
        )


def _choice(
    name: str, given: Mapping[str, object], env: Mapping[str, str], choices: tuple[str, ...]
) -> str:
    value, source = given[name], name
    if value is None:
        value = from_env(name, env)
        if value is None:
            return str(SIGNATURE.parameters[name].default)
        source = variable(name)
    if value not in choices or not isinstance(value, str):
        wanted = ", ".join(repr(choice) for choice in choices)
        raise ConfigurationError(f"{source}: expected one of {wanted}, got {value!r}")
    return value


def _identity(value: object, env: Mapping[str, str]) -> str:
    source = "identity"
    if value is None:
        value = from_env("identity", env)
        source = variable("identity") if value else "identity (this host's name)"
        value = value or socket.gethostname()
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ConfigurationError(
            f"{source}: expected a non-empty, printable pod name, got {value!r}"
        )
    return value


def _path(name: str, value: object, env: Mapping[str, str]) -> Path | None:
    source = name
    if value is None:
        value, source = from_env(name, env), variable(name)
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigurationError(f"{source}: expected a path, got {value!r}")
    return Path(path)


_Named: TypeAlias = tuple[str, str | None]


def _urls_from(env: Mapping[str, str]) -> tuple[_Named, _Named]:
    """The platform's variables; ELECTOR_PATH is the legacy one, without scheme or stream."""
    get_name = "get_url (ELECTOR_GET_URL)"
    get_url = env.get("ELECTOR_GET_URL", "").strip()
    sse_url = env.get("ELECTOR_SSE_URL", "").strip()
    legacy = env.get("ELECTOR_PATH", "").strip()
    if not get_url and legacy:
        get_name = "get_url (ELECTOR_PATH)"
        get_url = legacy if "://" in legacy else f"http://{legacy}"
        get_url = get_url if "/" in get_url.partition("://")[2] else f"{get_url}/"
    if not get_url and sse_url:
        raise ConfigurationError(
            "ELECTOR_GET_URL is not set, but ELECTOR_SSE_URL is: the stream alone cannot be "
            "trusted, because it may go silent while it stays open; set both"
        )
    return (get_name, get_url or None), ("sse_url (ELECTOR_SSE_URL)", sse_url or None)


def _check_unconfigured(choice: str, env: Mapping[str, str]) -> None:
    if choice == "error":
        raise ConfigurationError(
            "ELECTOR_GET_URL is not set, so there is no elector to ask. On NAIS, add "
            "'spec.leaderElection: true' to the manifest. On your own machine, set "
            "ELECTOR_THREAD_WHEN_UNCONFIGURED=lead (or follow), or start the program with "
            "'elector-thread up -- COMMAND'. Elsewhere, set get_url and sse_url"
        )
    if choice == "lead" and env.get("NAIS_CLUSTER_NAME"):
        raise ConfigurationError(
            "when_unconfigured='lead' is refused, because NAIS_CLUSTER_NAME is set and "
            "ELECTOR_GET_URL is not: every replica would be leader. Add "
            "'spec.leaderElection: true' to the manifest"
        )
