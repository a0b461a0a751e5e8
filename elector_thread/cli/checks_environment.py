"""``doctor``: the variables, the identity, proxies and workers."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from .._urls import shown
from ..integrations._environment import find_workers, proxy_for
from ..settings import DEFAULTS, Settings
from .findings import NOTE, OK, PROBLEM, Finding

__all__ = ["check_identity", "check_proxies", "check_variables", "check_workers"]

PLATFORM = ("ELECTOR_GET_URL", "ELECTOR_SSE_URL", "ELECTOR_PATH")
PREFIX = "ELECTOR_THREAD_"
OURS = {name.upper() for name in DEFAULTS if name not in ("get_url", "sse_url")}
OURS |= {"LEASE_URL", "SERVICE_ACCOUNT"}

ONE_LEADER = "set ELECTOR_THREAD_SCOPE=process (or Elector(scope='process'))"

MOST_SERVERS = 4
"""How many variables and servers with several workers are named."""


def check_variables(env: Mapping[str, str]) -> Iterator[Finding]:
    """The platform's variables, and misspelt ones of ours."""
    given = [name for name in PLATFORM if env.get(name, "").strip()]
    if given:
        text = ", ".join(f"{name}={_without_credentials(env[name])}" for name in given)
        yield Finding(OK, "environment", text)
    if given and "ELECTOR_SSE_URL" not in given:
        yield Finding(
            NOTE,
            "environment",
            "ELECTOR_SSE_URL is not set: without an event stream, a new leader is noticed only "
            "at the next poll",
            "deploy again to get the current elector, which has an event stream",
        )
    for name in sorted(env):
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in OURS:
            continue
        similar = get_close_matches(name.removeprefix(PREFIX), OURS, 1, 0.75)
        if similar:
            message = f"{name} is not a setting and has no effect"
            yield Finding(PROBLEM, "environment", message, f"rename it to {PREFIX}{similar[0]}")


def _without_credentials(url: str) -> str:
    url = url.strip()
    try:
        return shown(url) if "://" in url else url.rpartition("@")[2]
    except ValueError:
        return "(not a valid URL)"


# --- the identity ---------------------------------------------------------------------------


def check_identity(settings: Settings, env: Mapping[str, str], leader: str | None) -> Finding:
    """Whether the elector may know this pod by the identity."""
    identity, host = settings.identity, socket.gethostname()
    variable, is_set = env.get("HOSTNAME", "").strip(), "ELECTOR_THREAD_IDENTITY" in env
    if leader == identity:
        return Finding(OK, "identity", f"{identity} is the leader: the elector uses the same name")
    for source, name in ((f"the host name, {host},", host), (f"HOSTNAME={variable}", variable)):
        if leader is not None and name == leader:
            message = f"the leader is {source} but the identity here is {identity}: never leader"
            return Finding(PROBLEM, "identity", message, _rename(is_set, name == host))
    if leader is not None and _similar(identity, leader):
        message = f"{identity} resembles the leader's name, {leader}; names are compared exactly"
        remedy = f"set ELECTOR_THREAD_IDENTITY={leader} in that pod"
        return Finding(PROBLEM, "identity", message, remedy)
    if identity not in (host, variable):
        message = f"the identity is {identity}, but the host name is {host}: never leader"
        return Finding(PROBLEM, "identity", message, _rename(is_set, matches_host=True))
    if variable and variable != host:
        message = f"the identity is {identity}; HOSTNAME is {variable}, the host name is {host}"
        return Finding(NOTE, "identity", message, "the elector uses the host name")
    return Finding(OK, "identity", f"{identity}, which is the host name that the elector uses")


def _rename(is_set: bool, matches_host: bool) -> str:
    if is_set and matches_host:
        return "remove ELECTOR_THREAD_IDENTITY; the default is the host name"
    return "set ELECTOR_THREAD_IDENTITY to the name that the elector answers with"


def _similar(identity: str, leader: str) -> bool:
    """Whether both may mean the same pod: they differ only in case or in the domain."""
    ours, theirs = identity.lower(), leader.lower()
    return ours == theirs or ours.split(".")[0] == theirs or theirs.split(".")[0] == ours


# --- proxies and workers ----------------------------------------------------------------------


def check_proxies(settings: Settings) -> Iterator[Finding]:
    """The proxies that other HTTP clients would use."""
    proxy = None if settings.get_url is None else proxy_for(settings.get_url)
    if proxy is None:
        return
    message = f"a proxy is set for {proxy.scheme}"
    if proxy.exempt:
        yield Finding(OK, "proxies", f"{message}, and NO_PROXY exempts {proxy.host}")
        return
    yield Finding(
        NOTE,
        "proxies",
        f"{message}: elector-thread does not use it, but other clients would send requests for "
        f"{proxy.host} to it",
        f"add {proxy.host} to NO_PROXY if other clients ask the elector",
    )


def check_workers(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    """Several processes that run leader-only work, or servers with several workers."""
    working, found = find_workers(settings, env)
    if working > 1:
        message = (
            f"{working} processes of this pod have callbacks or while_leader functions with "
            f"scope 'pod': in the leader pod, each of them is a leader and runs its own"
        )
        yield Finding(PROBLEM, "workers", message, f"{ONE_LEADER}, or use one worker")
        return
    if not found:
        return
    if len(found) > MOST_SERVERS:
        found[MOST_SERVERS:] = [f"and {len(found) - MOST_SERVERS} more"]
    message = "; ".join(found)
    if settings.scope == "process":
        message += "; with ELECTOR_THREAD_SCOPE=process only one of them is the leader"
        yield Finding(OK, "workers", message)
        return
    yield Finding(
        NOTE,
        "workers",
        f"{message}: in the leader pod, every worker is a leader, which suits guarded requests",
        f"if they have callbacks or while_leader functions: {ONE_LEADER}",
    )
