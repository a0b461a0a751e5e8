"""Runs, restarts, replaces and ends N replicas of a command, as a Kubernetes deployment does."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Coroutine
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Any

from .._state.clock import now
from ..errors import ElectorError
from .child import Child, describe_exit
from .environment import IDENTITY, free_port, replica_environ
from .output import Output
from .plan import Plan, pod_name, template_hash
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .server import LocalElector

__all__ = ["ENDING_SIGNALS", "CommandError", "Deployment", "ReplicaProcess", "restart_delay"]

HEALTHY_LIFE = 10.0
"""Seconds after which the end of a replica resets the back-off."""

MAX_RESTART_DELAY = 30.0
"""Seconds."""

READY_AFTER = 1.0
"""Seconds that a new replica must live before it replaces an old one (``--rolling``)."""

OUTPUT_DELAY = 0.5
"""Seconds to wait for the last output of a replica before its end is reported."""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandError(ElectorError):
    """The command cannot be run. The message says why."""


@dataclass(eq=False, slots=True)
class ReplicaProcess:
    """One running replica.

    port: its ``PORT``.
    crashes: how many short-lived replicas it replaces in a row.
    """

    name: str
    child: Child
    port: int
    crashes: int = 0
    since: float = field(default_factory=now)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    terminated: bool = False

    @property
    def mark(self) -> str:
        """See `Child`."""
        return f"{IDENTITY}={self.name}"


class Deployment:
    """Runs a plan until all replicas have ended or a signal arrives. Used once.

    Runs on one event loop, in the main thread. `freeze`, `thaw` and `kill` may be called
    from any thread: they look up a replica with a single dict operation.
    """

    def __init__(
        self, plan: Plan, elector: LocalElector, output: Output, watchdog: Watchdog
    ) -> None:
        self._plan = plan
        self._elector = elector
        self._output = output
        self._watchdog = watchdog
        self._template = template_hash(plan.command)
        self._replicas: dict[str, ReplicaProcess] = {}  # oldest first
        self._restarting = 0  # replicas that start after a delay
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed = False  # a replica ended with another code than 0
        self._signals: list[int] = []  # received so far; the first one ends the run
        self._ending = False  # no replica is started or elected any more

    def freeze(self, name: str) -> bool:
        """Stop a replica with SIGSTOP, as a paused container; False if there is none."""
        return self._send(name, signal.SIGSTOP)

    def thaw(self, name: str) -> bool:
        """Continue a frozen replica; False if there is none."""
        return self._send(name, signal.SIGCONT)

    def kill(self, name: str) -> bool:
        """Send SIGKILL to all processes of a replica; False if there is none."""
        replica = self._replicas.get(name)
        return replica is not None and replica.child.kill()

    def _send(self, name: str, number: int) -> bool:
        replica = self._replicas.get(name)
        return replica is not None and replica.child.send(number)

    # --- the run --------------------------------------------------------------------

    def run(self) -> int:
        """Run the plan in the main thread; the exit code.

        0 if every replica ended with 0, 1 if one did not, 128 + the signal if a signal
        ended the run. Raises `CommandError` if the command cannot be run.
        """
        return asyncio.run(self._run())

    async def _run(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()  # a replica has ended, or a signal was received
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup
                self._loop.add_signal_handler(number, self._on_signal, number)
        with self._output:
            try:
                await self._run_replicas()
            except OSError as error:
                raise CommandError(self._cannot_run(error)) from error
            finally:
                self._ending = True
                for task in self._tasks:
                    task.cancel()
                await self._end_all()
        if self._signals:
            return 128 + self._signals[0]
        return 1 if self._failed else 0

    async def _run_replicas(self) -> None:
        """Start the replicas and wait until the last one has ended or a signal arrives."""
        for _ in range(self._plan.replicas):
            self._start()
        if self._plan.rolling is not None:
            self._spawn(self._roll(self._plan.rolling))
        while (self._replicas or self._restarting) and not self._signals:
            await self._changed.wait()
            self._changed.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_signal(self, number: int) -> None:
        """The first signal ends the run; any later one kills replicas that are still ending."""
        if self._signals:
            for replica in self._replicas.values():
                replica.child.kill()
        self._signals.append(number)
        self._changed.set()

    async def _end_all(self) -> None:
        replicas = list(self._replicas.values())
        if replicas:
            self._output.note(
                f"sending SIGTERM to all replicas, SIGKILL after {self._plan.grace:g} s"
            )
        await asyncio.gather(*(self._terminate(replica) for replica in replicas))

    # --- replicas -------------------------------------------------------------------

    def _start(self, crashes: int = 0) -> ReplicaProcess:
        """Start one more replica. Raises OSError if the command cannot be run."""
        name = pod_name(self._plan.app, self._template)
        port = free_port({replica.port for replica in self._replicas.values()})
        self._output.note(f"starting {name} (PORT={port})")
        sidecar = self._elector.add_replica(name)
        try:
            child = Child(
                self._plan.command,
                environ=replica_environ(name, port, sidecar.environ),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                mark=f"{IDENTITY}={name}",
            )
        except OSError:
            self._elector.remove_replica(name)
            raise
        replica = ReplicaProcess(name, child, port, crashes)
        self._watchdog.watch(replica.mark, child.pid)
        self._replicas[name] = replica
        self._follow(replica)
        return replica

    def _follow(self, replica: ReplicaProcess) -> None:
        """Pass on a replica's output and, in a thread of its own, wait for it to end."""
        assert replica.child.stdout is not None
        assert replica.child.stderr is not None
        readers = self._output.follow(replica.name, replica.child.stdout, replica.child.stderr)

        def wait() -> None:
            replica.child.wait()
            for reader in readers:
                reader.join(OUTPUT_DELAY)
            self._loop.call_soon_threadsafe(self._on_gone, replica)

        Thread(target=wait, name=f"elector-{replica.name}", daemon=True).start()

    def _on_gone(self, replica: ReplicaProcess) -> None:
        del self._replicas[replica.name]
        self._watchdog.release(replica.mark)
        self._report_end(replica)
        if not self._ending:
            self._elector.remove_replica(replica.name)
            if self._plan.restart:
                self._schedule_restart(replica)
        replica.gone.set()
        self._changed.set()

    def _report_end(self, replica: ReplicaProcess) -> None:
        code = replica.child.returncode
        assert code is not None
        if replica.terminated or code == 0:
            self._output.note(f"{replica.name} ended ({describe_exit(code)})")
        else:
            self._failed = True
            self._output.warn(f"{replica.name} failed ({describe_exit(code)})")

    def _schedule_restart(self, replica: ReplicaProcess) -> None:
        if len(self._replicas) + self._restarting >= self._plan.replicas:  # during `--rolling`
            return
        lived = now() - replica.since
        self._restarting += 1
        self._spawn(self._restart(1 if lived >= HEALTHY_LIFE else replica.crashes + 1))

    async def _restart(self, crashes: int) -> None:
        while True:
            seconds = restart_delay(crashes)
            self._output.note(f"starting a new replica in {seconds:g} s")
            await asyncio.sleep(seconds)
            try:
                self._start(crashes)
            except OSError as error:
                self._output.warn(self._cannot_run(error))
                crashes += 1
            else:
                self._restarting -= 1
                return

    async def _terminate(self, replica: ReplicaProcess) -> None:
        """Send SIGTERM, then SIGKILL after the grace period; return when the replica is gone."""
        replica.terminated = True
        replica.child.terminate()
        try:
            await asyncio.wait_for(replica.gone.wait(), self._plan.grace)
        except TimeoutError:
            self._output.warn(
                f"{replica.name} did not end within {self._plan.grace:g} s: sending SIGKILL"
            )
            replica.child.kill()
            await replica.gone.wait()

    async def _roll(self, interval: float) -> None:
        """Replace the oldest replica again and again: start the new one, then end the old one."""
        while True:
            await asyncio.sleep(interval)
            if not self._replicas:
                continue
            old = next(iter(self._replicas.values()))
            try:
                new = self._start()
            except OSError as error:
                self._output.warn(f"{self._cannot_run(error)}; keeping {old.name}")
                continue
            await asyncio.sleep(READY_AFTER)
            if new.gone.is_set():
                self._output.warn(f"{new.name} did not start; keeping {old.name}")
                continue
            self._output.note(f"{new.name} is running; sending SIGTERM to {old.name}")
            await self._terminate(old)

    def _cannot_run(self, error: OSError) -> str:
        return f"cannot run {self._plan.command[0]!r}: {(error.strerror or str(error)).lower()}"


def restart_delay(crashes: int) -> float:
    """Seconds before a restart: 0.5, 1, 2 ... 30, for the first, second, third crash in a row."""
    return min(MAX_RESTART_DELAY, 0.5 * 2.0 ** (min(crashes, 10) - 1))
