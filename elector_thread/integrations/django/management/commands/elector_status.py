"""``manage.py elector_status``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.management.base import BaseCommand

from ...._text import describe
from ...asking import ask

__all__ = ["Command"]


class Command(BaseCommand):
    """Asks the elector once and prints the leader."""

    help = "Ask the elector once, and print the leader."
    requires_system_checks: ClassVar[list[str]] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """``--json``."""
        parser.add_argument("--json", action="store_true", help="print the status as JSON")

    def handle(self, **options: Any) -> None:
        """Exit code 1 without a usable answer, 2 for a missing or bad setting."""
        self.stdout.write(describe(ask(), as_json=options["json"]))
