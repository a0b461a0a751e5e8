"""``doctor``: looks at everything that can be wrong in a pod, and says what mends it.

Each check returns findings and never raises; `doctor` runs them and shows the result.
What the checks know of servers is in `elector_thread.cli.workers`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import textwrap
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from threading import Timer
from urllib.parse import urlsplit

from .._sidecar.events import Malformed, parse_leader
from .._sidecar.failures import ExchangeFailed, NoStream
from .._state.clock import now
from ..errors import ConfigurationError
from ..settings import Settings, resolve, shown
from . import console
from .workers import servers, workers_asked_for

__all__ = ["Finding", "doctor"]

OK, NOTE, MEND = "ok", "note", "mend"
COLOURS = {OK: "32", NOTE: "36", MEND: "1;31"}

PLATFORM = ("ELECTOR_GET_URL", "ELECTOR_SSE_URL", "ELECTOR_PATH")
PREFIX = "ELECTOR_THREAD_"
OURS = {name.upper() for name in Settings._fields if name not in ("get_url", "sse_url")}
PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")

MANIFEST = "set 'spec.leaderElection: true' in the NAIS manifest and deploy"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    level: ``"ok"``, ``"note"`` (good to know) or ``"mend"``.
    check: what was looked at; says: what was found; mend: what to do about it.
    """

    level: str
    check: str
    says: str
    mend: str | None = None


def doctor(*, as_json: bool) -> int:
    """Run every check and show what was found; 0 if all is well, 1 if something is to mend."""
    findings = list(_examine(os.environ))
    ill = any(finding.level == MEND for finding in findings)
    if as_json:
        console.say(json.dumps({"ok": not ill, "findings": [asdict(each) for each in findings]}))
    else:
        for finding in findings:
            console.say(_for_people(finding))
    return 1 if ill else 0


def _examine(env: Mapping[str, str]) -> Iterator[Finding]:
    yield from _variables(env)
    try:
        settings = resolve(env)
    except ConfigurationError as error:
        yield Finding(MEND, "settings", str(error))
        settings = None
    leader = None
    if settings is not None and settings.configured:
        sidecar = Sidecar(settings)
        findings, leader = _ask(sidecar, settings)
        yield from findings
        yield from _listen(sidecar, settings, leader)
        sidecar.abort()
    elif settings is not None:
        yield Finding(
            NOTE, "GET", f"there is no elector to ask: {settings.when_unconfigured!r} is assumed"
        )
    if settings is not None:
        yield _identity(settings, env, leader)
        yield from _proxies(settings, env)
        yield from _workers(settings, env)


# --- the environment -------------------------------------------------------------------


def _variables(env: Mapping[str, str]) -> Iterator[Finding]:
    given = [name for name in PLATFORM if env.get(name, "").strip()]
    if given:
        text = ", ".join(f"{name}={_address(env[name])}" for name in given)
        yield Finding(OK, "environment", text)
    if given == ["ELECTOR_PATH"]:
        yield Finding(
            NOTE,
            "environment",
            "ELECTOR_PATH alone is the platform's old way: it names no event stream, so a new "
            "leader is noticed at the next poll",
            "deploy again, to get the present elector with ELECTOR_GET_URL and ELECTOR_SSE_URL",
        )
    elif "ELECTOR_GET_URL" in given and "ELECTOR_SSE_URL" not in given:
        yield Finding(
            NOTE,
            "environment",
            "ELECTOR_SSE_URL is not set: a new leader is noticed at the next poll",
            "deploy again, to get an elector that has an event stream",
        )
    yield from _unknown_variables(env)


def _unknown_variables(env: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted(env):
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in OURS:
            continue
        meant = get_close_matches(name.removeprefix(PREFIX), OURS, 1, 0.75)
        if meant:
            says = f"{name} is no setting, so it has no effect"
            yield Finding(MEND, "environment", says, f"rename it to {PREFIX}{meant[0]}")


def _address(url: str) -> str:
    """An address to show, without user and password."""
    url = url.strip()
    try:
        return shown(url) if "://" in url else url.rpartition("@")[2]
    except ValueError:
        return "(not readable)"


# --- the endpoints ------------------------------------------------------------------------


def _ask(sidecar: Sidecar, settings: Settings) -> tuple[list[Finding], str | None]:
    began = now()
    try:
        leader, _ = sidecar.ask()
    except ExchangeFailed as failure:
        says = f"no usable answer from {settings.where}: {failure}"
        return [Finding(MEND, "GET", says, _cure_for(str(failure), settings))], None
    took = f"{(now() - began) * 1000:.0f} ms"
    if leader is None:
        says = "the elector answers, but knows no leader yet: normal for some seconds"
        cure = "if it stays so, read the elector's log: kubectl logs POD -c elector"
        return [Finding(NOTE, "GET", says, cure)], None
    return [Finding(OK, "GET", f"{settings.where} says {leader}, after {took}")], leader


def _cure_for(failure: str, settings: Settings) -> str:
    if "refused" in failure:
        return (
            "nothing listens there. Is there a container 'elector' in this pod, and does it run? "
            f"(kubectl get pod POD). If there is none, {MANIFEST}"
        )
    if "resolved" in failure:
        return "use the address that the platform sets: ELECTOR_GET_URL=http://localhost:4040/"
    if "in time" in failure:
        return (
            "the elector hangs or is short of CPU; look at it with kubectl logs POD -c elector. "
            f"ELECTOR_THREAD_REQUEST_TIMEOUT is {settings.request_timeout:g} s"
        )
    return "something else answers there; ELECTOR_GET_URL must be the elector's own address"


def _listen(sidecar: Sidecar, settings: Settings, leader: str | None) -> Iterator[Finding]:
    if settings.sse_url is None:
        return
    where = shown(settings.sse_url)
    try:
        batch = _first_batch(sidecar, settings.request_timeout)
    except NoStream as problem:
        says = f"{where} is no event stream: {problem}"
        cure = "deploy again, to get an elector that has one; until then, polling does the work"
        yield Finding(MEND, "stream", says, cure)
    except ExchangeFailed as failure:
        says = f"nothing from {where}: {failure}"
        cure = "an elector sends an event at once; is ELECTOR_SSE_URL the elector's own address?"
        yield Finding(MEND, "stream", says, cure)
    else:
        yield _first_event(where, batch, leader)


def _first_batch(sidecar: Sidecar, patience: float) -> list[str]:
    """The first events of the stream; ExchangeFailed without any after ``patience`` seconds."""
    watchdog = Timer(patience, sidecar.abort)  # an open stream has no deadline of its own
    watchdog.daemon = True
    watchdog.start()
    try:
        with sidecar.open_stream() as stream:
            batch = next(iter(stream), [])
    finally:
        watchdog.cancel()
    if not batch:
        silent = f"no event within {patience:g} s"
        raise ExchangeFailed(silent if sidecar.aborted else "it ended without an event")
    return batch


def _first_event(where: str, batch: list[str], leader: str | None) -> Finding:
    try:
        heard = parse_leader(batch[-1])
    except Malformed as problem:
        return Finding(MEND, "stream", f"{where} sends events that cannot be read: {problem}")
    if heard is not None and leader is not None and heard != leader:
        says = f"{where} says {heard}, but GET says {leader}"
        cure = "right after an election this may pass; run doctor again"
        return Finding(MEND, "stream", says, cure)
    return Finding(OK, "stream", f"{where} is one, and says {heard or 'that nobody leads yet'}")


# --- who we are ---------------------------------------------------------------------------


def _identity(settings: Settings, env: Mapping[str, str], leader: str | None) -> Finding:
    identity, host = settings.identity, socket.gethostname()
    variable, named = env.get("HOSTNAME", "").strip(), "ELECTOR_THREAD_IDENTITY" in env
    if leader == identity:
        return Finding(OK, "identity", f"{identity} leads: the elector knows this pod by that name")
    for source, name in ((f"this host's name, {host},", host), (f"HOSTNAME={variable}", variable)):
        if leader is not None and name == leader:
            says = f"the leader is {source} but this process calls itself {identity}: never leader"
            return Finding(MEND, "identity", says, _rename(named, name == host))
    if leader is not None and _nearly(identity, leader):
        says = f"{identity} is nearly the leader's name, {leader}; names are compared exactly"
        return Finding(MEND, "identity", says, f"set ELECTOR_THREAD_IDENTITY={leader} in that pod")
    if identity not in (host, variable):
        says = f"this process calls itself {identity}, but the host is {host}: never leader"
        return Finding(MEND, "identity", says, _rename(named, matches_host=True))
    if variable and variable != host:
        says = f"this process calls itself {identity}; HOSTNAME says {variable}, the host {host}"
        return Finding(NOTE, "identity", says, "the elector answers with the host's name")
    return Finding(OK, "identity", f"{identity}, this host's name, by which electors know pods")


def _rename(named: bool, matches_host: bool) -> str:
    if named and matches_host:
        return "remove ELECTOR_THREAD_IDENTITY; this host's name is the default"
    return "set ELECTOR_THREAD_IDENTITY to the name that the elector answers with"


def _nearly(identity: str, leader: str) -> bool:
    """The same pod by another spelling: upper case, or with its domain."""
    ours, theirs = identity.lower(), leader.lower()
    return ours == theirs or ours.split(".")[0] == theirs or theirs.split(".")[0] == ours


# --- around us ----------------------------------------------------------------------------


def _proxies(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    found = [name for name in PROXIES if env.get(name)]
    host = urlsplit(settings.get_url or "").hostname
    if not found or host is None:
        return
    bypassed = urllib.request.proxy_bypass_environment(  # type: ignore[attr-defined]  # documented in its source alone
        host, {"no": env.get("no_proxy") or env.get("NO_PROXY") or ""}
    )
    if bypassed:
        yield Finding(OK, "proxies", f"{found[0]} is set, and NO_PROXY exempts {host}")
        return
    yield Finding(
        NOTE,
        "proxies",
        f"{found[0]} would catch other clients' requests to {host}; this library ignores proxies",
        f"add {host} to NO_PROXY if anything else asks the elector",
    )


def _workers(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    several = [*workers_asked_for(env), *servers()]
    if not several:
        return
    seen = "; ".join(several)
    if settings.scope == "process":
        yield Finding(OK, "workers", f"{seen}; ELECTOR_THREAD_SCOPE=process lets one of them lead")
        return
    yield Finding(
        MEND,
        "workers",
        f"{seen}: in the leader pod, every worker leads",
        "set ELECTOR_THREAD_SCOPE=process (or Elector(scope='process')), or use one worker",
    )


# --- on paper -------------------------------------------------------------------------------


def _for_people(finding: Finding) -> str:
    width = min(100, shutil.get_terminal_size((80, 24)).columns)
    head = f"{finding.level:<5} {finding.check:<12} "
    lines = _wrapped(finding.says, head, width)
    if finding.mend is not None:
        lines += _wrapped(f"→ {finding.mend}", " " * len(head), width)
    if console.colourful(sys.stdout):
        lines[0] = lines[0].replace(
            finding.level, f"\033[{COLOURS[finding.level]}m{finding.level}\033[0m", 1
        )
    return "\n".join(lines)


def _wrapped(text: str, head: str, width: int) -> list[str]:
    return textwrap.wrap(
        console.one_line(text),
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
