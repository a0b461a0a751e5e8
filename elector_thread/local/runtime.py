"""The file by which a command in another terminal finds a local elector of the same user.

One file per process, in a directory that only this user can enter: it holds the
token, so neither may be readable, or have been put there, by anybody else.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from ..errors import ElectorError

__all__ = ["Untrusted", "publish", "published", "withdraw"]


class Untrusted(ElectorError):
    """The directory or a file in it is not this user's alone. The message says which and why."""


def publish(ui_url: str) -> None:
    """Let other commands of this user find the local elector of this process."""
    path = _directory(create=True) / f"{os.getpid()}.json"
    with suppress(FileNotFoundError):
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), "url": ui_url}, file)


def withdraw() -> None:
    """The local elector of this process ends."""
    with suppress(OSError, Untrusted):
        (_directory(create=False) / f"{os.getpid()}.json").unlink()


def published() -> list[str]:
    """The page URLs of this user's live local electors. Files of dead processes are removed.

    Raises `Untrusted` rather than believe a file that somebody else may have written.
    """
    directory = _directory(create=False)
    urls = []
    for path in sorted(directory.glob("*.json")) if directory.is_dir() else ():
        with suppress(FileNotFoundError):  # it ended just now
            if not _lives(path.stem):
                path.unlink()
            elif url := _url_in(path):
                urls.append(url)
    return urls


def _directory(*, create: bool) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        path = Path(runtime) / "elector-thread"
    else:
        path = Path(tempfile.gettempdir()) / f"elector-thread-{os.getuid()}"
    if create:
        path.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):
        _check(path, path.lstat(), stat.S_ISDIR)
    return path


def _url_in(path: Path) -> str | None:
    _check(path, path.lstat(), stat.S_ISREG)  # the directory is ours alone: it stays so
    with path.open(encoding="utf-8") as file:
        try:
            found = json.load(file)
        except ValueError:  # written just now, or by another version
            return None
    url = found.get("url") if isinstance(found, dict) else None
    return url if isinstance(url, str) else None


def _check(path: Path, found: os.stat_result, is_kind: object) -> None:
    assert callable(is_kind), "one of stat's predicates"
    if not is_kind(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Untrusted(f"{path} must belong to you alone (mode 0700); remove it and start again")


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
