"""``doctor``: checks everything that is often wrong in a pod, and suggests remedies.

Each check returns findings and never raises. One cause is one finding.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from threading import Timer
from urllib.parse import urlsplit

from .. import ConfigurationError
from .._sidecar.calls import SidecarClient
from .._sidecar.events import Malformed, parse_leader
from .._sidecar.failures import ExchangeFailed, NoStream
from .._state.clock import now
from .._urls import shown
from ..integrations._environment import configured_workers, proxy_for, running_workers
from ..local.output import has_colours
from ..settings import Settings, resolve
from .terminal import one_line, print_line

__all__ = ["Finding", "doctor"]

OK, NOTE, PROBLEM = "ok", "note", "problem"
COLOURS = {OK: "32", NOTE: "36", PROBLEM: "1;31"}

PLATFORM = ("ELECTOR_GET_URL", "ELECTOR_SSE_URL", "ELECTOR_PATH")
PREFIX = "ELECTOR_THREAD_"
OURS = {name.upper() for name in Settings._fields if name not in ("get_url", "sse_url")}

MANIFEST = "set 'spec.leaderElection: true' in the NAIS manifest and deploy"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    level: ``"ok"``, ``"note"`` or ``"problem"``.
    check: what was checked. message: what was found. remedy: what to do about it.
    """

    level: str
    check: str
    message: str
    remedy: str | None = None


def doctor(*, as_json: bool) -> int:
    """Run all checks and print the findings; 0 if there are no problems, else 1."""
    findings = list(_examine(os.environ))
    ok = all(finding.level != PROBLEM for finding in findings)
    if as_json:
        print_line(json.dumps({"ok": ok, "findings": [asdict(each) for each in findings]}))
    else:
        for finding in findings:
            print_line(_as_text(finding))
    return 0 if ok else 1


def _examine(env: Mapping[str, str]) -> Iterator[Finding]:
    yield from _check_variables(env)
    try:
        settings = resolve(env)
    except ConfigurationError as error:
        yield Finding(PROBLEM, "settings", str(error))
        return
    leader = None
    if settings.configured:
        findings, leader = _check_endpoints(settings)
        yield from findings
    else:
        assumed = settings.when_unconfigured
        yield Finding(NOTE, "GET", f"no elector is configured: when_unconfigured={assumed!r}")
    yield _check_identity(settings, env, leader)
    yield from _check_proxies(settings)
    yield from _check_workers(settings, env)


# --- the environment -------------------------------------------------------------------


def _check_variables(env: Mapping[str, str]) -> Iterator[Finding]:
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


# --- the endpoints ------------------------------------------------------------------------


def _check_endpoints(settings: Settings) -> tuple[list[Finding], str | None]:
    """The findings about GET and stream, and the leader according to GET."""
    sidecar = SidecarClient(settings)
    try:
        get, leader = _check_get(sidecar, settings)
        if settings.sse_url is None or (get.level == PROBLEM and _on_same_server(settings)):
            return [get], leader  # the stream would fail for the same reason
        return [get, _check_stream(sidecar, settings, settings.sse_url, leader)], leader
    finally:
        sidecar.cancel()


def _on_same_server(settings: Settings) -> bool:
    urls = [urlsplit(settings.get_url or ""), urlsplit(settings.sse_url or "")]
    return len({(url.hostname, url.port) for url in urls}) == 1


def _check_get(sidecar: SidecarClient, settings: Settings) -> tuple[Finding, str | None]:
    start = now()
    try:
        leader = sidecar.ask().leader
    except ExchangeFailed as failure:
        message = f"no usable answer from {settings.where}: {failure}"
        return Finding(PROBLEM, "GET", message, _remedy_for(str(failure), settings)), None
    duration = f"{(now() - start) * 1000:.0f} ms"
    if leader is None:
        message = "the elector has no election result yet, which is normal shortly after start"
        remedy = "if it lasts, read the elector's log: kubectl logs POD -c elector"
        return Finding(NOTE, "GET", message, remedy), None
    return Finding(OK, "GET", f"{settings.where} names {leader}, after {duration}"), leader


def _remedy_for(failure: str, settings: Settings) -> str:
    if "refused" in failure:
        return (
            "check with kubectl get pod POD that the pod has a container 'elector' and that it is "
            f"running. If there is none, {MANIFEST}"
        )
    if "resolved" in failure:
        return "use the address that the platform sets: ELECTOR_GET_URL=http://localhost:4040/"
    if "in time" in failure:
        return (
            "the elector hangs or is short of CPU; read its log: kubectl logs POD -c elector. "
            f"ELECTOR_THREAD_REQUEST_TIMEOUT is {settings.request_timeout:g} s"
        )
    if "HTTP 5" in failure:
        return "the elector reports an error; read its log: kubectl logs POD -c elector"
    return (
        "another program answers there; set ELECTOR_GET_URL to the elector's own address, which "
        "the platform sets to http://localhost:4040/"
    )


def _check_stream(
    sidecar: SidecarClient, settings: Settings, url: str, leader: str | None
) -> Finding:
    where = shown(url)
    try:
        named = parse_leader(_first_event(sidecar, settings.request_timeout))
    except NoStream as problem:
        return Finding(
            PROBLEM,
            "stream",
            f"{where} is not an event stream: {problem}",
            "ELECTOR_SSE_URL is probably wrong: the platform sets it to http://localhost:4040/sse. "
            "If it is right, the elector is too old to have a stream: deploy again to get the "
            "current one; until then, elector-thread polls",
        )
    except ExchangeFailed as failure:
        message = f"no event from {where}: {failure}"
        remedy = (
            "the elector sends an event at once; set ELECTOR_SSE_URL to the elector's own address, "
            "or read its log: kubectl logs POD -c elector"
        )
        return Finding(PROBLEM, "stream", message, remedy)
    except Malformed as problem:
        return Finding(PROBLEM, "stream", f"{where} sends events that cannot be read: {problem}")
    if named is not None and leader is not None and named != leader:
        message = f"{where} names {named}, but GET names {leader}"
        remedy = "this may happen during an election; run doctor again"
        return Finding(PROBLEM, "stream", message, remedy)
    result = "has no election result yet" if named is None else f"names {named}"
    return Finding(OK, "stream", f"{where} is an event stream, and {result}")


def _first_event(sidecar: SidecarClient, timeout: float) -> str:
    """The data of the stream's first event. Raises ExchangeFailed if there is none in time."""
    timer = Timer(timeout, sidecar.cancel)  # an open stream has no deadline of its own
    timer.daemon = True
    timer.start()
    try:
        with sidecar.open_stream() as stream:
            event = next(iter(stream), None)
    except ExchangeFailed:
        if not sidecar.cancelled:
            raise
        event = None
    finally:
        timer.cancel()
    if not event:
        silent = f"the stream is silent for {timeout:g} s"
        raise ExchangeFailed(silent if sidecar.cancelled else "the stream ended without an event")
    return event.data


# --- the identity ---------------------------------------------------------------------------


def _check_identity(settings: Settings, env: Mapping[str, str], leader: str | None) -> Finding:
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


def _check_proxies(settings: Settings) -> Iterator[Finding]:
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


def _check_workers(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    found = [f"{source} asks for {count} workers" for source, count in configured_workers(env)]
    if settings.configured:
        found += [f"{source} runs {count} workers" for source, count in running_workers(env)]
    if not found:
        return
    message = "; ".join(found)
    if settings.scope == "process":
        message += "; with ELECTOR_THREAD_SCOPE=process only one of them is the leader"
        yield Finding(OK, "workers", message)
        return
    yield Finding(
        PROBLEM,
        "workers",
        f"{message}: in the leader pod, every worker is a leader",
        "set ELECTOR_THREAD_SCOPE=process (or Elector(scope='process')), or use one worker",
    )


# --- output -------------------------------------------------------------------------------


def _as_text(finding: Finding) -> str:
    width = min(100, shutil.get_terminal_size((80, 24)).columns)
    head = f"{finding.level:<8} {finding.check:<12} "
    lines = _wrapped(finding.message, head, width)
    if finding.remedy is not None:
        lines += _wrapped(f"→ {finding.remedy}", " " * len(head), width)
    if has_colours(sys.stdout):
        level = finding.level
        lines[0] = lines[0].replace(level, f"\033[{COLOURS[level]}m{level}\033[0m", 1)
    return "\n".join(lines)


def _wrapped(text: str, head: str, width: int) -> list[str]:
    return textwrap.wrap(
        one_line(text),
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
