"""From the options of `evmaot build` to builds: one for each tier and target.

Job: read the inputs once, and build them under each profile that is asked for.  Invariant: what was asked for and can't
be right is refused before the first input is read.  May import: `evmaot.build`, `evmaot.inputs`, `evmaot.cli`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evmaot.build import build
from evmaot.build_inputs import gather
from evmaot.build_report import BuildReport, BuildRequest
from evmaot.cli.invocation import Invocation
from evmaot.cli.node import node_contracts
from evmaot.cli.progress import counting, display
from evmaot.cli.stores import open_layers
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.config import Settings
from evmaot.errors import UsageError
from evmaot.evm.forks import forks_selected
from evmaot.inputs.context import RunConstructor
from evmaot.inputs.deny import read_deny_list
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import Item
from evmaot.target import target_named
from evmaot.worker_process import WorkerLimits

if TYPE_CHECKING:
    from evmaot.cluster import Cluster
    from evmaot.constructors import Constructors
    from evmaot.store.directory import ArtifactDirectory


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the command was given, beside settings."""

    inputs: tuple[str, ...]
    addresses: tuple[str, ...]
    block: str
    follow_proxies: bool
    rank: bool
    limit: int | None
    deny: Path | None
    strip_metadata: bool
    from_init: bool
    dry_run: bool
    print_keys: bool
    check: bool
    force: bool
    report: Path | None
    output: Path | None
    pin: str | None
    error_if_empty: bool

    @property
    def only_plans(self) -> bool:
        """Whether nothing is compiled and nothing written."""
        return self.dry_run or self.print_keys or self.check


@dataclass(frozen=True, slots=True)
class BuildRun:
    """One build: what it was asked for and what it answered."""

    request: BuildRequest
    report: BuildReport


def run_builds(
    invocation: Invocation, chosen: BuildOptions, store: ArtifactDirectory | None, runs: list[BuildRun]
) -> None:
    """Build under each profile; the first that is interrupted, or fails with --fail-fast, is the last.

    `runs` is filled meanwhile: where this raises, the last is the one that failed.  Raises UsageError, and what
    `evmaot.build.build` raises.
    """
    settings = invocation.settings
    # Two names may be of the same machine.
    profiles = dict.fromkeys(
        CompileOptions(Tier(tier), target_named(target))
        for tier, target in itertools.product(settings.tiers, settings.targets)
    )
    layers = open_layers(invocation)
    with (
        _cluster(settings, chosen) as cluster,
        _constructors(settings, chosen) as run_constructor,
        display(invocation.output) as show,
    ):
        request = _request(invocation, chosen, counting(_items(invocation, chosen, run_constructor), show))
        if cluster is not None:
            request = replace(request, jobs=settings.jobs or cluster.threads)
        start = time.perf_counter()
        request = replace(request, sources=gather(request))
        reading_seconds = time.perf_counter() - start
        for options in profiles:
            request = replace(request, options=options)
            executor = cluster.executor if cluster else None
            report = BuildReport()
            runs.append(BuildRun(request, report))
            build(request, store, show.observe, layers=layers, executor=executor, report=report)
            if len(runs) == 1:
                report.wall_seconds += reading_seconds
            if report.interrupted or (request.fail_fast and report.is_partial):
                break


def _cluster(settings: Settings, chosen: BuildOptions) -> contextlib.AbstractContextManager[Cluster | None]:
    """The cluster that compiles, where there is one and something may have to be compiled."""
    if not settings.scheduler or chosen.only_plans:
        return contextlib.nullcontext()
    from evmaot.cluster import connected

    return connected(settings.scheduler)


def _constructors(settings: Settings, chosen: BuildOptions) -> contextlib.AbstractContextManager[Constructors | None]:
    """What runs constructors where that was asked for, under the last of the forks."""
    if not chosen.from_init:
        return contextlib.nullcontext()
    from evmaot.constructors import Constructors

    fork = forks_selected(",".join(settings.forks))[-1].name
    return Constructors(fork, WorkerLimits(settings.timeout_seconds, settings.memory_limit_bytes))


def _items(invocation: Invocation, chosen: BuildOptions, run_constructor: RunConstructor | None) -> Iterator[Item]:
    """What the inputs hold; the configuration's inputs where the command names none."""
    settings = invocation.settings
    names = chosen.inputs or (() if chosen.addresses else settings.inputs)
    if not names and not chosen.addresses:
        hint = "evmaot build --fork osaka out/ (or list build.inputs in evmaot.toml)"
        raise UsageError("no_input", "there is nothing to build", hint=hint)
    items = read_inputs(names, format=settings.input_format, allow_unlinked=True, run_constructor=run_constructor)
    if not chosen.addresses:
        return items
    live = node_contracts(settings, chosen.addresses, chosen.block, follow_proxies=chosen.follow_proxies)
    return itertools.chain(items, live)


def _request(invocation: Invocation, chosen: BuildOptions, items: Iterator[Item]) -> BuildRequest:
    settings = invocation.settings
    return BuildRequest(
        sources=items,
        forks=forks_selected(",".join(settings.forks)),
        linker=settings.linker,
        jobs=settings.jobs or len(os.sched_getaffinity(0)),
        pack_size=settings.pack_size,
        timeout_seconds=settings.timeout_seconds,
        memory_limit_bytes=settings.memory_limit_bytes,
        force=chosen.force,
        fail_fast=not settings.keep_going,
        dry_run=chosen.only_plans,
        deny=read_deny_list(chosen.deny) if chosen.deny is not None else None,
        rank=chosen.rank,
        limit=chosen.limit,
        strip_metadata=chosen.strip_metadata,
    )
