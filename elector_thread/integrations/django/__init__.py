"""Django: ``INSTALLED_APPS += ["elector_thread.integrations.django"]``, ``ELECTOR_THREAD = {…}``.

Starts the process-wide elector where requests are served, sends the signals `leader_elected`
and `leader_demoted`, and adds the commands ``elector_status`` and ``only_on_leader``, system
checks (``elector_thread.W001`` to ``W003``) and a health view.
"""

from ...extras import needed

with needed(by=__name__, what="Django", extra="django"):
    from .signals import leader_demoted, leader_elected

__all__ = ["leader_demoted", "leader_elected"]
