"""A local elector: the sidecar's HTTP face without the platform, for development and tests.

Needs the extra ``local`` (h11, Starlette and uvicorn). Binds loopback only. `control`
steers one that runs elsewhere.

In layers: `gohttp`, `faults`, `views`, `chronicle` (values and bookkeeping); `face` (one
sidecar), `replica`, `active` (the faults that are on), `witness` (who contradicts whom);
`cluster` (the truth, on one event loop); `admin` (the page and its HTTP); `server` (the
thread, and what Python callers hold).
"""

from ..extras import needed

with needed(by=__name__, what="h11, Starlette and uvicorn", extra="local"):
    from .face import Face
    from .faults import FaultError
    from .server import LocalElector

__all__ = ["Face", "FaultError", "LocalElector"]
