"""The commands of the extra ``cli``: a typer application. Imported only when asked for."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import typer

from . import console, faults, up

__all__ = ["build", "main"]

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What the help, which is not printed by us, meets on a full disk."""

ClickException: type[Exception] = typer.BadParameter.__mro__[2]
"""What every complaint of the parser derives from; typer keeps a click of its own or takes
the real one, depending on its version, and gives it no public name."""


def build() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="elector-thread",
        help="The local elector: your machine as a cluster.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_several)  # a lone command would otherwise become the application
    up.register(app)
    faults.register(app)
    return app


def main(arguments: Sequence[str]) -> int:
    """Parse and run; the exit code."""
    try:
        code = build()(args=list(arguments), prog_name="elector-thread", standalone_mode=False)
    except ClickException as error:
        problem = error.format_message().rstrip(".")  # type: ignore[attr-defined]  # both clicks have it
        console.complain(arguments[0], f"{problem}. See elector-thread {arguments[0]} --help")
        return console.BAD_USAGE
    except typer.Abort:
        return console.INTERRUPTED
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # which click makes an exit with 1
            raise BrokenPipeError from None
        raise
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise console.OutputError(error.strerror) from None
    return code if isinstance(code, int) else 0


def _several() -> None:
    """The local elector: your machine as a cluster."""
