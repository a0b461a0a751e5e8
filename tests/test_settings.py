"""Arguments and environment: who wins, and what is said about whatever is wrong."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from elector_thread import ConfigurationError, Elector
from elector_thread.settings import resolve

PLATFORM = {
    "ELECTOR_GET_URL": "http://localhost:4040/",
    "ELECTOR_SSE_URL": "http://localhost:4040/sse",
    "ELECTOR_PATH": "localhost:4040",
}


def test_the_platforms_variables_are_enough() -> None:
    settings = resolve(PLATFORM)
    assert (settings.get_url, settings.sse_url) == (
        PLATFORM["ELECTOR_GET_URL"],
        PLATFORM["ELECTOR_SSE_URL"],
    )
    assert settings.identity == socket.gethostname()
    assert (settings.poll_interval, settings.reconcile_interval) == (5.0, 15.0)
    assert (settings.grace_period, settings.request_timeout) == (45.0, 2.0)
    assert (settings.scope, settings.when_unconfigured) == ("pod", "error")


@pytest.mark.parametrize("value", ["localhost:4040", "http://localhost:4040", "localhost:4040/"])
def test_the_legacy_variable_means_polling_alone(value: str) -> None:
    settings = resolve({"ELECTOR_PATH": value})
    assert (settings.get_url, settings.sse_url) == ("http://localhost:4040/", None)


def test_explicit_urls_switch_the_environment_off() -> None:
    settings = resolve(PLATFORM, get_url="http://there:1/")
    assert (settings.get_url, settings.sse_url) == ("http://there:1/", None)


def test_a_stream_without_get_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="get_url is missing"):
        resolve({}, sse_url="http://there:1/sse")
    with pytest.raises(ConfigurationError, match="ELECTOR_GET_URL is not set"):
        resolve({"ELECTOR_SSE_URL": "http://there:1/sse"})


def test_our_variables_and_arguments_above_them() -> None:
    ours = {
        "ELECTOR_THREAD_IDENTITY": "pod-a",
        "ELECTOR_THREAD_POLL_INTERVAL": "1.5",
        "ELECTOR_THREAD_SCOPE": " process ",
        "ELECTOR_THREAD_LOCK_PATH": "/tmp/seat",
        "ELECTOR_THREAD_GRACE_PERIOD": "",
    }
    settings = resolve({**PLATFORM, **ours})
    assert (settings.identity, settings.poll_interval) == ("pod-a", 1.5)
    assert (settings.scope, settings.lock_path) == ("process", Path("/tmp/seat"))
    assert settings.grace_period == 45.0
    settings = resolve({**PLATFORM, **ours}, identity="pod-b", poll_interval=2, scope="pod")
    assert (settings.identity, settings.poll_interval, settings.scope) == ("pod-b", 2.0, "pod")


def test_unconfigured_names_the_variable_and_the_manifest_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve({})
    assert "ELECTOR_GET_URL" in str(caught.value)
    assert "spec.leaderElection: true" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_lead_is_refused_on_the_platform_only_where_nothing_is_configured() -> None:
    on_nais = {"NAIS_CLUSTER_NAME": "prod"}
    with pytest.raises(ConfigurationError, match="every replica would be leader"):
        resolve(on_nais, when_unconfigured="lead")
    assert not resolve(on_nais, when_unconfigured="follow").configured
    assert resolve({**on_nais, **PLATFORM}, when_unconfigured="lead").configured
    assert not resolve({"ELECTOR_THREAD_WHEN_UNCONFIGURED": "lead"}).configured


@pytest.mark.parametrize("name", ["poll_interval", "reconcile_interval", "request_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 10**400, True, "5", [], 1e10])
def test_a_bad_number_is_told_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        resolve(PLATFORM, **{name: value})


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", "0", "1e999"])
def test_a_bad_number_in_the_environment_is_told_by_its_variable(value: str) -> None:
    with pytest.raises(ConfigurationError, match="ELECTOR_THREAD_GRACE_PERIOD"):
        resolve({**PLATFORM, "ELECTOR_THREAD_GRACE_PERIOD": value})


def test_the_grace_period_must_outlast_an_interval_and_a_request() -> None:
    with pytest.raises(ConfigurationError, match=r"grace_period: expected more than .* \(17 s\)"):
        resolve(PLATFORM, grace_period=17)
    assert resolve(PLATFORM, grace_period=17.1).grace_period == 17.1
    with pytest.raises(ConfigurationError, match="grace_period"):
        resolve(PLATFORM, poll_interval=60)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scope", "cluster"),
        ("scope", ["pod"]),
        ("scope", 1),
        ("when_unconfigured", "Lead"),
        ("identity", ""),
        ("identity", "  "),
        ("identity", "pod\n"),
        ("identity", 7),
        ("get_url", "localhost:4040"),
        ("get_url", "ftp://there/"),
        ("get_url", "http:///path"),
        ("get_url", "http://there:port/"),
        ("get_url", "http://there:99999/"),
        ("get_url", "http://there:0/"),
        ("get_url", "http://the re/"),
        ("get_url", "http://there/\n"),
        ("get_url", "http://[::1/"),
        ("get_url", "http://[fe80::1%!]/"),
        ("get_url", b"http://there/"),
        ("get_url", ""),
        ("lock_path", ""),
        ("lock_path", 7),
    ],
)
def test_a_bad_value_is_told_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        resolve(PLATFORM, **{name: value})


def test_a_bad_stream_url_is_told_by_name() -> None:
    with pytest.raises(ConfigurationError, match="sse_url"):
        resolve({}, get_url="http://there/", sse_url="there")


def test_credentials_are_in_no_text() -> None:
    url = "http://user:secret@localhost:4040/path?token=secret"
    elector = Elector(get_url=url, sse_url=url, identity="pod-a")
    settings = resolve({}, get_url=url, sse_url=url)
    for text in (repr(elector), repr(settings), settings.where):
        assert "secret" not in text
        assert "user" not in text
    assert settings.where == "http://localhost:4040/path"
    for bad in ("http://user:secret@:1/", "user:secret@there", "http://user:secret@h:x/"):
        with pytest.raises(ConfigurationError) as caught:
            resolve({}, get_url=bad)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_ipv6_and_https_are_fine() -> None:
    assert resolve({}, get_url="http://[::1]:4040/").get_url == "http://[::1]:4040/"
    assert resolve({}, get_url="https://there/").where == "https://there/"


@pytest.mark.parametrize(
    "host", ["\u2603.net", "_\u00fc", "\u2163", "[v1.abc]", "[::1]x", "x[::1]", "a" * 70]
)
def test_a_host_that_requests_would_refuse_is_told_at_once(host: str) -> None:
    with pytest.raises(ConfigurationError, match="get_url"):
        resolve({}, get_url=f"http://{host}/")


@pytest.mark.parametrize("variable", ["ELECTOR_GET_URL", "ELECTOR_PATH", "ELECTOR_SSE_URL"])
def test_a_bad_url_is_told_by_the_variable_that_holds_it(variable: str) -> None:
    environ = {**PLATFORM, variable: "ftp://here/"}
    if variable == "ELECTOR_PATH":
        del environ["ELECTOR_GET_URL"]
    with pytest.raises(ConfigurationError, match=variable):
        resolve(environ)


class _BytesPath:
    def __fspath__(self) -> bytes:
        return b"pod.seat"


@pytest.mark.parametrize("path", ["a\0b", _BytesPath(), b"pod.seat", ""])
def test_a_lock_path_that_is_none_is_told(path: object) -> None:
    with pytest.raises(ConfigurationError, match="lock_path"):
        resolve(PLATFORM, lock_path=path)  # type: ignore[arg-type]  # the point of the test


def test_a_number_too_long_to_be_printed_is_told() -> None:
    with pytest.raises(ConfigurationError, match="poll_interval"):
        resolve(PLATFORM, poll_interval=10**5000)


def test_unknown_settings_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="pol_interval"):
        Elector(pol_interval=5)  # type: ignore[call-arg]  # the point of the test


@pytest.mark.parametrize(
    "host", ["*host", ".host", "h..x", "h%zz", "ho\u2100st", "[::1", "\u00e9" + "b" * 70, "\\host"]
)
def test_a_host_that_nothing_can_be_sent_to_is_told_at_once_and_without_the_password(
    host: str,
) -> None:
    url = f"http://user:s3cret@{host}:4040/"
    for environ in ({}, {"ELECTOR_PATH": url.removeprefix("http://")}):
        with pytest.raises(ConfigurationError, match="get_url") as caught:
            resolve(environ, get_url=None if environ else url)
        error: BaseException | None = caught.value
        while error is not None:
            assert "s3cret" not in str(error)
            error = error.__context__
