"""What a build did, in words and as a document.

Job: `BuildReport` to the summary on stderr, the rows of a dry run, and the JSON of --json and --report.
Invariant: each failure has its reason and what to do; nothing is counted twice.  May import:
`evmaot.build_report`, `evmaot.cli`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from evmaot.build_report import BuildReport, BuildRequest, PackReport, UnitReport, UnitStatus
from evmaot.cli.failures import say
from evmaot.cli.invocation import Invocation
from evmaot.cli.listing import fork_ranges, target_name
from evmaot.cli.output import Column, counted, human_seconds, human_size
from evmaot.cli.output import document as envelope
from evmaot.errors import CompileError, EvmaotError, InputError
from evmaot.inputs.source import Problem

MOST_FAILURES = 20
"""Failures told in full; the rest is counted by reason."""


def unit_error(unit: UnitReport) -> EvmaotError:
    """A failed unit as the failure that a front end shows."""
    again = " (known from an earlier build)" if unit.remembered else ""
    return CompileError(
        unit.reason or "failed",
        f"not compiled for {fork_ranges(unit.forks)}: {unit.message}{again}",
        context={"subject": unit.label},
        cause=unit.cause,
        hint=unit.hint,
    )


def problem_error(problem: Problem) -> EvmaotError:
    """An input's problem as the failure that a front end shows."""
    return InputError(
        problem.code, problem.message, context={"subject": problem.subject}, cause=problem.cause, hint=problem.hint
    )


def _problems(report: BuildReport) -> list[dict[str, Any]]:
    from evmaot.cli.failures import problem

    inputs = [problem(problem_error(item), item.severity) for item in report.problems]
    return inputs + [problem(unit_error(unit)) for unit in report.failed]


def _unit_data(unit: UnitReport) -> dict[str, Any]:
    return {
        "key": unit.unit_key,
        "status": unit.status.value,
        "label": unit.label,
        "labels": list(unit.labels),
        "sources": unit.sources,
        "code_hash": None if unit.code_hash is None else "0x" + unit.code_hash,
        "code_sha256": unit.code_sha256,
        "code_size_bytes": unit.code_size_bytes,
        "forks": list(unit.forks),
        "rules": unit.rules,
        "reason": unit.reason,
        "message": unit.message,
        "remembered": unit.remembered,
        "seconds": round(unit.seconds, 6),
        "phase_seconds": {name: round(seconds, 6) for name, seconds in unit.phase_seconds.items()},
        "object_size_bytes": unit.object_size_bytes,
        "pack": unit.pack,
    }


def _pack_data(pack: PackReport) -> dict[str, Any]:
    return {
        "pack": pack.sha256,
        "path": str(pack.path),
        "size_bytes": pack.size_bytes,
        "members": pack.members,
        "link_seconds": round(pack.link_seconds, 6),
        "publish_seconds": round(pack.publish_seconds, 6),
    }


def served(report: BuildReport) -> dict[int, int]:
    """Number of artifacts by the number of forks, of those asked for, that each serves; most forks first."""
    stored = (UnitStatus.COMPILED, UnitStatus.CACHED, UnitStatus.PLANNED)
    numbers = Counter(len(unit.forks) for unit in report.units if unit.status in stored)
    return dict(sorted(numbers.items(), reverse=True))


def document(invocation: Invocation, report: BuildReport, request: BuildRequest) -> str:
    """The report as JSON text (schema ``evmaot.build/1``)."""
    settings, options = invocation.settings, request.options
    data = {
        "store": str(settings.store),
        "profile": report.profile_id,
        "forks": [fork.name for fork in request.forks],
        "tier": options.tier.value,
        "target": target_name(options.target.triple, options.target.cpu, options.target.features),
        "linker": request.linker,
        "dry_run": report.dry_run,
        "interrupted": report.interrupted,
        "sources": report.sources,
        "distinct_codes": report.distinct_codes,
        "contract_forks": report.contract_forks,
        "counts": {status.value: report.count(status) for status in UnitStatus},
        "forks_served": {str(forks): units for forks, units in served(report).items()},
        "units": [_unit_data(unit) for unit in report.units],
        "packs": [_pack_data(pack) for pack in report.packs],
        "seconds": round(report.wall_seconds, 3),
    }
    ok = not (report.is_partial or report.interrupted)
    return json.dumps(envelope("build", data, _problems(report), ok), indent=2)


def tell(invocation: Invocation, report: BuildReport, request: BuildRequest) -> None:
    """The summary: failures first, numbers last."""
    output = invocation.output
    if report.dry_run and not output.as_json:
        _planned_table(invocation, report)
    errors = [problem_error(item) for item in report.problems if item.severity == "error"]
    _failures(invocation, [*errors, *map(unit_error, report.failed)])
    _skipped(invocation, [item for item in report.problems if item.severity != "error"])
    if not report.sources:
        output.say("the inputs hold no contract to compile")
        return
    _numbers(invocation, report, request)
    if report.interrupted:
        left = report.count(UnitStatus.UNFINISHED)
        output.warn(f"interrupted: {counted(left, 'artifact')} not compiled; build again to go on", style="yellow")
    elif not report.dry_run and not report.count(UnitStatus.COMPILED) and not report.is_partial:
        stored = counted(report.count(UnitStatus.CACHED), "artifact")
        output.say(f"nothing to do: the store has all {stored}", style="green")


def _failures(invocation: Invocation, errors: list[EvmaotError]) -> None:
    for error in errors[:MOST_FAILURES]:
        say(error, invocation.output)
    rest = Counter(error.reference for error in errors[MOST_FAILURES:])
    for reason, number in rest.most_common():
        invocation.output.warn(f"error: {number:,} more [{reason}]", style="error")
    if rest:
        invocation.output.warn("hint: --json or --report FILE has them all")


def _skipped(invocation: Invocation, problems: list[Problem]) -> None:
    if not problems:
        return
    output = invocation.output
    reasons = Counter(problem.code for problem in problems)
    text = ", ".join(f"{number:,} {code}" for code, number in reasons.most_common())
    output.say(f"skipped {len(problems):,}: {text}")
    for problem in problems:
        output.detail(f"skipped: {problem.message} ({problem.subject}) [{problem.code}]")


def _numbers(invocation: Invocation, report: BuildReport, request: BuildRequest) -> None:
    output = invocation.output
    codes = counted(report.distinct_codes, "contract")
    same = report.sources - report.distinct_codes
    duplicates = f" ({counted(same, 'duplicate')} left out)" if same else ""
    counts = [(status.value, report.count(status)) for status in UnitStatus]
    shown = ", ".join(f"{number:,} {name}" for name, number in counts if number)
    output.say(f"{codes}{duplicates}: {shown} in {human_seconds(report.wall_seconds)}")
    numbers = served(report)
    if len(request.forks) > 1 and numbers:
        units = sum(numbers.values())
        pairs = sum(forks * number for forks, number in numbers.items())
        rows = ", ".join(f"{number:,} serve {forks}" for forks, number in numbers.items())
        many = f"{len(request.forks)} forks"
        output.say(f"{many}: {counted(units, 'artifact')} for {pairs:,} pairs of contract and fork ({rows})")
    if report.packs:
        size = human_size(sum(pack.size_bytes for pack in report.packs))
        output.say(f"stored {counted(len(report.packs), 'pack')}, {size}, in {invocation.settings.store}")
    for unit in _slowest(report.units):
        output.detail(f"slowest: {unit.label} ({unit.code_size_bytes:,} bytes) {human_seconds(unit.seconds)}")


def _slowest(units: Iterable[UnitReport]) -> list[UnitReport]:
    return sorted((unit for unit in units if unit.seconds), key=lambda unit: -unit.seconds)[:3]


def _planned_table(invocation: Invocation, report: BuildReport) -> None:
    units = [unit for unit in report.units if unit.status is UnitStatus.PLANNED]
    if not units:
        return
    columns = (Column("KEY"), Column("BYTES", right=True), Column("FORKS", shrinks=True), Column("LABEL", shrinks=True))
    rows = [(unit.unit_key[:12], str(unit.code_size_bytes), fork_ranges(unit.forks), unit.label) for unit in units]
    invocation.output.table(columns, rows)
