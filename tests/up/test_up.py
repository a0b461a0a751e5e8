"""`elector-thread up` as its user sees it: real processes, real signals, real output."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from elector_thread.cli import main

from ..polling import until
from ..processes import wait_gone
from .helpers import POD, SLEEPER, STUBBORN, Up, elector_thread, leaders, pids, state_of

pytestmark = [
    pytest.mark.timeout(40),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def ask(url: str) -> str | None:
    with urllib.request.urlopen(url) as answer:
        name: str | None = json.load(answer).get("name")
        return name


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Another command, as in another terminal; what it prints."""

    def run_command(*arguments: str) -> str:
        capfd.readouterr()
        code = main(arguments)
        out, err = capfd.readouterr()
        assert (code, err) == (0, "")
        return out

    return run_command


def test_replicas_are_named_and_equipped_like_pods() -> None:
    names = "$HOSTNAME $ELECTOR_THREAD_IDENTITY"
    urls = "$ELECTOR_GET_URL $ELECTOR_SSE_URL $ELECTOR_PATH"
    with Up("-n", "3", "--", "sh", "-c", f"echo {names} {urls}; exec sleep 300") as up:
        lines = up.matches(rf"^({POD}) +\| (\S+) (\S+) (\S+) (\S+) (\S+)$", 3)
        (first,) = leaders(up, 1)

        assert len({line[1] for line in lines}) == 3
        assert len({line[2] for line in lines}) == 1, "one deployment, one hash"
        for line in lines:
            name, get_url, sse_url, path = line[1], line[6], line[7], line[8]
            assert (line[4], line[5]) == (name, name)
            assert (sse_url, path) == (get_url + "sse", get_url.split("/")[2])
            assert ask(get_url) == first
        assert first in {line[1] for line in lines}
        assert up.interrupt() == 130


@pytest.mark.parametrize(("options", "verify"), [([], "none"), (["--verify"], "lease")])
def test_replicas_can_read_the_lease_and_are_asked_to(options: list[str], verify: str) -> None:
    script = (
        "echo ${ELECTOR_THREAD_VERIFY-none} $NAIS_POD_NAME $ELECTOR_THREAD_LEASE_URL; "
        "exec sleep 300"
    )
    with Up("-n", "2", *options, "--", "sh", "-c", script) as up:
        lines = up.matches(rf"^({POD}) +\| (\S+) (\S+) (\S+)$", 2)
        (first,) = leaders(up, 1)

        assert len({line[6] for line in lines}) == 2, "one address for each"
        for line in lines:
            assert (line[4], line[5]) == (verify, line[1])
            with urllib.request.urlopen(line[6]) as answer:
                assert json.load(answer)["spec"]["holderIdentity"] == first


def test_each_replica_has_a_port_of_its_own() -> None:
    script = 'echo port "$PORT"; exec sleep 300'
    with Up("-n", "5", "--", "sh", "-c", script, PORT="8080") as up:
        ports = {int(line[1]) for line in up.matches(r"\| port (\d+)$", 5)}

        assert len(ports) == 5
        assert 8080 not in ports
        for port in ports:
            with socket.create_server(("127.0.0.1", port)):
                pass  # it was free


def test_who_leads_stands_before_what_replicas_do_about_it(run: Callable[..., str]) -> None:
    worker = Path(__file__).parents[2] / "examples" / "worker.py"
    with Up("-n", "2", "--", sys.executable, str(worker)) as up:
        names = {line[1] for line in up.matches(r"^(\S+) +\| the leader is", 2)}
        (first,) = leaders(up, 1)
        (second,) = names - {first}

        run("elect", second)
        up.matches("gained leadership", 2)
        up.line("lost leadership")
        run("fault", "split", "--replica", second)
        up.matches("gained leadership", 3)

    news = [line for line in up.lines if re.search("leads|gained", line)]
    said = [line.partition("| ")[2] for line in news]
    gained = "gained leadership: starting the scheduler"
    assert said == [
        f"{first} leads",
        gained,
        f"{second} leads; {first} may learn of it a moment later",
        gained,
        f"{first} leads; {second} is isolated and does not know",
        gained,
    ]


def test_an_isolated_leader_can_no_longer_read_the_lease(run: Callable[..., str]) -> None:
    script = "echo lease $ELECTOR_THREAD_LEASE_URL; exec sleep 300"
    with Up("-n", "2", "--", "sh", "-c", script) as up:
        urls = {line[1]: line[2] for line in up.matches(r"^(\S+) +\| lease (\S+)$", 2)}
        (first,) = leaders(up, 1)
        (second,) = set(urls) - {first}

        run("fault", "split", "--replica", first)

        assert leaders(up, 2)[1] == second
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(urls[first])
        with urllib.request.urlopen(urls[second]) as answer:
            assert json.load(answer)["spec"]["holderIdentity"] == second


def test_the_oldest_leads_for_life_and_then_the_next() -> None:
    with Up("-n", "3", "--", *SLEEPER) as up:
        replicas = {name: pid for pid, name in pids(up, 3).items()}
        for dead in (1, 2):
            oldest = leaders(up, dead)[-1]
            os.kill(replicas.pop(oldest), signal.SIGKILL)
            up.line(rf"{oldest} failed \(SIGKILL\)", stderr=True)
            assert leaders(up, dead + 1)[-1] in replicas


def test_a_follower_that_dies_changes_nothing() -> None:
    with Up("-n", "2", "--", *SLEEPER) as up:
        (first,) = leaders(up, 1)
        (pid,) = (pid for pid, name in pids(up, 2).items() if name != first)
        os.kill(pid, signal.SIGKILL)
        up.line("failed", stderr=True)
        up.interrupt()

    assert len([line for line in up.lines if line.endswith(" leads")]) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_everything_and_leaves_nothing(number: int, code: int) -> None:
    with Up("-n", "2", "--grace", "0.3", "--", "bash", "-c", STUBBORN) as up:
        everything = pids(up, 8)
        up.signal(number)

        assert up.wait() == code
        wait_gone(*everything)
        assert len([line for line in up.lines if line.endswith(" leads")]) == 1, "no last election"


def test_under_nohup_a_hang_up_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        up = Up("-n", "1", "--", *SLEEPER)
    finally:
        signal.signal(signal.SIGHUP, before)
    with up:
        pids(up, 1)
        up.signal(signal.SIGHUP)

        assert up.interrupt() == 130, "the hang-up would have come first"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(closed: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    script = "echo said; echo complained >&2; exit 7"
    command = elector_thread("up", "--port", "0", "-n", "1", "--", "sh", "-c", script)

    done = subprocess.run([*shell, *command], capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert "said" not in done.stderr
    assert "complained" not in done.stdout
    assert "Traceback" not in done.stderr


def test_a_second_ctrl_c_kills_at_once() -> None:
    with Up("-n", "2", "--grace", "3000", "--", "bash", "-c", STUBBORN) as up:
        everything = pids(up, 8)
        up.signal(signal.SIGINT)
        up.matches("asked", 2)

        assert up.interrupt() == 130
        wait_gone(*everything)


def test_killed_with_sigkill_it_leaves_no_process() -> None:
    with Up("-n", "2", "--", "bash", "-c", STUBBORN) as up:
        everything = pids(up, 8)
        up.signal(signal.SIGKILL)

        wait_gone(*everything)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 1)])
def test_ends_with_its_last_replica(script: str, code: int) -> None:
    with Up("-n", "2", "--", "sh", "-c", script) as up:
        assert up.wait() == code


def test_ends_in_order_when_its_reader_is_gone() -> None:
    script = "echo pid $$; while :; do echo more; sleep 0.05; done"
    command = elector_thread("up", "--port", "0", "-n", "1", "--", "sh", "-c", script)
    pipeline = ["bash", "-c", '"$@" | head -n 5; exit ${PIPESTATUS[0]}', "bash", *command]

    done = subprocess.run(pipeline, capture_output=True, text=True, timeout=30)

    (pid,) = re.findall(r"pid (\d+)", done.stdout)
    assert (done.returncode, done.stderr) == (143, "")
    wait_gone(int(pid))


@pytest.mark.parametrize("command", [[], ["--", "sleep", "300"]])
def test_ends_when_its_reader_never_read(command: list[str]) -> None:
    pipeline = ["bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "bash"]

    done = subprocess.run(
        [*pipeline, *elector_thread("up", "--port", "0", *command)],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.returncode, done.stderr) == (143, "")


def test_one_replica_without_end_breaks_neither_the_others_nor_memory(tmp_path: Path) -> None:
    script = """
    mkdir "$LOCKS/1" 2>/dev/null && exec cat /dev/zero
    mkdir "$LOCKS/2" 2>/dev/null && exec head -c 3000000 /dev/urandom
    while :; do echo "tick, tack"; sleep 0.1; done
    """
    with Up("-n", "3", "--", "sh", "-c", script, LOCKS=str(tmp_path)) as up:
        ticks = up.matches(rf"^({POD}) +\| tick, tack$", 3)
        memory = int(state_of(up.process.pid, "VmHWM").removesuffix(" kB"))
        up.interrupt()

    assert len({tick[1] for tick in ticks}) == 1
    assert memory < 150_000, f"{memory} KiB"
    assert all(re.match(rf"(elector-thread  |{POD}) [|!] ", line) for line in up.lines)


def test_alone_it_names_this_host_until_another_name_is_elected(
    run: Callable[..., str],
) -> None:
    with Up() as up:
        url = up.line(r"answers at (\S+)")[1]
        assert leaders(up, 1) == [socket.gethostname()]
        assert run("elect", "pod-b") == "elector-thread elect: pod-b leads\n"
        assert leaders(up, 2)[1] == "pod-b"
        assert ask(url) == "pod-b"
        with urllib.request.urlopen(up.line(r"its Lease: (\S+)")[1]) as answer:
            assert json.load(answer)["spec"]["holderIdentity"] == "pod-b"
        assert up.interrupt() == 130


def test_faults_reach_the_processes(run: Callable[..., str]) -> None:
    with Up("-n", "2", "--", *SLEEPER) as up:
        (first,) = leaders(up, 1)
        replicas = {name: pid for pid, name in pids(up, 2).items()}
        (second,) = set(replicas) - {first}

        frozen = run("fault", "freeze", "--replica", second)
        assert frozen == f"elector-thread fault: freeze, {second}\n"
        until(lambda: state_of(replicas[second], "State").startswith("T"), "it to stand still")
        assert f"active: freeze, {second}" in run("fault", "--list")
        assert run("fault", "--clear") == "elector-thread fault: 1 fault cleared\n"
        until(lambda: state_of(replicas[second], "State").startswith("S"), "it to go on")

        run("fault", "kill", "--replica", first)
        assert leaders(up, 2)[1] == second
        wait_gone(replicas[first])
