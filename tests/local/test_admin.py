"""The admin HTTP: what it answers, and whom it refuses."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any

import pytest

from elector_thread.local import LocalElector

from .tools import Wire, leader_at


def call(
    local: LocalElector,
    method: str,
    path: str,
    given: Any = None,
    headers: dict[str, str] | None = None,
    *,
    token: bool = True,
) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", local.admin_port, timeout=20)
    sent = {"Host": f"localhost:{local.admin_port}"}
    sent |= {"X-Elector-Token": local.token} if token else {}
    body = given if isinstance(given, bytes) else None if given is None else json.dumps(given)
    try:
        connection.request(method, path, body, sent | (headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
        assert response.headers["server"] is None or response.headers["server"] != "uvicorn"
        kind = response.headers.get("content-type", "")
        return response.status, json.loads(text) if kind == "application/json" else text
    finally:
        connection.close()


def test_state(local: LocalElector) -> None:
    local.add_replica("pod-a")
    status, state = call(local, "GET", "/admin/state")
    assert (status, state["leader"]) == (200, "pod-a")
    (replica,) = (r for r in state["replicas"] if r["alive"])
    assert replica | {"started": "", "get_url": ""} == {
        "name": "pod-a",
        "started": "",
        "alive": True,
        "frozen": False,
        "isolated": False,
        "state": None,
        "says_leader": None,
        "last_report_age": None,
        "streams": 0,
        "gets": 0,
        "lease_gets": 0,
        "get_url": "",
    }


def test_elect_fault_and_clear(local: LocalElector) -> None:
    status, state = call(local, "POST", "/admin/elect", {"name": "pod-z"})
    assert (status, state["leader"], leader_at(local.port)) == (200, "pod-z", "pod-z")
    status, fault = call(local, "POST", "/admin/fault", {"kind": "mute", "seconds": 60})
    assert (status, fault["kind"], fault["replica"], fault["seconds"]) == (200, "mute", None, 60)
    assert call(local, "POST", "/admin/clear", {"kind": "hang"}) == (200, {"cleared": 0})
    assert call(local, "POST", "/admin/clear", {}) == (200, {"cleared": 1})


def test_the_token_may_be_in_the_query(local: LocalElector) -> None:
    path = f"/admin/state?token={local.token}"
    assert call(local, "GET", path, token=False)[0] == 200


@pytest.mark.parametrize(
    ("path", "given", "error"),
    [
        ("/admin/elect", {"name": ""}, "name: expected the name of a replica, got ''"),
        ("/admin/elect", {"name": "a\nb"}, "name: expected the name of a replica"),
        ("/admin/elect", {"name": "x" * 300}, "at most 253"),
        ("/admin/elect", {}, "name: expected"),
        ("/admin/elect", [], "expected a JSON object"),
        ("/admin/elect", b"{", "expected a JSON object"),
        ("/admin/elect", b"[" * 10_000, "expected a JSON object"),
        ("/admin/elect", b" " * 20_000, "at most 16384 bytes"),
        ("/admin/fault", {"kind": "mute", "replicas": "x"}, "expected only kind, replica, seconds"),
        ("/admin/fault", {"kind": ["mute"]}, "kind: expected one of"),
        ("/admin/fault", {"kind": "mute", "replica": {}}, "replica: expected a live replica"),
        ("/admin/fault", {"kind": "mute", "seconds": 1e400}, "seconds: expected"),
        ("/admin/clear", {"kind": "melt"}, "kind: expected one of"),
        ("/admin/clear", {"replica": 5}, "replica: expected a name"),
    ],
)
def test_bad_requests_are_told(local: LocalElector, path: str, given: Any, error: str) -> None:
    status, answer = call(local, "POST", path, given)
    assert status == 400
    assert error in answer["error"]
    assert local.state()["faults"] == []


ADDRESSES = [
    ("GET", "/admin/state"),
    ("GET", "/admin/kinds"),
    ("GET", "/admin/events"),
    ("POST", "/admin/elect"),
    ("POST", "/admin/fault"),
    ("POST", "/admin/clear"),
    ("POST", "/admin/report"),
    ("GET", "/ui"),
]


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
@pytest.mark.parametrize("token", ["", "wrong", "é"])
def test_without_the_token_nothing_opens(
    local: LocalElector, method: str, path: str, token: str
) -> None:
    local.elect("before")
    headers = {"X-Elector-Token": token} if token.isascii() else {}
    query = "" if token.isascii() else "?token=%C3%A9"
    status, _ = call(local, method, path + query, {"name": "evil"}, headers, token=False)
    assert status == 403
    assert local.state()["leader"] == "before"


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},  # a name rebound to 127.0.0.1
        {"Host": "localhost:1"},
        {"Host": "localhost"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "https://localhost:{port}"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_another_host_or_origin_is_refused_even_with_the_token(
    local: LocalElector, method: str, path: str, headers: dict[str, str]
) -> None:
    filled = {k: v.format(port=local.admin_port) for k, v in headers.items()}
    local.elect("before")
    status, answer = call(local, method, path, {"name": "evil"}, filled)
    assert (status, local.state()["leader"]) == (403, "before")
    assert "refused" in answer["error"]


def test_a_foreign_page_is_refused_though_it_sends_no_origin(local: LocalElector) -> None:
    for site in ("cross-site", "same-site"):
        status, _ = call(local, "GET", "/admin/state", headers={"Sec-Fetch-Site": site})
        assert status == 403


def test_our_own_origin_is_welcome(local: LocalElector) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]"):
        name = f"{host}:{local.admin_port}"
        headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
        assert call(local, "GET", "/admin/state", headers=headers)[0] == 200


def test_no_other_site_may_read_or_preflight(local: LocalElector) -> None:
    status, _ = call(local, "OPTIONS", "/admin/elect", headers={"Origin": "http://evil.example"})
    assert status == 403


def test_the_sidecars_have_no_admin(local: LocalElector) -> None:
    local.elect("pod-a")
    path = f"/admin/state?token={local.token}"
    with Wire(local.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as wire:
        wire.read_until(b"\r\n\r\n")
        assert wire.read_until(b"}").startswith(b'{"name":"pod-a"')


def test_a_key_opens_its_own_lane_and_nothing_else(local: LocalElector) -> None:
    sidecar = local.add_replica("pod-a")
    url = sidecar.environ["ELECTOR_THREAD_REPORT_URL"]
    path = url.removeprefix(local.admin_url)
    report = {"identity": "pod-a", "state": "leader", "leader": "pod-a", "pid": 7}
    assert call(local, "POST", path, report, token=False)[0] == 204
    (replica,) = (r for r in local.state()["replicas"] if r["alive"])
    assert (replica["state"], replica["says_leader"]) == ("leader", "pod-a")
    key = path.partition("key=")[2]
    assert call(local, "GET", f"/admin/state?token={key}", token=False)[0] == 403
    assert call(local, "POST", "/admin/report?key=other", report, token=False)[0] == 403


@pytest.mark.parametrize(
    ("report", "error"),
    [
        ([], "expected a JSON object"),
        (3, "expected a JSON object"),
        ({"state": "boss", "pid": 1}, "state: expected one of"),
        ({"state": "leader", "leader": 5, "pid": 1}, "leader: expected"),
        ({"state": "leader", "leader": None, "pid": "1"}, "pid: expected"),
    ],
)
def test_a_senseless_report_is_told(local: LocalElector, report: Any, error: str) -> None:
    url = local.add_replica("pod-a").environ["ELECTOR_THREAD_REPORT_URL"]
    path = url.removeprefix(local.admin_url)
    status, answer = call(local, "POST", path, report, token=False)
    assert (status, error in answer["error"]) == (400, True)


def test_events_bring_the_record_and_what_follows(local: LocalElector) -> None:
    local.elect("pod-a")
    head = f"GET /admin/events?token={local.token} HTTP/1.1\r\n"
    with Wire(
        local.admin_port, f"{head}Host: localhost:{local.admin_port}\r\n\r\n".encode()
    ) as wire:
        wire.read_until(b"event: record\n")
        assert b'"what": "truth"' in wire.read_until(b"\n\n")
        wire.read_until(b"event: state\n")
        local.elect("pod-q")
        wire.read_until(b'"leader": "pod-q"')


def test_the_page_says_what_may_run(local: LocalElector) -> None:
    connection = HTTPConnection("localhost", local.admin_port, timeout=20)
    connection.request("GET", f"/ui?token={local.token}")
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert " on" + "click" not in text
    assert "style=" not in text
