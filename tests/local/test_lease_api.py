"""The Lease API: its shape, terms and pods, and what a verifying replica makes of it."""

from __future__ import annotations

import json
import re
import socket
from datetime import datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from elector_thread.local import LocalElector, SidecarServer

from ..polling import until
from .tools import PATIENCE, Wire, leader_at

UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

# The keys of the examples in the Kubernetes documentation: of a Lease in
# concepts/architecture/leases, and of a Pod in tasks/debug/debug-application/debug-running-pod,
# whose owner reference has two keys that only a controller's has.
LEASE_METADATA = {"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "labels"}
POD_METADATA = LEASE_METADATA | {"generateName", "ownerReferences"}
OWNER = {"apiVersion", "kind", "name", "uid"}
POD_STATUS = {
    *("conditions", "containerStatuses", "hostIP", "phase", "podIP", "podIPs", "qosClass"),
    "startTime",
}


def fetch(
    sidecar: SidecarServer, path: str | None = None, method: str = "GET"
) -> tuple[int, Any, dict[str, str]]:
    """One request, for the Lease by default; status, JSON or text, and headers."""
    url = urlsplit(sidecar.environ["ELECTOR_THREAD_LEASE_URL"])
    assert url.hostname is not None
    connection = HTTPConnection(url.hostname, url.port, timeout=PATIENCE)
    try:
        connection.request(method, path or url.path)
        response = connection.getresponse()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        as_json = headers["content-type"] == "application/json"
        return response.status, json.loads(body) if as_json else body.decode(), headers
    finally:
        connection.close()


def pod_path(name: str) -> str:
    return f"/api/v1/namespaces/local/pods/{name}"


def lease_of(sidecar: SidecarServer) -> Any:
    status, lease, _ = fetch(sidecar)
    assert (status, lease["kind"]) == (200, "Lease")
    return lease


def pod_of(sidecar: SidecarServer, name: str) -> Any:
    status, pod, _ = fetch(sidecar, pod_path(name))
    assert (status, pod["kind"]) == (200, "Pod")
    return pod


def version(found: Any) -> int:
    return int(found["metadata"]["resourceVersion"])


def holds(sidecar: SidecarServer) -> bool:
    """Whether the Lease names this replica, as a verifying elector reads it."""
    name = sidecar.environ["NAIS_POD_NAME"]
    status, lease, _ = fetch(sidecar)
    if status != 200 or lease["spec"]["holderIdentity"] != name:
        return False
    own: bool = (
        lease["metadata"]["ownerReferences"][0]["uid"] == pod_of(sidecar, name)["metadata"]["uid"]
    )
    return own


def refused(sidecar: SidecarServer) -> bool:
    url = urlsplit(sidecar.environ["ELECTOR_THREAD_LEASE_URL"])
    with socket.socket() as sock:
        return sock.connect_ex((url.hostname, url.port)) != 0


Pair = tuple[LocalElector, SidecarServer, SidecarServer]


@pytest.fixture
def pair(local: LocalElector) -> Pair:
    """Two replicas; pod-a leads."""
    return local, local.add_replica("pod-a"), local.add_replica("pod-b")


# --- the shape --------------------------------------------------------------------------


def test_a_lease_has_the_fields_of_the_real_one_and_only_those_that_the_elector_sets(
    pair: Pair,
) -> None:
    _, a, _ = pair
    status, lease, headers = fetch(a)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert (lease["kind"], lease["apiVersion"]) == ("Lease", "coordination.k8s.io/v1")
    assert set(lease) == {"kind", "apiVersion", "metadata", "spec"}
    metadata, spec = lease["metadata"], lease["spec"]
    assert set(metadata) - LEASE_METADATA == {"ownerReferences"}
    assert (metadata["name"], metadata["namespace"]) == ("app", "local")
    assert UID.fullmatch(metadata["uid"])
    assert metadata["resourceVersion"].isdecimal()
    assert SECONDS.fullmatch(metadata["creationTimestamp"])
    (owner,) = metadata["ownerReferences"]
    assert set(owner) == OWNER
    assert (owner["apiVersion"], owner["kind"], owner["name"]) == ("v1", "Pod", "pod-a")
    assert set(spec) == {"holderIdentity", "acquireTime"}
    assert spec["holderIdentity"] == "pod-a"
    assert MICROSECONDS.fullmatch(spec["acquireTime"])
    assert datetime.fromisoformat(spec["acquireTime"])


def test_a_pod_has_fields_of_the_real_one(pair: Pair) -> None:
    _, a, _ = pair
    for name in ("pod-a", "pod-b"):  # whoever leads
        pod = pod_of(a, name)
        assert (pod["kind"], pod["apiVersion"]) == ("Pod", "v1")
        assert set(pod) == {"kind", "apiVersion", "metadata", "spec", "status"}
        assert set(pod["metadata"]) <= POD_METADATA
        assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == (name, "local")
        assert UID.fullmatch(pod["metadata"]["uid"])
        assert set(pod["status"]) <= POD_STATUS
        assert pod["status"]["phase"] == "Running"


@pytest.mark.parametrize(
    ("path", "message", "details"),
    [
        (
            "/apis/coordination.k8s.io/v1/namespaces/local/leases/other",
            'leases.coordination.k8s.io "other" not found',
            {"name": "other", "group": "coordination.k8s.io", "kind": "leases"},
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/elsewhere/leases/app",
            'leases.coordination.k8s.io "app" not found',
            {"name": "app", "group": "coordination.k8s.io", "kind": "leases"},
        ),
        (pod_path("pod-x"), 'pods "pod-x" not found', {"name": "pod-x", "kind": "pods"}),
        ("/api/v1/secrets", "the server could not find the requested resource", {}),
    ],
)
def test_what_is_not_there_is_a_status(
    pair: Pair, path: str, message: str, details: dict[str, str]
) -> None:
    status, body, headers = fetch(pair[1], path)
    assert status == 404
    assert headers["content-type"] == "application/json"
    assert body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "NotFound",
        "details": details,
        "code": 404,
    }


def test_it_can_only_be_read(pair: Pair) -> None:
    _, a, _ = pair
    status, body, _ = fetch(a, method="DELETE")
    assert (status, body["reason"]) == (405, "MethodNotAllowed")
    assert lease_of(a)


def test_one_connection_serves_many_requests(pair: Pair) -> None:
    _, a, _ = pair
    url = urlsplit(a.environ["ELECTOR_THREAD_LEASE_URL"])
    assert url.port is not None
    with Wire(url.port, f"GET {url.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 3) as wire:
        for _ in range(3):
            assert wire.read_until(b"}}\n").startswith(b"HTTP/1.1 200 OK\r\n")


# --- terms and pods ---------------------------------------------------------------------


def test_there_is_no_lease_while_nobody_is_elected() -> None:
    with LocalElector(failover_delay=0.3) as slow:
        assert fetch(slow._cluster.plain)[0] == 404
        slow.add_replica("pod-a")
        b = slow.add_replica("pod-b")
        slow.remove_replica("pod-a")
        assert fetch(b)[0] == 404
        until(lambda: slow.state()["leader"] == "pod-b", "the next election")
        assert lease_of(b)["spec"]["holderIdentity"] == "pod-b"


def test_each_term_has_a_lease_of_its_own(pair: Pair) -> None:
    local, _, b = pair
    seen = [lease_of(b)]
    local.elect("pod-b")
    seen.append(lease_of(b))
    local.elect("pod-a")
    seen.append(lease_of(b))
    local.remove_replica("pod-a")
    seen.append(lease_of(b))
    assert [one["spec"]["holderIdentity"] for one in seen] == ["pod-a", "pod-b", "pod-a", "pod-b"]
    assert len({one["metadata"]["uid"] for one in seen}) == 4
    assert sorted({version(one) for one in seen}) == [version(one) for one in seen]


def test_a_lease_is_not_changed_during_its_term(pair: Pair) -> None:
    local, a, _ = pair
    before = lease_of(a)
    local.elect("pod-a")  # the same result again
    local.add_replica("pod-c")
    local.remove_replica("pod-b")
    assert lease_of(a) == before


def test_versions_go_on_growing_from_one_local_elector_to_the_next() -> None:
    versions = []
    for _ in range(2):
        with LocalElector() as elector:
            versions.append(version(lease_of(elector.add_replica("pod-a"))))
            elector.add_replica("pod-b")
            elector.elect("pod-b")
            versions.append(version(lease_of(elector._cluster.plain)))
    assert sorted(set(versions)) == versions


def test_the_owner_is_the_pod_of_the_leader(pair: Pair) -> None:
    local, a, b = pair
    assert (holds(a), holds(b)) == (True, False)
    local.elect("pod-b")
    assert (holds(a), holds(b)) == (False, True)


def test_a_replica_keeps_its_pod_and_one_that_replaces_it_is_a_new_one(pair: Pair) -> None:
    local, _, b = pair
    before, first = pod_of(b, "pod-a"), lease_of(b)
    local.elect("pod-b")
    local.elect("pod-a")
    assert pod_of(b, "pod-a") == before  # as after a restart of its container
    local.remove_replica("pod-a")
    assert fetch(b, pod_path("pod-a"))[0] == 404
    again = local.add_replica("pod-a")
    after = pod_of(again, "pod-a")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    local.elect("pod-a")
    assert holds(again)
    assert lease_of(b)["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_leader_that_is_no_replica_has_a_pod_too(local: LocalElector) -> None:
    plain = local._cluster.plain
    local.elect("this-host")
    lease, pod = lease_of(plain), pod_of(plain, "this-host")
    assert lease["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
    local.elect("another")
    local.elect("this-host")
    assert pod_of(plain, "this-host") == pod


# --- the environment --------------------------------------------------------------------


def test_the_environment_of_a_replica(pair: Pair) -> None:
    local, a, b = pair
    assert a.environ["NAIS_POD_NAME"] == "pod-a"
    assert a.environ["ELECTOR_THREAD_LEASE_URL"] == a.api.lease_url
    urls = {local.lease_url, a.api.lease_url, b.api.lease_url}
    assert len({urlsplit(url).port for url in urls}) == 3
    assert {urlsplit(url).path for url in urls} == {
        "/apis/coordination.k8s.io/v1/namespaces/local/leases/app"
    }
    assert local.environ["ELECTOR_THREAD_LEASE_URL"] == local.lease_url
    assert "NAIS_POD_NAME" not in local.environ
    assert "ELECTOR_THREAD_VERIFY" not in {*local.environ, *a.environ}


def test_verification_is_asked_for_where_wanted() -> None:
    with LocalElector(verify=True) as elector:
        sidecar = elector.add_replica("pod-a")
        assert elector.environ["ELECTOR_THREAD_VERIFY"] == "lease"
        assert sidecar.environ["ELECTOR_THREAD_VERIFY"] == "lease"


def test_the_state_counts_requests(pair: Pair) -> None:
    local, a, _ = pair
    lease_of(a)
    pod_of(a, "pod-a")
    counts = {one["name"]: one["lease_gets"] for one in local.state()["replicas"] if one["alive"]}
    assert counts == {"pod-a": 2, "pod-b": 0}
    assert local.state()["plain"]["lease_url"] == local.lease_url


# --- faults -----------------------------------------------------------------------------


def test_an_isolated_leader_hears_its_sidecar_and_nothing_of_the_lease(pair: Pair) -> None:
    local, a, b = pair
    local.fault("split", "pod-a")
    assert leader_at(a.port) == "pod-a"
    assert refused(a)
    assert holds(b)
    local.clear("split")
    assert leader_at(a.port) == "pod-b"
    assert not holds(a)


def test_isolation_resets_open_connections(pair: Pair) -> None:
    local, a, _ = pair
    url = urlsplit(a.environ["ELECTOR_THREAD_LEASE_URL"])
    assert url.port is not None
    with Wire(url.port, f"GET {url.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as wire:
        wire.read_until(b"}}\n")
        local.fault("split", "pod-a")
        assert wire.end() == "reset"


def test_a_lone_leader_that_is_isolated_loses_its_lease(local: LocalElector) -> None:
    a = local.add_replica("pod-a")
    before = lease_of(a)
    local.fault("split", "pod-a")
    assert fetch(local._cluster.plain)[0] == 404
    local.clear("split")
    assert holds(a)  # elected again: a new term
    assert version(lease_of(a)) > version(before)


def test_isolation_takes_the_usual_time_until_the_next_election() -> None:
    with LocalElector(failover_delay=0.3) as slow:
        a, b = slow.add_replica("pod-a"), slow.add_replica("pod-b")
        slow.fault("split", "pod-a")
        assert fetch(b)[0] == 404
        assert leader_at(b.port) == "pod-a"
        until(lambda: slow.state()["leader"] == "pod-b", "the next election")
        assert holds(b)
        assert refused(a)


def test_the_api_server_is_away_and_the_sidecar_is_not(pair: Pair) -> None:
    local, a, b = pair
    local.fault("lease-refuse")
    assert refused(a)
    assert refused(b)
    assert leader_at(b.port) == "pod-a"
    local.clear()
    assert holds(a)


def test_it_hangs_until_the_fault_ends(pair: Pair) -> None:
    local, a, b = pair
    local.fault("lease-hang", "pod-a")
    url = urlsplit(a.environ["ELECTOR_THREAD_LEASE_URL"])
    assert url.port is not None
    with Wire(url.port, f"GET {url.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as wire:
        assert wire.is_quiet()
        assert lease_of(b)
        assert leader_at(a.port) == "pod-a"
        local.clear()
        assert wire.read_until(b"\r\n") == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("kind", "code", "reason", "message"),
    [
        (
            "lease-403",
            403,
            "Forbidden",
            'leases.coordination.k8s.io "app" is forbidden: User "system:serviceaccount:local:app" '
            'cannot get resource "leases" in API group "coordination.k8s.io" '
            'in the namespace "local"',
        ),
        (
            "lease-500",
            500,
            "InternalError",
            "Internal error occurred: etcdserver: request timed out",
        ),
    ],
)
def test_it_fails(pair: Pair, kind: str, code: int, reason: str, message: str) -> None:
    local, a, b = pair
    local.fault(kind, "pod-a")
    status, body, _ = fetch(a)
    assert (status, body["code"], body["reason"]) == (code, code, reason)
    assert (body["kind"], body["status"], body["message"]) == ("Status", "Failure", message)
    assert fetch(a, pod_path("pod-a"))[0] == code
    assert leader_at(a.port) == "pod-a"
    assert lease_of(b)
    local.clear()
    assert lease_of(a)


def test_too_many_requests_are_plain_text(pair: Pair) -> None:
    local, a, _ = pair
    local.fault("lease-429")
    status, body, headers = fetch(a)
    assert (status, headers["retry-after"]) == (429, "1")
    assert headers["content-type"].startswith("text/plain")
    assert body == "Too many requests, please try again later.\n"


def test_unauthorized_once_or_for_a_time(pair: Pair) -> None:
    local, a, b = pair
    local.fault("lease-401", "pod-a")
    assert local.state()["faults"] == []
    status, body, _ = fetch(a)
    assert (status, body["message"]) == (401, "Unauthorized")
    assert "details" not in body
    assert lease_of(a)
    local.fault("lease-401", "pod-a", seconds=60)
    assert [fetch(a)[0] for _ in range(3)] == [401, 401, 401]
    assert lease_of(b)
    local.clear()
    assert lease_of(a)
    local.fault("lease-401", seconds=60)
    local.clear()
    assert lease_of(b)
