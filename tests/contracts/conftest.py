"""What every test of compiled contracts uses."""

from __future__ import annotations

import pytest

from tests.support.native import BOTH_TIERS


@pytest.fixture(params=BOTH_TIERS)
def tier(request: pytest.FixtureRequest) -> str:
    """Both tiers."""
    return str(request.param)
