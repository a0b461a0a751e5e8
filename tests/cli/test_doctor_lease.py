"""`doctor`: the Lease, the leader's pod, and the sidecar's readiness."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from elector_thread.cli import main
from elector_thread.cli.checks_sidecar import PORT

from ..lease_api import LEASE_PATH, PODS, LeaseApi, status
from ..scripted import Connection, ScriptedServer, answer
from .conftest import OTHER, US, Examine

Finding = tuple[str, str]


class Cluster(LeaseApi):
    """A `LeaseApi` whose pods have a status. pod_states: what is merged into a pod's object."""

    def __init__(self, server: ScriptedServer) -> None:
        super().__init__(server)
        self.pods = {US: "uid-a", OTHER: "uid-b"}
        self.pod_states: dict[str, dict[str, Any]] = {}
        self.pods_answer: bytes | None = None
        self._others = server.on_get
        server.on_get = self._answer_pods

    def _answer_pods(self, connection: Connection) -> None:
        name = connection.path.removeprefix(PODS)
        if not connection.path.startswith(PODS) or name not in self.pods:
            self._others(connection)
            return
        if self.pods_answer is not None:
            connection.send(self.pods_answer)
            return
        state = {"status": {"phase": "Running"}, **self.pod_states.get(name, {})}
        metadata = {"uid": self.pods[name], **state.pop("metadata", {})}
        connection.send(answer(json.dumps({"metadata": metadata, **state}).encode()))

    def elect_both(self, name: str) -> None:
        """A new term, of which the sidecar learns."""
        self.elect(name)
        self.server.leader = name


@pytest.fixture
def cluster(beside: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The server as a Kubernetes API as well, with ``verify="lease"``."""
    cluster = Cluster(beside)
    for name, value in cluster.environ.items():
        monkeypatch.setenv(name, value)
    return cluster


def of(found: dict[str, list[Finding]], check: str) -> list[Finding]:
    """Level and text of each finding of a check."""
    return [(level, text) for level, all_ in found.items() for name, text in all_ if name == check]


# --- it works ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["lease", "none"])
@pytest.mark.parametrize("leader", [US, OTHER])
def test_lease_and_pod_are_sound(
    cluster: Cluster,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    leader: str,
    verify: str,
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", verify)
    cluster.elect_both(leader)
    code, found = examine()
    assert code == 0
    could = "; verify='lease' could read it" if verify == "none" else ""
    expected = f"the Lease team/app names {leader}, as the sidecar does{could} → None"
    assert dict(found["ok"])["Lease"] == expected
    assert dict(found["ok"])["leader pod"] == f"{leader} is Running and owns the Lease → None"


def test_before_the_first_election(cluster: Cluster, examine: Examine) -> None:
    code, found = examine()
    assert code == 0
    assert "team/app does not exist: no pod leads" in dict(found["ok"])["Lease"]
    assert "leader pod" not in dict(found["ok"])


def test_the_lease_is_read_while_the_sidecar_is_away(
    cluster: Cluster, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.elect(OTHER)
    with ScriptedServer() as away:
        monkeypatch.setenv("ELECTOR_GET_URL", away.get_url)
    code, found = examine()
    assert code == 1
    assert [check for check, _ in found["problem"]] == ["GET"]
    assert dict(found["ok"])["Lease"] == f"the Lease team/app names {OTHER} → None"


def test_an_elector_that_is_not_configured_has_no_lease(
    cluster: Cluster, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_GET_URL", "")
    monkeypatch.setenv("ELECTOR_SSE_URL", "")
    monkeypatch.setenv("ELECTOR_THREAD_WHEN_UNCONFIGURED", "follow")
    _, found = examine()
    assert not of(found, "Lease")
    assert cluster.server.connections == 0


# --- what the sidecar and the Lease name --------------------------------------------------------


DISAGREEMENTS = {
    "we are not the leader": (US, OTHER, "this pod is not the leader"),
    "we are the leader": (OTHER, US, "this pod was elected, but its sidecar does not name it"),
    "two others": ("pod-c", OTHER, f"the leader is {OTHER}"),
    "no Lease, for us": (US, None, "this pod is not the leader"),
    "no Lease, for another": (OTHER, None, f"{OTHER} is not the leader"),
}


@pytest.mark.parametrize(
    ("sidecar", "lease", "says"), DISAGREEMENTS.values(), ids=DISAGREEMENTS.keys()
)
def test_a_sidecar_that_disagrees_with_the_lease(
    cluster: Cluster, examine: Examine, sidecar: str, lease: str | None, says: str
) -> None:
    cluster.elect(lease)
    cluster.server.leader = sidecar
    code, found = examine()
    assert code == 1
    ((_, text),) = found["problem"]
    assert ("does not exist" if lease is None else f"names {lease}, but") in text
    assert f"the sidecar names {sidecar}" in text
    assert f"The Lease is right, since the sidecar answers from memory: {says} →" in text
    assert f"kubectl delete pod {US} -n team" in text
    assert ("whose pod no longer exists" in text) is (sidecar == "pod-c")
    assert ("--election is not app" in text) is (lease is None)


def test_without_verification_a_disagreement_may_mean_two_leaders(
    cluster: Cluster, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", "none")
    cluster.elect(OTHER)
    cluster.server.leader = US
    code, found = examine()
    assert code == 0
    says = f"this pod and {OTHER} may both lead, which verify='lease' prevents"
    assert says in dict(found["note"])["Lease"]
    cluster.elect(None)
    assert "this pod and the next leader may both lead" in dict(examine()[1]["note"])["Lease"]


def test_the_pod_of_this_container_is_the_one_to_replace(
    cluster: Cluster, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIS_POD_NAME", "the-pod")
    cluster.elect(OTHER)
    cluster.server.leader = US
    assert "kubectl delete pod the-pod -n team" in dict(examine()[1]["problem"])["Lease"]


# --- the leader's pod -------------------------------------------------------------------------


BROKEN_PODS: dict[str, tuple[dict[str, Any], str, str]] = {
    "failed": ({"status": {"phase": "Failed"}}, "is Failed: it leads until", "delete pod pod-b"),
    "evicted": (
        {"status": {"phase": "Failed", "reason": "Evicted"}},
        "is Failed (Evicted): it leads until it is deleted, and does no work",
        "kubectl delete pod pod-b -n team; then another pod is elected",
    ),
    "succeeded": ({"status": {"phase": "Succeeded"}}, "is Succeeded: it leads", "delete pod pod-b"),
    "being deleted for years": (
        {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}},
        "after its grace period: it leads until it is gone",
        "kubectl delete pod pod-b -n team --force",
    ),
    "replaced": (
        {"metadata": {"uid": "uid-of-its-successor"}},
        "the Lease belongs to an earlier pod of the name pod-b",
        "kubectl delete lease app -n team",
    ),
}


@pytest.mark.parametrize(("state", "says", "remedy"), BROKEN_PODS.values(), ids=BROKEN_PODS)
@pytest.mark.parametrize("verify", ["lease", "none"])
def test_a_leader_pod_that_does_no_work(
    cluster: Cluster,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    state: dict[str, Any],
    says: str,
    remedy: str,
    verify: str,
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", verify)
    cluster.elect_both(OTHER)
    cluster.pod_states[OTHER] = state
    code, found = examine()
    assert code == 1, "with and without verification"
    ((level, text),) = of(found, "leader pod")
    assert level == "problem"
    assert says in text
    assert remedy in text
    assert "Lease" in dict(found["ok"])


def test_a_leader_pod_that_is_gone(cluster: Cluster, examine: Examine) -> None:
    cluster.elect_both("pod-c")
    code, found = examine()
    assert code == 1
    ((check, text),) = found["problem"]
    assert check == "leader pod"
    assert "the pod pod-c no longer exists, but the Lease still names it" in text
    assert "kubectl delete lease app -n team" in text


def test_a_lease_that_no_pod_owns(cluster: Cluster, examine: Examine) -> None:
    cluster.elect_both(OTHER)
    assert cluster.lease is not None
    del cluster.lease["metadata"]["ownerReferences"]
    code, found = examine()
    assert code == 1
    assert "the Lease has no owner" in dict(found["problem"])["leader pod"]


@pytest.mark.parametrize("deletion", ["2999-01-01T00:00:00Z", "soon", "2020-01-01T00:00:00"])
def test_a_leader_pod_that_is_being_deleted(
    cluster: Cluster, examine: Examine, deletion: str
) -> None:
    cluster.elect_both(OTHER)
    cluster.pod_states[OTHER] = {"metadata": {"deletionTimestamp": deletion}}
    code, found = examine()
    assert code == 0
    assert f"{OTHER} is being deleted; another" in dict(found["note"])["leader pod"]


def test_the_owner_of_the_lease_is_the_pod_that_is_read(cluster: Cluster, examine: Examine) -> None:
    """A host's name may differ from its pod's."""
    cluster.elect_both(OTHER)
    assert cluster.lease is not None
    cluster.lease["spec"]["holderIdentity"] = cluster.server.leader = "host-b"
    code, found = examine()
    assert code == 0
    assert dict(found["ok"])["leader pod"].startswith(f"{OTHER} is Running")


# --- the Lease cannot be read -------------------------------------------------------------------


ANSWERS = {
    "403": (status(403), "the API server forbids reading the Lease (HTTP 403);", "rbac.yaml"),
    "401": (status(401), "HTTP 401", "refuses the token"),
    "429": (status(429), "HTTP 429", "run doctor again later"),
    "503": (status(503), "HTTP 503", "run doctor again later"),
    "302": (
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        "HTTP 302",
        "another program answers there",
    ),
    "html": (answer(b"<html>"), "expected a JSON object", "another program answers there"),
}


@pytest.mark.parametrize(("reply", "says", "remedy"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("verify", ["lease", "none"])
def test_a_lease_that_cannot_be_read_is_one_finding(
    cluster: Cluster,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    reply: bytes,
    says: str,
    remedy: str,
    verify: str,
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", verify)
    cluster.server.leader = US
    cluster.on_lease = lambda connection: connection.send(reply)
    code, found = examine()
    assert code == (1 if verify == "lease" else 0)
    ((level, text),) = of(found, "Lease")
    assert level == ("problem" if verify == "lease" else "note")
    assert says in text
    follows = "cannot become the leader" if verify == "lease" else "verify='lease' would not work"
    assert follows in text
    assert remedy in text
    assert not of(found, "leader pod"), "one cause, one finding"


def test_on_nais_the_remedy_is_the_line_of_its_manifest(
    cluster: Cluster, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIS_CLUSTER_NAME", "dev-gcp")
    cluster.on_lease = lambda connection: connection.send(status(403))
    text = dict(examine()[1]["problem"])["Lease"]
    assert "spec.leaderElection: true" in text.partition("→")[2]
    assert "RoleBinding elector-… that binds the application's service account" in text
    assert text.count("spec.leaderElection") == 1


def test_pods_that_cannot_be_read(cluster: Cluster, examine: Examine) -> None:
    cluster.elect_both(OTHER)
    cluster.pods_answer = status(403)
    code, found = examine()
    assert code == 1
    ((check, text),) = found["problem"]
    assert check == "Lease"
    assert f"the API server forbids reading the pod {OTHER} (HTTP 403)" in text
    assert """'apiGroups: [""], resources: [pods], verbs: [get]'""" in text


@pytest.mark.parametrize("reaction", ["refuses", "hangs"])
@pytest.mark.parametrize("cluster_name", ["", "dev-gcp"])
def test_the_network_does_not_let_us_through(
    cluster: Cluster,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    reaction: str,
    cluster_name: str,
) -> None:
    monkeypatch.setenv("NAIS_CLUSTER_NAME", cluster_name)
    # also that of the GET and the stream, which a slow machine must answer in time
    monkeypatch.setenv("ELECTOR_THREAD_REQUEST_TIMEOUT", "2")
    cluster.server.leader = US
    cluster.on_lease = Connection.wait_gone
    if reaction == "refuses":
        with ScriptedServer() as away:
            url = f"http://127.0.0.1:{away.port}{LEASE_PATH}"
        monkeypatch.setenv("ELECTOR_THREAD_LEASE_URL", url)
    code, found = examine()
    assert code == 1
    ((check, text),) = found["problem"]
    assert check == "Lease"
    assert ("connection refused" if reaction == "refuses" else "in time") in text
    if cluster_name:
        assert "network policy opens the API server only to pods with leader election" in text
        assert "spec.leaderElection: true" in text
    else:
        assert "allow egress to 127.0.0.1:" in text


# --- what the platform provides -----------------------------------------------------------------


@pytest.fixture
def account(beside: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account's folder, at an address of the platform where nothing answers."""
    with ScriptedServer() as away:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(away.port))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("NAIS_APP_NAME", "app")
    monkeypatch.setenv("ELECTOR_THREAD_SERVICE_ACCOUNT", str(tmp_path))
    (tmp_path / "namespace").write_text("team")
    (tmp_path / "token").write_text("secret\n")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return tmp_path


MISSING = {
    "address": ("KUBERNETES_SERVICE_HOST", "are not set", "set ELECTOR_THREAD_LEASE_URL"),
    "name": ("NAIS_APP_NAME", "NAIS_APP_NAME is not set", "the elector's --election"),
    "namespace": ("namespace", "holds no name", "fieldPath: metadata.namespace"),
    "token": ("token", "cannot be read", "'automountServiceAccountToken: true'"),
    "CA": ("ca.crt", "there is no CA certificate", "'automountServiceAccountToken: true'"),
}


@pytest.mark.parametrize(("missing", "says", "remedy"), MISSING.values(), ids=MISSING)
@pytest.mark.parametrize("verify", ["lease", "none"])
def test_what_the_platform_does_not_provide(
    account: Path,
    beside: ScriptedServer,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    says: str,
    remedy: str,
    verify: str,
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", verify)
    beside.leader = OTHER
    if missing.isupper():
        monkeypatch.delenv(missing)
    else:
        (account / missing).unlink()
    code, found = examine()
    ((level, text),) = of(found, "Lease")
    assert (code, level) == ((1, "problem") if verify == "lease" else (0, "note"))
    assert says in text
    assert (remedy in text) is (verify == "lease"), "a quiet note"
    assert "on NAIS" not in text


@pytest.mark.parametrize("verify", ["lease", "none"])
def test_an_api_server_away(
    account: Path,
    beside: ScriptedServer,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    verify: str,
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", verify)
    beside.leader = OTHER
    code, found = examine()
    ((level, text),) = of(found, "Lease")
    assert (code, level) == ((1, "problem") if verify == "lease" else (0, "note"))
    assert "connection refused" in text
    assert "secret" not in text


def test_a_certificate_of_another_authority(
    account: Path, beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", "lease")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with ScriptedServer(tls=context) as other:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(other.port))
        code, found = examine()
    assert code == 1
    assert "certificate is not trusted" in dict(found["problem"])["Lease"]
    assert "is not the API server of this cluster" in dict(found["problem"])["Lease"]


@pytest.mark.parametrize("verify", ["lease", "none"])
def test_a_lease_url_that_cannot_be_used(
    beside: ScriptedServer, examine: Examine, monkeypatch: pytest.MonkeyPatch, verify: str
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_VERIFY", verify)
    monkeypatch.setenv("ELECTOR_THREAD_LEASE_URL", "http://127.0.0.1/elsewhere")
    beside.leader = OTHER
    code, found = examine()
    assert code == (1 if verify == "lease" else 0)
    where = dict(found["problem"])["settings"] if code else dict(found["note"])["Lease"]
    assert "ELECTOR_THREAD_LEASE_URL: expected a URL https://HOST:PORT/apis" in where


def test_the_variables_of_verification_are_known(
    cluster: Cluster, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.elect_both(OTHER)
    monkeypatch.setenv("ELECTOR_THREAD_SERVICE_ACCOUNT", "/nowhere")
    assert examine()[0] == 0
    monkeypatch.setenv("ELECTOR_THREAD_VERIFIY", "lease")
    code, found = examine()
    assert code == 1
    assert "rename it to ELECTOR_THREAD_VERIFY" in dict(found["problem"])["environment"]


def test_the_findings_as_text(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.elect_both(OTHER)
    cluster.pod_states[OTHER] = {"status": {"phase": "Failed", "reason": "Evicted"}}
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    heads = [" ".join(line[:21].split()) for line in lines if not line.startswith(" ")]
    assert heads == [
        *("ok environment", "ok GET", "ok stream", "ok Lease", "problem leader pod"),
        "note identity",
    ]


# --- readiness --------------------------------------------------------------------------------


@pytest.fixture
def readyz(beside: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """The server that the sidecar's readiness is asked of; `beside` stands for port 4040."""
    monkeypatch.setattr("elector_thread.cli.checks_sidecar.PORT", beside.port)
    with ScriptedServer() as server:
        monkeypatch.setattr("elector_thread.cli.checks_sidecar.PROBE_PORT", server.port)
        yield server


def ready(code: int) -> bytes:
    return b"HTTP/1.1 %d x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok" % code


def test_a_sidecar_that_is_ready(
    beside: ScriptedServer, readyz: ScriptedServer, examine: Examine
) -> None:
    beside.leader = US
    readyz.on_get = lambda connection: connection.send(ready(200))
    code, found = examine()
    assert code == 0
    assert "the sidecar is ready" in dict(found["ok"])["readyz"]
    assert [head.splitlines()[0] for head in readyz.heads] == ["GET /readyz HTTP/1.1"]


@pytest.mark.parametrize("leader", [None, US])
def test_a_sidecar_that_has_no_election_result(
    beside: ScriptedServer, readyz: ScriptedServer, examine: Examine, leader: str | None
) -> None:
    beside.leader = leader
    readyz.on_get = lambda connection: connection.send(ready(500))
    code, found = examine()
    assert code == 0
    check = "GET" if leader is None else "readyz"
    assert "says that no election has run" in dict(found["note"])[check]
    assert len(of(found, "GET") + of(found, "readyz")) == (1 if leader is None else 2)


@pytest.mark.parametrize("reaction", ["refuses", "404"])
@pytest.mark.parametrize("sidecar", ["answers", "fails"])
def test_no_usable_answer_about_readiness_is_a_note(
    beside: ScriptedServer,
    readyz: ScriptedServer,
    examine: Examine,
    reaction: str,
    sidecar: str,
) -> None:
    beside.leader = US
    if sidecar == "fails":
        beside.on_get = lambda connection: connection.send(ready(503))
    readyz.on_get = lambda connection: connection.send(ready(404))
    if reaction == "refuses":
        readyz.close()
    code, found = examine()
    assert code == (1 if sidecar == "fails" else 0)
    notes = [text for check, text in found["note"] if check == "readyz"]
    assert len(notes) == (0 if sidecar == "fails" else 1), "one cause, one finding"
    if notes:
        assert ("connection refused" if reaction == "refuses" else "HTTP 404") in notes[0]


def test_an_elector_on_another_port_is_not_the_platforms(
    beside: ScriptedServer, examine: Examine
) -> None:
    beside.leader = US
    assert beside.port != PORT
    assert not of(examine()[1], "readyz")
