"""What a store's index says, as rows: profiles and forks, contracts, packs.

Job: pure functions from `StoreIndex` to data that `ls`, `show` and `clear` print.  Invariant: the
forks of an artifact are decided by its rules, as the runtime decides, never by a list of names.
May import: `evmaot.store`, `evmaot.evm`, `evmaot.target`, `evmaot.abi`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evmaot.evm.forks import FORKS, Fork
from evmaot.store.index import Entry, MemberKey, Pack, StoreIndex, serves
from evmaot.store.keys import Profile, StoredProfile, unit_key
from evmaot.store.manifest import Origin
from evmaot.store.removal import matches_pattern
from evmaot.store.serving import ServedForks
from evmaot.store.summaries import StoreSummary
from evmaot.target import TARGETS
from evmaot.toolchain import stale_in

if TYPE_CHECKING:
    from evmaot.cli.stores import Place

MIN_DIGITS = 4
"""Fewest digits of a digest that name something."""


def fork_ranges(names: Iterable[str]) -> str:
    """Names of forks as ranges, in the order of the forks: ``frontier, london..osaka``."""
    wanted = set(names)
    order = list(FORKS)
    runs: list[list[str]] = []
    for position, name in enumerate(order):
        if name not in wanted:
            continue
        if runs and position and order[position - 1] == runs[-1][-1]:
            runs[-1].append(name)
        else:
            runs.append([name])
    texts = [run[0] if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs]
    return ", ".join([*texts, *sorted(wanted - set(order))]) or "-"


def target_name(triple: str, cpu: str, features: tuple[str, ...]) -> str:
    """Name of a target, or its triple and CPU where it has none."""
    for name, target in TARGETS.items():
        if (target.triple, target.cpu, tuple(target.features)) == (triple, cpu, features):
            return name
    return f"{triple}/{cpu}"


def target_of(profile: Profile) -> str:
    """Name of the profile's target."""
    return target_name(profile.triple, profile.cpu, profile.features)


def why_not_here(profile: Profile) -> str | None:
    """The reason why the runtime here does not load artifacts of that profile, None if it does."""
    from evmaot.runtime.loading import profile_refusal

    return profile_refusal(StoredProfile(profile.digest, profile))


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A profile and a fork."""

    profile: StoredProfile
    fork: str
    contracts: int
    """Artifacts that serve the fork."""
    packs: int
    size_bytes: int
    """Size of the libraries that hold them."""


def profile_rows(summary: StoreSummary, fork: Fork | None) -> list[ProfileRow]:
    """A row for each profile and each fork that something was built for, or for the one `fork`."""
    rows = []
    for short, found in summary.packs.items():
        contracts: Counter[str] = Counter()
        packs: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        built: set[str] = set()
        for pack in found.values():
            built.update(pack.built_for)
            for served, number in pack.served.items():
                contracts.update(dict.fromkeys(served, number))
            here = {name for served in pack.served for name in served}
            packs.update(here)
            sizes.update(dict.fromkeys(here, pack.size_bytes))
        for name in FORKS:
            if contracts[name] and (name == fork.name if fork else name in built):
                rows.append(ProfileRow(summary.profiles[short], name, contracts[name], packs[name], sizes[name]))
    return rows


def profile_data(row: ProfileRow) -> dict[str, Any]:
    """A row for JSON."""
    profile = row.profile.profile
    return {
        "profile": row.profile.digest,
        "tier": profile.tier,
        "target": target_of(profile),
        "fork": row.fork,
        "contracts": row.contracts,
        "packs": row.packs,
        "size_bytes": row.size_bytes,
        "not_loadable": why_not_here(profile),
        "stale": stale_in(profile),
    }


def member_data(entry: Entry, served: ServedForks) -> dict[str, Any]:
    """A contract for JSON."""
    pack, member = entry
    return {
        "code_hash": "0x" + member.code_hash,
        "code_sha256": member.code_sha256,
        "length_bytes": member.length,
        "label": member.label,
        "forks": list(served(member)),
        "built_for": list(member.forks),
        "tier": pack.profile.profile.tier,
        "target": target_of(pack.profile.profile),
        "profile": pack.profile.digest,
        "rules": member.rules,
        "key": key_of(entry),
        "pack": pack.manifest.object.sha256,
        "slot": member.slot,
        "symbol": member.symbol,
        "holes": [list(hole) for hole in member.holes],
        "compile_seconds": member.compile_ms / 1000,
        "created": pack.manifest.created,
    }


def shadowing(stores: Sequence[Place], found: Sequence[StoreIndex]) -> dict[MemberKey, str]:
    """The store that answers for each artifact that several may have; empty where there are no layers."""
    if len(stores) < 2:
        return {}
    first: dict[MemberKey, str] = {}
    for place, index in zip(stores, found, strict=True):
        for entry in index:
            first.setdefault(entry.key, str(place.path))
    return first


def held_data(entry: Entry, served: ServedForks, place: Place, first: Mapping[MemberKey, str]) -> dict[str, Any]:
    """A contract for JSON, and where it lies; `first` is that of `shadowing`."""
    path = str(place.path)
    above = first.get(entry.key, path)
    return {**member_data(entry, served), "store": path, "shadowed_by": None if above == path else above}


def key_of(entry: Entry) -> str:
    """The unit key of a member, hex."""
    pack, member = entry
    return unit_key(pack.manifest.profile, member.rules, member.code_sha256, member.length, member.holes)


def signer_name(origin: Origin) -> str | None:
    """Number of the key that had signed an import, as minisign shows it; None where none had."""
    if not origin.signed_by:
        return None
    from evmaot.sharing.signature import is_key_text, parse_public_key

    known = is_key_text(origin.signed_by)
    return parse_public_key(origin.signed_by, "the manifest").name if known else origin.signed_by


def pack_data(pack: Pack) -> dict[str, Any]:
    """A pack for JSON, without its members."""
    manifest = pack.manifest
    return {
        "pack": manifest.object.sha256,
        "size_bytes": manifest.object.size,
        "soname": manifest.object.soname,
        "members": len(manifest.members),
        "profile": pack.profile.digest,
        "tier": pack.profile.profile.tier,
        "target": target_of(pack.profile.profile),
        "created": manifest.created,
        "origin": {
            "kind": manifest.origin.kind,
            "builder": manifest.origin.builder,
            "host": manifest.origin.host,
            "signed_by": signer_name(manifest.origin),
        },
        "manifest": str(pack.manifest_path),
        "library": str(pack.object_path),
        "not_loadable": why_not_here(pack.profile.profile),
    }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which members a command means; what is None does not restrict."""

    pattern: str | None = None
    fork: Fork | None = None
    profile: str | None = None
    """First digits of a profile's digest."""
    among: frozenset[str] | None = None
    """Whole digests of profiles."""

    def has_profile(self, digest: str) -> bool:
        """Whether artifacts of that profile are meant."""
        return (self.profile is None or digest.startswith(self.profile.lower())) and (
            self.among is None or digest in self.among
        )

    def __contains__(self, entry: Entry) -> bool:
        pack, member = entry
        return (
            self.has_profile(pack.manifest.profile)
            and (self.pattern is None or matches_pattern(self.pattern, member))
            and (self.fork is None or serves(member, self.fork))
        )

    def of(self, index: StoreIndex) -> list[Entry]:
        """The members of an index that are meant."""
        return [entry for entry in index if entry in self]


@dataclass(frozen=True, slots=True)
class Found:
    """What the first digits of a name stand for; at most one of the fields is not empty."""

    members: Sequence[Entry] = ()
    packs: Sequence[Pack] = ()
    profiles: Sequence[StoredProfile] = ()

    def __bool__(self) -> bool:
        return bool(self.members or self.packs or self.profiles)


def find(index: StoreIndex, name: str) -> Found:
    """What a person means by a name: code hash (0x), pack, profile, SHA-256 of a code, unit key, or label."""
    text = name.lower()
    if re.fullmatch(r"0x[0-9a-f]{1,64}", text):
        return Found(members=[entry for entry in index if entry.member.code_hash.startswith(text[2:])])
    if re.fullmatch(rf"[0-9a-f]{{{MIN_DIGITS},64}}", text):
        packs = [pack for pack in index.packs if pack.manifest.object.sha256.startswith(text)]
        if packs:
            return Found(packs=packs)
        profiles = [profile for profile in index.profiles.values() if profile.digest.startswith(text)]
        if profiles:
            return Found(profiles=profiles)
        members = [entry for entry in index if entry.member.code_sha256.startswith(text)]
        # Last, because it computes the key of every member.
        members = members or [entry for entry in index if key_of(entry).startswith(text)]
        if members:
            return Found(members=members)
    return Found(members=[entry for entry in index if matches_pattern(name, entry.member)])
