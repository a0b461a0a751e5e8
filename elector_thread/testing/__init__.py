"""For the tests of applications; production code does not import this package.

`override_leader` changes the answers of electors, `FakeElector` simulates elections, and
`use_as_default` and `own_default_elector` replace the process-wide elector. The pytest plugin,
which is built on it, is the module `pytest_elector_thread`.
"""

from .fake import ANOTHER_POD, FakeElector
from .override import override_leader
from .swap import own_default_elector, use_as_default

__all__ = ["ANOTHER_POD", "FakeElector", "override_leader", "own_default_elector", "use_as_default"]
