"""What `evmaot build` does to the store after building: pin what was needed, collect where that is due.

Job: both, with words.  Invariant: nothing here makes a build fail that has stored its artifacts, but for a pin that
was asked for and can't be written.  May import: `evmaot.build_report`, `evmaot.store`, `evmaot.cli`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evmaot.build_report import BuildReport, UnitStatus
from evmaot.cli import failures
from evmaot.cli.invocation import Invocation
from evmaot.cli.output import counted
from evmaot.cli.verbs.gc import limits_of, summary
from evmaot.errors import StoreError, UsageError
from evmaot.store.collection import collect_if_due
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.pins import check_pin_name

if TYPE_CHECKING:
    from evmaot.cli.build_runs import BuildOptions


def check_pin(chosen: BuildOptions) -> None:
    """Refuse a pin that can't be made before anything is compiled.  Raises UsageError."""
    if chosen.pin is None:
        return
    check_pin_name(chosen.pin)
    if chosen.only_plans:
        raise UsageError("pin_without_build", "--pin needs a build, not a plan", hint="leave out --pin")


def take_care(
    invocation: Invocation, store: ArtifactDirectory, chosen: BuildOptions, reports: Sequence[BuildReport]
) -> None:
    """Pin, then collect.  Raises StoreError where the pin can't be written."""
    if chosen.pin is not None:
        _pin(invocation, store, chosen.pin, reports)
    if not invocation.settings.gc_automatic or any(report.interrupted for report in reports):
        return
    try:
        collected = collect_if_due(store, limits_of(invocation.settings))
    except StoreError as error:
        failures.say(error, invocation.output, "warning")
        return
    if collected is not None and collected.freed_bytes:
        invocation.output.say(f"collected {summary(collected)}; see: evmaot man gc")


def _pin(invocation: Invocation, store: ArtifactDirectory, name: str, reports: Sequence[BuildReport]) -> None:
    stored = (UnitStatus.COMPILED, UnitStatus.CACHED)
    keys = {
        (report.profile, unit.code_sha256, unit.rules)
        for report in reports
        for unit in report.units
        if unit.status in stored
    }
    # What is in a layer below is not ours to keep; and a build that is not whole must not shrink its pin.
    keys &= {entry.key for entry in store.index({report.profile_id for report in reports})}
    pin = store.pin(name, keys, add=any(report.is_partial for report in reports))
    invocation.output.say(f"{name} keeps {counted(len(pin.members), 'artifact')}")
