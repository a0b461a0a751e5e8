"""``doctor``: GET, event stream and readiness of the sidecar."""

from __future__ import annotations

from dataclasses import replace
from threading import Timer
from urllib.parse import urlsplit

from .._sidecar.calls import SidecarClient
from .._sidecar.events import Malformed, parse_leader
from .._sidecar.failures import (
    ConnectionRefused,
    ExchangeFailed,
    HostUnknown,
    NoStream,
    TimedOut,
    UnexpectedAnswer,
)
from .._sidecar.http import HttpClient
from .._state.clock import now
from .._urls import shown
from ..settings import Settings
from .findings import MANIFEST, NOTE, OK, PROBLEM, Finding

__all__ = ["check_sidecar"]

PORT, PROBE_PORT = 4040, 4041
"""Where the platform's sidecar answers, and where Kubernetes asks whether it is ready."""

PROBE_TIMEOUT = 1.0

GET_URL, SSE_URL = "http://localhost:4040/", "http://localhost:4040/sse"
"""What the platform sets."""

LOG = "kubectl logs POD -c elector"


def check_sidecar(settings: Settings) -> tuple[list[Finding], str | None]:
    """The findings about GET, stream and readiness, and the leader according to GET."""
    sidecar = SidecarClient(settings)
    try:
        get, leader = _check_get(sidecar, settings)
        findings = _check_readyz(settings, get)
        failed = get.level == PROBLEM and _on_same_server(settings)  # so would the stream
        if settings.sse_url is not None and not failed:
            findings.insert(1, _check_stream(sidecar, settings, settings.sse_url, leader))
        return findings, leader
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
        return Finding(PROBLEM, "GET", message, _remedy_for(failure, settings)), None
    duration = f"{(now() - start) * 1000:.0f} ms"
    if leader is None:
        message = "the elector has no election result yet, which is normal shortly after start"
        remedy = f"if it lasts, read the elector's log: {LOG}"
        return Finding(NOTE, "GET", message, remedy), None
    return Finding(OK, "GET", f"{settings.where} names {leader}, after {duration}"), leader


def _check_readyz(settings: Settings, get: Finding) -> list[Finding]:
    """The finding about GET, and one about readiness if that has another cause."""
    parts = urlsplit(settings.get_url or "")
    if parts.port != PORT:
        return [get]  # not the platform's sidecar
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    url = f"http://{host}:{PROBE_PORT}/readyz"
    found = _probe(url, min(settings.request_timeout, PROBE_TIMEOUT))
    if found == 200:
        return [get, Finding(OK, "readyz", f"{url}: the sidecar is ready")]
    remedy = f"if it lasts, read the elector's log: {LOG}"
    if found == 500:
        unready = f"{url} says that no election has run"
        if get.level == NOTE:  # for the same reason
            return [replace(get, message=f"{get.message}; {unready}")]
        return [get, Finding(NOTE, "readyz", unready, remedy)]
    if get.level == PROBLEM:
        return [get]  # for the same reason
    problem = f"HTTP {found}" if isinstance(found, int) else found
    return [get, Finding(NOTE, "readyz", f"no usable answer from {url}: {problem}", remedy)]


def _probe(url: str, timeout: float) -> int | str:
    """The status of the answer, or why there is none."""
    try:
        with HttpClient(url, "*/*", timeout).get() as exchange:
            return exchange.status
    except ExchangeFailed as failure:
        return str(failure)


def _remedy_for(failure: ExchangeFailed, settings: Settings) -> str:
    if isinstance(failure, ConnectionRefused):
        return (
            "check with kubectl get pod POD that the pod has a container 'elector' and that it is "
            f"running. If there is none, {MANIFEST}"
        )
    if isinstance(failure, HostUnknown):
        return f"use the address that the platform sets: ELECTOR_GET_URL={GET_URL}"
    if isinstance(failure, TimedOut):
        return (
            f"the elector hangs or is short of CPU; read its log: {LOG}. "
            f"ELECTOR_THREAD_REQUEST_TIMEOUT is {settings.request_timeout:g} s"
        )
    if failure.status is not None and failure.status >= 500:
        return f"the elector reports an error; read its log: {LOG}"
    if failure.status is not None or isinstance(failure, UnexpectedAnswer):
        return (
            "another program answers there; set ELECTOR_GET_URL to the elector's own address, "
            f"which the platform sets to {GET_URL}"
        )
    return f"check ELECTOR_GET_URL, which the platform sets to {GET_URL}, and the log: {LOG}"


def _check_stream(
    sidecar: SidecarClient, settings: Settings, url: str, leader: str | None
) -> Finding:
    where = shown(url)
    try:
        named = parse_leader(_first_event(sidecar, settings.request_timeout))
    except NoStream as problem:
        return _no_stream(url, problem)
    except ExchangeFailed as failure:
        message = f"no event from {where}: {failure}"
        remedy = (
            "the elector sends an event at once; set ELECTOR_SSE_URL to the elector's own address, "
            f"or read its log: {LOG}"
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


def _no_stream(url: str, problem: NoStream) -> Finding:
    """Something else answers: the URL is wrong, unless it is the platform's."""
    message = f"{shown(url)} answers, but not with an event stream ({problem})"
    if problem.status is not None and problem.status >= 500:
        remedy = f"the elector reports an error; read its log: {LOG}"
    elif url == SSE_URL:
        remedy = "the elector is too old to have a stream: deploy again to get the current one"
    else:
        message = f"ELECTOR_SSE_URL is the wrong URL: {message}"
        remedy = f"set ELECTOR_SSE_URL to the elector's stream; the platform sets it to {SSE_URL}"
    return Finding(PROBLEM, "stream", f"{message}; meanwhile, elector-thread polls", remedy)


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
