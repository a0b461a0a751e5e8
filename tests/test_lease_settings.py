"""Where the Lease is: the platform's variables, our own, and what is said about bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from elector_thread import ConfigurationError, Elector
from elector_thread.settings import LeaseSettings, resolve

LEASE = "/apis/coordination.k8s.io/v1/namespaces/team/leases/app"
SIDECAR = {"ELECTOR_GET_URL": "http://localhost:4040/"}
CLUSTER = {
    **SIDECAR,
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "NAIS_NAMESPACE": "team",
    "NAIS_APP_NAME": "app",
}


def lease(environ: dict[str, str], identity: str = "pod-a") -> LeaseSettings:
    found = resolve(environ, verify="lease", identity=identity).lease
    assert found is not None
    return found


def by_url(url: str) -> LeaseSettings:
    return lease({**SIDECAR, "ELECTOR_THREAD_LEASE_URL": url})


def test_the_platforms_variables_are_enough() -> None:
    assert lease(CLUSTER) == LeaseSettings(
        f"https://10.0.0.1:443{LEASE}",
        "https://10.0.0.1:443/api/v1/namespaces/team/pods/pod-a",
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
    )


def test_an_ipv6_host_gets_brackets() -> None:
    found = lease({**CLUSTER, "KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert found.lease_url == f"https://[fd00::1]:443{LEASE}"


def test_the_pods_name_may_differ_from_the_identity() -> None:
    found = lease({**CLUSTER, "NAIS_POD_NAME": "app-7f9-x2"}, identity="host")
    assert found.pod_url is not None
    assert found.pod_url.endswith("/namespaces/team/pods/app-7f9-x2")


def test_the_mounted_namespace_if_the_platform_names_none(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("mounted\n")
    environ = {**CLUSTER, "NAIS_NAMESPACE": "", "ELECTOR_THREAD_SERVICE_ACCOUNT": str(tmp_path)}
    found = lease(environ)
    assert found.lease_url is not None
    assert "/namespaces/mounted/leases/app" in found.lease_url
    assert found.service_account == tmp_path


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_namespace_that_cannot_be_read_is_a_problem_but_no_error(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "namespace").write_bytes(content)
    environ = {**CLUSTER, "NAIS_NAMESPACE": "", "ELECTOR_THREAD_SERVICE_ACCOUNT": str(tmp_path)}
    found = lease(environ)
    assert found.lease_url is None
    assert found.problem is not None
    assert str(tmp_path / "namespace") in found.problem


@pytest.mark.parametrize(
    "missing", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "NAIS_APP_NAME"]
)
def test_a_variable_that_is_missing_is_named(missing: str) -> None:
    found = lease({**CLUSTER, missing: " "})
    assert found.lease_url is None
    assert found.problem is not None
    assert missing in found.problem
    assert found.missing == missing.replace("PORT", "HOST"), "one of the two stands for both"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KUBERNETES_SERVICE_PORT", "tcp://10.0.0.1:443"),
        ("KUBERNETES_SERVICE_PORT", "0"),
        ("KUBERNETES_SERVICE_HOST", "api server"),
        ("KUBERNETES_SERVICE_HOST", "user:pw@host"),
        ("KUBERNETES_SERVICE_HOST", "host?"),
    ],
)
def test_a_bad_variable_of_the_platform_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        lease({**CLUSTER, name: value})


@pytest.mark.parametrize("name", ["NAIS_APP_NAME", "NAIS_NAMESPACE"])
@pytest.mark.parametrize("value", ["a/b", "a?b=c", "a#b", "å", "..", "a b"])
def test_a_name_that_no_object_can_have_is_an_error_that_names_the_variable(
    name: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=name):
        lease({**CLUSTER, name: value})


# --- ELECTOR_THREAD_LEASE_URL ------------------------------------------------------------------


def test_our_own_variable_wins() -> None:
    found = lease({**CLUSTER, "ELECTOR_THREAD_LEASE_URL": f"https://there:1/prefix{LEASE}"})
    assert found.lease_url == f"https://there:1/prefix{LEASE}"
    assert found.pod_url == "https://there:1/prefix/api/v1/namespaces/team/pods/pod-a"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "[::1]:1", "localhost"])
def test_plain_http_on_this_machine_needs_no_service_account(host: str) -> None:
    assert by_url(f"http://{host}{LEASE}").service_account is None


@pytest.mark.parametrize(
    "url",
    [
        f"http://10.0.0.1{LEASE}",
        f"http://localhost.example{LEASE}",
        f"http://127.0.0.1.example{LEASE}",
        f"HTTP://10.0.0.1{LEASE}",
        f"Http://there{LEASE}",
        f"http://[fd00::1]{LEASE}",
        f"http://0.0.0.0{LEASE}",
    ],
)
def test_plain_http_elsewhere_is_an_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ELECTOR_THREAD_LEASE_URL.*https://"):
        by_url(url)


def test_a_scheme_in_capitals_is_the_same_scheme() -> None:
    assert by_url(f"HTTPS://there{LEASE}").service_account is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://there/",
        "there",
        f"ftp://there{LEASE}",
        f"https://there{LEASE}/",
        f"https://there{LEASE}/status",
        f"https://there{LEASE}?resourceVersion=0",
        f"https://there{LEASE}#fragment",
        f"https://there/?{LEASE}",
        f"https://there/#{LEASE}",
        f"https://there{LEASE}å",
        f"https://there{LEASE}\nx",
        "https://there/apis/coordination.k8s.io/v1/namespaces//leases/app",
        "https://there/apis/coordination.k8s.io/v1/namespaces/../leases/app",
        "https://there/apis/coordination.k8s.io/v1/leases/app",
        "https://there:0" + LEASE,
        f"https://[::1{LEASE}",
    ],
)
def test_a_url_of_another_form_is_an_error_that_names_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ELECTOR_THREAD_LEASE_URL"):
        by_url(url)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_url_with_a_password_is_refused_without_showing_it(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="ELECTOR_THREAD_LEASE_URL") as caught:
        by_url(f"{scheme}://user:secret@127.0.0.1{LEASE}")
    assert "secret" not in str(caught.value)


def test_an_elector_that_does_not_verify_looks_at_none_of_it() -> None:
    environ = {**SIDECAR, "ELECTOR_THREAD_LEASE_URL": "nonsense"}
    assert resolve(environ).lease is None
    assert resolve({}, when_unconfigured="lead", verify="lease").lease is None


def test_the_grace_period_must_outlast_an_interval_and_two_requests() -> None:
    with pytest.raises(ConfigurationError, match=r"twice request_timeout.*\(19 s\), got 19 s"):
        resolve(CLUSTER, verify="lease", grace_period=19)
    assert resolve(CLUSTER, verify="lease", grace_period=19.1).grace_period == 19.1
    assert resolve(CLUSTER, grace_period=19).grace_period == 19


def test_verify_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {**CLUSTER, "ELECTOR_THREAD_VERIFY": "lease"}
    assert resolve(environ).lease is not None
    assert resolve(environ, verify="none").lease is None
    with pytest.raises(ConfigurationError, match="ELECTOR_THREAD_VERIFY"):
        resolve({**SIDECAR, "ELECTOR_THREAD_VERIFY": "yes"})
    with pytest.raises(ConfigurationError, match="verify: expected one of 'none', 'lease'"):
        Elector(get_url="http://there/", verify=True)  # type: ignore[arg-type]  # the test
