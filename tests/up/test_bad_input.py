"""Bad input: one clear line on stderr, exit code 2, never a traceback, and nothing started."""

import socket
import subprocess
from pathlib import Path

import pytest

from elector_thread.cli import main

from .helpers import elector_thread

pytestmark = pytest.mark.timeout(30)


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that these arguments get."""
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--replicas", "0", "--", "true"],
            "--replicas: expected a whole number from 1 to 50, got '0'",
        ),
        (
            ["--replicas", "three", "--", "true"],
            "--replicas: expected a whole number from 1 to 50, got 'three'",
        ),
        (["--replicas", "3"], "need a command"),
        (["--restart"], "need a command"),
        (["--verify"], "need a command"),
        (
            ["--rolling", "0", "--", "true"],
            "--rolling: expected a number from 0.1 to 86400, got '0'",
        ),
        (["--rolling", "nan", "--", "true"], "--rolling"),
        (["--grace", "-1", "--", "true"], "--grace: expected a number from 0 to 3600, got '-1'"),
        (["--grace", "inf", "--", "true"], "--grace"),
        (["--port", "65536"], "--port: expected a whole number from 0 to 65535, got '65536'"),
        (["--name", "My_App", "--", "true"], "--name: expected lower-case letters"),
        (["--", "no-such-program"], "cannot run 'no-such-program'"),
        (["--", "/etc"], "cannot run '/etc'"),
        (["--nonsense"], "--nonsense"),
        (["sleep", "3"], "put '--' before the command: elector-thread up -- sleep 3"),
    ],
)
def test_up(capfd: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in refused(capfd, "up", *arguments)


def refused_in_a_process(*arguments: str) -> str:
    """The same in a process, for arguments with which the command forks."""
    done = subprocess.run(
        elector_thread("up", *arguments), capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    return done.stderr


def test_up_on_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        line = refused_in_a_process("--port", str(port), "--", "true")

    assert line == (
        f"elector-thread up: port {port} is in use; "
        f"choose another with --port, or --port 0 for any free port\n"
    )


def test_up_where_it_cannot_publish_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))

    line = refused_in_a_process("--port", "0", "--", "true")

    assert line.startswith("elector-thread up: cannot start the elector: ")
    assert str(tmp_path / "none") in line
    assert line.count("\n") == 1


def test_up_with_a_script_that_has_no_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "app"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)

    line = refused_in_a_process("--port", "0", "--", str(script))

    assert line == f"elector-thread up: cannot run '{script}': no such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["elect", "pod-a"], "no local elector is running"),
        (["elect"], "elect"),
        (["fault", "mute"], "no local elector is running"),
        (["fault", "--clear"], "no local elector is running"),
        (["fault", "earthquake"], "expected one of"),
        (["fault", "mute", "--seconds", "-1"], "seconds: expected more than 0"),
        (["fault"], "expected a KIND, --clear or --list"),
        (["fault", "mute", "--list"], "expected a KIND, --clear or --list"),
        (["fault", "--clear", "--seconds", "3"], "--seconds applies only when"),
    ],
)
def test_elect_and_fault(
    capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(capfd, *arguments)


def test_faults_are_listed_without_an_elector(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fault", "--list"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "freeze        Freeze replica: SIGSTOP" in out


def test_a_bad_address_is_reported(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_LOCAL_URL", "https://elsewhere.example/ui")

    assert "ELECTOR_LOCAL_URL: expected an address like" in refused(capfd, "elect", "pod-a")
