"""How commands in another terminal find the local electors of the same user.

Each local elector writes its URL, with the token, into a file of its own in a directory
that only this user can access.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from ..errors import ElectorError

__all__ = ["publish", "published", "withdraw"]


def publish(ui_url: str) -> None:
    """Let other commands of this user find this process's local elector."""
    directory = _directory()
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    _check(directory)
    file = _own_file(directory)
    file.touch(mode=0o600)
    file.write_text(json.dumps({"pid": os.getpid(), "url": ui_url}), encoding="utf-8")


def withdraw() -> None:
    """Undo `publish`."""
    with suppress(OSError):
        _own_file(_directory()).unlink()


def published() -> list[str]:
    """The URLs of this user's local electors. Files of processes that are gone are removed.

    Raises `ElectorError` if other users could have written to the directory.
    """
    directory = _directory()
    if not directory.is_dir():
        return []
    _check(directory)
    urls = []
    for file in sorted(directory.glob("*.json")):
        if not _is_running(file.stem):
            file.unlink(missing_ok=True)
        elif url := _read_url(file):
            urls.append(url)
    return urls


def _directory() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "elector-thread"
    return Path(tempfile.gettempdir()) / f"elector-thread-{os.getuid()}"


def _own_file(directory: Path) -> Path:
    return directory / f"{os.getpid()}.json"


def _check(directory: Path) -> None:
    found = directory.lstat()
    private = found.st_uid == os.getuid() and not found.st_mode & 0o077
    if not stat.S_ISDIR(found.st_mode) or not private:
        raise ElectorError(
            f"{directory}: expected a directory that only you can access (mode 0700); "
            "remove it and start the local elector again"
        )


def _read_url(file: Path) -> str | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # gone, or being written
        return None
    url = found.get("url") if isinstance(found, dict) else None
    return url if isinstance(url, str) else None


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError, OverflowError):
        return False
    return True
