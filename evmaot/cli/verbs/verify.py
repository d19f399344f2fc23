"""`evmaot verify`: is what lies in the store what was published.

Job: render the findings of `evmaot.verify`, repair where asked; exit 4 for damage, 5 where others could have changed
the store, 6 where something could not be checked.  Invariant: without --repair it changes nothing.
May import: `evmaot.verify`, `evmaot.repair`, `evmaot.hosts.exec_check`, `evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import StoredName, fork_option
from evmaot.cli.output import counted, human_seconds, human_size
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.hosts.exec_check import ExecutionReport
    from evmaot.repair import Repair
    from evmaot.store.directory import ArtifactDirectory
    from evmaot.store.findings import Finding
    from evmaot.store.index import Pack

CORRUPTION, UNTRUSTED, UNCHECKED = 4, 5, 6
"""Exit codes when something is wrong, the gravest first."""
LEVEL_NAMES = ("meta", "hash", "trust", "elf", "load", "rebuild", "exec")
"""Those of `evmaot.verify.LEVELS`, which is imported when something is verified."""


@click.command("verify", cls=Verb)
@click.argument("what", required=False, type=StoredName("packs", "profiles"))
@click.option("--level", type=click.Choice(LEVEL_NAMES), default="hash", show_default=True, help="How thoroughly.")
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="N libraries by chance; exec: N codes by --seed."
)
@click.option("--repair", "repairs", is_flag=True, help="Compile again what is damaged, or move it aside.")
@click.option("-j", "--jobs", type=click.IntRange(min=0), default=0, metavar="N", help="Workers; 0: one per CPU.")
@click.option("--seed", type=int, default=1, show_default=True, help="exec: of the sample and of the generated calls.")
@click.option(
    "--calls", type=click.IntRange(min=1), default=8, show_default=True, help="exec: generated calls of each artifact."
)
@click.option(
    "--recorded", multiple=True, type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
    help="exec: a file {name: {env, pre, transaction}} to run as well; may be repeated.",
)  # fmt: skip
@fork_option("exec: rules of recorded transactions that name none; the default fork where none is given.")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    /,
    what: str | None,
    level: str,
    sample: int | None,
    repairs: bool,
    jobs: int,
    **execution_options: Any,
) -> None:
    """Check what is on disk against what was published.

    WHAT is a pack, a profile, a code hash (0x...) or a glob of labels; without it, everything is checked. Each finding
    is a line: the place in the store, what is wrong, and a code. Notes are allowed things, such as a file left by an
    interrupted build.

    --repair compiles what is damaged again, from the bytecode that the store keeps, and puts it in the place of the
    damaged file, which goes to quarantine. What cannot be compiled again is moved aside, and the exit status is 4.

    Level exec (extra evmaot[eels]) runs the stored code on generated calls and on recorded transactions, and compares
    each frame's gas, output, logs and state with EELS's interpreter. A wrong result is of the compiler, not of the
    disk: the runtime would use that code, and no repair helps. The bytecode comes from the packs themselves.

    Layers (EVMAOT_STORE_PATH) are checked as well, but for level exec; --repair changes the store alone.
    """
    from evmaot.cli.exec_level import executed
    from evmaot.cli.stores import open_store
    from evmaot.verify import verify

    start = time.monotonic()
    store = open_store(invocation)
    below = _layers(invocation, what)
    packs = _meant(store, what, is_required=not below)
    jobs = jobs or len(os.sched_getaffinity(0))
    signatures = _signatures(invocation)

    def look() -> list[Finding]:
        # The sample of exec is one of codes.
        libraries = None if level == "exec" else sample
        return verify(
            store, level, packs=packs, sample=libraries, jobs=jobs, progress=invocation.output.detail, **signatures
        )

    findings, done = look(), []
    if repairs:
        from evmaot.repair import repair

        done = repair(store, findings, jobs=jobs)
        if done:
            # What was chosen by chance is looked at by name now.
            packs, sample = _again(store, packs, findings), None
            findings = look()
    execution = None
    if level == "exec":
        execution = executed(invocation, store, sample, **execution_options)
        findings += execution.findings
    totals = _totals(store, packs, None if level == "exec" else sample)
    for layer, chosen in below if level != "exec" else ():
        found = verify(layer, level, packs=chosen, sample=sample, jobs=jobs, **signatures)
        findings += _of_layer(invocation, layer, found, repairs=repairs)
        totals = {name: number + totals[name] for name, number in _totals(layer, chosen, sample).items()}
    _render(invocation, level, totals, findings, done, execution, time.monotonic() - start)
    # What was lost and could not be made again is damage, though nothing damaged is left.
    lost = any(item.action == "quarantined" for item in done)
    context.exit(CORRUPTION if lost else exit_code(findings))


def _signatures(invocation: Invocation) -> dict[str, Any]:
    """What the user wants of signatures.  Raises UsageError ``bad_key``, ``unreadable_file``."""
    from evmaot.sharing.signature import read_public_key

    keys = frozenset(read_public_key(key).text for key in invocation.settings.trusted_keys)
    return {"require_signed": invocation.settings.require_signed, "trusted_keys": keys}


def exit_code(findings: Sequence[Finding]) -> int:
    """0, or what the gravest finding means."""
    from evmaot.store.findings import Severity
    from evmaot.store.trust import is_untrusted

    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if any(not is_untrusted(finding) for finding in errors):
        return CORRUPTION
    if errors:
        return UNTRUSTED
    return UNCHECKED if any(finding.severity is Severity.UNCHECKED for finding in findings) else 0


def _layers(invocation: Invocation, what: str | None) -> list[tuple[ArtifactDirectory, list[Pack] | None]]:
    """The layers that hold what is meant, and the packs of each; None: all."""
    from evmaot.cli.stores import open_layers

    found = [(layer, _meant(layer, what, is_required=False)) for layer in open_layers(invocation)]
    return [(layer, packs) for layer, packs in found if packs is None or packs]


def _of_layer(
    invocation: Invocation, layer: ArtifactDirectory, findings: Sequence[Finding], *, repairs: bool
) -> list[Finding]:
    """Findings of a layer, by their whole paths; where something should be repaired, how that is done."""
    root = layer.paths.root
    if repairs and exit_code(findings):
        invocation.output.warn(f"hint: layers are only read; to repair this one: evmaot --store {root} verify --repair")
    return [replace(one, subject=f"{root}/{one.subject}") for one in findings]


def _meant(store: ArtifactDirectory, what: str | None, *, is_required: bool) -> list[Pack] | None:
    """The packs that a person means; None: all.  Raises UsageError ``nothing_matches``."""
    if what is None:
        return None
    from evmaot.cli.listing import find

    index = store.index()
    found = find(index, what)
    profiles = {profile.digest for profile in found.profiles}
    meant = {pack.manifest_path: pack for pack in found.packs}
    meant |= {entry.pack.manifest_path: entry.pack for entry in found.members}
    meant |= {pack.manifest_path: pack for pack in index.packs if pack.manifest.profile in profiles}
    if not meant and is_required:
        hint = "evmaot ls lists what there is"
        raise UsageError("nothing_matches", f"nothing in the store is called {what!r}", hint=hint)
    return list(meant.values())


def _again(store: ArtifactDirectory, packs: list[Pack] | None, findings: Sequence[Finding]) -> list[Pack] | None:
    """What to look at after a repair: the same packs as far as they are still there, and those that had a finding."""
    if packs is None:
        return None
    names = {pack.manifest_path for pack in packs}
    subjects = {finding.subject for finding in findings}
    return [p for p in store.packs() if p.manifest_path in names or store.files.subject(p.object_path) in subjects]


def _totals(store: ArtifactDirectory, packs: list[Pack] | None, sample: int | None) -> dict[str, int]:
    chosen = store.packs() if packs is None else packs
    return {
        "packs": min(len(chosen), sample or len(chosen)),
        "contracts": sum(len(pack.manifest.members) for pack in chosen),
        "size_bytes": sum(pack.manifest.object.size for pack in chosen),
    }


def _render(
    invocation: Invocation,
    level: str,
    totals: dict[str, int],
    findings: Sequence[Finding],
    done: Sequence[Repair],
    execution: ExecutionReport | None,
    seconds: float,
) -> None:
    from evmaot.cli.exec_level import execution_data, say_execution, say_wrong_results
    from evmaot.cli.stores import finding_problem
    from evmaot.store.findings import Severity

    output = invocation.output
    by_severity = {kind: [finding for finding in findings if finding.severity is kind] for kind in Severity}
    errors, unchecked = by_severity[Severity.ERROR], by_severity[Severity.UNCHECKED]
    if output.as_json:
        data: dict[str, Any] = {
            "level": level,
            **totals,
            "errors": len(errors),
            "unchecked": len(unchecked),
            "notes": len(by_severity[Severity.NOTE]),
            "repairs": [
                {"subject": item.subject, "code": item.code, "action": item.action, "message": item.message}
                for item in done
            ],
            "execution": None if execution is None else execution_data(execution),
            "seconds": round(seconds, 3),
        }
        output.document("verify", data, [finding_problem(finding) for finding in findings], ok=not errors)
    for item in done:
        output.say(f"{item.action}: {item.subject} [{item.code}]: {item.message}")
    if not output.as_json:
        for finding in findings:
            if finding.severity is not Severity.NOTE or output.verbosity:
                output.data(f"{finding.severity.value}: {finding.subject}: {finding.message} [{finding.code}]")
    if execution is not None:
        say_execution(output, execution)
        say_wrong_results(output, execution)
    checked = f"{counted(totals['packs'], 'pack')} with {counted(totals['contracts'], 'artifact')}"
    size = f" ({human_size(totals['size_bytes'])})" if level != "meta" else ""
    output.say(f"checked {checked}{size} in {human_seconds(seconds)}, level {level}")
    notes = len(by_severity[Severity.NOTE])
    if notes and not output.verbosity:
        output.say(f"{counted(notes, 'note')}; -v shows them")
    _conclude(invocation, findings, errors, unchecked, done)


def _conclude(
    invocation: Invocation,
    findings: Sequence[Finding],
    errors: Sequence[Finding],
    unchecked: Sequence[Finding],
    done: Sequence[Repair],
) -> None:
    output = invocation.output
    lost = sum(item.action == "quarantined" for item in done)
    code = exit_code(findings)
    damaged = [finding for finding in errors if finding.code != "wrong_result"]
    if code == CORRUPTION and damaged:
        output.warn(f"error: {counted(len(damaged), 'damaged part')} in the store [corruption]", style="error")
        if any(finding.code == "member_mismatch" for finding in damaged):
            # No library knows a code hash: see evmaot-store(5), LOADING.
            output.warn("effect: a look-up by code hash alone may find other code; with the code at hand none does")
        if any(finding.code != "member_mismatch" for finding in damaged):
            output.warn("effect: what is damaged is never loaded; everything else is")
        if not done:
            output.warn("hint: evmaot verify --repair compiles it again, or moves it aside")
    elif code == UNTRUSTED and all(finding.code in ("unsigned", "untrusted_key") for finding in errors):
        output.warn(f"error: {counted(len(errors), 'pack')} without a trusted signature [unsigned]", style="error")
        output.warn("effect: as share.require_signed is set, what no trusted key had signed is not used")
        output.warn("hint: import it again with its signature, or build it here")
    elif code == UNTRUSTED:
        output.warn(f"error: {counted(len(errors), 'part')} that others can change [untrusted]", style="error")
        output.warn("effect: whoever can write there runs code as whoever loads it; what is untrusted is not loaded")
        output.warn("hint: take the permission from others (chmod go-w), or use another store")
    if unchecked:
        output.warn(f"warning: {counted(len(unchecked), 'part')} could not be checked here [unchecked]", style="yellow")
    if lost:
        output.warn(f"error: {counted(lost, 'damaged part')} moved aside, not made again [lost]", style="error")
        output.warn("effect: nothing damaged is left in the store, and what it held is missing")
        output.warn("hint: evmaot build its inputs again")
    elif code == 0:
        output.say("no damage found", style="green")
