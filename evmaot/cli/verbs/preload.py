"""`evmaot preload --check`: start as the runtime does, and tell what is loaded, how fast, and what is not and why.

Job: index and load a store in this process with the runtime's own catalogue, timed.  Invariants: nothing is written,
no lock file either; what is loaded goes with the process.  May import: `evmaot.runtime`, `evmaot.store`,
`evmaot.cli`, click.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import profiles_option
from evmaot.cli.output import Column, counted, human_size

if TYPE_CHECKING:
    from evmaot.runtime.preloading import Profiles

COULD_NOT_LOAD = 6
"""Exit code where something that is meant for this machine was refused."""
_NOT_FOR_HERE = ("profile_other", "abi_mismatch", "architecture:", "isa_missing:", "format_newer", "template")
"""Reasons that are nobody's fault: artifacts for other machines or versions."""
_MOST_ROWS = 50


@dataclass(slots=True)
class Start:
    """What a start-up did."""

    seconds: dict[str, float] = field(default_factory=dict)
    """By phase, in order."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    programs: int = 0
    contracts: int = 0
    libraries: int = 0
    size_bytes: int = 0
    resident_bytes: int = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 6)


@click.command("preload", cls=Verb)
@click.option("--check", is_flag=True, help="Only load and tell; it is what this command does, and all it does.")
@click.option(
    "--mapping",
    type=click.Choice(["file", "copy"]),
    default="file",
    show_default=True,
    help="By the dynamic loader, or from the bytes that were hashed, as the JIT backend does.",
)
@profiles_option("Load only the profile with these first digits, or any: of other compilers too.")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation, context: click.Context, check: bool, mapping: str, profiles: tuple[str, ...]
) -> None:
    """Start as the runtime does: index the store, check and load every library that fits this machine.

    What is not loaded is listed with the reason that the runtime would give. Exit status 6 means that something meant
    for this machine was refused, or that nothing at all of what there is could be loaded; beside what is loaded,
    artifacts for other machines and versions are no failure. Nothing is left behind.
    """
    del check
    from evmaot.cli.stores import open_layers, open_store

    # A store that is missing or not trusted is no start at all: it is told as every command tells it.
    store = open_store(invocation)
    chosen = _chosen_profiles(invocation, store.paths.profiles, profiles)
    layers = [layer.paths.root for layer in open_layers(invocation)]
    signed = invocation.settings.require_signed
    start = _start([store.paths.root, *layers], mapping, chosen, require_signed=signed)
    refused = [row for row in start.skipped if row["is_refusal"]]
    data = {
        "store": str(store.paths.root),
        "layers": [str(path) for path in layers],
        "mapping": mapping,
        "programs": start.programs,
        "contracts": start.contracts,
        "libraries": start.libraries,
        "size_bytes": start.size_bytes,
        "resident_bytes": start.resident_bytes,
        "seconds": {**start.seconds, "total": round(sum(start.seconds.values()), 6)},
        "skipped": start.skipped,
    }
    output = invocation.output
    if output.as_json:
        output.document("preload", data, [_problem(row) for row in refused], ok=not refused)
    else:
        _tell(invocation, data)
    if refused:
        output.warn(f"error: {counted(len(refused), 'part')} of the store refused [not_loaded]", style="error")
        output.warn("effect: their contracts are interpreted or compiled anew; every other one is served")
        for hint in dict.fromkeys(_problem(row)["hint"] for row in refused):
            output.warn(f"hint: {hint}")
        context.exit(COULD_NOT_LOAD)
    if start.programs:
        output.say("everything for this machine was loaded", style="green")
        return
    output.warn("warning: nothing was loaded: the store holds nothing for this machine and this compiler")
    output.warn("effect: all contracts are interpreted or compiled anew")
    output.warn("hint: evmaot ls says what is there and why it does not load; evmaot build compiles for here")
    if start.skipped:
        # A gate before a deployment asks this: such a machine would serve nothing from a full store.
        context.exit(COULD_NOT_LOAD)


def _chosen_profiles(invocation: Invocation, directory: Path, wanted: tuple[str, ...]) -> Profiles:
    """This compiler's, any, or whole digests of the profiles that begin with the wanted digits."""
    from evmaot.cli.stores import open_store
    from evmaot.errors import UsageError
    from evmaot.runtime.preloading import ANY, CURRENT

    if not wanted or ANY in wanted:
        return ANY if wanted else CURRENT

    index = open_store(invocation).index()
    digests = [profile.digest for profile in index.profiles.values()]
    for text in wanted:
        if not any(digest.startswith(text.lower()) for digest in digests):
            hint = "see: evmaot ls"
            raise UsageError("not_in_store", f"no profile in {directory} begins with {text}", hint=hint)
    return [digest for digest in digests if digest.startswith(tuple(text.lower() for text in wanted))]


def _start(paths: list[Path], mapping: str, profiles: Profiles, *, require_signed: bool) -> Start:
    start = Start()
    before = _resident_bytes()
    with start.phase("import"):
        from evmaot.runtime.catalog import Catalogue
        from evmaot.runtime.directory_store import DirectoryStore
        from evmaot.runtime.preloading import LibraryMapping

    _silence_log()
    found: list[tuple[str, str, str]] = []
    catalogue = Catalogue(
        mapping=LibraryMapping(mapping),
        profiles=profiles,
        on_skip=lambda reason, subject, message: found.append((reason, subject, message)),
    )
    loaded = []
    for path in paths:
        with start.phase("open"):
            store = DirectoryStore(path, require_signed=require_signed)
        with store.reading():
            with start.phase("read"):
                inventory = store.load_all()
            with start.phase("index"):
                records = catalogue.add(inventory)
            with start.phase("load"):
                loaded += [record for record in records if catalogue.load(record) is not None]
    start.programs = sum(len(record.source.members) for record in loaded)
    start.contracts = len({member.code_hash for record in loaded for member in record.source.members})
    start.libraries = len(loaded)
    start.size_bytes = sum(record.source.size_bytes for record in loaded)
    start.resident_bytes = max(0, _resident_bytes() - before)
    start.skipped = [_skip_data(paths[0], *one) for one in found]
    return start


def _silence_log() -> None:
    """What is skipped is told here, not by the runtime's log."""
    import logging

    log = logging.getLogger("evmaot.runtime")
    log.handlers, log.propagate = [logging.NullHandler()], False


def _skip_data(root: Path, reason: str, subject: str, message: str) -> dict[str, Any]:
    return {
        "reason": reason,
        "subject": subject.removeprefix(f"{root}/"),
        "message": message,
        "is_refusal": not reason.startswith(_NOT_FOR_HERE),
    }


def _problem(row: dict[str, Any]) -> dict[str, Any]:
    from evmaot.cli.stores import not_loaded_hint

    return {
        "code": row["reason"],
        "severity": "error",
        "subject": row["subject"],
        "message": row["message"],
        "cause": None,
        "hint": not_loaded_hint(row["reason"]),
    }


def _resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the kernel does not tell."""
    import os

    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _tell(invocation: Invocation, data: dict[str, Any]) -> None:
    output = invocation.output
    phases = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in data["seconds"].items() if name != "total")
    programs = f"{counted(data['programs'], 'program')} of {counted(data['contracts'], 'contract')}"
    loaded = f"{programs} from {counted(data['libraries'], 'library', 'libraries')}"
    rows = [
        ("store", data["store"]),
        ("loaded", f"{loaded}, {human_size(data['size_bytes'])}"),
        ("time", f"{data['seconds']['total'] * 1000:.0f} ms ({phases})"),
        ("memory", f"{human_size(data['resident_bytes'])} more resident than before"),
    ]
    reasons = Counter(row["reason"] for row in data["skipped"])
    if reasons:
        rows.append(("skipped", ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items()))))
    output.fields(rows)
    shown = data["skipped"] if output.verbosity else [row for row in data["skipped"] if row["is_refusal"]]
    if shown:
        output.data("")
        columns = (Column("REASON"), Column("SUBJECT", shrinks=True), Column("MESSAGE", shrinks=True, drop_rank=1))
        output.table(columns, [(row["reason"], row["subject"], row["message"]) for row in shown[:_MOST_ROWS]])
    hidden = len(data["skipped"]) - len(shown[:_MOST_ROWS])
    if hidden:
        output.say(f"{counted(hidden, 'skipped part')} not shown; --json lists all, -v those for other machines too")
