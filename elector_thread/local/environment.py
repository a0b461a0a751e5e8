"""The environment of a replica that ``elector-thread up`` starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Container, Mapping

__all__ = ["IDENTITY", "free_port", "replica_environ"]

IDENTITY = "ELECTOR_THREAD_IDENTITY"
"""The variable with a replica's name. Names are unique, so it also marks what a replica starts."""


def replica_environ(name: str, port: int, sidecar: Mapping[str, str]) -> dict[str, str]:
    """Our own environment with the variables of a pod.

    port: for a web server in the replica; it replaces a ``PORT`` of our own, which could serve
        one replica only.
    sidecar: the variables of the replica's sidecar.
    """
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        **sidecar,
        "HOSTNAME": name,
        "PORT": str(port),
        IDENTITY: name,
    }


def free_port(used: Container[int]) -> int:
    """A port that nothing listens on and that is not in ``used``.

    It is not reserved, because only the replica itself can listen on it. Another program
    takes it in the meantime only if the system chooses the same one of its thousands.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in used:
            return port
