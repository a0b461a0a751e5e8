"""Finding a local elector from another terminal, and steering it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from elector_thread import ElectorError
from elector_thread.local import LocalElector, discovery
from elector_thread.local.control import Control, ControlError, find

from ..scripted import ScriptedServer, answer
from .tools import leader_at


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "elector-thread"


def test_steering(local: LocalElector) -> None:
    control = Control(local.ui_url)
    assert control.elect("pod-a")["leader"] == "pod-a"
    assert leader_at(local.port) == "pod-a"
    assert control.fault("mute", seconds=30)["kind"] == "mute"
    assert control.state()["faults"][0]["kind"] == "mute"
    assert control.clear("mute") == 1


def test_a_refusal_is_in_plain_words(local: LocalElector) -> None:
    with pytest.raises(ControlError, match=r"^kind: expected one of .* got 'melt'$"):
        Control(local.ui_url).fault("melt")
    with pytest.raises(ControlError, match="the token is missing or wrong"):
        Control(local.ui_url + "x").state()


def test_found_while_it_runs(directory: Path) -> None:
    with pytest.raises(ControlError, match="no local elector is running; start one with"):
        find()
    with LocalElector(public=True) as elector:
        elector.elect("pod-a")
        assert find().state()["leader"] == "pod-a"
        (file,) = directory.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    with pytest.raises(ControlError, match="no local elector is running"):
        find()


def test_private_unless_asked(local: LocalElector) -> None:
    with pytest.raises(ControlError, match="no local elector is running"):
        find()


def test_the_environment_wins(local: LocalElector) -> None:
    local.elect("pod-e")
    assert find({"ELECTOR_LOCAL_URL": local.ui_url}).state()["leader"] == "pod-e"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "http://localhost:4040/ui",
        "http://example.com:4040/ui?token=x",
        "https://localhost:4040/ui?token=x",
        "http://localhost/ui?token=x",
        "http://localhost:99999/ui?token=x",
        "http://localhost:1/ui?token=%0A",
    ],
)
def test_a_bad_address_is_told(url: str) -> None:
    with pytest.raises(ControlError, match="ELECTOR_LOCAL_URL: expected an address like"):
        find({"ELECTOR_LOCAL_URL": url})


def test_nobody_there() -> None:
    elector = LocalElector()
    url = elector.ui_url
    elector.stop()
    with pytest.raises(ControlError, match="no answer from a local elector at localhost"):
        Control(url).state()


def test_somebody_else_there(server: ScriptedServer) -> None:
    server.on_get = lambda connection: connection.send(answer(b"[]"))
    with pytest.raises(
        ControlError, match=f"the answer from localhost:{server.port} is not one of a local elector"
    ):
        Control(f"http://localhost:{server.port}/ui?token=x").state()


def test_found_without_a_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalElector(public=True) as elector:
        elector.elect("pod-a")
        assert find().state()["leader"] == "pod-a"
        (directory,) = tmp_path.iterdir()
        assert directory.name == f"elector-thread-{os.getuid()}"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", "[]", '{"url": 3}', '{"pid": 3}'])
def test_a_file_that_cannot_be_read_is_passed_over(directory: Path, content: str) -> None:
    discovery.publish("http://localhost:1/ui?token=x")
    (directory / f"{os.getpid()}.json").write_text(content)
    assert discovery.published() == []


def test_a_dead_process_leaves_nothing_behind(directory: Path) -> None:
    discovery.publish("http://localhost:1/ui?token=x")
    stale = directory / "999999999.json"
    (directory / f"{os.getpid()}.json").rename(stale)
    assert discovery.published() == []
    assert not stale.exists()


def test_several_are_told_apart_by_the_environment(directory: Path) -> None:
    discovery.publish("http://localhost:1/ui?token=x")
    (directory / f"{os.getppid()}.json").write_text('{"url": "http://localhost:2/ui?token=y"}')
    with pytest.raises(ControlError, match="2 local electors are running; set ELECTOR_LOCAL_URL"):
        find()


def test_a_directory_that_others_enter_is_not_believed(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    for act in (find, lambda: discovery.publish("http://localhost:1/ui?token=x")):
        with pytest.raises(ElectorError, match="only you can access"):
            act()
    with pytest.raises(ElectorError), LocalElector(public=True):
        pass
