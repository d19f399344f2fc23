"""State tests ahead of time, to the end: build, run, build what came up on the way, run those cases again.

Job: `run_cases_ahead_of_time`.  Invariants: every wanted case yields exactly one result; one whose codes never get
into the store fails, with the reason.  May import: hosts.state_test_aot, hosts.state_test_run, `evmaot.toolchain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.hosts.state_test_aot import BuildOutcome, BuiltStore, build_codes, codes_of
from evmaot.hosts.state_test_run import Ran, RunSettings, run_cases_once
from evmaot.hosts.state_tests import CaseKey, CaseResult, StateTest
from evmaot.toolchain import profile_of

MAX_ROUNDS = 8
"""A code that is created may create another one: each round knows one more of them."""


def run_cases_ahead_of_time(
    read: Callable[[], Iterable[StateTest]],
    wants: Callable[[StateTest, CaseKey], bool],
    settings: RunSettings,
    store: Path,
    *,
    jobs: int = 1,
    timeout_seconds: float = 300.0,
    earlier: Mapping[tuple[CaseKey, str], CaseResult] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[CaseResult]:
    """`hosts.state_test_run.run_cases` with every code built into `store` and loaded from there.

    `read` gives the tests, each time that it is called.  `tell` hears what is built.
    """
    options = CompileOptions(Tier(settings.tier))
    built = BuiltStore(str(store), profile_of(options).digest)
    mode = replace(settings, built=built).mode
    known = dict(earlier or {})
    codes = codes_of(read(), lambda test, key: wants(test, key) and (key, mode) not in known)
    failures: dict[str, str] = {}
    for round_number in range(1, MAX_ROUNDS + 1):
        outcome = build_codes(store, codes, options, jobs)
        tell(_said(round_number, codes, outcome))
        failures.update(outcome.failures)
        built = replace(built, refused=built.refused | outcome.refused, packs=built.packs + outcome.packs)
        again: set[CaseKey] = set()
        codes = {}
        is_last = round_number == MAX_ROUNDS
        for ran in run_cases_once(read(), wants, replace(settings, built=built), jobs, timeout_seconds, known):
            lacking = [code for code, _ in ran.missing]
            if lacking and not is_last and not any(sha256(code).hexdigest() in failures for code in lacking):
                again.add(ran.result.key)
                for code, fork in ran.missing:
                    codes.setdefault(fork, {})[code] = ran.result.test
            else:
                yield _judged(ran, failures)
        if not again:
            return
        wants, known = _among(again), {}


def _among(keys: set[CaseKey]) -> Callable[[StateTest, CaseKey], bool]:
    return lambda test, key: key in keys


def _said(round_number: int, codes: Mapping[str, Mapping[bytes, str]], outcome: BuildOutcome) -> str:
    count = len({code for sources in codes.values() for code in sources})
    extra = f", {len(outcome.refused)} that a build refuses" if outcome.refused else ""
    return f"round {round_number}: {count} codes, {outcome.compiled} compiled into {outcome.packs} packs{extra}"


def _judged(ran: Ran, failures: Mapping[str, str]) -> CaseResult:
    """The result; a failure where a code never was in the store."""
    if not ran.missing:
        return ran.result
    digests = [sha256(code).hexdigest() for code, _ in ran.missing]
    reasons = "; ".join(
        f"{digest[:16]} {failures.get(digest, 'is not served after it was built')}" for digest in digests
    )
    problem = f"{ran.result.problem}; " if ran.result.problem else ""
    return replace(ran.result, passed=False, problem=f"{problem}not from the store: {reasons}")
