"""The one truth: who leads, which replicas live, what each is told, which faults are on.

Lives on one event loop, so needs no lock; `elector_thread.local.server` brings calls
from other threads here. The oldest live replica leads for life, as on the platform.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from .active import ActiveFaults
from .chronicle import Chronicle
from .face import BEFORE_ELECTION, Face, result
from .faults import Fault, FaultError, Kind, checked
from .replica import Hooks, Replica, act
from .witness import Witness

__all__ = ["Cluster"]

TICK = 0.25
"""Seconds between two looks at what only time changes: silence and lasting discord."""

GONE_KEPT = 8
"""Replicas that are gone but still shown in the state."""


class Cluster:
    """Replicas, their faces, the plain face, and the faults.

    failover_delay: seconds that pass between the leader's end and the next election.
    report_url: makes the address for a replica's reports from its secret key.
    """

    def __init__(
        self, plain: Face, *, failover_delay: float, report_url: Callable[[str], str]
    ) -> None:
        self.plain = plain
        self.hooks = Hooks()
        self.chronicle = Chronicle()
        self.leader: str | None = None
        self._former: list[str] = []  # leaders that were, the newest last
        self._failover_delay = failover_delay
        self._report_url = report_url
        self._replicas: dict[str, Replica] = {}  # the oldest first
        self._gone: list[dict[str, Any]] = []
        self._failover: asyncio.TimerHandle | None = None
        self._result = BEFORE_ELECTION
        self._witness = Witness(self.chronicle)
        self._faults = ActiveFaults(
            self.chronicle,
            due=lambda fault: self._spawn(self._end(fault)),
            moved=lambda: self._spawn(self._apply_all()),
        )
        self._tasks: set[asyncio.Task[None]] = set()  # what timers began

    # --- replicas and elections -------------------------------------------------------

    async def add(self, name: str) -> Face:
        """A replica was started; the first one leads. Its face accepts connections."""
        if name in self._replicas:
            raise ValueError(f"replica {name} lives already")
        key = secrets.token_urlsafe(16)
        face = Face(name, report_url=self._report_url(key), changed=self.chronicle.nudge)
        replica = Replica(name, face, key)
        self._replicas[name] = replica
        self._gone = [gone for gone in self._gone if gone["name"] != name]
        self.chronicle.note("joined", replica=name)
        face.tell(self._result)
        await self._apply(replica)
        if self.leader is None and self._failover is None:
            self._elect_oldest()
        return face

    def remove(self, name: str) -> None:
        """A replica's process is gone, and its sidecar with it. Removing twice is no error."""
        replica = self._replicas.pop(name, None)
        if replica is None:
            return
        replica.face.close()
        self._gone = [*self._gone, replica.as_dict(self.chronicle.now(), alive=False)][-GONE_KEPT:]
        for fault in self._faults:
            if fault.replica == name:
                self._faults.end(fault)
        self.chronicle.note("gone", replica=name)
        if name == self.leader:
            self._fail_over()

    def elect(self, name: str) -> None:
        """Make ``name`` the leader, whether or not it is a replica here."""
        self._depose()
        self._former = [former for former in self._former if former != name]
        self.leader = name
        self._result = result(name)
        for face in self._faces():
            replica = self._replicas.get(face.name or "")
            if replica is None or replica.outdated is None:
                face.tell(self._result)
        self.chronicle.note("truth", leader=name)

    def _depose(self) -> None:
        if self._failover is not None:
            self._failover.cancel()
            self._failover = None
        if self.leader is not None:
            self._former = [*self._former, self.leader][-GONE_KEPT:]
            self.leader = None

    def _fail_over(self) -> None:
        """The leader is gone; who asks is still told its name until the next is elected."""
        self._depose()
        if self._failover_delay:
            self._failover = asyncio.get_running_loop().call_later(
                self._failover_delay, self._elect_oldest
            )
        else:
            self._elect_oldest()
        if self.leader is None:
            self.chronicle.note("truth", leader=None)

    def _elect_oldest(self) -> None:
        """Of those that the cluster can reach; an isolated one cannot be elected."""
        self._failover = None
        able = [replica.name for replica in self._replicas.values() if replica.outdated is None]
        if able:
            self.elect(able[0])

    def _faces(self) -> list[Face]:
        return [self.plain, *(replica.face for replica in self._replicas.values())]

    # --- faults -------------------------------------------------------------------------

    async def fault(self, word: object, replica: object, seconds: object) -> Fault:
        """Begin a fault. Raises `FaultError` for one that cannot be."""
        kind, lasts = checked(word, seconds)
        self._check_target(kind, replica)
        assert replica is None or isinstance(replica, str)
        fault = self._faults.announce(kind, replica, lasts)
        try:
            if kind.hits_process:
                await self._hit(fault)
        except FaultError:
            self._faults.end(fault)
            raise
        if self._is_once(fault):
            self._end_streams(fault)
            self._faults.end(fault)
            return fault
        self._faults.begin(fault)
        if kind is Kind.SPLIT:
            self._isolate(self._replicas[str(replica)])
        await self._apply_all()
        return fault

    async def clear(self, word: object = None, replica: object = None) -> int:
        """End the faults of that kind (None: any) on that replica (None: any); how many."""
        kind = None if word is None else checked(word, None)[0]
        if replica is not None and not isinstance(replica, str):
            raise FaultError(f"replica: expected a name or null, got {replica!r}")
        ended = [fault for fault in self._faults if fault.matches(kind, replica)]
        for fault in ended:
            await self._end(fault)
        return len(ended)

    def _check_target(self, kind: Kind, replica: object) -> None:
        if replica is None and kind.needs_replica:
            raise FaultError(f"replica: expected one, since {kind.word} means nothing for all")
        if replica is not None and replica not in list(self._replicas):
            known = ", ".join(self._replicas) or "none at all"
            raise FaultError(f"replica: expected one that lives ({known}), got {replica!r}")
        if kind is Kind.FREEZE and (self.hooks.freeze is None or self.hooks.thaw is None):
            raise FaultError(
                "freeze stops a process, and this local elector has started none; "
                "`elector-thread up -- COMMAND` starts them"
            )
        if kind.hits_process and not self._replicas:
            raise FaultError(f"replica: expected one to {kind.word}, but none lives")

    def _is_once(self, fault: Fault) -> bool:
        """Whether it is over as soon as it is done, or has lost its target meanwhile."""
        ends_streams = fault.kind in (Kind.DROP, Kind.RESET) and fault.seconds is None
        lost = fault.replica is not None and fault.replica not in self._replicas
        return fault.kind.at_once or ends_streams or lost

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, fault: Fault) -> None:
        if fault not in self._faults:  # ended meanwhile, or its replica is gone
            return
        self._faults.end(fault)
        for name in self._targets(fault) if fault.kind is Kind.FREEZE else ():
            await self._thaw(name)
        await self._apply_all()

    def _targets(self, fault: Fault) -> list[str]:
        return [name for name in self._replicas if fault.hits(name)]

    async def _hit(self, fault: Fault) -> None:
        for name in self._targets(fault):
            replica = self._replicas.get(name)
            if replica is None:  # gone while another was hit
                continue
            if fault.kind is Kind.FREEZE:
                await act(self.hooks.freeze, name)
                replica.frozen = True
            elif self.hooks.kill is not None:
                await act(self.hooks.kill, name)
            else:
                self.remove(name)

    async def _thaw(self, name: str) -> None:
        replica = self._replicas.get(name)
        if replica is not None and Kind.FREEZE not in self._faults.effects(name):
            replica.frozen = False
            with suppress(FaultError):  # it was frozen, so it was there; now it may be gone
                await act(self.hooks.thaw, name)

    def _end_streams(self, fault: Fault) -> None:
        for face in self._faces():
            if fault.hits(face.name) and fault.kind in (Kind.DROP, Kind.RESET):
                face.end_streams(reset=fault.kind is Kind.RESET)

    def _isolate(self, replica: Replica) -> None:
        """It keeps an outdated leader; if it leads itself, the others elect another."""
        if replica.name == self.leader:
            replica.outdated = result(replica.name)
            self._fail_over()
            return
        stale = self._former[-1] if self._former else self.leader
        replica.outdated = result(stale) if stale else BEFORE_ELECTION
        replica.face.tell(replica.outdated)

    async def _apply_all(self) -> None:
        await self.plain.afflict(self._faults.effects(None))
        for replica in list(self._replicas.values()):
            await self._apply(replica)
        self.chronicle.nudge()

    async def _apply(self, replica: Replica) -> None:
        effects = self._faults.effects(replica.name)
        if replica.outdated is not None and Kind.SPLIT not in effects:
            replica.outdated = None
            replica.face.tell(self._result)
            if self.leader is None and self._failover is None:
                self._elect_oldest()
        await replica.face.afflict(effects)

    # --- reports ------------------------------------------------------------------------

    def report(self, key: str, report: Any) -> bool:
        """A replica said what it believes; False if no replica has that key.

        Raises `ReportError` for a report that makes no sense.
        """
        for replica in self._replicas.values():
            if secrets.compare_digest(replica.key.encode(), key.encode()):
                replica.views.take(report, self.chronicle.now())
                self._look()
                return True
        return False

    async def watch(self) -> None:
        """Notice what only time brings, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self._look()

    def _look(self) -> None:
        self._witness.look(self._replicas.values(), self.leader)

    # --- looking ------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything at once, JSON-ready."""
        instant = self.chronicle.now()
        living = [replica.as_dict(instant) for replica in self._replicas.values()]
        return {
            "now": round(instant, 3),
            "began_at": self.chronicle.began_at,
            "leader": self.leader,
            "replicas": [*living, *self._gone],
            "plain": {
                "streams": self.plain.streams,
                "gets": self.plain.gets,
                "get_url": self.plain.get_url,
            },
            "streams": sum(face.streams for face in self._faces()),
            "faults": [fault.as_dict(instant) for fault in self._faults],
            "discord": self._witness.discord,
        }

    def close(self) -> None:
        """End every face and the next election. Faults were cleared before."""
        if self._failover is not None:
            self._failover.cancel()
        for face in self._faces():
            face.close()
