"""A local elector: the sidecar's HTTP face without the platform, for development and tests.

Needs the extra ``local`` (Starlette and uvicorn). Binds loopback only.
"""

from .server import LocalElector

__all__ = ["LocalElector"]
