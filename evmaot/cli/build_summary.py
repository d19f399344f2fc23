"""What a build did, in words and as a document.

Job: `BuildReport` to the summary on stderr, the rows of a dry run, and the JSON of --json and --report.
Invariant: each failure has its reason and what to do; nothing is counted twice.  May import:
`evmaot.build_report`, `evmaot.cli`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evmaot.build_report import BuildReport, PackReport, UnitReport, UnitStatus
from evmaot.cli.build_runs import BuildOptions, BuildRun
from evmaot.cli.failures import problem, say
from evmaot.cli.invocation import Invocation
from evmaot.cli.listing import fork_ranges, target_name
from evmaot.cli.output import Column, counted, human_seconds, human_size
from evmaot.cli.output import document as envelope
from evmaot.errors import CompileError, EvmaotError, InputError
from evmaot.inputs.problems import PROBLEMS
from evmaot.inputs.source import Problem

MOST_FAILURES = 20
"""Failures told in full; the rest is counted by reason."""
_HINTED = frozenset({"init_code_only", "constructor_failed"})
"""What is skipped in a directory, and could be built if something were done."""
MOST_SKIPPED = 3
"""Of what was left out, told in full where there was nothing else in the inputs."""


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


def kept(runs: Sequence[BuildRun]) -> str:
    """What a build that failed had stored before."""
    number = sum(run.report.count(UnitStatus.COMPILED) for run in runs)
    packs = sum(len(run.report.packs) for run in runs)
    return f"{counted(number, 'artifact')} in {counted(packs, 'pack')} stored before; the next build compiles the rest"


def _problems(runs: Sequence[BuildRun]) -> list[dict[str, Any]]:
    # The inputs are read once for all.
    inputs = [problem(problem_error(item), item.severity) for item in runs[0].report.problems]
    return inputs + [problem(unit_error(unit)) for run in runs for unit in run.report.failed]


def _unit_data(unit: UnitReport, profile_id: str) -> dict[str, Any]:
    return {
        "key": unit.unit_key,
        "profile": profile_id,
        "status": unit.status.value,
        "label": unit.label,
        "labels": list(unit.labels),
        "sources": unit.sources,
        "heat": unit.heat,
        "code_hash": None if unit.code_hash is None else "0x" + unit.code_hash,
        "code_sha256": unit.code_sha256,
        "code_size_bytes": unit.code_size_bytes,
        "forks": list(unit.forks),
        "rules": unit.rules,
        "holes": [list(hole) for hole in unit.holes],
        "codes": unit.codes,
        "template_refusal": unit.template_refusal,
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


def served(units: Iterable[UnitReport]) -> dict[int, int]:
    """Number of artifacts by the number of forks, of those asked for, that each serves; most forks first."""
    stored = (UnitStatus.COMPILED, UnitStatus.CACHED, UnitStatus.PLANNED)
    numbers = Counter(len(unit.forks) for unit in units if unit.status in stored)
    return dict(sorted(numbers.items(), reverse=True))


def _profile_data(run: BuildRun) -> dict[str, Any]:
    return {
        "profile": run.report.profile_id,
        "tier": run.request.options.tier.value,
        "target": _target(run),
        "counts": {status.value: run.report.count(status) for status in UnitStatus},
        "seconds": round(run.report.wall_seconds, 3),
    }


def _target(run: BuildRun) -> str:
    target = run.request.options.target
    return target_name(target.triple, target.cpu, target.features)


def document(
    invocation: Invocation, runs: Sequence[BuildRun], chosen: BuildOptions, failure: EvmaotError | None = None
) -> str:
    """The reports as JSON text (schema ``evmaot.build/1``); `failure` is what ended the last build before its end."""
    first, reports = runs[0], [run.report for run in runs]
    units = [unit for report in reports for unit in report.units]
    profiles = [_profile_data(run) for run in runs]
    # Null where there are several: `profiles` has them.
    only = profiles[0] if len(profiles) == 1 else {}
    data = {
        "store": str(invocation.settings.store),
        "profile": only.get("profile"),
        "forks": [fork.name for fork in first.request.forks],
        "tier": only.get("tier"),
        "target": only.get("target"),
        "profiles": profiles,
        "linker": first.request.linker,
        "dry_run": first.report.dry_run,
        "interrupted": any(report.interrupted for report in reports),
        "sources": first.report.sources,
        "distinct_codes": first.report.distinct_codes,
        "undeployed": first.report.undeployed,
        "denied_unmatched": first.report.denied_unmatched,
        "problems_omitted": first.report.problems_omitted,
        "contract_forks": sum(report.contract_forks for report in reports),
        "counts": {status.value: sum(report.count(status) for report in reports) for status in UnitStatus},
        "forks_served": {str(forks): number for forks, number in served(units).items()},
        "units": [_unit_data(unit, run.report.profile_id) for run in runs for unit in run.report.units],
        "packs": [_pack_data(pack) for report in reports for pack in report.packs],
        "seconds": round(sum(report.wall_seconds for report in reports), 3),
    }
    lacks = chosen.check and any(report.count(UnitStatus.PLANNED) for report in reports)
    ok = not (failure or lacks or any(report.is_partial or report.interrupted for report in reports))
    ended = [problem(failure)] if failure is not None else []
    return json.dumps(envelope("build", data, ended + _problems(runs), ok), indent=2)


def tell(invocation: Invocation, runs: Sequence[BuildRun], chosen: BuildOptions) -> None:
    """The summary: failures first, numbers last."""
    output, report = invocation.output, runs[0].report
    if chosen.print_keys and not output.as_json:
        for key in sorted(unit.unit_key for run in runs for unit in run.report.units):
            output.data(key)
    elif chosen.only_plans and not output.as_json:
        _planned_table(invocation, [unit for run in runs for unit in run.report.units])
    errors = [problem_error(item) for item in report.problems if item.severity == "error"]
    omitted = {code: n for code, n in report.problems_omitted.items() if any(e.reference == code for e in errors)}
    _failures(invocation, [*errors, *(unit_error(unit) for run in runs for unit in run.report.failed)], omitted)
    _skipped(invocation, report)
    _unmatched(invocation, report)
    if not report.distinct_codes:
        output.say("the inputs hold no contract to compile")
        return
    if report.undeployed:
        are = "contract lacks" if report.undeployed == 1 else "contracts lack"
        output.say(f"{report.undeployed:,} {are} what deployment writes into the code (immutables, library addresses)")
        output.say("hint: what is deployed is other code; build that, too: from a node (--address) or a dump")
    for run in runs:
        if len(runs) > 1:
            output.say(f"{run.request.options.tier.value}, {_target(run)}:")
        _numbers(invocation, run)
        _templates(invocation, run)
    _ending(invocation, runs, chosen)


def _templates(invocation: Invocation, run: BuildRun) -> None:
    """How many artifacts are templates, and what should have been one."""
    templates = {unit.code_sha256: unit.codes for unit in run.report.units if unit.holes}
    if templates:
        what = counted(sum(bool(unit.holes) for unit in run.report.units), "template")
        codes = sum(templates.values())
        here = f": {codes:,} of them are in the inputs" if codes > len(templates) else ""
        invocation.output.say(f"{what} for codes that differ in immutables, library addresses or metadata{here}")
    refused = {unit.label: unit for unit in run.report.units if unit.template_refusal}
    for label, unit in list(refused.items())[:MOST_SKIPPED]:
        how = "with fewer holes" if unit.holes else "as the input has it"
        words = f"{label} is compiled {how}: {unit.template_refusal} [template_refused]"
        invocation.output.warn(words, style="yellow")
    if len(refused) > MOST_SKIPPED:
        invocation.output.warn(f"{len(refused) - MOST_SKIPPED:,} more [template_refused]", style="yellow")


def _ending(invocation: Invocation, runs: Sequence[BuildRun], chosen: BuildOptions) -> None:
    """What to do next."""
    output, reports = invocation.output, [run.report for run in runs]

    def number(status: UnitStatus) -> int:
        return sum(report.count(status) for report in reports)

    if any(report.interrupted for report in reports):
        left = counted(number(UnitStatus.UNFINISHED), "artifact")
        output.warn(f"interrupted: {left} not compiled; build again to go on", style="yellow")
    elif chosen.check and number(UnitStatus.PLANNED):
        missing = counted(number(UnitStatus.PLANNED), "artifact")
        output.warn(f"the store lacks {missing} that the inputs need", style="error")
        output.warn("hint: the same command without --check compiles them")
    elif chosen.only_plans and not chosen.check:
        return
    elif not number(UnitStatus.COMPILED) and not any(report.is_partial for report in reports):
        stored = number(UnitStatus.CACHED)
        what = "the artifact" if stored == 1 else f"all {counted(stored, 'artifact')}"
        output.say(f"nothing to do: the store has {what}", style="green")


def _failures(invocation: Invocation, errors: list[EvmaotError], omitted: Mapping[str, int]) -> None:
    for error in errors[:MOST_FAILURES]:
        say(error, invocation.output)
    rest = Counter(error.reference for error in errors[MOST_FAILURES:])
    rest.update(omitted)
    for reason, number in rest.most_common():
        invocation.output.warn(f"error: {number:,} more [{reason}]", style="error")
    if rest:
        invocation.output.warn("hint: --json or --report FILE has them all")


def _skipped(invocation: Invocation, report: BuildReport) -> None:
    """What is rightly not compiled, by reason; each where nothing else was there."""
    skipped = [item for item in report.problems if item.severity != "error"]
    if not skipped:
        return
    output, is_all = invocation.output, not report.distinct_codes
    reasons = Counter(item.code for item in skipped)
    reasons.update({code: number for code, number in report.problems_omitted.items() if code in reasons})
    text = ", ".join(f"{number:,} {code}" for code, number in reasons.most_common())
    output.say(f"skipped {reasons.total():,}: {text}")
    for code in sorted(_HINTED & reasons.keys()) if not is_all else ():
        output.say(f"hint: {PROBLEMS[code].hint}")
    for index, item in enumerate(skipped):
        text = f"skipped: {item.message} ({item.subject}) [{item.code}]"
        if is_all and index < MOST_SKIPPED:
            output.say(text if item.hint is None else f"{text}\nhint: {item.hint}")
        else:
            output.detail(text)


def _unmatched(invocation: Invocation, report: BuildReport) -> None:
    """Hashes that were to be denied and are of no input: perhaps of deployments that a template will serve."""
    number = report.denied_unmatched
    if not number:
        return
    output = invocation.output
    output.say(f"{number:,} denied {'hash is' if number == 1 else 'hashes are'} of no code in the inputs")
    if any(unit.holes for unit in report.units):
        output.say("hint: the hash of a deployment is not that of a template that serves it: deny the contract's label")


def _numbers(invocation: Invocation, run: BuildRun) -> None:
    output, report = invocation.output, run.report
    codes = counted(report.distinct_codes, "contract")
    # Not of all sources: what is over the limit or denied has been told.
    same = sum({unit.code_sha256: unit.sources - unit.codes for unit in report.units}.values())
    duplicates = f" ({counted(same, 'duplicate')} left out)" if same else ""
    counts = [(status.value, report.count(status)) for status in UnitStatus]
    shown = ", ".join(f"{number:,} {name}" for name, number in counts if number)
    output.say(f"{codes}{duplicates}: {shown} in {human_seconds(report.wall_seconds)}")
    numbers = served(report.units)
    if len(run.request.forks) > 1 and numbers:
        units = sum(numbers.values())
        pairs = sum(forks * number for forks, number in numbers.items())
        rows = ", ".join(f"{number:,} serve {forks}" for forks, number in numbers.items())
        many = f"{len(run.request.forks)} forks"
        output.say(f"{many}: {counted(units, 'artifact')} for {pairs:,} pairs of contract and fork ({rows})")
    if report.packs:
        size = human_size(sum(pack.size_bytes for pack in report.packs))
        output.say(f"stored {counted(len(report.packs), 'pack')}, {size}, in {invocation.settings.store}")
    for unit in _slowest(report.units):
        output.detail(f"slowest: {unit.label} ({unit.code_size_bytes:,} bytes) {human_seconds(unit.seconds)}")


def _slowest(units: Iterable[UnitReport]) -> list[UnitReport]:
    return sorted((unit for unit in units if unit.seconds), key=lambda unit: -unit.seconds)[:3]


def _planned_table(invocation: Invocation, units: Iterable[UnitReport]) -> None:
    units = [unit for unit in units if unit.status is UnitStatus.PLANNED]
    if not units:
        return
    columns = (Column("KEY"), Column("BYTES", right=True), Column("FORKS", shrinks=True), Column("LABEL", shrinks=True))
    rows = [(unit.unit_key[:12], str(unit.code_size_bytes), fork_ranges(unit.forks), unit.label) for unit in units]
    invocation.output.table(columns, rows)
