"""`Deployment`: N replicas of a command, replaced, restarted and ended as a cluster would.

Owns the replicas. Everything here runs on one event loop in the main thread; other
threads only ever hand something to that loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from tenacity import RetryCallState, Retrying, wait_exponential

from .._state.clock import now
from ..child import Child, told
from .guardian import Guardian
from .names import pod_name, template_hash
from .output import Output
from .plan import Cluster, CommandFailed, Plan

__all__ = ["ENDING_SIGNALS", "Deployment", "pause_before_restart"]

HEALTHY_LIFE = 10.0
"""Seconds that a replica must have lived for the pause before its restart to begin anew."""

BACK_OFF = wait_exponential(multiplier=0.5, max=30)
"""Before a restart: 0.5 s, 1 s, 2 s ... 30 s."""

READY_AFTER = 1.0
"""Seconds that a new replica must live before the old one is asked to go (``--rolling``)."""

LAST_WORDS = 0.5
"""Seconds for the output of a replica that has ended, before its end is acted on."""

IDENTITY = "ELECTOR_THREAD_IDENTITY"
"""A replica's name in its environment. No name is given twice, so it marks all it starts."""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(eq=False, slots=True)
class Replica:
    """One running copy. ``crashes``: how many short-lived ones it follows upon."""

    name: str
    child: Child
    crashes: int = 0
    since: float = field(default_factory=now)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    dismissed: bool = False


class Deployment:
    """Runs a plan until its replicas have ended or somebody asks for the end. Used once."""

    # `_replicas` is written on the loop's thread alone; `freeze`, `thaw` and `kill`
    # look one up from other threads, a single dict operation. `ask_to_end` writes
    # `_unread` before it reads `_loop`, and `_run` does it the other way round, so one
    # of them sees the other.

    def __init__(self, plan: Plan, cluster: Cluster, output: Output, guardian: Guardian) -> None:
        self._plan = plan
        self._guardian = guardian
        self._cluster = cluster
        self._output = output
        self._template = template_hash(plan.command)
        self._replicas: dict[str, Replica] = {}  # in order of age
        self._restarting = 0  # how many are about to start after a pause
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed = False  # some replica ended with something else than 0
        self._signals: list[int] = []  # that asked for the end
        self._ending = False  # nobody is started or elected any more
        self._unread = False  # nobody reads our output
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- for other threads --------------------------------------------------------

    def freeze(self, name: str) -> bool:
        """Stop a replica as a paused container is (SIGSTOP); False if there is none."""
        return self._send(name, signal.SIGSTOP)

    def thaw(self, name: str) -> bool:
        """Let a frozen replica go on; False if there is none."""
        return self._send(name, signal.SIGCONT)

    def kill(self, name: str) -> bool:
        """SIGKILL to all of a replica; False if there is none."""
        replica = self._replicas.get(name)
        return replica is not None and replica.child.kill()

    def ask_to_end(self) -> None:
        """End in order, as on SIGTERM, because nobody reads our output. From any thread."""
        self._unread = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it is over already
                self._loop.call_soon_threadsafe(self._end_unread)

    def _send(self, name: str, number: int) -> bool:
        replica = self._replicas.get(name)
        return replica is not None and replica.child.send(number)

    # --- the run --------------------------------------------------------------------

    def run(self) -> int:
        """Run the plan on the calling thread, the main one; the exit code.

        0 if every replica ended with 0, 1 if one did not, 128 + the signal if that
        ended it. Raises `CommandFailed` if the command cannot be run at all.
        """
        return asyncio.run(self._run())

    async def _run(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()  # a replica has ended, or the end was asked for
        self._listen_to_signals()
        self._end_unread()
        try:
            await self._live()
        except OSError as error:
            raise CommandFailed(self._cannot_run(error)) from error
        finally:
            self._ending = True
            for task in self._tasks:
                task.cancel()
            await self._end_all()
        if self._signals:
            return 128 + self._signals[0]
        return 1 if self._failed else 0

    async def _live(self) -> None:
        """Start the replicas and wait until the last has ended or somebody asks for the end."""
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

    def _listen_to_signals(self) -> None:
        assert self._loop is not None
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                self._loop.add_signal_handler(number, self._on_signal, number)

    def _end_unread(self) -> None:
        if self._unread and not self._signals:
            self._on_signal(signal.SIGTERM)

    def _on_signal(self, number: int) -> None:
        """The first signal asks for the end; any other kills whoever takes time over it."""
        if self._signals:
            for replica in self._replicas.values():
                replica.child.kill()
        self._signals.append(number)
        self._changed.set()

    async def _end_all(self) -> None:
        """SIGTERM to all, SIGKILL after the grace, and wait."""
        replicas = list(self._replicas.values())
        if replicas:
            self._output.note(f"SIGTERM to all, SIGKILL after {self._plan.grace:g} s")
        await asyncio.gather(*(self._dismiss(replica) for replica in replicas))

    # --- replicas come and go ---------------------------------------------------------

    def _start(self, crashes: int = 0) -> Replica:
        """Start one more. Raises OSError if the command cannot be run."""
        name = pod_name(self._plan.app, self._template)
        self._output.note(f"starts {name}")
        environ = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **self._cluster.add_replica(name).environ,
            "HOSTNAME": name,
            IDENTITY: name,
        }
        mark = f"{IDENTITY}={name}"
        try:
            child = Child(
                self._plan.command,
                environ=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                mark=mark,
            )
        except OSError:
            self._cluster.remove_replica(name)
            raise
        self._guardian.register(child.pid, mark)
        replica = Replica(name, child, crashes)
        self._replicas[name] = replica
        self._watch(replica)
        return replica

    def _watch(self, replica: Replica) -> None:
        """Follow what it says and, in a thread of its own, wait for its end."""
        assert replica.child.stdout is not None
        assert replica.child.stderr is not None
        pumps = self._output.follow(replica.name, replica.child.stdout, replica.child.stderr)

        def wait(loop: asyncio.AbstractEventLoop) -> None:
            replica.child.wait()
            for pump in pumps:
                pump.join(LAST_WORDS)
            loop.call_soon_threadsafe(self._on_gone, replica)

        Thread(target=wait, args=[self._loop], name=f"elector-{replica.name}", daemon=True).start()

    def _on_gone(self, replica: Replica) -> None:
        del self._replicas[replica.name]
        self._guardian.release(replica.child.pid)
        self._output.forget(replica.name)
        self._tell_end(replica)
        if not self._ending:  # while everything ends, nobody needs to lead
            self._cluster.remove_replica(replica.name)
            if self._plan.restart:
                self._replace(replica)
        replica.gone.set()
        self._changed.set()

    def _tell_end(self, replica: Replica) -> None:
        code = replica.child.returncode
        assert code is not None
        if replica.dismissed or code == 0:
            self._output.note(f"{replica.name} is gone ({told(code)})")
        else:
            self._failed = True
            self._output.warn(f"{replica.name} has died ({told(code)})")

    def _replace(self, replica: Replica) -> None:
        """Start another one after a pause, unless there are enough (``--rolling``)."""
        if len(self._replicas) + self._restarting >= self._plan.replicas:
            return
        lasted = now() - replica.since
        self._restarting += 1
        self._spawn(self._restart(1 if lasted >= HEALTHY_LIFE else replica.crashes + 1))

    async def _restart(self, crashes: int) -> None:
        while True:
            seconds = pause_before_restart(crashes)
            self._output.note(f"starts another one in {seconds:g} s")
            await asyncio.sleep(seconds)
            try:
                self._start(crashes)
            except OSError as error:
                self._output.warn(self._cannot_run(error))
                crashes += 1
            else:
                self._restarting -= 1
                return

    async def _dismiss(self, replica: Replica) -> None:
        """SIGTERM, grace, SIGKILL; returns when it is gone. It may lead until then."""
        replica.dismissed = True
        replica.child.send(signal.SIGTERM)
        replica.child.send(signal.SIGCONT)  # a frozen one would not hear it
        try:
            await asyncio.wait_for(replica.gone.wait(), self._plan.grace)
        except TimeoutError:
            self._output.warn(f"{replica.name} ignores SIGTERM for {self._plan.grace:g} s: SIGKILL")
            replica.child.kill()
            await replica.gone.wait()

    async def _roll(self, every: float) -> None:
        """Replace the oldest again and again: first the new one, then the old one goes."""
        while True:
            await asyncio.sleep(every)
            if not self._replicas:
                continue
            old = next(iter(self._replicas.values()))
            try:
                new = self._start()
            except OSError as error:
                self._output.warn(f"{self._cannot_run(error)}; {old.name} stays")
                continue
            await asyncio.sleep(READY_AFTER)
            if new.gone.is_set():
                self._output.warn(f"{new.name} did not come up; {old.name} stays")
                continue
            self._output.note(f"{new.name} is up; SIGTERM to {old.name}")
            await self._dismiss(old)

    def _cannot_run(self, error: OSError) -> str:
        return f"cannot run {self._plan.command[0]!r}: {(error.strerror or str(error)).lower()}"


def pause_before_restart(crashes: int) -> float:
    """Seconds to wait after so many short lives in a row, the first being 1."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = crashes
    return float(BACK_OFF(state))
