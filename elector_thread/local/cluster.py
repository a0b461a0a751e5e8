"""The one truth: who leads, which replicas live, what each is told, which faults are on.

Lives on one event loop, so needs no lock; `elector_thread.local.server` brings calls
from other threads here. The oldest live replica leads for life, as on the platform.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .chronicle import Chronicle
from .face import Face, result
from .faults import Fault, FaultError, Kind, checked
from .views import Discord, Views, discord

__all__ = ["Cluster", "Hooks", "Replica"]

TICK = 0.25
"""Seconds between two looks at what only time changes: silence and lasting discord."""

DISCORD_LASTS = 0.4
"""Seconds for which two may contradict each other before it is worth a word: news travels."""

GONE_KEPT = 8
"""Replicas that are gone but still shown in the state."""

ProcessHook = Callable[[str], object]


@dataclass(slots=True)
class Hooks:
    """How to act on a replica's real process, by name; called on a worker thread."""

    freeze: ProcessHook | None = None
    thaw: ProcessHook | None = None
    kill: ProcessHook | None = None


@dataclass(slots=True)
class Replica:
    """One replica: its sidecar's face, and what it says itself.

    outdated: the result that it is stuck with while isolated (`Kind.SPLIT`).
    """

    name: str
    face: Face
    key: str = field(repr=False)
    started: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds")
    )
    views: Views = field(default_factory=Views)
    shown: tuple[str | None, str | None] = (None, None)
    outdated: bytes | None = None
    frozen: bool = False

    def as_dict(self, instant: float, *, alive: bool = True) -> dict[str, Any]:
        """For the page and the command line."""
        state, leader = self.views.at(instant) if alive else (None, None)
        age = self.views.age(instant)
        return {
            "name": self.name,
            "started": self.started,
            "alive": alive,
            "frozen": self.frozen and alive,
            "isolated": self.outdated is not None and alive,
            "state": state,
            "says_leader": leader,
            "last_report_age": None if age is None else round(age, 1),
            "streams": self.face.streams,
            "gets": self.face.gets,
            "get_url": self.face.get_url,
        }


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
        self._faults: dict[int, Fault] = {}
        self._timers: dict[int, list[asyncio.TimerHandle]] = {}
        self._starting: set[int] = set()  # restarts that have come as far as {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self._failover: asyncio.TimerHandle | None = None
        self._discord_since: float | None = None
        self._discord: Discord | None = None
        self._result: bytes | None = None

    # --- replicas and elections -------------------------------------------------------

    async def add(self, name: str) -> Face:
        """A replica was started; the first one leads. Its face accepts connections."""
        if name in self._replicas:
            raise ValueError(f"replica {name} lives already")
        key = secrets.token_urlsafe(16)
        face = Face(name, report_url=self._report_url(key), changed=self.chronicle.nudge)
        replica = Replica(name, face, key)
        self._replicas[name] = replica
        self.chronicle.note("joined", replica=name)
        if self._result is not None:
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
        for fault in [fault for fault in self._faults.values() if fault.replica == name]:
            self._forget(fault)
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
        self._count += 1
        fault = Fault(self._count, kind, replica, self.chronicle.now(), lasts)
        self.chronicle.note(
            "fault", id=fault.number, fault=kind.word, replica=replica, seconds=lasts
        )
        try:
            if kind.hits_process:
                await self._hit(fault)
        except FaultError:
            self._note_end(fault)
            raise
        if kind.at_once or (kind in (Kind.DROP, Kind.RESET) and lasts is None):
            self._do_once(fault)
            self._note_end(fault)
            return fault
        self._faults[fault.number] = fault
        self._plan(fault)
        if kind is Kind.SPLIT:
            self._isolate(self._replicas[str(replica)])
        await self._apply_all()
        return fault

    async def clear(self, word: object = None, replica: object = None) -> int:
        """End the faults of that kind (None: any) on that replica (None: any); how many."""
        kind = None if word is None else checked(word, None)[0]
        if replica is not None and not isinstance(replica, str):
            raise FaultError(f"replica: expected a name or null, got {replica!r}")
        ended = [fault for fault in self._faults.values() if fault.matches(kind, replica)]
        for fault in ended:
            await self._end(fault.number)
        return len(ended)

    def _check_target(self, kind: Kind, replica: object) -> None:
        if replica is None and kind.needs_replica:
            raise FaultError(f"replica: expected one, since {kind.word} means nothing for all")
        if replica is not None and replica not in self._replicas:
            known = ", ".join(self._replicas) or "none at all"
            raise FaultError(f"replica: expected one that lives ({known}), got {replica!r}")
        if kind is Kind.FREEZE and (self.hooks.freeze is None or self.hooks.thaw is None):
            raise FaultError(
                "freeze stops a process, and this local elector has started none; "
                "`elector-thread up -- COMMAND` starts them"
            )
        if kind.hits_process and not self._replicas:
            raise FaultError(f"replica: expected one to {kind.word}, but none lives")

    def _plan(self, fault: Fault) -> None:
        if fault.seconds is None:
            return
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(fault.seconds, self._spawn_end, fault.number)]
        if fault.kind is Kind.RESTART:
            timers.append(loop.call_later(fault.seconds / 2, self._spawn_listen, fault.number))
        self._timers[fault.number] = timers

    def _spawn_end(self, number: int) -> None:
        self._keep(asyncio.ensure_future(self._end(number)))

    def _spawn_listen(self, number: int) -> None:
        """The second half of a restart: it listens again, but knows nothing yet."""
        self._starting.add(number)
        self._keep(asyncio.ensure_future(self._apply_all()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, number: int) -> None:
        fault = self._faults.get(number)
        if fault is None:
            return
        self._forget(fault)
        for name in self._targets(fault) if fault.kind is Kind.FREEZE else ():
            await self._thaw(name)
        await self._apply_all()

    def _forget(self, fault: Fault) -> None:
        del self._faults[fault.number]
        self._starting.discard(fault.number)
        for timer in self._timers.pop(fault.number, ()):
            timer.cancel()
        self._note_end(fault)

    def _note_end(self, fault: Fault) -> None:
        word, replica = fault.kind.word, fault.replica
        self.chronicle.note("cleared", id=fault.number, fault=word, replica=replica)

    def _targets(self, fault: Fault) -> list[str]:
        return [name for name in self._replicas if fault.hits(name)]

    async def _hit(self, fault: Fault) -> None:
        for name in self._targets(fault):
            replica = self._replicas.get(name)
            if replica is None:  # gone while another was hit
                continue
            if fault.kind is Kind.FREEZE:
                await _call(self.hooks.freeze, name)
                replica.frozen = True
            elif self.hooks.kill is not None:
                await _call(self.hooks.kill, name)
            else:
                self.remove(name)

    async def _thaw(self, name: str) -> None:
        still = any(f.kind is Kind.FREEZE and f.hits(name) for f in self._faults.values())
        replica = self._replicas.get(name)
        if replica is not None and not still:
            replica.frozen = False
            with suppress(FaultError):  # it was frozen, so it was there; now it may be gone
                await _call(self.hooks.thaw, name)

    def _do_once(self, fault: Fault) -> None:
        for face in self._faces():
            if fault.hits(face.name) and not fault.kind.at_once:
                face.end_streams(reset=fault.kind is Kind.RESET)

    def _isolate(self, replica: Replica) -> None:
        """It keeps an outdated leader; if it leads itself, the others elect another."""
        if replica.name == self.leader:
            replica.outdated = result(replica.name)
            self._fail_over()
            return
        stale = self._former[-1] if self._former else self.leader
        replica.outdated = result(stale) if stale else b"{}"
        replica.face.tell(replica.outdated)

    async def _apply_all(self) -> None:
        await self.plain.afflict(self._effects(None))
        for replica in list(self._replicas.values()):
            await self._apply(replica)
        self.chronicle.nudge()

    async def _apply(self, replica: Replica) -> None:
        effects = self._effects(replica.name)
        if replica.outdated is not None and Kind.SPLIT not in effects:
            replica.outdated = None
            replica.face.tell(self._result or b"{}")
            if self.leader is None and self._failover is None:
                self._elect_oldest()
        await replica.face.afflict(effects)

    def _effects(self, name: str | None) -> frozenset[Kind]:
        """What the faults that are on do to one face."""
        effects: set[Kind] = set()
        for fault in self._faults.values():
            if not fault.hits(name):
                continue
            if fault.kind is Kind.RESTART:
                effects.add(Kind.EMPTY if fault.number in self._starting else Kind.REFUSE)
            else:
                effects.add(fault.kind)
        return frozenset(effects)

    # --- reports ------------------------------------------------------------------------

    def report(self, key: str, report: Any) -> bool:
        """A replica said what it believes; False if no replica has that key.

        Raises `ReportError` for a report that makes no sense.
        """
        for replica in self._replicas.values():
            if secrets.compare_digest(replica.key.encode(), key.encode()):
                replica.views.take(report, self.chronicle.now())
                self._look_at(replica)
                self._judge()
                return True
        return False

    async def watch(self) -> None:
        """Notice what only time brings, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            for replica in self._replicas.values():
                self._look_at(replica)
            self._judge()

    def _look_at(self, replica: Replica) -> None:
        shown = replica.views.at(self.chronicle.now())
        if shown != replica.shown:
            replica.shown = shown
            self.chronicle.note("view", replica=replica.name, state=shown[0], leader=shown[1])

    def _judge(self) -> None:
        """Say so when two contradict each other for longer than news needs to travel."""
        claimants = [name for name, r in self._replicas.items() if r.shown[0] == "leader"]
        found, instant = discord(self.leader, claimants), self.chronicle.now()
        if found is None:
            self._discord_since = None
        elif self._discord_since is None:
            self._discord_since = instant
        since = self._discord_since
        if since is not None and instant - since < DISCORD_LASTS:
            return
        if found != self._discord:
            self._discord = found
            told = {} if found is None or since is None else {"since": round(since, 3)}
            self.chronicle.note("discord", **_shown(found), **told)

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
            "faults": [fault.as_dict(instant) for fault in self._faults.values()],
            "discord": _shown(self._discord) if self._discord else None,
        }

    def close(self) -> None:
        """End every face and every timer."""
        for timers in self._timers.values():
            for timer in timers:
                timer.cancel()
        if self._failover is not None:
            self._failover.cancel()
        for face in self._faces():
            face.close()


def _shown(found: Discord | None) -> dict[str, Any]:
    return {"text": found.text if found else None, "replicas": found.replicas if found else ()}


async def _call(hook: ProcessHook | None, name: str) -> None:
    """Act on a process, away from the loop. Raises `FaultError` if that fails."""
    if hook is None:
        return
    failure = ""
    try:
        await asyncio.to_thread(hook, name)
    except Exception as error:  # the hook is somebody else's code
        failure = f"{type(error).__name__}: {error}"
    if failure:
        raise FaultError(f"the process of {name} could not be reached ({failure})")
