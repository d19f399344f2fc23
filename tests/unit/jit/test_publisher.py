"""What is stored together, and when."""

from __future__ import annotations

import pytest

from evmaot.jit import publisher as module
from evmaot.jit.compiler import CompileOutput, Unit
from evmaot.jit.jobs import Job, Urgency
from evmaot.jit.publisher import LONGEST_WAIT_SECONDS, Bundle, Publisher, distinct, new_library
from evmaot.runtime.config import OptLevel
from evmaot.runtime.events import CompilationKind
from tests.jit.pretend import profile


def job(number: int, *, fork: str = "osaka", tier: str = "optimised", size_bytes: int = 10) -> Job:
    """A compiled job; jobs of one number are one unit, whatever the fork."""
    made = Job(CompilationKind.AOT, (bytes([number]) * 32, fork), fork, b"\x00", OptLevel(tier), Urgency.EXPLICIT)
    unit = Unit(
        bytes([number]) * 32, bytes([number]) * 32, 1, "ab" * 32, f"{1:064x}", f"u_{number}", f"{number:064x}",
        profile(tier), {"emit": 0.25, "codegen": 0.75},
    )  # fmt: skip
    made.output = CompileOutput(unit, b"library", 1, bytes(size_bytes), None)
    return made


def test_nothing_is_due_before_there_is_something() -> None:
    publisher = Publisher()
    assert not publisher.due(0.0, others_are_coming=False)
    assert publisher.deadline is None


def test_units_wait_for_others_but_not_for_ever() -> None:
    publisher = Publisher()
    publisher.add(job(1), 100.0)
    publisher.add(job(2), 105.0)
    assert publisher.deadline == 100.0 + LONGEST_WAIT_SECONDS
    assert not publisher.due(109.0, others_are_coming=True)
    assert publisher.due(109.0, others_are_coming=False)
    assert publisher.due(100.0 + LONGEST_WAIT_SECONDS, others_are_coming=True)


def test_what_is_full_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNITS", 2)
    publisher = Publisher()
    publisher.add(job(1), 0.0)
    assert not publisher.due(0.0, others_are_coming=True)
    publisher.add(job(2), 0.0)
    assert publisher.due(0.0, others_are_coming=True)
    monkeypatch.setattr(module, "MAX_UNITS", 256)
    monkeypatch.setattr(module, "MAX_OBJECT_BYTES", 100)
    publisher.clear()
    publisher.add(job(1, size_bytes=101), 0.0)
    assert publisher.due(0.0, others_are_coming=True)


def test_units_of_one_profile_are_stored_together_in_the_order_of_their_keys() -> None:
    publisher = Publisher()
    for made in (job(3), job(1), job(2, tier="fast"), job(1, fork="paris")):
        publisher.add(made, 0.0)
    bundles = publisher.take()
    assert len(publisher) == 0
    numbers = sorted([[(one.pair[0][0], one.pair[1]) for one in bundle.jobs] for bundle in bundles], key=len)
    assert numbers == [[(2, "osaka")], [(1, "osaka"), (1, "paris"), (3, "osaka")]]


def test_a_unit_asked_for_under_two_forks_is_one_member() -> None:
    bundle = Bundle((job(1), job(1, fork="paris"), job(2)))
    assert [output.unit.key for output in distinct(bundle)] == [f"{1:064x}", f"{2:064x}"]
    library = new_library(bundle, b"linked")
    assert [(member.slot, member.forks, member.compile_ms) for member in library.members] == [
        (0, ("osaka", "paris"), 1000),
        (1, ("osaka",), 1000),
    ]
    assert library.soname.startswith("evmaot-")
    assert new_library(Bundle((job(1), job(2))), b"").soname == library.soname
