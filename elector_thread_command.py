"""The console script ``elector-thread``: quiet after Ctrl-C from its first line on.

Stands beside the package, because importing anything of it imports all of it, and that
takes long enough for a Ctrl-C. What comes afterwards is `elector_thread.cli`'s.
"""

__all__ = ["main"]

INTERRUPTED = 130
"""As `elector_thread.cli.console` has it, which may be what is being imported."""


def main() -> int:
    """Import the command line and run it; the exit code."""
    try:
        from elector_thread.cli import main as command

        return command()
    except KeyboardInterrupt:
        return INTERRUPTED
