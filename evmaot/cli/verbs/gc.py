"""`evmaot gc`: keep the store within its limits.

Job: limits of settings to a collection, its result to words or a document.  Invariant: what goes is
decided by `evmaot.store.collection`.  May import: `evmaot.store`, `evmaot.toolchain`, `evmaot.repack`, `evmaot.cli`,
click.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation, setting_option
from evmaot.cli.output import Column, counted, human_size

if TYPE_CHECKING:
    from evmaot.config import Settings
    from evmaot.repack import Repacking
    from evmaot.store.collection import Collection, Limits
    from evmaot.store.directory import ArtifactDirectory

UNMET = {
    "max_size": "the store is over --max-size",
    "keep_free": "the disk has less room than --keep-free",
}
"""What a limit that could not be kept means."""


@click.command("gc", cls=Verb)
@setting_option("gc_max_size_bytes", "--max-size", metavar="SIZE", help="Size of the store, or none.")
@setting_option(
    "gc_max_age_seconds", "--max-age", metavar="TIME", help="Remove what was not used for so long, or none."
)
@setting_option("gc_keep_free", "--keep-free", metavar="SIZE|N%", help="Room to leave on the disk, or none.")
@click.option("--stale", is_flag=True, help="Remove what another version of the compiler made.")
@click.option("--repack", "repacks", is_flag=True, help="Compile what small packs hold again, as full packs.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@pass_invocation
def command(invocation: Invocation, stale: bool, repacks: bool, dry_run: bool) -> None:
    """Remove what is too old or too much, the least recently used first.

    What is pinned or younger than an hour stays, whatever the limits say. Left-over files, old failures and what lies
    in quarantine go with their age. A pack is removed as a whole; it was used when it was built or asked for by a
    build, or when it was loaded, where the file system keeps access times.

    --repack merges packs that are less than half full, and renews those whose library holds more than their manifest
    lists. Nothing but the compiler can move a contract from one library to another, so it costs the time of a build; it
    works for packs that this version of the compiler made.

    It runs by itself at most daily, after a build, without --stale and --repack: see gc.automatic in the configuration.
    """
    from evmaot.cli.stores import open_store
    from evmaot.store.collection import collect

    store = open_store(invocation)
    result = collect(store, limits_of(invocation.settings, stale=stale), dry_run=dry_run)
    merged = _repacked(invocation, store, dry_run=dry_run) if repacks else None
    if invocation.output.as_json:
        problems = [
            {"code": f"{name}_not_met", "severity": "warning", "subject": None, "message": UNMET[name], "cause": None,
             "hint": "evmaot pins lists what is pinned"}
            for name in result.unmet
        ]  # fmt: skip
        data = collection_data(result, done=not dry_run)
        data["repacked"] = None if merged is None else repacking_data(merged)
        invocation.output.document("gc", data, problems)
        return
    _tell(invocation, result, dry_run=dry_run)
    if merged is not None:
        _tell_merged(invocation, merged, dry_run=dry_run)


def _repacked(invocation: Invocation, store: ArtifactDirectory, *, dry_run: bool) -> Repacking:
    from evmaot.repack import repack

    settings = invocation.settings
    jobs = settings.jobs or len(os.sched_getaffinity(0))
    progress = invocation.output.detail
    return repack(store, pack_size=settings.pack_size, jobs=jobs, dry_run=dry_run, progress=progress)


def repacking_data(merged: Repacking) -> dict[str, Any]:
    """A repacking for JSON."""
    return {
        "packs_before": merged.packs_before,
        "packs_after": merged.packs_after,
        "artifacts": merged.artifacts,
        "left": dict(merged.left),
    }


def _tell_merged(invocation: Invocation, merged: Repacking, *, dry_run: bool) -> None:
    output = invocation.output
    if merged.packs_before:
        before, after = counted(merged.packs_before, "pack"), counted(merged.packs_after, "pack")
        verb = "would compile" if dry_run else "compiled"
        output.say(f"{verb} {counted(merged.artifacts, 'artifact')} of {before} again, as {after}")
    else:
        output.say("no packs to merge")
    for reason, number in sorted(merged.left.items()):
        why = {
            "profile_other": "another version of the compiler made them",
            "codes_missing": "the store has not their bytecode",
        }[reason]
        output.say(f"{counted(number, 'pack')} left as they are, for {why} [{reason}]")


def limits_of(settings: Settings, *, stale: bool = False) -> Limits:
    """The limits of the settings."""
    from evmaot.store.collection import Limits

    limits = Limits(settings.gc_max_size_bytes, settings.gc_max_age_seconds, settings.gc_keep_free)
    if stale:
        from evmaot.toolchain import stale_in

        limits = replace(limits, is_stale=lambda profile: stale_in(profile) is not None)
    return limits


def collection_data(result: Collection, *, done: bool) -> dict[str, Any]:
    """A collection for JSON."""
    return {
        "done": done,
        "removed": [
            {
                "pack": pack.sha256,
                "profile": pack.profile,
                "artifacts": pack.members,
                "size_bytes": pack.size_bytes,
                "reason": pack.reason,
            }
            for pack in result.removed
        ],
        "artifacts_removed": result.members,
        "failures_forgotten": result.records_removed,
        "leftovers_bytes": result.leftovers_bytes,
        "quarantine_bytes": result.quarantine_bytes,
        "size_before_bytes": result.size_before_bytes,
        "size_after_bytes": result.size_after_bytes,
        "freed_bytes": result.freed_bytes,
        "disk_free_bytes": result.free_bytes,
        "packs_pinned": result.pinned_packs,
        "packs_young": result.young_packs,
        "limits_not_met": list(result.unmet),
    }


def summary(result: Collection) -> str:
    """What went: ``3 packs with 40 artifacts, 1.2 MiB (2 max_age, 1 max_size)``."""
    reasons = ", ".join(f"{number} {reason}" for reason, number in Counter(p.reason for p in result.removed).items())
    packs = f"{counted(len(result.removed), 'pack')} with {counted(result.members, 'artifact')}"
    return f"{packs}, {human_size(result.freed_bytes)}" + (f" ({reasons})" if reasons else "")


def _tell(invocation: Invocation, result: Collection, *, dry_run: bool) -> None:
    output = invocation.output
    if result.removed:
        columns = (
            Column("PACK"),
            Column("PROFILE", drop_rank=1),
            Column("ARTIFACTS", right=True),
            Column("SIZE", right=True),
            Column("REASON"),
        )
        output.table(
            columns,
            [
                (p.sha256[:12], p.profile[:8], f"{p.members:,}", human_size(p.size_bytes), p.reason)
                for p in result.removed
            ],
        )
    if result.freed_bytes or result.removed:
        output.say(f"{'would remove' if dry_run else 'removed'} {summary(result)}")
    else:
        output.say("nothing to remove")
    if result.leftovers_bytes:
        output.say(f"of these {human_size(result.leftovers_bytes)} are files that nothing refers to")
    if result.quarantine_bytes:
        output.say(f"of these {human_size(result.quarantine_bytes)} lay in quarantine")
    if result.records_removed:
        output.say(f"{counted(result.records_removed, 'remembered failure')} forgotten")
    output.say(f"the store has {human_size(result.size_after_bytes)}; {human_size(result.free_bytes)} were free")
    kept = [
        text
        for number, text in (
            (result.pinned_packs, f"{counted(result.pinned_packs, 'pack')} pinned"),
            (result.young_packs, f"{counted(result.young_packs, 'pack')} younger than an hour"),
        )
        if number
    ]
    if kept:
        output.say(f"kept in any case: {', '.join(kept)}")
    for name in result.unmet:
        output.warn(f"warning: {UNMET[name]}, and nothing more may be removed [{name}_not_met]", style="yellow")
