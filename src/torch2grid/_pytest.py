"""For pytest: the fixture ``torch2grid_check``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from torch2grid._checking import CheckResult


@pytest.fixture(scope="session")
def torch2grid_check() -> Callable[..., CheckResult]:
    """Check a model, and fail the test where there is a finding: ``torch2grid_check("model.pth", expect="expect.yaml")``.

    ``fail_on="warning"`` fails for warnings too; the other arguments are those of ``torch2grid.check``.
    """

    def check(model: Any, *, fail_on: Literal["error", "warning"] = "error", **options: Any) -> CheckResult:
        import torch2grid

        result = torch2grid.check(model, **options)
        if result.failed:
            pytest.fail("; ".join(result.failed.values()), pytrace=False)
        if result.errors or (fail_on == "warning" and result.warnings):
            pytest.fail(f"torch2grid: {result.verdict}\n{result}", pytrace=False)
        return result

    return check
