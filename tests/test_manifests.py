"""The manifests in examples/: valid, enough for the library, and quoted correctly in docs/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from elector_thread import Elector
from elector_thread.settings import resolve

from .conftest import FAST
from .scripted import Connection, ScriptedServer, answer, result

yaml = pytest.importorskip("yaml", reason="NOT TESTED: pyyaml is not installed")

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
KUBERNETES = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))
PAGES = ("docs/safety.md", "docs/without-nais.md")

OLDEST = 29
"""Kubernetes 1.29: the first version in which native sidecars are on by default."""

SIDECAR_PORTS = {4040, 4041, 29090}
"""Election, probes and metrics. Source: nais/naiserator (leaderelection.go) for the first two, and
the default of nais/elector (cmd/elector/main.go) for the last."""

NAIS_FIELDS = {"env", "image", "leaderElection", "liveness", "port", "readiness", "replicas"}
"""The fields of an Application that the example uses.
Source: nais/doc, docs/workloads/application/reference/application-example.md."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def found(kind: str) -> dict[str, Any]:
    """The only object of this kind in the manifests for Kubernetes."""
    [one] = [item for path in KUBERNETES for item in documents(path) if item["kind"] == kind]
    return one


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = found("Deployment")["spec"]["template"]["spec"]
    return spec


def application() -> dict[str, Any]:
    [container] = pod()["containers"]
    return container


def sidecar() -> dict[str, Any]:
    [container] = pod()["initContainers"]
    return container


POD_FIELDS = {"metadata.name": "pod-a", "metadata.namespace": "my-team"}
"""What the downward API would say about this test's pod."""


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container, as the kubelet would set them."""
    return {
        item["name"]: item["value"]
        if "value" in item
        else POD_FIELDS[item["valueFrom"]["fieldRef"]["fieldPath"]]
        for item in container["env"]
    }


def options(container: Mapping[str, Any]) -> dict[str, str]:
    """The arguments of a container by name, with ``$(NAME)`` replaced as the kubelet does it."""
    variables = environment(container)
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], argument)
        for argument in container["args"]
    ]
    return dict(argument.split("=", 1) for argument in arguments)


class Request(NamedTuple):
    """What Kubernetes authorizes: one verb on one kind of resource."""

    group: str
    resource: str
    verb: str


def granted() -> set[Request]:
    return {
        Request(group, resource, verb)
        for rule in found("Role")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


# --- the schemas


def test_the_manifests_fit_the_schemas_of_kubernetes() -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="NOT TESTED: kubernetes-validate is not installed"
    )
    newest = int(validator.latest_version().split(".")[1])
    versions = [f"1.{minor}" for minor in range(OLDEST, newest + 1)]
    manifests = [manifest for path in KUBERNETES for manifest in documents(path)]
    assert len(manifests) == 4
    for manifest in manifests:
        for version in versions:
            assert validator.validate(manifest, version, strict=True) == version

    typo = pod()
    typo["initContainers"][0]["restart_policy"] = "Always"
    with pytest.raises(validator.ValidationError, match="restart_policy"):
        validator.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": typo},
            versions[-1],
            strict=True,
        )


# --- the sidecar


def test_the_sidecar_is_native_and_starts_before_the_application() -> None:
    assert sidecar()["restartPolicy"] == "Always"
    probe = sidecar()["startupProbe"]["httpGet"]
    assert (probe["path"], probe["port"]) == ("/healthz", 4041)


def test_the_sidecar_serves_where_the_library_asks() -> None:
    given = options(sidecar())
    variables = environment(application())
    for name, path in (("ELECTOR_GET_URL", "/"), ("ELECTOR_SSE_URL", "/sse")):
        assert variables[name] == f"http://{given['--http']}{path}"
    assert urlsplit(f"//{given['--probe-address']}").port == 4041


def test_the_sidecar_takes_part_in_the_election_that_the_library_reads() -> None:
    given = options(sidecar())
    variables = environment(application())
    assert given["--election"] == variables["NAIS_APP_NAME"]
    assert given["--election-namespace"] == variables["NAIS_NAMESPACE"]
    assert found("Deployment")["metadata"]["namespace"] == POD_FIELDS["metadata.namespace"]


def test_the_sidecars_resources_are_quantities() -> None:
    """The schemas allow any string."""
    resources = sidecar()["resources"]
    amounts = [*resources["requests"].values(), *resources["limits"].values()]
    assert amounts
    assert all(re.fullmatch(r"\d+(m|Mi)", amount) for amount in amounts)


def test_the_sidecar_gets_only_flags_that_it_has() -> None:
    """Source: nais/elector, cmd/elector/main.go."""
    flags = {"--election", "--election-namespace", "--http", "--probe-address"}
    assert options(sidecar()).keys() == flags


def test_the_hosts_name_is_the_pods_name() -> None:
    """The elector looks up its own pod by the host's name; so does the library, by default."""
    assert not pod().keys() & {"hostNetwork", "hostname"}


# --- the permissions


def test_the_role_has_what_the_sidecar_needs_and_nothing_more() -> None:
    """Source: nais/elector, charts/elector/templates/cluster_role.yaml."""
    leases = {
        Request("coordination.k8s.io", "leases", verb)
        for verb in ("get", "create", "list", "watch")
    }
    assert granted() == leases | {Request("", "pods", verb) for verb in ("get", "list", "watch")}
    # The sidecar watches the whole namespace, which a rule for single names would not allow.
    assert all("resourceNames" not in rule for rule in found("Role")["rules"])


def test_the_role_is_bound_to_the_pods_service_account() -> None:
    binding, role, account = found("RoleBinding"), found("Role"), found("ServiceAccount")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    [subject] = binding["subjects"]
    assert subject["kind"] == "ServiceAccount"
    for key in ("name", "namespace"):
        assert subject[key] == account["metadata"][key]
    assert pod()["serviceAccountName"] == account["metadata"]["name"]
    assert pod()["automountServiceAccountToken"] is True
    kinds = (binding, role, account, found("Deployment"))
    assert len({item["metadata"]["namespace"] for item in kinds}) == 1


LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/my-team/leases/my-app"
POD_PATH = "/api/v1/namespaces/my-team/pods/pod-a"


class ApiServer(ScriptedServer):
    """Names pod-a as the sidecar and as the API server, whose requests it remembers."""

    def __init__(self) -> None:
        super().__init__(leader="pod-a")
        self.asked: list[str] = []
        self.on_get = self._answer

    def _answer(self, connection: Connection) -> object:
        path = urlsplit(connection.path).path
        if not path.startswith("/api"):
            return connection.send(answer(result(self.leader)))
        with self.changed:
            self.asked.append(f"{connection.head.split(' ', 1)[0]} {path}")
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "pod-a", "uid": "uid-of-pod-a"}
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "my-app",
                "namespace": "my-team",
                "uid": "uid-of-the-lease",
                "resourceVersion": "1200",
                "ownerReferences": [owner],
            },
            "spec": {"holderIdentity": "pod-a"},
        }
        own = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "pod-a", "namespace": "my-team", "uid": "uid-of-pod-a"},
            "status": {"phase": "Running"},
        }
        return connection.send(answer(json.dumps(lease if "leases" in path else own).encode()))


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def test_the_role_covers_what_the_library_reads(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(application()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ELECTOR_GET_URL", api_server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", api_server.sse_url)
    monkeypatch.setenv("ELECTOR_THREAD_IDENTITY", "pod-a")
    monkeypatch.setenv(
        "ELECTOR_THREAD_LEASE_URL", f"http://127.0.0.1:{api_server.port}{LEASE_PATH}"
    )
    with Elector(**FAST) as elector:
        assert elector.wait_until_leader(timeout=15), elector.status()

    assert set(api_server.asked) == {f"GET {LEASE_PATH}", f"GET {POD_PATH}"}
    reads = {Request("coordination.k8s.io", "leases", "get"), Request("", "pods", "get")}
    assert reads <= granted()


# --- the environment


class Recorded(dict[str, str]):
    """An environment that remembers which variables were asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return super().__getitem__(name)


CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
"""What Kubernetes adds to every container."""


def test_the_application_gets_only_variables_that_the_library_reads() -> None:
    given = environment(application())
    recorded = Recorded({**CLUSTER, **given})
    settings = resolve(recorded)
    assert settings.lease is not None
    assert settings.lease.lease_url == f"https://10.96.0.1:443{LEASE_PATH}"
    assert settings.lease.pod_url == f"https://10.96.0.1:443{POD_PATH}"
    assert settings.get_url == given["ELECTOR_GET_URL"]
    assert settings.sse_url == given["ELECTOR_SSE_URL"]
    assert given.keys() <= recorded.names


def test_the_nais_application_sets_only_variables_that_the_library_reads() -> None:
    [manifest] = documents(EXAMPLES / "nais" / "app.yaml")
    platform = {
        "ELECTOR_GET_URL": "http://localhost:4040/",
        "NAIS_APP_NAME": manifest["metadata"]["name"],
        "NAIS_NAMESPACE": manifest["metadata"]["namespace"],
        "NAIS_POD_NAME": "pod-a",
    }
    given = environment(manifest["spec"])
    recorded = Recorded({**CLUSTER, **platform, **given})
    settings = resolve(recorded)
    assert settings.lease is not None
    assert settings.lease.lease_url == f"https://10.96.0.1:443{LEASE_PATH}"
    assert given.keys() <= recorded.names


# --- the NAIS application


def test_the_nais_application_asks_for_the_sidecar() -> None:
    [manifest] = documents(EXAMPLES / "nais" / "app.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("nais.io/v1alpha1", "Application")
    assert manifest["spec"]["leaderElection"] is True
    assert manifest["spec"].keys() <= NAIS_FIELDS


def test_the_applications_leave_the_sidecars_ports_alone() -> None:
    [manifest] = documents(EXAMPLES / "nais" / "app.yaml")
    used = {port["containerPort"] for port in application()["ports"]}
    assert not SIDECAR_PORTS & {manifest["spec"]["port"], *used}


# --- the documentation


def code(language: str) -> list[tuple[str, str]]:
    return [
        (page, match[1])
        for page in PAGES
        for match in re.finditer(
            rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
        )
    ]


def parts(value: object) -> Iterator[object]:
    """A value of a manifest, and everything in it."""
    yield value
    if isinstance(value, dict):
        for inner in value.values():
            yield from parts(inner)
    if isinstance(value, list):
        for inner in value:
            yield from parts(inner)


def test_yaml_in_the_documentation_is_that_of_the_manifests() -> None:
    known = [
        part
        for path in [*KUBERNETES, EXAMPLES / "nais" / "app.yaml"]
        for manifest in documents(path)
        for part in parts(manifest)
    ]
    blocks = code("yaml")
    assert blocks
    for page, block in blocks:
        for excerpt in yaml.safe_load(block).items():
            holders = [part for part in known if isinstance(part, dict)]
            assert any(excerpt in part.items() for part in holders), (page, excerpt)


def test_commands_in_the_documentation_use_the_manifests_names() -> None:
    commands = "".join(block for _, block in code("sh"))
    for path in re.findall(r"examples/[\w./-]+", commands):
        assert (ROOT / path).exists(), path
    names = {
        "deployment": found("Deployment")["metadata"]["name"],
        "lease": environment(application())["NAIS_APP_NAME"],
    }
    for kind, name in re.findall(r"\b(deployment|lease)[/ ]([\w-]+)", commands):
        assert name == names[kind], (kind, name)
    for container in re.findall(r"-c ([\w-]+)", commands):
        assert container in {application()["name"], sidecar()["name"]}
