"""``manage.py only_on_leader send_report``, from a cron job in every replica."""

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Send the report."

    def handle(self, **_: Any) -> None:
        self.stdout.write("the report is sent")
