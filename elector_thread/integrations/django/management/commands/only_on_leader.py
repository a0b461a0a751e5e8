"""``manage.py only_on_leader <command> …``."""

from __future__ import annotations

import sys
from argparse import REMAINDER, ArgumentParser, ArgumentTypeError
from math import isfinite
from typing import Any, ClassVar

from django.core.management import ManagementUtility
from django.core.management.base import BaseCommand

from ...asking import ask_until_known

__all__ = ["Command"]


class Command(BaseCommand):
    """Runs another management command, but only in the leader pod."""

    help = "Run a management command if this pod is the leader; otherwise exit with code 0."
    requires_system_checks: ClassVar[list[str]] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """``--wait``, then the command with its arguments."""
        parser.add_argument(
            "--wait",
            type=_seconds,
            default=5.0,
            metavar="SECONDS",
            help="how long to wait until the leader is known (default: 5)",
        )
        parser.add_argument("wrapped", metavar="command", help="the command to run")
        parser.add_argument("arguments", metavar="...", nargs=REMAINDER, help="its arguments")

    def handle(self, **options: Any) -> None:
        """The wrapped command's exit code, 0 on a follower, or 1 if the leader is not known."""
        wrapped: str = options["wrapped"]
        status = ask_until_known(options["wait"])
        if not status.is_leader:
            self.stderr.write(f"{wrapped}: skipped, because {status.leader} is the leader")
            return
        utility = ManagementUtility([sys.argv[0], wrapped, *options["arguments"]])
        utility.fetch_command(wrapped).run_from_argv(utility.argv)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds < 0:
        raise ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return seconds
