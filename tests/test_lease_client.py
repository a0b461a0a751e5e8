"""Reading the Lease over TLS: whom it trusts, what it sends, and how long it takes."""

from __future__ import annotations

import datetime
import logging
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from elector_thread import State
from elector_thread._sidecar.failures import ExchangeFailed
from elector_thread._sidecar.lease import LeaseClient, NotPermitted
from elector_thread._state.clock import now
from elector_thread.settings import LeaseSettings

from .conftest import MakeElector
from .handlers import drips, floods, hangs
from .lease_api import LEASE_PATH, PODS, LeaseApi, bound_token, status
from .polling import until
from .processes import run_python
from .scripted import JSON_HEAD, PATIENCE, Connection, ScriptedServer, answer, shut_down

SECRET = "very-secret"
TIMEOUT = 1.0
LOOK_UP = "elector_thread._sidecar.transport.socket.getaddrinfo"
AROUND = {"poll_interval": 0.1, "reconcile_interval": 0.2}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Cluster:
    """An API server with a certificate, and the folder that Kubernetes mounts."""

    def __init__(self, server: ScriptedServer, folder: Path, authority: trustme.CA) -> None:
        self.server = server
        self.folder = folder
        self.api = LeaseApi(server)
        self.api.elect("pod-a")
        self.token = bound_token({}, SECRET)
        self.trust(authority)
        self._clients: list[LeaseClient] = []

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text()

    @token.setter
    def token(self, value: str | bytes) -> None:
        data = value if isinstance(value, bytes) else value.encode()
        (self.folder / "token").write_bytes(data)

    def trust(self, authority: trustme.CA) -> None:
        authority.cert_pem.write_to_path(str(self.folder / "ca.crt"))

    def client(self, host: str = "127.0.0.1", timeout: float = TIMEOUT) -> LeaseClient:
        base = f"https://{host}:{self.server.port}"
        settings = LeaseSettings(f"{base}{LEASE_PATH}", f"{base}{PODS}pod-a", self.folder)
        self._clients.append(LeaseClient(settings, "pod-a", timeout))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.server.close()


ServeAs = Callable[..., Cluster]


@pytest.fixture
def serve_as(authority: trustme.CA, tmp_path: Path) -> Iterator[ServeAs]:
    """Start an API server whose certificate is for the hosts that are given."""
    clusters: list[Cluster] = []

    def serve(*hosts: str, **options: Any) -> Cluster:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*hosts, **options).configure_cert(context)
        clusters.append(Cluster(ScriptedServer("pod-a", tls=context), tmp_path, authority))
        return clusters[-1]

    yield serve
    for cluster in clusters:
        cluster.close()


@pytest.fixture
def cluster(serve_as: ServeAs) -> Cluster:
    return serve_as("127.0.0.1")


@pytest.fixture
def in_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The same, as an elector finds it."""
    monkeypatch.setenv("ELECTOR_THREAD_LEASE_URL", cluster.api.url)
    monkeypatch.setenv("ELECTOR_THREAD_SERVICE_ACCOUNT", str(cluster.folder))
    return cluster


def failure_of(client: LeaseClient) -> ExchangeFailed:
    with pytest.raises(ExchangeFailed) as caught:
        client.read()
    return caught.value


def everything_in(error: BaseException | None) -> str:
    """All that a log, a debugger or an error reporter may show of an error."""
    shown = ""
    while error is not None:
        parts = [repr(error), str(error), error.args, vars(error)]
        parts += [getattr(error, name, None) for name in ("object", "doc", "reason")]
        shown += " ".join(map(repr, parts)) + "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__
    return shown


# --- trust -------------------------------------------------------------------------------------


def test_one_connection_for_everything_and_the_newest_token_each_time(cluster: Cluster) -> None:
    client = cluster.client()
    assert client.read().ours
    cluster.token = "rotated"
    assert client.read().ours
    first = f"Bearer {bound_token({}, SECRET)}"
    assert cluster.api.tokens == [first, first, "Bearer rotated"], "Lease, pod, Lease"
    assert cluster.server.connections == 1


@pytest.mark.parametrize(
    ("host", "san"),
    [
        ("localhost", "localhost"),
        ("kubernetes.default.svc", "kubernetes.default.svc"),
        ("[::1]", "::1"),
        ("[fd00::10]", "fd00::10"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_the_certificate_may_be_for_a_name_or_an_address(
    serve_as: ServeAs, monkeypatch: pytest.MonkeyPatch, host: str, san: str
) -> None:
    cluster = serve_as(san)
    look_up = socket.getaddrinfo
    asked: list[str] = []

    def everything_is_here(name: str, port: int, **kwargs: Any) -> list[Any]:
        asked.append(name)
        return look_up("127.0.0.1", port, **kwargs)

    monkeypatch.setattr(LOOK_UP, everything_is_here)
    assert cluster.client(host).read().ours
    assert asked == [san]


def test_another_authority_is_not_permitted(cluster: Cluster) -> None:
    cluster.trust(trustme.CA())
    failure = failure_of(cluster.client())
    assert isinstance(failure, NotPermitted)
    assert str(cluster.folder / "ca.crt") in str(failure)
    assert cluster.api.tokens == [], "nothing is sent to a server that is not trusted"


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        (("other.example",), "[Hh]ostname mismatch|doesn't match|IP address mismatch"),
        (("10.0.0.1",), "IP address mismatch"),
    ],
)
def test_a_certificate_for_another_host_is_not_permitted_and_says_so(
    serve_as: ServeAs, hosts: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(NotPermitted, match=problem):
        serve_as(*hosts).client().read()


def test_a_certificate_that_has_expired_says_so(serve_as: ServeAs) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    cluster = serve_as("127.0.0.1", not_after=past)
    with pytest.raises(NotPermitted, match="expired"):
        cluster.client().read()


def test_one_error_line_and_never_leader_with_another_authority(
    in_cluster: Cluster,
    server: ScriptedServer,
    make_elector: MakeElector,
    authority: trustme.CA,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "elector_thread")
    in_cluster.trust(trustme.CA())
    server.leader = "pod-a"
    elector = make_elector(verify="lease", **AROUND).start()
    until(lambda: in_cluster.server.connections >= 3, "it is tried again")
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(errors) == 1, errors
    assert "cannot verify leadership" in errors[0]
    assert (elector.state, elector.status().counts.elected) == (State.UNKNOWN, 0)
    in_cluster.trust(authority)
    assert elector.wait_until_leader(10.0)


@pytest.mark.parametrize("content", [None, b"", b"nonsense", "folder"])
def test_a_ca_file_that_holds_none_is_not_permitted(
    cluster: Cluster, content: bytes | str | None
) -> None:
    file = cluster.folder / "ca.crt"
    file.unlink()
    if content == "folder":
        file.mkdir()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(NotPermitted, match=str(file)):
        cluster.client().read()
    assert cluster.api.tokens == []


def test_variables_for_other_programs_do_not_take_over(
    cluster: Cluster, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = cluster.folder / "garbage"
    garbage.write_text("no certificate")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(garbage))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, server.get_url)
        monkeypatch.setenv(name.lower(), server.get_url)
    monkeypatch.setenv("NO_PROXY", "")
    assert cluster.client().read().ours
    assert server.connections == 0


def test_nor_do_they_bring_trust(
    cluster: Cluster, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = cluster.folder / "right.crt"
    authority.cert_pem.write_to_path(str(right))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(right))
    cluster.trust(trustme.CA())
    assert isinstance(failure_of(cluster.client()), NotPermitted)


class OldCA:
    """A CA certificate as old tools made them: without key usage and key identifiers."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.pem = self._sign(self.name, self.key, basic)

    def _sign(self, name: x509.Name, key: Any, extension: Any) -> bytes:
        today = datetime.datetime.now(datetime.UTC)
        built = (
            x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=1))
            .add_extension(extension, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM)

    def server_context(self, folder: Path, host: str) -> ssl.SSLContext:
        import ipaddress

        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "apiserver")])
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (folder / "server.pem").write_bytes(private + self._sign(subject, key, names))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem")
        return context


def test_a_ca_without_the_extensions_that_python_3_13_demands_is_accepted(
    tmp_path: Path, authority: trustme.CA
) -> None:
    """Older Pythons do not demand them, so it takes 3.13 for this to prove anything."""
    old = OldCA()
    server = ScriptedServer("pod-a", tls=old.server_context(tmp_path, "127.0.0.1"))
    with closing(Cluster(server, tmp_path, authority)) as cluster:
        (tmp_path / "ca.crt").write_bytes(old.pem)
        assert cluster.client().read().ours
        strict = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        with (
            socket.create_connection(("127.0.0.1", server.port)) as bare,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            strict.wrap_socket(bare, server_hostname="127.0.0.1")


GEVENT = """
import sys
import elector_thread, elector_thread._sidecar.http
from gevent import monkey
if sys.argv[4] == "late":
    monkey.patch_all()
from pathlib import Path
from elector_thread._sidecar.lease import LeaseClient
from elector_thread.settings import LeaseSettings
client = LeaseClient(LeaseSettings(sys.argv[1], sys.argv[2], Path(sys.argv[3])), "pod-a", 5.0)
print(client.read().ours, client.read().ours)
client.close()
"""
EARLY = "from gevent import monkey\nmonkey.patch_all()\n"


@pytest.mark.parametrize("when", ["early", "late"])
def test_gevent_may_have_replaced_ssl_before_or_after_the_import(
    cluster: Cluster, when: str
) -> None:
    """gunicorn's gevent worker does so in each worker, after our hooks were imported."""
    pytest.importorskip("gevent")
    base = cluster.api.url.removesuffix(LEASE_PATH)
    script = EARLY + GEVENT if when == "early" else GEVENT
    arguments = (cluster.api.url, f"{base}{PODS}pod-a", str(cluster.folder), when)
    ended = run_python(script, *arguments, within=60.0)
    assert (ended.exit_code, ended.out.split()) == (0, ["True", "True"]), ended.err
    assert cluster.server.connections == 1


# --- the token ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [b"", b"\n", f"{SECRET}\nx".encode(), f"{SECRET}\r\nX: y".encode(), f"{SECRET}\0".encode(),
     f"{SECRET}\x1b[0m".encode(), f"{SECRET} x".encode(), f"{SECRET}\xe5".encode(),
     f"{SECRET}".encode() + b"\xff", f"{SECRET}\x7f".encode()],
    ids=["empty", "newline", "two lines", "header", "NUL", "escape", "space", "UTF-8", "binary",
         "DEL"],
)  # fmt: skip
def test_a_token_that_no_header_may_hold_is_never_shown(cluster: Cluster, token: bytes) -> None:
    cluster.token = token  # type: ignore[assignment]  # or as bytes
    client = cluster.client()
    failure = failure_of(client)
    assert isinstance(failure, NotPermitted)
    assert str(cluster.folder / "token") in str(failure)
    assert SECRET not in everything_in(failure) + str(client.problem()) + repr(vars(client))
    assert cluster.server.connections == 0


@pytest.mark.parametrize("missing", ["missing", "a folder"])
def test_a_token_that_cannot_be_read(cluster: Cluster, missing: str) -> None:
    (cluster.folder / "token").unlink()
    if missing == "a folder":
        (cluster.folder / "token").mkdir()
    with pytest.raises(NotPermitted, match="cannot be read"):
        cluster.client().read()


def test_a_newline_at_the_end_is_not_part_of_the_token(cluster: Cluster) -> None:
    cluster.token = "token\n"
    cluster.client().read()
    assert cluster.api.tokens[0] == "Bearer token"


def echo(connection: Connection) -> None:
    connection.send(answer(connection.head.encode()))


@pytest.mark.parametrize(
    "reply",
    [
        echo,
        lambda c: c.send(answer(b'"' + c.head.replace("\r\n", " ").encode() + b'"')),
        lambda c: c.send(c.head.encode()),
        lambda c: c.send(b"HTTP/1.1 200 " + c.head.split("Bearer ")[1].encode() + b"\r\n\r\n"),
        lambda c: c.send(b"HTTP/1.1 500 No\r\nContent-Length: " + c.head.encode()),
    ],
    ids=["body", "JSON", "everything", "reason", "length"],
)
def test_an_answer_that_echoes_the_token_is_not_quoted(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, reply: Callable[[Connection], object]
) -> None:
    caplog.set_level(logging.DEBUG)

    def reply_and_end(connection: Connection) -> None:
        reply(connection)
        connection.shut()

    cluster.api.on_lease = reply_and_end
    shown = everything_in(failure_of(cluster.client()))
    assert SECRET not in shown
    assert SECRET not in caplog.text


def test_the_token_is_in_no_log_and_no_repr_of_a_running_elector(
    in_cluster: Cluster,
    server: ScriptedServer,
    make_elector: MakeElector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server.leader = "pod-a"
    elector = make_elector(verify="lease", **AROUND).start()
    assert elector.wait_until_leader(10.0)
    for bad in (echo, lambda c: c.send(status(401)), Connection.reset):
        requests = in_cluster.api.lease_requests
        in_cluster.api.on_lease = bad
        until(lambda requests=requests: in_cluster.api.lease_requests >= requests + 3)
    in_cluster.token = f"{SECRET}\nx"
    until(lambda: "not one line" in str(elector.status().verification))
    assert SECRET in str(in_cluster.api.tokens)
    shown = [repr(elector), repr(elector.status()), str(elector.status().as_dict()), caplog.text]
    assert SECRET not in "".join(shown)


def test_a_401_has_the_token_read_again_and_asked_once_more(cluster: Cluster) -> None:
    def refuse_the_old(connection: Connection) -> None:
        if "Bearer new" in connection.head:
            cluster.api.send_lease(connection)
            return
        cluster.token = "new"
        connection.send(status(401))

    cluster.token = "old"
    cluster.api.on_lease = refuse_the_old
    assert cluster.client().read().ours
    assert cluster.api.tokens == ["Bearer old", "Bearer new", "Bearer new"]
    assert cluster.server.connections == 1


def test_a_second_401_counts_as_away(cluster: Cluster) -> None:
    cluster.api.on_lease = lambda c: c.send(status(401))
    failure = failure_of(cluster.client())
    assert not isinstance(failure, NotPermitted)
    assert "401" in str(failure)
    assert cluster.api.lease_requests == 2


def test_a_token_that_became_unusable_meanwhile_is_never_shown(cluster: Cluster) -> None:
    def refuse(connection: Connection) -> None:
        cluster.token = f"{SECRET}\xe5"
        connection.send(status(401))

    cluster.api.on_lease = refuse
    failure = failure_of(cluster.client())
    assert isinstance(failure, NotPermitted)
    assert SECRET not in everything_in(failure)


def test_a_401_for_the_pod_is_treated_alike(cluster: Cluster) -> None:
    answers = iter([lambda c: c.send(status(401)), cluster.api.send_pod])
    cluster.api.on_pod = lambda c: next(answers)(c)
    assert cluster.client().read().ours


def test_a_403_for_the_pod_says_which_object(cluster: Cluster) -> None:
    cluster.api.on_pod = lambda c: c.send(status(403))
    with pytest.raises(NotPermitted, match="forbids reading this pod"):
        cluster.client().read()


def test_no_token_is_sent_over_plain_http(server: ScriptedServer, tmp_path: Path) -> None:
    api = LeaseApi(server)
    api.elect("pod-a")
    (tmp_path / "token").write_text(SECRET)
    pod = f"{server.get_url.rstrip('/')}{PODS}pod-a"
    with closing(LeaseClient(LeaseSettings(api.url, pod, None), "pod-a", TIMEOUT)) as client:
        assert client.read().ours
    assert api.tokens == [None, None]


# --- our own pod -------------------------------------------------------------------------------


@pytest.mark.parametrize(("uid", "is_ours"), [("uid-a", True), ("uid-of-another", False)])
def test_a_bound_token_names_the_pod_so_it_is_not_asked_for(
    cluster: Cluster, uid: str, is_ours: bool
) -> None:
    cluster.token = bound_token({"kubernetes.io": {"pod": {"name": "pod-a", "uid": uid}}})
    assert cluster.client().read().ours is is_ours
    assert cluster.api.pod_requests == 0


@pytest.mark.parametrize(
    "token",
    [
        "opaque",
        "a.b.c",
        "a.!!!.c",
        "a..c",
        ".",
        "a." + "A" * 100_001 + ".c",
        *(
            bound_token(claims)
            for claims in (
                None, 3, [], "x", {}, {"kubernetes.io": 3}, {"kubernetes.io": {"pod": []}},
                {"kubernetes.io": {"pod": {"uid": 3}}}, {"kubernetes.io": {"pod": {"uid": ""}}},
                {"kubernetes.io": {"pod": {"uid": "a\nb"}}}, {"kubernetes.io": {"pod": None}},
            )
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_token_without_the_pods_uid_has_the_pod_asked_for(cluster: Cluster, token: str) -> None:
    cluster.token = token[:8000]
    assert cluster.client().read().ours
    assert cluster.api.pod_requests == 1


def test_claims_that_nest_too_deeply(cluster: Cluster) -> None:
    nested: Any = {}
    for _ in range(900):
        nested = [nested]
    cluster.token = bound_token(nested)[:20_000]
    assert cluster.client().read().ours


def test_a_pod_that_is_gone_is_not_ours_and_asked_for_once_a_term(cluster: Cluster) -> None:
    del cluster.api.pods["pod-a"]
    assert cluster.api.lease is not None
    client = cluster.client()
    assert [client.read().ours, client.read().ours] == [False, False]
    assert cluster.api.pod_requests == 1


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"metadata": {"uid": 3}}', b"<html>"])
def test_a_pod_that_is_not_understood_is_a_failed_reading_and_asked_for_again(
    cluster: Cluster, body: bytes
) -> None:
    cluster.api.on_pod = lambda c: c.send(answer(body))
    client = cluster.client()
    assert not isinstance(failure_of(client), NotPermitted)
    cluster.api.on_pod = None
    assert client.read().ours


# --- what a Lease may look like ------------------------------------------------------------------


@pytest.mark.parametrize(
    "owners",
    [None, [], {}, "x", [None], [{}], [{"uid": 3}], [{"uid": "uid-of-another"}],
     [{"uid": "uid-of-another"}, {"uid": "uid-a"}]],
    ids=str,
)  # fmt: skip
def test_a_lease_whose_first_owner_is_not_our_pod_is_not_ours(
    cluster: Cluster, owners: object
) -> None:
    assert cluster.api.lease is not None
    cluster.api.lease["metadata"]["ownerReferences"] = owners
    reading = cluster.client().read()
    assert (reading.holder, reading.ours) == ("pod-a", False)


@pytest.mark.parametrize("name", ["pod-A", "pod-a ", "pod-", "pod-a.team"])
def test_the_holder_is_compared_exactly(cluster: Cluster, name: str) -> None:
    assert cluster.api.lease is not None
    cluster.api.lease["spec"]["holderIdentity"] = name
    reading = cluster.client().read()
    assert (reading.holder, reading.ours) == (name, False)


@pytest.mark.parametrize(
    ("version", "fence"),
    [("7", 7), (str(2**63 - 1), 2**63 - 1), ("", None), ("-1", None), ("1.5", None), ("१", None),
     ("9" * 5000, None), (3, None), (None, None), (" 7", None), ("1_0", None)],
)  # fmt: skip
def test_the_fence_is_a_decimal_resource_version(
    cluster: Cluster, version: object, fence: int | None
) -> None:
    assert cluster.api.lease is not None
    cluster.api.lease["metadata"] |= {"resourceVersion": version, "uid": f"fence {version!s:.40}"}
    assert cluster.client().read().fence == fence


# --- time and size -------------------------------------------------------------------------------


def end_quietly(connection: Connection) -> None:
    """Close with FIN, without the TLS alert that says so."""
    shut_down(connection.sock, socket.SHUT_RDWR)


def end_properly(connection: Connection) -> None:
    """Close as TLS demands."""
    connection.sock.settimeout(TIMEOUT)
    with suppress(OSError):
        connection.sock.unwrap()  # type: ignore[attr-defined]  # an SSLSocket
        shut_down(connection.sock, socket.SHUT_RDWR)


@pytest.mark.parametrize("end", [end_quietly, end_properly, Connection.reset])
@pytest.mark.parametrize("when", ["after the answer", "at the next request"])
def test_a_kept_alive_connection_that_was_dropped_is_replaced(
    cluster: Cluster, end: Callable[[Connection], object], when: str
) -> None:
    client = cluster.client()
    first = True

    def drop(connection: Connection) -> None:
        nonlocal first
        if first and when == "at the next request":
            first = False
            end(connection)
            return
        cluster.api.send_lease(connection)
        if first:
            first = False
            end(connection)

    assert client.read().ours
    cluster.api.on_lease = drop
    assert client.read().ours
    assert client.read().ours
    assert cluster.server.connections == 2


def test_a_server_that_drops_every_connection_is_asked_twice(cluster: Cluster) -> None:
    client = cluster.client()
    assert client.read().ours
    cluster.api.on_lease = Connection.shut
    requests = cluster.api.lease_requests
    assert not isinstance(failure_of(client), NotPermitted)
    assert cluster.api.lease_requests == requests + 2
    failure_of(client)
    assert cluster.api.lease_requests == requests + 3, "a new connection is not tried twice"


HEAD = JSON_HEAD + b"Content-Length: 30000000\r\n\r\n"


@pytest.mark.parametrize("what", ["Lease", "pod"])
@pytest.mark.parametrize(
    "handler",
    [
        hangs(),
        hangs(JSON_HEAD),
        drips(answer(b" " * 1000)),
        floods(HEAD, b" " * 1000),
        floods(JSON_HEAD, b"X-Endless: header\r\n"),
        floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        hangs(HEAD + b" " * 1000),
    ],
    ids=["hang", "hang in headers", "drip", "30 MB", "headers", "1xx", "hang in body"],
)
def test_a_reading_is_bounded_by_one_request_timeout(
    cluster: Cluster, handler: Callable[[Connection], object], what: str
) -> None:
    if what == "Lease":
        cluster.api.on_lease = handler
    else:
        cluster.api.on_pod = handler
    client = cluster.client(timeout=0.5)
    began = now()
    assert not isinstance(failure_of(client), NotPermitted)
    assert now() - began < PATIENCE
    cluster.api.on_lease = cluster.api.on_pod = None
    assert client.read().ours


def test_lease_pod_and_401_share_one_request_timeout(cluster: Cluster) -> None:
    import time

    def slowly(then: Callable[[Connection], object]) -> Callable[[Connection], None]:
        def handle(connection: Connection) -> None:
            time.sleep(0.35)  # this is what is tested
            then(connection)

        return handle

    answers = iter([slowly(lambda c: c.send(status(401))), slowly(cluster.api.send_lease)])
    cluster.api.on_lease = lambda c: next(answers)(c)
    cluster.api.on_pod = slowly(cluster.api.send_pod)
    assert "in time" in str(failure_of(cluster.client(timeout=0.9)))
