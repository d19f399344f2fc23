"""Targets are values; this host runs its own architecture with the features it has."""

from __future__ import annotations

import platform

import pytest

from evmaot import target
from evmaot.errors import UsageError
from evmaot.target import TARGETS, host_target, refusal, target_named


@pytest.fixture
def on_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(target, "host_features", lambda: frozenset({"ssse3", "sse4_1"}))


@pytest.mark.parametrize(
    ("machine", "name"),
    [("x86_64", "x86_64-linux"), ("AMD64", "x86_64-linux"), ("aarch64", "aarch64-linux"), ("arm64", "aarch64-linux")],
)
def test_the_host_is_known_by_its_machine(monkeypatch: pytest.MonkeyPatch, machine: str, name: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert host_target() == TARGETS[name]
    assert target_named("host") == TARGETS[name]


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "riscv64")])
def test_a_host_without_target_is_refused(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "system", lambda: system)
    with pytest.raises(UsageError) as caught:
        host_target()
    assert caught.value.reference == "unsupported_host"


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_found_by_its_name(name: str) -> None:
    assert target_named(name) is TARGETS[name]
    assert name.startswith(TARGETS[name].architecture)


@pytest.mark.parametrize("name", ["", "x86", "X86_64-LINUX", "native"])
def test_an_unknown_target_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        target_named(name)
    assert caught.value.reference == "unknown_target"
    assert "x86_64-linux" in (caught.value.hint or "")


def test_feature_lists_are_sorted_and_grow_with_the_level() -> None:
    two, three = TARGETS["x86_64-v2-linux"].features, TARGETS["x86_64-v3-linux"].features
    assert list(two) == sorted(two)
    assert list(three) == sorted(three)
    assert set(two) < set(three)


@pytest.mark.usefixtures("on_x86_64")
def test_code_for_another_architecture_is_refused() -> None:
    assert refusal("aarch64-unknown-linux-gnu", ()) == "architecture:aarch64"


@pytest.mark.usefixtures("on_x86_64")
def test_code_that_needs_a_missing_feature_is_refused_by_its_first_name() -> None:
    assert refusal("x86_64-unknown-linux-gnu", ("ssse3",)) is None
    assert refusal("x86_64-unknown-linux-gnu", ["ssse3", "bmi2", "avx2"]) == "isa_missing:avx2"


@pytest.mark.usefixtures("on_x86_64")
def test_the_generic_target_runs_everywhere() -> None:
    assert refusal(host_target().triple, host_target().features) is None
