"""Configuration: the documented tables are the code's, values have limits, variables override."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any

import pytest

import evmaot.config as command_line
from evmaot.codegen.options import Tier
from evmaot.errors import UsageError
from evmaot.runtime import config as module
from evmaot.runtime.config import (
    JitMode,
    OptLevel,
    RuntimeConfig,
    RuntimeTuning,
    default_worker_count,
    variables,
    with_environment,
)

SPECIFIED = """
channel_capacity 4096
max_events_per_drain 4096
event_drain_interval 0.1
shutdown_timeout 5.0
jit_hot_threshold 8
jit_max_bytecode_len 24576
jit_max_pending_jobs 2048
jit_timeout 5.0
jit_worker_memory_limit_bytes 2147483648
jit_worker_cpu_count 0
jit_worker_queue_capacity 64
resident_code_cache_bytes 1073741824
idle_evict_duration 600.0
eviction_sweep_interval 60.0
compiler_recycle_threshold 1000
"""
"""What the runtime's specification asks for."""


def documented() -> dict[str, str]:
    """Name and default of each row of the module's two tables."""
    rows = re.findall(r"^    (\w+) {2,}(\S+) {2,}\S", module.__doc__ or "", re.MULTILINE)
    assert len(rows) > 30
    return dict(rows)


def default_of(item: Any) -> object:
    return item.default if item.default is not MISSING else item.default_factory()


def spelled(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return "RuntimeTuning()" if isinstance(value, RuntimeTuning) else str(value)


def test_the_documented_defaults_are_those_of_the_code() -> None:
    expected = {
        item.name: spelled(default_of(item)) for kind in (RuntimeConfig, RuntimeTuning) for item in fields(kind)
    }
    expected["jit_worker_count"] = "cpus/2"
    assert documented() == expected


def test_the_defaults_are_those_that_were_specified() -> None:
    rows = dict(line.split() for line in SPECIFIED.split("\n") if line)
    assert {name: documented()[name] for name in rows} == rows


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (2, 1), (3, 2), (4, 2), (7, 4), (8, 4), (64, 4)])
def test_the_number_of_workers_follows_the_cpus(monkeypatch: pytest.MonkeyPatch, cpus: int, workers: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cpus)))
    assert default_worker_count() == workers == RuntimeTuning().jit_worker_count


def test_levels_are_the_compilers_tiers() -> None:
    assert [level.value for level in OptLevel] == [tier.value for tier in Tier]


@pytest.mark.parametrize(
    "fields",
    [
        {"channel_capacity": 0},
        {"channel_capacity": True},
        {"channel_capacity": 1.5},
        {"jit_hot_threshold": -1},
        {"event_drain_interval": 0},
        {"jit_timeout": float("nan")},
        {"jit_timeout": float("inf")},
        {"jit_worker_count": 1000},
        {"jit_worker_memory_limit_bytes": 10},
        {"jit_opt_level": "best"},
        {"idle_evict_duration": "long"},
    ],
)
def test_a_value_out_of_range_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        RuntimeTuning(**fields)
    assert caught.value.reference == "bad_tuning"
    assert next(iter(fields)) in caught.value.message


def test_choices_may_be_spelled() -> None:
    config = RuntimeConfig(jit_mode="direct", preload="lazy", mapping="file", backend="llvm")  # type: ignore[arg-type]  # spelled
    assert config.jit_mode is JitMode.DIRECT
    assert config.preload.value == "lazy"
    with pytest.raises(UsageError, match="jit_mode"):
        RuntimeConfig(jit_mode="sideways")  # type: ignore[arg-type]  # wrong on purpose


def test_whose_code_is_used_may_be_spelled() -> None:
    digests = "a" * 64 + "," + "b" * 64
    assert RuntimeConfig().profiles == "current"
    assert with_environment(RuntimeConfig(), {"EVMAOT_PROFILES": "any"}).profiles == "any"
    assert with_environment(RuntimeConfig(), {"EVMAOT_PROFILES": digests}).profiles == frozenset(digests.split(","))
    with pytest.raises(UsageError) as caught:
        RuntimeConfig(profiles="newest")
    assert caught.value.reference == "unknown_value"


def test_passes_that_there_are_not_can_be_switched_off() -> None:
    assert RuntimeConfig(no_dedup=True, no_dse=True).no_dse


def test_blocking_implies_enabled_and_a_threshold_of_zero() -> None:
    config = RuntimeConfig(blocking=True)
    assert (config.starts_enabled, config.hot_threshold) == (True, 0)
    assert (RuntimeConfig().starts_enabled, RuntimeConfig().hot_threshold) == (False, 8)


def test_variables_override_what_the_program_says() -> None:
    config = with_environment(
        RuntimeConfig(tuning=RuntimeTuning(jit_timeout=9.0, jit_hot_threshold=3)),
        {
            "EVMAOT_ENABLED": "yes",
            "EVMAOT_JIT_HOT_THRESHOLD": "2",
            "EVMAOT_JIT_MODE": "direct",
            "EVMAOT_RESIDENT_CODE_CACHE_BYTES": "256MiB",
            "EVMAOT_JIT_MAX_BYTECODE_LEN": "48 KiB",
            "EVMAOT_EVENT_DRAIN_INTERVAL": "20ms",
            "EVMAOT_IDLE_EVICT_DURATION": "1.5h",
            "EVMAOT_JIT_OPT_LEVEL": "fast",
            "EVMAOT_DUMP_DIR": "/somewhere",
            "EVMAOT_THREAD_NAME": "",
            "EVMAOT_STORE": "/the/command/line's",
            "HOME": "/home/someone",
        },
    )
    tuning = config.tuning
    assert (config.enabled, config.jit_mode, config.dump_dir) == (True, JitMode.DIRECT, "/somewhere")
    assert (config.store, config.thread_name) == (None, "evmaot-backend")
    assert (tuning.jit_hot_threshold, tuning.jit_timeout, tuning.jit_opt_level) == (2, 9.0, OptLevel.FAST)
    assert (tuning.resident_code_cache_bytes, tuning.jit_max_bytecode_len) == (256 << 20, 48 << 10)
    assert (tuning.event_drain_interval, tuning.idle_evict_duration) == (0.02, 5400.0)


def test_every_row_has_a_variable_but_what_is_no_text() -> None:
    names = {item.name for kind in (RuntimeConfig, RuntimeTuning) for item in fields(kind)}
    assert names - set(variables().values()) == {"store", "tuning", "gas_params", "on_compilation", "on_event"}
    assert all(variable == f"EVMAOT_{name.upper()}" for variable, name in variables().items())


def test_no_variable_is_the_command_lines() -> None:
    # What is demanded of signatures holds wherever code is loaded.
    shared = {row.variable for row in command_line.ROWS.values()} & set(variables())
    assert shared == {"EVMAOT_REQUIRE_SIGNED"}


@pytest.mark.parametrize(
    ("variable", "text", "reference"),
    [
        ("EVMAOT_ENABLED", "perhaps", "bad_variable"),
        ("EVMAOT_JIT_HOT_THRESHOLD", "2.5", "bad_variable"),
        ("EVMAOT_JIT_HOT_THRESHOLD", "-2", "bad_variable"),
        ("EVMAOT_JIT_TIMEOUT", "5 weeks", "bad_variable"),
        ("EVMAOT_RESIDENT_CODE_CACHE_BYTES", "1.5GiB", "bad_variable"),
        ("EVMAOT_JIT_OPT_LEVEL", "best", "bad_tuning"),
        ("EVMAOT_JIT_MODE", "sideways", "bad_tuning"),
        ("EVMAOT_JIT_WORKER_COUNT", "9999", "bad_tuning"),
        ("EVMAOT_SINGLE_ERROR", "maybe", "bad_variable"),
        ("EVMAOT_PROFILES", "newest", "unknown_value"),
    ],
)
def test_an_unknown_value_in_a_variable_is_an_error(variable: str, text: str, reference: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_environment(RuntimeConfig(), {variable: text})
    assert caught.value.reference == reference
