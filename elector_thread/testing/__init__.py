"""For the tests of applications; production code never imports this package.

`override_leader` changes what electors answer, `FakeElector` plays elections, and
`use_as_default` and `own_default_elector` swap the process-wide elector. The pytest
plugin on top of it is the module `pytest_elector_thread`.
"""

from .fake import ANOTHER_POD, FakeElector
from .override import override_leader
from .swap import own_default_elector, use_as_default

__all__ = ["ANOTHER_POD", "FakeElector", "override_leader", "own_default_elector", "use_as_default"]
