"""A raw-socket elector: the least that answers like the sidecar, never the bottleneck.

`RawElector` lives in the measuring process or, run as a module, in one of its own:
``python -m benchmarks.server NAME [EVENTS_PER_SECOND]`` prints its port, answers GET
with NAME and, on a stream, sends NAME and another name in turn at that rate.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = [
    "LEASE_PATH",
    "OTHER",
    "RawElector",
    "body",
    "chunk",
    "elector_process",
    "event",
    "lease",
]

OTHER = "some-other-pod"

LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/team/leases/app"
POD_PATH = b"/api/v1/namespaces/team/pods/"

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def body(name: str) -> bytes:
    return json.dumps({"name": name, "last_update": "2026-01-01T00:00:00Z"}).encode()


def lease(name: str) -> bytes:
    """A Lease of the pod ``name``, and that very pod as well: both are asked for their UID."""
    metadata = {"uid": "u", "resourceVersion": "1", "ownerReferences": [{"uid": "u"}]}
    return json.dumps({"metadata": metadata, "spec": {"holderIdentity": name}}).encode()


def event(name: str) -> bytes:
    """One event as the sidecar writes it, in a chunk of its own."""
    return chunk(b"data: " + body(name) + b"\n\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class RawElector:
    """Accepts connections for ever, a daemon thread for each.

    GET is answered with ``answer``; a stream is handed to ``on_stream`` with its headers sent.
    The Lease and each pod are answered with ``lease``; `lease_gets` has an entry for each of the
    Lease's GETs, its client port.
    """

    def __init__(
        self, answer: bytes, on_stream: Callable[[socket.socket], None], lease: bytes = b"{}"
    ) -> None:
        self._answer, self._lease = _ok(answer), _ok(lease)
        self.lease_gets: list[int] = []
        self._on_stream = on_stream
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def urls(self) -> dict[str, str]:
        base = f"http://127.0.0.1:{self.port}/"
        return {"get_url": base, "sse_url": f"{base}sse"}

    def _accept(self) -> None:
        while True:
            peer, _ = self._socket.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            try:
                while request := peer.recv(8192):
                    if request.startswith(b"GET /sse"):
                        peer.sendall(STREAM_HEAD)
                        self._on_stream(peer)
                        return
                    if request.startswith((b"GET " + POD_PATH, b"GET " + LEASE_PATH.encode())):
                        peer.sendall(self._lease)
                        if POD_PATH not in request:
                            self.lease_gets.append(peer.getpeername()[1])
                    else:
                        peer.sendall(self._answer)
            except OSError:
                return


def _ok(answer: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(answer) + answer


@contextmanager
def elector_process(name: str, events_per_second: float = 0.0) -> Iterator[dict[str, str]]:
    """The same in a process of its own; gives the URLs."""
    command = [sys.executable, "-m", "benchmarks.server", name, str(events_per_second)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base = f"http://127.0.0.1:{int(process.stdout.readline())}/"
            yield {"get_url": base, "sse_url": f"{base}sse"}
        finally:
            process.kill()


def main(name: str, events_per_second: float) -> None:
    def tell(peer: socket.socket) -> None:
        while events_per_second:
            for leader in (OTHER, name):
                peer.sendall(event(leader))
                time.sleep(1 / events_per_second)
        peer.sendall(event(name))
        threading.Event().wait()

    elector = RawElector(body(name), tell, lease(name))
    print(elector.port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
