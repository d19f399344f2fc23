"""Small and hollow packs into full ones.

Job: choose packs that hold few contracts, or fewer than their library, and compile what they hold again as full packs.
Objects are not kept, and nothing but the compiler can take one contract out of a library and put it into another: so
this costs the time of a build, and works for packs of this very compiler whose bytecode the store keeps.
Invariants: the new packs are published before the old ones are taken out; keys, labels and forks stay as they are, and
so do pins.  May import: `evmaot.rebuild`, `evmaot.build_packs`, `evmaot.build_report`, `evmaot.toolchain`,
`evmaot.store`, errors.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from evmaot.build_packs import Publisher
from evmaot.build_report import BuildRequest
from evmaot.errors import BusyError
from evmaot.evm.forks import FORKS
from evmaot.rebuild import rebuild, tools_like
from evmaot.store.codes import StoredCode, read_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import Pack, rules_digest
from evmaot.toolchain import Toolchain


@dataclass(slots=True)
class Repacking:
    """What was merged, or would be."""

    packs_before: int = 0
    packs_after: int = 0
    """In the place of those."""
    artifacts: int = 0
    left: Counter[str] = field(default_factory=Counter)
    """Packs that could be merged but for a reason: ``profile_other``, ``codes_missing``."""


def repack(
    store: ArtifactDirectory,
    *,
    pack_size: int,
    jobs: int = 1,
    dry_run: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Repacking:
    """Merge packs of less than half of `pack_size` artifacts, and renew hollow ones.

    Raises CompileError, LinkError, StoreError, BusyError; then what was merged so far is stored.
    """
    result = Repacking()
    with store.shared_lock():
        by_profile: dict[str, list[Pack]] = {}
        for pack in store.packs():
            by_profile.setdefault(pack.profile.digest, []).append(pack)
        for packs in by_profile.values():
            for group in _groups(store, packs, pack_size, result):
                _merge(store, group, jobs, dry_run, progress, result)
    if result.packs_before and not dry_run:
        with contextlib.suppress(BusyError):
            store.sweep(timeout_seconds=0.0)
    return result


@dataclass(frozen=True, slots=True)
class _Group:
    """Packs that become one."""

    tools: Toolchain
    packs: tuple[Pack, ...]
    codes: tuple[StoredCode, ...]


def _groups(store: ArtifactDirectory, packs: Iterable[Pack], pack_size: int, result: Repacking) -> Iterator[_Group]:
    tools: Toolchain | None = None
    waiting: list[Pack] = []
    codes: dict[tuple[str, str], StoredCode] = {}
    hollow = False
    for pack in sorted(packs, key=lambda pack: (len(pack.manifest.members), pack.manifest.object.sha256)):
        stored = read_codes(store.files, pack.manifest.object.sha256)
        is_hollow = stored is not None and len(stored) > len(pack.manifest.members)
        if 2 * len(pack.manifest.members) > pack_size and not is_hollow:
            continue
        tools = tools or tools_like(pack.profile.profile)
        if tools.profile.digest != pack.profile.digest:
            result.left["profile_other"] += 1
            continue
        mine = None if stored is None else _live(pack, stored)
        if mine is None:
            result.left["codes_missing"] += 1
            continue
        if waiting and len(codes) + len(mine) > pack_size:
            if len(waiting) > 1 or hollow:
                yield _Group(tools, tuple(waiting), tuple(codes.values()))
            waiting, codes, hollow = [], {}, False
        waiting.append(pack)
        hollow = hollow or is_hollow
        for key, code in mine.items():
            there = codes.get(key, code)
            codes[key] = replace(there, forks=tuple(dict.fromkeys(there.forks + code.forks)))
    if tools is not None and (len(waiting) > 1 or hollow):
        yield _Group(tools, tuple(waiting), tuple(codes.values()))


def _live(pack: Pack, stored: Iterable[StoredCode]) -> dict[tuple[str, str], StoredCode] | None:
    """Codes of the members that the manifest still lists; None where one is not known."""
    by_sha256 = {code.sha256: code for code in stored}
    found: dict[tuple[str, str], StoredCode] = {}
    for member in pack.manifest.members:
        code = by_sha256.get(member.code_sha256)
        forks = [name for name in member.forks if name in FORKS]
        forks = [name for name in forks if rules_digest(FORKS[name], member.opcodes) == member.rules]
        if code is None or not forks:
            return None
        found[member.code_sha256, member.rules] = replace(code, forks=tuple(forks), label=member.label)
    return found


def _merge(
    store: ArtifactDirectory,
    group: _Group,
    jobs: int,
    dry_run: bool,
    progress: Callable[[str], None] | None,
    result: Repacking,
) -> None:
    result.packs_before += len(group.packs)
    result.artifacts += len(group.codes)
    if progress is not None:
        progress(f"repack: {len(group.packs)} packs with {len(group.codes)} artifacts")
    if dry_run:
        result.packs_after += 1
        return
    rebuilt = rebuild(group.tools, group.codes, jobs=jobs)
    with Publisher(BuildRequest((), (), group.tools.options), group.tools, store) as publisher:
        published, refused = publisher.publish(rebuilt.ready)
    result.packs_after += len(published)
    new = {pack.manifest_path for pack in published}
    if not refused:
        store.retire(pack.manifest_path for pack in group.packs if pack.manifest_path not in new)
