"""The command line, ``elector-thread``.

`main` decides how every command ends: exit codes, error messages, closed pipes. `parser`
defines the arguments. Each command has a module of its own, imported when it runs, so
that ``is-leader`` stays fast and the commands for the pod need no extra.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from ..errors import ConfigurationError, ElectorError
from . import dispatch, terminal

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    argv: the arguments without the program's name; None takes them from `sys.argv`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else ""
    terminal.prepare()
    try:
        code = dispatch.run(arguments)
        terminal.flush()
    except BrokenPipeError:
        terminal.discard_output()
        return terminal.CLOSED_PIPE
    except KeyboardInterrupt:
        terminal.discard_output()
        return terminal.INTERRUPTED
    except terminal.OutputError as error:
        terminal.discard_output()
        terminal.print_error(command, str(error))
        return terminal.BAD_USAGE
    except ConfigurationError as error:  # 2 would mean "unknown"
        terminal.print_error(command, str(error))
        return terminal.BAD_SETTINGS
    except (terminal.UsageError, ElectorError) as error:
        terminal.print_error(command, str(error))
        return terminal.BAD_USAGE
    except Exception:  # a bug: 1 would mean "follower"
        traceback.print_exc()
        return terminal.INTERNAL_ERROR
    return code
