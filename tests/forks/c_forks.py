"""Forks as a server in C does, and prints as JSON what the children saw."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from elector_thread import Elector, State
from elector_thread._runtime import forks
from elector_thread._runtime.process import start_dormant

from .children import PATIENCE, Child, Held, c_fork

USES: dict[str, Callable[[Elector], bool]] = {
    "status": lambda elector: elector.status().is_leader,
    "state": lambda elector: elector.state is State.LEADER,
    "leader": lambda elector: elector.leader is not None,
    "post_fork": lambda elector: elector.post_fork() is None and elector.is_leader,
    "start_dormant": lambda elector: start_dormant() is None and elector.is_leader,
    "stop": lambda elector: elector.stop() and elector.is_leader,
}
"""What a child may do first; each returns True if the child then takes itself for the leader."""


def main(get_url: str, sse_url: str, lock_path: str) -> None:
    def make(**settings: Any) -> Elector:
        return Elector(get_url=get_url, sse_url=sse_url, identity="pod-a", **settings)

    def in_c_child(fn: Callable[[], Any]) -> Any:
        return Child(fn, c_fork).result()

    def rush() -> int:
        threads = [threading.Thread(target=elector.status) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert elector.wait_until_leader(PATIENCE)
        return sum(thread.name == "elector-dispatch" for thread in threading.enumerate())

    def take_lock() -> list[bool]:
        start_dormant()
        return [one.wait_until_leader(PATIENCE) for one in both]

    def look_until_it_leads() -> bool:
        assert not elector.is_leader
        return elector.wait_until_leader(PATIENCE)

    asked = make()
    seen: dict[str, Any] = {"parent leads": asked.refresh().is_leader}
    with Held(asked._runtime._lock):
        for name, use in USES.items():
            seen[name] = in_c_child(lambda use=use: use(asked))

    forks.hold_back()
    elector = make().start()
    seen["held back"] = {
        "is_leader": elector.is_leader,
        "threads": threading.active_count(),
        "waits": elector.wait_until_known(),
    }
    seen["comes alive"] = in_c_child(look_until_it_leads)
    seen["dispatch threads after a rush"] = in_c_child(rush)
    elector.stop()
    both = [make(scope="process", lock_path=lock_path).start() for _ in range(2)]
    seen["two with a lock"] = in_c_child(take_lock)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
