"""A local elector for development and tests: answers as the platform's sidecar, on loopback only.

It also serves the Lease behind the sidecar, as the Kubernetes API server does.
Needs the extra ``local`` (h11, Starlette and uvicorn). `control` controls one that runs in
another process, `reporter` reports to its page; `child`, `watchdog`, `output` and `replicas`
run the commands of ``elector-thread run`` and ``up``. None of these needs the extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .faults import FaultError
    from .server import LocalElector
    from .sidecar_server import SidecarServer

__all__ = ["FaultError", "LocalElector", "SidecarServer"]


def __getattr__(name: str) -> Any:
    """Import what needs the extra when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..extras import needed

    with needed(by=__name__, what="h11, Starlette and uvicorn", extra="local"):
        from . import faults, server, sidecar_server
    found = {
        "FaultError": faults.FaultError,
        "LocalElector": server.LocalElector,
        "SidecarServer": sidecar_server.SidecarServer,
    }
    return found[name]
