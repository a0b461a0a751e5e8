"""Other people's clients work against a sidecar as they do against the sidecar."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import venv
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from elector_thread.local import LocalElector, SidecarServer

from ..polling import until

CLIENTS = Path(__file__).parent / "clients"
CHANGES = ["pod-b", "pod-c"]


@pytest.fixture
def sidecar(local: LocalElector) -> SidecarServer:
    sidecar = local.add_replica("pod-a")
    local.elect("pod-a")
    return sidecar


def tool(name: str, package: str) -> str:
    """The path of a program; without it the test is skipped, loudly."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT TESTED: {name} is not installed (apt-get install {package})")
    return found


def watch(local: LocalElector, sidecar: SidecarServer, *command: str) -> list[str]:
    """Run a client that asks, listens and ends by itself; two elections happen meanwhile."""
    client = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], **sidecar.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(30, client.kill)
    killer.start()
    try:
        until(lambda: sidecar.streams or client.poll() is not None, "a stream", 30)
        for name in CHANGES:
            local.elect(name)
        out, errors = client.communicate(timeout=30)
    finally:
        killer.cancel()
        with suppress(ProcessLookupError):
            client.kill()
        client.wait()
    assert (client.returncode, errors) == (0, "")
    return out.splitlines()


def names(lines: list[str]) -> list[str]:
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(one)["name"] for one in data]


def test_curl(local: LocalElector, sidecar: SidecarServer) -> None:
    curl = tool("curl", "curl")
    asked = subprocess.run(
        [curl, "-sS", "-i", sidecar.get_url], capture_output=True, text=True, check=True, timeout=50
    )
    head, _, body = asked.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert json.loads(body)["name"] == "pod-a"
    listener = subprocess.Popen(
        [curl, "-sSN", sidecar.sse_url], stdout=subprocess.PIPE, text=True, env={}
    )
    try:
        assert listener.stdout is not None
        assert names([listener.stdout.readline(), listener.stdout.readline()]) == ["pod-a"]
        local.elect("pod-b")
        assert names([listener.stdout.readline()]) == ["pod-b"]
    finally:
        listener.kill()
        listener.communicate()


def test_curl_on_the_legacy_variable(sidecar: SidecarServer) -> None:
    curl = tool("curl", "curl")
    address = sidecar.environ["ELECTOR_PATH"]
    asked = subprocess.run(
        [curl, "-sS", address], capture_output=True, text=True, check=True, timeout=50
    )
    assert json.loads(asked.stdout)["name"] == "pod-a"


def test_requests(sidecar: SidecarServer) -> None:
    with requests.get(sidecar.get_url, timeout=20) as answer:
        assert answer.json()["name"] == "pod-a"


def test_node_fetch(local: LocalElector, sidecar: SidecarServer) -> None:
    lines = watch(local, sidecar, tool("node", "nodejs"), str(CLIENTS / "client.mjs"), "3")
    status, _, body = lines[0].partition(" ")
    assert (status, json.loads(body)["name"]) == ("200", "pod-a")
    assert names(lines) == ["pod-a", *CHANGES]


def test_java_http_client(local: LocalElector, sidecar: SidecarServer) -> None:
    java = tool("java", "default-jdk-headless")
    lines = watch(
        local,
        sidecar,
        java,
        "-Xshare:auto",
        "-XX:TieredStopAtLevel=1",
        str(CLIENTS / "Client.java"),
        "3",
    )
    assert lines[0].startswith('200 HTTP_1_1 {"name":"pod-a"')
    assert names(lines) == ["pod-a", *CHANGES]


@pytest.fixture(scope="session")
def sseclient_python(pytestconfig: pytest.Config) -> str:
    """A Python with the package ``sseclient``, which cannot live beside sseclient-py.

    In an environment of its own, kept in pytest's cache from run to run.
    """
    assert pytestconfig.cache is not None, "the cache plugin is always on"
    home = Path(pytestconfig.cache.mkdir("sseclient"))
    python, done = home / "bin" / "python", home / f"done-{sys.version_info[1]}"
    if not done.exists():
        venv.create(home, clear=True, with_pip=False)
        install = "install -q --disable-pip-version-check sseclient==0.0.27"
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", str(python), *install.split()],
            check=True,
            timeout=50,
        )
        done.touch()
    return str(python)


def test_sseclient(local: LocalElector, sidecar: SidecarServer, sseclient_python: str) -> None:
    script = str(CLIENTS / "sseclient_example.py")
    assert watch(local, sidecar, sseclient_python, script, "3") == ["pod-a", *CHANGES]
