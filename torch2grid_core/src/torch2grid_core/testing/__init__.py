"""The conformance kit: what every plugin promises, as checks that its author runs.

    from torch2grid_core.testing import conformance

    @conformance("torch2grid_myplugin.plugin")
    def test_conforms(check):
        check()

makes a pytest test of each check of each class that the plugin brings. A check tests documented contract only. Without
pytest: ``for bound in bound_checks(MyTransformer): bound()``. pytest is imported by ``conformance`` alone; the fixture
``isolated_manager`` is in ``torch2grid_core.testing.pytest_plugin``, which nothing loads by itself.
"""

from torch2grid_core.testing._binding import Bound, bound_checks, checks, conformance
from torch2grid_core.testing._checking import Check, RunCheck
from torch2grid_core.testing._expectation import NotConforming
from torch2grid_core.testing._samples import sample_checkpoints, sample_pages
from torch2grid_core.testing._subject import Subject, WriteFiles, subjects

__all__ = [
    "Bound",
    "Check",
    "NotConforming",
    "RunCheck",
    "Subject",
    "WriteFiles",
    "bound_checks",
    "checks",
    "conformance",
    "sample_checkpoints",
    "sample_pages",
    "subjects",
]
