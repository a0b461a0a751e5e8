"""Each snippet of docs/migrating.md goes wrong as the page says, and its replacement does not."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from elector_thread import ConfigurationError, State, default_elector
from elector_thread.testing import own_default_elector

from ..polling import until
from ..scripted import PATIENCE, ScriptedServer

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
PAIRS: dict[str, list[str]] = {
    section.splitlines()[0]: re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}
BEFORE, AFTER = 0, 1

Names = dict[str, Any]


def run(section: str, which: int) -> Names:
    """Run a block; the names that it defines."""
    names: Names = {"__name__": "app"}
    exec(compile(PAIRS[section][which], "docs/migrating.md", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def platform(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a pod whose sidecar is `server`."""
    monkeypatch.setenv("ELECTOR_PATH", server.get_url.removeprefix("http://").rstrip("/"))
    monkeypatch.setenv("ELECTOR_GET_URL", server.get_url)
    monkeypatch.setenv("ELECTOR_SSE_URL", server.sse_url)
    monkeypatch.setattr(socket, "gethostname", lambda: "pod-a")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def own() -> Iterator[None]:
    """A process-wide elector for this test alone."""
    with own_default_elector():
        yield


def in_every_pod(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], bool]) -> list[bool]:
    """What the snippet answers in two pods, pod-a and pod-b."""
    answers = []
    for pod in ("pod-a", "pod-b"):
        monkeypatch.setattr(socket, "gethostname", lambda pod=pod: pod)
        answers.append(ask())
    return answers


class TestAskingAtEachCall:
    SECTION = "Asking at each call"

    def test_before_it_raises_while_the_pod_starts(self, server: ScriptedServer) -> None:
        is_leader = run(self.SECTION, BEFORE)["is_leader"]
        with pytest.raises(KeyError):  # `{}`: no election yet
            is_leader()
        server.close()
        with pytest.raises(requests.ConnectionError):
            is_leader()

    def test_before_it_hangs_with_the_sidecar(self, server: ScriptedServer) -> None:
        hanging, ended = threading.Event(), threading.Event()
        server.on_get = lambda connection: (hanging.set(), connection.wait_gone())

        def ask() -> None:
            with pytest.raises(requests.ConnectionError):
                run(self.SECTION, BEFORE)["is_leader"]()
            ended.set()

        threading.Thread(target=ask, daemon=True).start()
        assert hanging.wait(PATIENCE)
        assert not ended.wait(0.3)
        server.close()
        assert ended.wait(PATIENCE)

    def test_before_it_asks_the_proxy(
        self, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv("http_proxy", server.get_url)
        monkeypatch.setenv("ELECTOR_PATH", "elector.invalid:4040")
        server.leader = "pod-a"  # the proxy's answer
        assert run(self.SECTION, BEFORE)["is_leader"]() is True

    def test_before_the_work_outlives_the_leadership(self, server: ScriptedServer) -> None:
        names, imported = run(self.SECTION, BEFORE), []

        def import_file(name: str) -> None:
            imported.append((name, server.leader))
            server.leader = "pod-b"

        names["import_file"] = import_file
        server.leader = "pod-a"
        names["import_files"]()
        assert imported == [("a.csv", "pod-a"), ("b.csv", "pod-b"), ("c.csv", "pod-b")]

    @pytest.mark.usefixtures("own")
    def test_after_a_call_is_skipped_and_does_not_raise(self, server: ScriptedServer) -> None:
        names = run(self.SECTION, AFTER)
        server.leader = "pod-a"
        assert names["send_report"]() == "sent"
        server.elect("pod-b")
        until(lambda: names["send_report"]() is None)
        server.close()
        assert names["send_report"]() is None

    @pytest.mark.usefixtures("own")
    def test_after_the_work_ends_with_the_leadership(self, server: ScriptedServer) -> None:
        names, imported, lost = run(self.SECTION, AFTER), [], threading.Event()

        def import_file(name: str) -> None:
            imported.append(name)
            server.elect("pod-b")
            until(lambda: not default_elector().is_leader)
            lost.set()

        names["import_file"] = import_file
        server.leader = "pod-a"
        names["start"]()
        assert lost.wait(PATIENCE)
        assert default_elector().stop(PATIENCE), "it waits for import_files"
        assert imported == ["a.csv"]


class TestAskingOnce:
    SECTION = "Asking once"

    def test_before_no_pod_works_after_the_leader_was_replaced(
        self,
        server: ScriptedServer,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        leader, follower = run(self.SECTION, BEFORE), run(self.SECTION, BEFORE)
        server.leader = "pod-b"
        follower["start"]()
        assert capsys.readouterr().out == ""
        server.leader = "pod-a"  # pod-b is deleted, and this pod is elected
        follower["start"]()
        assert follower["is_leader"]() is False
        assert capsys.readouterr().out == ""
        assert leader["is_leader"]() is True
        server.leader = "pod-b"
        assert leader["is_leader"]() is True, "the cache holds for ever"

    @pytest.mark.usefixtures("own")
    def test_after_a_follower_takes_over_and_a_leader_steps_down(
        self, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names, begun, ended = run(self.SECTION, AFTER), threading.Event(), threading.Event()
        default_elector().on_elected(begun.set)  # after the callbacks of the block
        default_elector().on_demoted(ended.set)
        server.leader = "pod-b"
        names["start"]()
        server.wait_streams()
        assert default_elector().wait_until_known(PATIENCE)
        assert names["is_leader"]() is False
        server.elect("pod-a")
        assert begun.wait(PATIENCE)
        assert names["is_leader"]() is True
        assert capsys.readouterr().out == "the scheduler starts\n"
        server.elect("pod-b")
        assert ended.wait(PATIENCE)
        assert names["is_leader"]() is False
        assert capsys.readouterr().out == "the scheduler stops\n"


class TestLeadingOnErrors:
    SECTION = "Leading on errors"

    def test_before_every_pod_leads_without_an_answer(
        self, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        is_leader = run(self.SECTION, BEFORE)["is_leader"]
        assert in_every_pod(monkeypatch, is_leader) == [True, True], "`{}`: no election yet"
        server.leader = "pod-a"
        assert in_every_pod(monkeypatch, is_leader) == [True, False]
        server.close()
        assert in_every_pod(monkeypatch, is_leader) == [True, True]

    @pytest.mark.usefixtures("own")
    def test_after_no_pod_leads_without_an_answer(self, server: ScriptedServer) -> None:
        is_leader = run(self.SECTION, AFTER)["is_leader"]
        assert is_leader() is False
        server.wait_streams()
        assert is_leader() is False, "`{}`: no election yet"
        server.elect("pod-a")
        assert default_elector().wait_until_leader(PATIENCE)
        server.close()
        assert is_leader() is True, "within the grace period"

    @pytest.mark.usefixtures("own")
    def test_after_a_follower_stays_one_when_its_sidecar_crashes(
        self, server: ScriptedServer
    ) -> None:
        is_leader = run(self.SECTION, AFTER)["is_leader"]
        server.leader = "pod-b"
        assert default_elector().wait_until_known(PATIENCE)
        server.close()
        until(lambda: default_elector().status().last_error)
        assert default_elector().state is State.FOLLOWER
        assert is_leader() is False

    @pytest.mark.usefixtures("own")
    def test_after_a_laptop_leads_but_not_a_pod_without_the_sidecar(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("ELECTOR_PATH", "ELECTOR_GET_URL", "ELECTOR_SSE_URL"):
            monkeypatch.delenv(name)
        assert run(self.SECTION, AFTER)["is_leader"]() is True
        monkeypatch.setenv("NAIS_CLUSTER_NAME", "prod-gcp")
        with own_default_elector(), pytest.raises(ConfigurationError, match="leaderElection"):
            run(self.SECTION, AFTER)["is_leader"]()
