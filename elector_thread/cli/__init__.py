"""The command line, ``elector-thread``."""

__all__ = ["main"]


def main() -> int:
    """Run the command line; the exit code."""
    print("elector-thread: no command is built yet")  # noqa: T201 - a command line prints
    return 2
