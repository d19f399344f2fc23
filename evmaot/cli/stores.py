"""How verbs open the store of this invocation, and tell what it refuses.

Job: one way to open, and words for manifests that cannot be used.  May import: `evmaot.store`, `evmaot.cli`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evmaot.cli import failures
from evmaot.cli.invocation import Invocation
from evmaot.cli.output import counted
from evmaot.errors import StoreError
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.findings import Finding, Severity
from evmaot.store.index import StoreIndex

if TYPE_CHECKING:
    from evmaot.store.summaries import StoreSummary


def open_store(
    invocation: Invocation, *, create: bool = False, read_only: bool = False, by_policy: bool = False
) -> ArtifactDirectory:
    """The store of the settings; `read_only` for a verb that only reads.  Raises StoreError, TrustError.

    `by_policy`: for a verb that uses artifacts, or says which are used; what is unsigned is refused where the user
    wants that.  What keeps, counts or removes packs sees them all.
    """
    settings = invocation.settings
    return ArtifactDirectory.open(
        settings.store,
        create=create and not settings.read_only,
        read_only=read_only or settings.read_only,
        lock_timeout_seconds=settings.lock_timeout_seconds,
        require_signed=by_policy and settings.require_signed,
    )


def open_layers(invocation: Invocation) -> list[ArtifactDirectory]:
    """The stores below that of the settings, opened to be read; one that can't be used is said and left out."""
    settings = invocation.settings
    layers: list[ArtifactDirectory] = []
    for path in settings.store_layers:
        try:
            layers.append(
                ArtifactDirectory.open(
                    path,
                    read_only=True,
                    lock_timeout_seconds=settings.lock_timeout_seconds,
                    require_signed=settings.require_signed,
                )
            )
        except StoreError as error:
            error.context["effect"] = "the layer is left out"
            failures.say(error, invocation.output, "warning")
    return layers


def store_or_none(invocation: Invocation, *, by_policy: bool = False) -> ArtifactDirectory | None:
    """The store, None where there is none yet: for what only lists, that is an empty one.  Raises as `open_store`."""
    try:
        return open_store(invocation, by_policy=by_policy)
    except StoreError as error:
        if error.reference != "store_missing":
            raise
        return None


@dataclass(frozen=True, slots=True)
class Place:
    """A store that is looked into: that of the settings, or one of the layers below it."""

    path: Path
    name: str
    """``store``, ``layer 1``..."""
    store: ArtifactDirectory | None
    """None: there is none yet."""

    def index(self) -> StoreIndex:
        """What it holds."""
        return StoreIndex((), ()) if self.store is None else self.store.index()

    def summary(self) -> StoreSummary:
        """The same in numbers, which costs little however large it is."""
        from evmaot.store.summaries import StoreSummary, read_summaries

        if self.store is None:
            return StoreSummary({}, {}, ())
        # A layer is only read.
        may_write = self.store.may_write and self.name == "store"
        return read_summaries(self.store.files, may_write=may_write, require_signed=self.store.require_signed)


def places(invocation: Invocation) -> list[Place]:
    """The store, and the layers below it, in the order in which look-ups go through them."""
    own = store_or_none(invocation, by_policy=True)
    return [Place(invocation.settings.store, "store", own), *layer_places(invocation)]


def layer_places(invocation: Invocation) -> list[Place]:
    """The layers alone."""
    layers = enumerate(open_layers(invocation), 1)
    return [Place(layer.paths.root, f"layer {number}", layer) for number, layer in layers]


def say_layers(invocation: Invocation, found: Sequence[Place]) -> None:
    """Which layer is which, where there are any."""
    for place in found[1:]:
        invocation.output.say(f"{place.name}: {place.path}")


def finding_hint(finding: Finding) -> str | None:
    """What to do about a finding."""
    from evmaot.store.pins import damaged_hint

    if finding.code == "pin_damaged":
        return damaged_hint(finding.subject.rpartition("/")[2].removesuffix(".json"))
    return "evmaot verify" if finding.severity is Severity.ERROR else None


def not_loaded_hint(reason: str) -> str:
    """What to do about something that is meant for this machine, and is not loaded for that reason."""
    if reason == "noexec_mount":
        return "evmaot --store DIR on a file system that lets libraries run, or mapping='copy' in the runtime"
    if reason in ("store_untrusted", "unsigned", "untrusted_key", "bad_signature"):
        return "evmaot doctor, and evmaot verify --level trust"
    return "evmaot verify --repair"


def finding_problem(finding: Finding) -> dict[str, Any]:
    """A finding as an entry of `problems` in a JSON document."""
    hint = finding_hint(finding)
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "message": finding.message,
        "cause": None,
        "hint": hint,
    }


def refusal_problems(index: StoreIndex | StoreSummary) -> list[dict[str, Any]]:
    """What the index left out, as problems."""
    return [finding_problem(finding) for finding in index.refusals]


def warn_of_refusals(invocation: Invocation, index: StoreIndex | StoreSummary) -> None:
    """Say that parts of the store cannot be used, with the first few reasons."""
    refusals = index.refusals
    for finding in refusals[:3]:
        invocation.output.warn(
            f"warning: not used: {finding.subject}: {finding.message} [{finding.code}]", style="yellow"
        )
    if refusals:
        are = "is" if len(refusals) == 1 else "are"
        level = " --level trust" if any(finding.code == "unsigned" for finding in refusals) else ""
        invocation.output.warn(
            f"hint: {counted(len(refusals), 'part')} of the store {are} not used; see: evmaot verify{level}"
        )
