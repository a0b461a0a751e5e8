"""A PostgreSQL server of the tests' own, from the binaries of Debian's package ``postgresql``.

It listens on a Unix socket in a temporary folder, so that no port can be taken, and it is
killed with the process that started it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from .polling import until

PATIENCE = 30.0
USERS = ("postgres", "nobody")
"""Who runs the server if the tests run as root, which PostgreSQL refuses."""
UNSAFE_BUT_FAST = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=20")


def find_binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, of the newest version that is installed."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    folders = sorted((path.parent for path in found), key=lambda folder: float(folder.parent.name))
    return folders[-1] if folders and shutil.which("setpriv") else None


class Postgres:
    """A server that can be stopped and started again. Its data survives that."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self.folder = folder
        self._data = folder / "data"
        self._prefix = ["setpriv", "--pdeathsig", "KILL"]
        if os.getuid() == 0:
            self._prefix += self._as_another_user()
        self._run("initdb", "-D", str(self._data), "-U", "tests", "-A", "trust", "-E", "UTF8", "-N")
        self._server: subprocess.Popen[bytes] | None = None

    def _as_another_user(self) -> list[str]:
        for name in USERS:
            with suppress(KeyError):
                user = pwd.getpwnam(name)
                os.chown(self.folder, user.pw_uid, user.pw_gid)
                ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
                return [*ids, "--no-new-privs"]
        pytest.skip("there is no user postgres or nobody")

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [*self._prefix, str(self._binaries / program), *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            self._command(program, *arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        sockets = ["-k", str(self.folder), "-c", "listen_addresses="]
        command = self._command("postgres", "-D", str(self._data), *sockets, *UNSAFE_BUT_FAST)
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        until(self._answers, "PostgreSQL to answer", within=PATIENCE)

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self.folder / "log").read_text()
        with suppress(psycopg.OperationalError), self.connect():
            return True
        return False

    def stop(self) -> None:
        """Stop the server: a fast shutdown, which ends all sessions."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        self._server = None

    def connect(self, **settings: Any) -> psycopg.Connection[Any]:
        """A session. The caller closes it."""
        return psycopg.connect(
            host=str(self.folder), user="tests", dbname="postgres", connect_timeout=10, **settings
        )

    def wait_blocked(self, session: psycopg.Connection[Any]) -> None:
        """Wait until a session waits for a lock that another session holds."""
        query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
        pid = session.info.backend_pid
        with self.connect(autocommit=True) as observer:
            until(lambda: observer.execute(query, [pid]).fetchone() == (True,), "a blocked session")


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """A server in a temporary folder. Skips the test where PostgreSQL is not installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    # Not pytest's folder: only its owner may enter that one, and the server has another user.
    with tempfile.TemporaryDirectory(prefix="elector-postgres-", ignore_cleanup_errors=True) as tmp:
        server = Postgres(binaries, Path(tmp))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of this process. Import it where it is used."""
    with run_postgres() as server:
        yield server
