"""The simulated cluster: its replicas, their leader and the active faults.

Runs on one event loop, so it needs no lock; `LocalElector` brings calls from other
threads to that loop. As on the platform, the oldest live replica leads until it is gone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .disagreement import DisagreementMonitor
from .faults import Fault, FaultError, FaultKind, check_fault
from .history import History
from .objects import ObjectStore
from .replica import ProcessHooks, Replica, call_hook
from .sidecar_server import NO_RESULT, SidecarServer, election_result

__all__ = ["Cluster"]

TICK = 0.05
"""Seconds between two looks at what only time brings."""

MAX_GONE = 8
"""How many replicas that are gone the state still shows."""


class Cluster:
    """Replicas with a sidecar each, and one sidecar more for programs that are not replicas.

    port: that of the sidecar for programs that are not replicas; 0 takes a free port.
    failover_delay: seconds between the end of the leader and the next election.
    report_url: returns the URL for a replica's reports, given its secret key.
    verify: whether the environment of the replicas asks for verification by the Lease.
    """

    def __init__(
        self,
        port: int,
        *,
        failover_delay: float,
        report_url: Callable[[str], str],
        verify: bool,
    ) -> None:
        self._objects = ObjectStore()
        self.plain = SidecarServer(None, port, objects=self._objects, verify=verify)
        self.hooks = ProcessHooks()
        self.history = History()
        self.leader: str | None = None
        self._previous_leader: str | None = None
        self._result = NO_RESULT
        self._failover_delay = failover_delay
        self._election_due: float | None = None
        self._report_url = report_url
        self._verify = verify
        self._replicas: dict[str, Replica] = {}  # the oldest first
        self._gone: deque[dict[str, Any]] = deque(maxlen=MAX_GONE)
        self._faults: list[Fault] = []
        self._fault_count = 0
        self._disagreements = DisagreementMonitor(self.history)

    async def open(self) -> None:
        """Accept connections."""
        await self._apply_faults()

    # --- replicas and elections ---------------------------------------------------------

    async def add_replica(self, name: str) -> SidecarServer:
        """Start a sidecar for a new replica; the first replica leads."""
        if name in self._replicas:
            raise ValueError(f"replica {name} already exists")
        key = secrets.token_urlsafe(16)
        self._objects.add_pod(name)
        sidecar = SidecarServer(
            name,
            objects=self._objects,
            report_url=self._report_url(key),
            verify=self._verify,
        )
        self._replicas[name] = Replica(name, sidecar, key)
        for gone in [gone for gone in self._gone if gone["name"] == name]:
            self._gone.remove(gone)
        self.history.add("joined", replica=name)
        sidecar.publish(self._result)
        await self._apply_faults()
        if self.leader is None and self._election_due is None:
            self._elect_oldest()
        return sidecar

    def remove_replica(self, name: str) -> None:
        """A replica's process is gone, and its sidecar with it."""
        replica = self._replicas.pop(name, None)
        if replica is None:
            return
        replica.sidecar.close()
        self._objects.delete_pod(name)
        self._gone.append(replica.as_dict(self.history.now(), alive=False))
        for fault in [fault for fault in self._faults if fault.replica == name]:
            self._remove_fault(fault)
        self.history.add("gone", replica=name)
        if name == self.leader:
            self._fail_over()

    def elect(self, name: str) -> None:
        """Make ``name`` the leader, whether or not it is a replica here."""
        outgoing = self._still_running(self.leader or self._previous_leader, name)
        if self.leader is not None and self.leader != name:
            self._previous_leader = self.leader
        self.leader = name
        self._election_due = None
        self._objects.begin_term(name)
        self._result = election_result(name)
        self.history.add(  # first, so that it stands before what the replicas do about it
            "truth",
            leader=name,
            outgoing=outgoing and outgoing.name,
            isolated=outgoing is not None and outgoing.isolated,
        )
        self.plain.publish(self._result)
        for replica in self._replicas.values():
            if not replica.isolated:
                replica.sidecar.publish(self._result)

    def _still_running(self, before: str | None, elected: str) -> Replica | None:
        """The replica that led before another one was elected, if it still runs."""
        return None if before is None or before == elected else self._replicas.get(before)

    def _fail_over(self) -> None:
        """The leader is gone. Until the next election the sidecars still answer its name."""
        self._previous_leader, self.leader = self.leader, None
        self._objects.end_term()
        if self._failover_delay:
            self._election_due = self.history.now() + self._failover_delay
        else:
            self._elect_oldest()
        if self.leader is None:
            self.history.add("truth", leader=None)

    def _elect_oldest(self) -> None:
        self._election_due = None
        candidates = (name for name, replica in self._replicas.items() if not replica.isolated)
        oldest = next(candidates, None)
        if oldest is not None:
            self.elect(oldest)

    # --- faults -------------------------------------------------------------------------

    async def add_fault(self, word: object, replica: object, seconds: object) -> Fault:
        """Inject a fault. Raises `FaultError`."""
        kind, duration = check_fault(word, seconds)
        self._check_target(kind, replica)
        assert replica is None or isinstance(replica, str), "the target is checked"
        self._fault_count += 1
        fault = Fault(self._fault_count, kind, replica, self.history.now(), duration)
        self._faults.append(fault)
        self._record("fault", fault, seconds=duration, once=fault.happens_once)
        try:
            await self._begin(fault)
        except FaultError:
            await self._end(fault)
            raise
        if fault.happens_once:
            if kind is FaultKind.LEASE_401:
                self._expire_tokens(fault)
            await self._end(fault)
        return fault

    async def clear_faults(self, word: object = None, replica: object = None) -> int:
        """End the faults of that kind (None: any) on that replica (None: any); how many."""
        kind = None if word is None else check_fault(word)[0]
        if replica is not None and not isinstance(replica, str):
            raise FaultError(f"replica: expected a name or null, got {replica!r}")
        matching = [fault for fault in self._faults if fault.matches(kind, replica)]
        for fault in matching:
            await self._end(fault)
        return len(matching)

    def _check_target(self, kind: FaultKind, replica: object) -> None:
        if replica is None and kind.needs_replica:
            raise FaultError(f"replica: expected a name; {kind.word} applies to one replica only")
        if replica is not None and replica not in list(self._replicas):
            known = ", ".join(self._replicas) or "none"
            raise FaultError(f"replica: expected a live replica ({known}), got {replica!r}")
        if kind is FaultKind.FREEZE and (self.hooks.freeze is None or self.hooks.thaw is None):
            raise FaultError(
                "freeze stops a process, and this local elector has started none; "
                "start replicas with `elector-thread up -- COMMAND`"
            )
        if kind.needs_process and not self._replicas:
            raise FaultError(f"replica: expected a replica to {kind.word}, but none is alive")

    async def _begin(self, fault: Fault) -> None:
        await self._apply_faults()  # first, so that an isolated replica never sees the new Lease
        for replica in list(self._replicas.values()):
            if not fault.applies_to(replica.name) or replica.name not in self._replicas:
                continue  # the latter: it ended while another one was killed
            if fault.kind is FaultKind.FREEZE:
                await call_hook(self.hooks.freeze, replica.name)
                replica.frozen = True
            elif fault.kind is FaultKind.KILL and self.hooks.kill is not None:
                await call_hook(self.hooks.kill, replica.name)
            elif fault.kind is FaultKind.KILL:
                self.remove_replica(replica.name)
            elif fault.kind is FaultKind.SPLIT:
                self._isolate(replica)

    def _expire_tokens(self, fault: Fault) -> None:
        for sidecar in self._sidecars():
            if fault.applies_to(sidecar.name):
                sidecar.api.expire_token()

    def _isolate(self, replica: Replica) -> None:
        """Its sidecar keeps an outdated leader. If it leads, the others elect another.

        As when a node loses the API server: after a while the cluster deletes the Lease.
        """
        replica.isolated = True
        if replica.name == self.leader:
            self._fail_over()
        elif outdated := self._previous_leader or self.leader:
            replica.sidecar.publish(election_result(outdated))

    async def _end(self, fault: Fault) -> None:
        if fault not in self._faults:  # it ended with its replica
            return
        self._remove_fault(fault)
        for replica in list(self._replicas.values()):
            effects = self._effects(replica.name)
            if replica.frozen and FaultKind.FREEZE not in effects:
                replica.frozen = False
                with suppress(FaultError):  # the process may be gone by now
                    await call_hook(self.hooks.thaw, replica.name)
            if replica.isolated and FaultKind.SPLIT not in effects:
                self._reconnect(replica)
        await self._apply_faults()

    def _reconnect(self, replica: Replica) -> None:
        replica.isolated = False
        replica.sidecar.publish(self._result)
        if self.leader is None and self._election_due is None:
            self._elect_oldest()

    def _remove_fault(self, fault: Fault) -> None:
        self._faults.remove(fault)
        if not fault.happens_once:
            self._record("cleared", fault)

    def _record(self, what: str, fault: Fault, **details: Any) -> None:
        word, replica = fault.kind.word, fault.replica
        self.history.add(what, id=fault.number, fault=word, replica=replica, **details)

    async def _apply_faults(self) -> None:
        for sidecar in self._sidecars():
            await sidecar.set_faults(self._effects(sidecar.name))

    def _effects(self, replica: str | None) -> frozenset[FaultKind]:
        now = self.history.now()
        return frozenset(fault.effect(now) for fault in self._faults if fault.applies_to(replica))

    def _sidecars(self) -> list[SidecarServer]:
        return [self.plain, *(replica.sidecar for replica in self._replicas.values())]

    # --- time and reports ---------------------------------------------------------------

    async def watch_time(self) -> None:
        """End faults, elect and compare reports when it is time; runs until it is cancelled."""
        while True:
            await asyncio.sleep(TICK)
            now = self.history.now()
            for fault in [fault for fault in self._faults if fault.remaining(now) == 0]:
                await self._end(fault)
            await self._apply_faults()  # a restart has reached its second half
            if self._election_due is not None and now >= self._election_due:
                self._elect_oldest()
            self._compare_reports()

    def add_report(self, key: str, report: dict[str, Any]) -> bool:
        """Store what a replica reports; False if no replica has that key.

        Raises `ReportError` if the report is malformed.
        """
        for replica in self._replicas.values():
            if secrets.compare_digest(replica.key.encode(), key.encode()):
                replica.add_report(report, self.history.now())
                self._compare_reports()
                return True
        return False

    def _compare_reports(self) -> None:
        """Record what the replicas report now, and who claims to be the leader but is not."""
        now = self.history.now()
        for replica in self._replicas.values():
            current = replica.reported(now)
            if current != replica.shown:
                replica.shown = state, leader = current
                self.history.add("view", replica=replica.name, state=state, leader=leader)
        claimants = [name for name, one in self._replicas.items() if one.shown[0] == "leader"]
        self._disagreements.update(self.leader, claimants)

    # --- state --------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """For the page and the control HTTP API."""
        now = self.history.now()
        return {
            "now": now,
            "leader": self.leader,
            "replicas": [*(one.as_dict(now) for one in self._replicas.values()), *self._gone],
            "plain": {
                "streams": self.plain.streams,
                "gets": self.plain.gets,
                "get_url": self.plain.get_url,
                "lease_url": self.plain.api.lease_url,
            },
            "streams": sum(sidecar.streams for sidecar in self._sidecars()),
            "faults": [fault.as_dict(now) for fault in self._faults],
            "disagreement": self._disagreements.current,
        }

    def close(self) -> None:
        """Close every sidecar."""
        for sidecar in self._sidecars():
            sidecar.close()
