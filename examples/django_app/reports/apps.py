"""What happens when this process gains and loses leadership."""

from django.apps import AppConfig

from elector_thread import Leadership, on_demoted, on_elected


class ReportsConfig(AppConfig):
    name = "reports"


@on_elected
def begin(leadership: Leadership) -> None:
    print(f"leadership {leadership.number} begins", flush=True)


@on_demoted
def end(leadership: Leadership) -> None:
    print(f"leadership {leadership.number} is over", flush=True)
