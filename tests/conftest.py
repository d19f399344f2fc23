"""Options and fixtures that every test may use.

Golden text: `golden("forks/osaka.txt", text)` compares with `tests/golden/forks/osaka.txt`;
`pytest --update-golden` writes it instead.  The official vectors are not in the repository: see
`tests/support/fixtures.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.fixtures import FIXTURES_MISSING, find_fixtures
from tests.support.golden import check_golden

GOLDEN = Path(__file__).parent / "golden"
CONFORMANCE = Path(__file__).parent / "conformance"

# How fast a machine is decides no test.
settings.register_profile("evmaot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("evmaot")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is of the conformance suite by its place, so none can be forgotten."""
    for item in items:
        if CONFORMANCE in item.path.parents:
            item.add_marker(pytest.mark.conformance)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare text with a golden file, named relative to `tests/golden`."""
    update = bool(request.config.getoption("--update-golden"))
    return lambda name, text: check_golden(GOLDEN / name, text, update=update)


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """The directory of the official vectors and real contracts; skips where it is absent."""
    found = find_fixtures()
    if found is None:
        pytest.skip(FIXTURES_MISSING)
    return found


@pytest.fixture(scope="session")
def shared_cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of one run share: what one compiled, the others reuse."""
    base = tmp_path_factory.getbasetemp()
    # A pytest-xdist worker's base is a directory in the run's own.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "evmaot-cache"
    shared.mkdir(exist_ok=True)
    return shared
