"""A local elector: the sidecar's HTTP interface without the platform, for development and tests.

`LocalElector` needs the extra ``local`` (h11, Starlette and uvicorn) and binds loopback
only; `control` steers one that runs in another process. `child`, `watchdog`, `output` and
`replicas` run commands for ``elector-thread run`` and ``up``. They need no extra, which is
why the elector is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ..extras import needed

if TYPE_CHECKING:
    from .face import Face
    from .faults import FaultError
    from .server import LocalElector
else:
    _MODULES = {"Face": "face", "FaultError": "faults", "LocalElector": "server"}

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with needed(by=__name__, what="h11, Starlette and uvicorn", extra="local"):
            return getattr(import_module(f".{_MODULES[name]}", __name__), name)


__all__ = ["Face", "FaultError", "LocalElector"]
