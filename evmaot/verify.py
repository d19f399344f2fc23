"""Verification of a store at every level, those that run code included.

Job: the table of levels, and findings of the one that is asked for.  Invariants: a pack that fails one level is not
given to the next, so that nothing damaged is ever loaded; what loads a library does so in another process, with
limits; what can't be judged here is `unchecked`, never good.  May import: `evmaot.rebuild`, `evmaot.workers`,
`evmaot.runtime`, `evmaot.store`, errors; a level's own module is imported when that level is asked for.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evmaot.errors import EvmaotError, UsageError
from evmaot.store import verification
from evmaot.store.codes import StoredCode, read_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.findings import Finding, Severity
from evmaot.store.index import Pack
from evmaot.workers import JobFailure, WorkerLimits, WorkerPool

if TYPE_CHECKING:
    from evmaot.members import WrongMember

LOAD_LIMITS: Final = WorkerLimits(timeout_seconds=60.0, memory_limit_bytes=4 << 30)


@dataclass(frozen=True, slots=True)
class Level:
    """How thoroughly a store is looked at."""

    name: str
    document: str
    check: str = ""
    """``module:function`` of a `PackCheck`; empty where `evmaot.store.verification` does it all."""
    after: tuple[str, ...] = ()
    """Levels with a check of their own that come before; a pack has to pass each."""


_MEMBERS, _SIGNED, _LOAD, _REBUILD = (
    f"evmaot.verify:check_{name}" for name in ("members", "signature", "load", "rebuild")
)

LEVELS: Final = {
    level.name: level
    for level in (
        Level("meta", "documents, names, sizes, owners, modes"),
        Level("hash", "the bytes of every library, and what its bytecode proves of artifacts", _MEMBERS),
        Level("trust", "who else could change the store, whether code may run there, who signed", _SIGNED, ("hash",)),
        Level("elf", "what a loader would follow in a library, and the library's own table", after=("hash", "trust")),
        Level("load", "every library is loaded in another process, as the runtime does", _LOAD, ("hash", "trust")),
        Level("rebuild", "every pack is compiled again and compared byte for byte", _REBUILD, ("hash", "trust")),
        # What it runs is `evmaot.hosts.exec_check`, of codes and not of packs, with options of its own.
        Level("exec", "compiled code against the reference host on generated calls", after=("hash", "trust", "load")),
    )
}
"""By name, in the order of the help.  A new level is one row and one function."""


@dataclass(slots=True)
class VerifySession:
    """What checks share: the store, limits, and what they keep open."""

    store: ArtifactDirectory
    jobs: int = 1
    require_signed: bool = False
    """Whether an import without a trusted signature is wrong, and not only noted."""
    trusted_keys: Collection[str] = ()
    """Public keys (base64) that are trusted now; none: a signature counts whoever made it."""
    stack: ExitStack = field(default_factory=ExitStack)
    """Closed at the end; for pools of workers."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What a check keeps from one pack to the next, by the check's name."""

    def codes(self, pack: Pack) -> tuple[StoredCode, ...] | None:
        """The bytecode of a pack, None where the store has none that is right."""
        return read_codes(self.store.files, pack.manifest.object.sha256)

    def finding(self, pack: Pack, code: str, message: str, severity: Severity = Severity.ERROR) -> Finding:
        """A finding about a pack's library."""
        return Finding(code, self.store.files.subject(pack.object_path), message, severity)

    def member_finding(self, pack: Pack, wrong: Sequence[WrongMember]) -> Finding:
        """A finding about members of a pack's manifest."""
        more = f"; so are {len(wrong) - 1} more members" if len(wrong) > 1 else ""
        subject = self.store.files.subject(pack.manifest_path)
        return Finding("member_mismatch", subject, f"{wrong[0].message}{more}")


PackCheck = Callable[[VerifySession, Pack], Iterable[Finding]]


def verify(
    store: ArtifactDirectory,
    level: str,
    *,
    packs: Collection[Pack] | None = None,
    sample: int | None = None,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
    require_signed: bool = False,
    trusted_keys: Collection[str] = (),
) -> list[Finding]:
    """Findings of a level and of those below it.

    `packs`: the only ones whose libraries are looked at; `sample`: at most so many of them, by chance.  Raises
    UsageError ``unknown_level``, StoreError.
    """
    if level not in LEVELS:
        known = ", ".join(LEVELS)
        raise UsageError("unknown_level", f"unknown verification level {level!r}", hint=f"one of: {known}")
    chosen = list(store.packs() if packs is None else packs)
    if sample is not None and sample < len(chosen):
        chosen = random.SystemRandom().sample(chosen, sample)
    only: set[Path] | None = None
    if packs is not None or sample is not None:
        only = {pack.manifest_path for pack in chosen}
    findings = store.verify(level if level in verification.LEVELS else verification.LEVELS[-1], only)
    session = VerifySession(store, jobs, require_signed, trusted_keys)
    with session.stack:
        for name in (*LEVELS[level].after, level):
            if LEVELS[name].check:
                findings += _checked(session, name, _sound(store, chosen, findings), progress)
    return findings


def _sound(store: ArtifactDirectory, packs: Collection[Pack], findings: Collection[Finding]) -> list[Pack]:
    """The packs about whose library nothing is said, and nothing wrong about the manifest."""
    said = {finding.subject for finding in findings}
    wrong = {finding.subject for finding in findings if finding.severity is Severity.ERROR}
    subject = store.files.subject
    return [p for p in packs if subject(p.object_path) not in said and subject(p.manifest_path) not in wrong]


def _checked(
    session: VerifySession, name: str, packs: Collection[Pack], progress: Callable[[str], None] | None
) -> list[Finding]:
    module, _, function = LEVELS[name].check.partition(":")
    try:
        check: PackCheck = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise UsageError("level_missing", f"the level {name!r} is not installed", cause=str(error)) from error
    findings: list[Finding] = []
    for number, pack in enumerate(packs, 1):
        if progress is not None:
            progress(f"{name}: pack {number} of {len(packs)}, {len(pack.manifest.members)} artifacts")
        try:
            findings += check(session, pack)
        except EvmaotError as error:
            findings.append(session.finding(pack, error.reference, error.cause or error.message, Severity.UNCHECKED))
    return findings


# Members.


def check_members(session: VerifySession, pack: Pack) -> Iterable[Finding]:
    """Whether a manifest says of its members what their bytecode and the tables of forks say."""
    from evmaot.members import wrong_members

    wrong = list(wrong_members(pack.manifest, pack.profile.profile, session.codes(pack)))
    return [session.member_finding(pack, wrong)] if wrong else []


# Signatures.


def check_signature(session: VerifySession, pack: Pack) -> Iterable[Finding]:
    """What was noted when a pack was imported: who had signed it.  It proves nothing against who can write here."""
    origin = pack.manifest.origin
    if origin.is_unsigned:
        code, message = "unsigned", "it was imported without a signature of a trusted key (--allow-unsigned)"
    elif origin.signed_by and session.trusted_keys and origin.signed_by not in session.trusted_keys:
        code, message = "untrusted_key", f"the key that had signed it is not trusted now: {origin.signed_by}"
    else:
        return []
    severity = Severity.ERROR if session.require_signed else Severity.NOTE
    return [Finding(code, session.store.files.subject(pack.manifest_path), message, severity)]


# Loading.


@dataclass(frozen=True, slots=True)
class LoadJob:
    """A pack that is to be loaded from its store."""

    root: str
    profile_id: str
    object_sha256: str


def load_job(job: LoadJob) -> int:
    """Load a pack as the runtime does; answers the number of its entries.  Raises LoadError, StoreError."""
    from evmaot.runtime.loading import load_pack
    from evmaot.runtime.preloading import LibraryMapping

    store = ArtifactDirectory.open(job.root, read_only=True)
    for pack in store.index([job.profile_id]).packs:
        if pack.manifest.object.sha256 == job.object_sha256:
            library = load_pack(store.files, pack, LibraryMapping.FILE)
            count = len(library.entries)
            library.close()
            return count
    return 0  # removed meanwhile


def check_load(session: VerifySession, pack: Pack) -> Iterable[Finding]:
    """Whether this machine loads a pack."""
    from evmaot.runtime.loading import profile_refusal

    refused = profile_refusal(pack.profile)
    if refused is not None:
        return [session.finding(pack, refused, "this machine does not load it", Severity.UNCHECKED)]
    pool: WorkerPool | None = session.kept.get("load")
    if pool is None:
        pool = session.kept["load"] = session.stack.enter_context(WorkerPool(load_job, workers=1, limits=LOAD_LIMITS))
    pool.submit(None, LoadJob(str(session.store.paths.root), pack.profile.short, pack.manifest.object.sha256))
    (result,) = pool.wait()
    return [] if result.failure is None else [_load_finding(session, pack, result.failure)]


def _load_finding(session: VerifySession, pack: Pack, failure: JobFailure) -> Finding:
    names = {"compile_crash": "load_crashed", "compile_timeout": "load_timeout", "compile_memory": "load_memory"}
    code = names.get(failure.reason, failure.reason)
    unchecked = code in ("noexec_mount", "load_timeout", "load_memory", "unreadable")
    severity = Severity.UNCHECKED if unchecked else Severity.ERROR
    return session.finding(pack, code, failure.cause or failure.message, severity)


# Compiling again.


def check_rebuild(session: VerifySession, pack: Pack) -> Iterable[Finding]:
    """Whether this compiler makes the very bytes of a pack (P5), and says the same of its members."""
    from evmaot.build_packs import members_of
    from evmaot.members import compared, has_own_prices
    from evmaot.rebuild import rebuild, tools_like

    tools = tools_like(pack.profile.profile)
    if tools.profile.digest != pack.profile.digest:
        message = "another version of the compiler made it"
        return [session.finding(pack, "profile_other", message, Severity.UNCHECKED)]
    if has_own_prices(pack.manifest):
        message = "it was compiled for prices that no fork has"
        return [session.finding(pack, "rules_other", message, Severity.UNCHECKED)]
    codes = session.codes(pack)
    if codes is None:
        message = "the store has not the bytecode that it was compiled from"
        return [session.finding(pack, "codes_missing", message, Severity.UNCHECKED)]
    rebuilt = rebuild(tools, codes, jobs=session.jobs)
    if rebuilt.sha256 != pack.manifest.object.sha256:
        message = f"compiled again it has {len(rebuilt.library)} bytes with the SHA-256 {rebuilt.sha256}"
        return [session.finding(pack, "rebuild_mismatch", message)]
    expected = {(member.code_sha256, member.rules): member for member in members_of(rebuilt.ready)}
    wrong = [found for found in (compared(member, expected) for member in pack.manifest.members) if found]
    return [session.member_finding(pack, wrong)] if wrong else []
