"""The command line, ``elector-thread``.

`main` owns what all commands share: which parser gets the arguments, and how the
whole thing ends. The commands for the pod need nothing but the library; those for
the laptop need the extra ``cli`` and are imported only when asked for.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec

from ..errors import ElectorError
from . import bare, console

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. ``argv`` is without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else ""
    console.prepare()
    try:
        code = _run(command, arguments)
        console.flush()
    except BrokenPipeError:
        console.silence()
        return console.CLOSED_PIPE
    except KeyboardInterrupt:
        console.silence()
        return console.INTERRUPTED
    except console.OutputError as error:
        console.silence()
        console.complain(command, str(error))
        return console.BAD_USAGE
    except ElectorError as error:
        console.complain(command, str(error))
        return console.BAD_USAGE
    except Exception:  # a bug: told whole, and never with a code that claims something
        traceback.print_exc()
        return console.INTERNAL_ERROR
    return code


def _run(command: str, arguments: list[str]) -> int:
    if command not in bare.LAPTOP:
        return bare.main(arguments)
    missing = [name for name in ("typer", "rich", "starlette", "uvicorn") if not find_spec(name)]
    if missing:
        console.complain(command, f"needs more packages: pip install '{bare.EXTRA}'")
        return console.BAD_USAGE
    from .full import main as full  # typer and rich cost 0.2 s, and are not always here

    return full(arguments)
