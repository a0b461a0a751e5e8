"""What happens when this process gains and loses leadership."""

from django.apps import AppConfig
from django.dispatch import receiver

from elector_thread import Leadership
from elector_thread.integrations.django import leader_demoted, leader_elected


class ReportsConfig(AppConfig):
    name = "reports"


@receiver(leader_elected)
def begin(leadership: Leadership, **_: object) -> None:
    print(f"leadership {leadership.number} begins", flush=True)


@receiver(leader_demoted)
def end(leadership: Leadership, **_: object) -> None:
    print(f"leadership {leadership.number} is over", flush=True)
