"""elector-thread: at most one leader among the replicas, within a bound that you choose.

Daemon threads follow the platform's elector sidecar, by its event stream and by polling;
`Elector` knows which pod is the leader, calls back on changes and guards functions.
"""

import os
import sys

from ._state.leadership import Leadership
from ._state.model import LeaderChange, PastLeadership, State, Status, TaskStatus
from ._version import __version__
from .default import (
    configure,
    default_elector,
    on_demoted,
    on_elected,
    on_leader_change,
    only_on_leader,
    while_leader,
)
from .elector import Elector
from .errors import ConfigurationError, ElectorError, ElectorUnavailableError, NotLeaderError
from .guard import SKIPPED

__all__ = [
    "SKIPPED",
    "ConfigurationError",
    "Elector",
    "ElectorError",
    "ElectorUnavailableError",
    "LeaderChange",
    "Leadership",
    "NotLeaderError",
    "PastLeadership",
    "State",
    "Status",
    "TaskStatus",
    "__version__",
    "configure",
    "default_elector",
    "on_demoted",
    "on_elected",
    "on_leader_change",
    "only_on_leader",
    "while_leader",
]

if hasattr(sys.modules.get("uwsgi"), "worker_id"):  # uWSGI forks without Python's hooks
    from .integrations import uwsgi as _uwsgi  # noqa: F401 - importing it installs its own hook

if "ELECTOR_THREAD_REPORT_URL" in os.environ:  # started by `elector-thread up`, for its page
    from ._runtime.process import electors as _electors
    from ._state.health import observers as _observers
    from .local.reporter import Reporter as _Reporter

    _observers.append(_Reporter(_electors).observe)
