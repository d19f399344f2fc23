"""What a manifest says of its members, computed again from what proves it.

Job: compare members with the bytecode that their pack keeps, and with the tables of forks; make them right again.
What proves what: the library's table, that it has code for a SHA-256 under rules; SHA-256, which bytecode that is, and
so the keccak hash, length and holes; the rules digest, the set of opcodes, for it is taken over that set.
Invariants: what is not known is not called wrong; a member is made right only of what was proved.
May import: `evmaot.compiler_version`, `evmaot.execution.hashing`, `evmaot.codegen.frontend.decode`, `evmaot.store`,
`evmaot.abi`, `evmaot.evm`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from evmaot.abi.library import ParsedTable
from evmaot.compiler_version import compiler_digest
from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import opcode_bitmap
from evmaot.execution.hashing import keccak256
from evmaot.store.codes import StoredCode
from evmaot.store.index import rules_digest
from evmaot.store.keys import Profile, entry_symbol, unit_key
from evmaot.store.manifest import Member, PackManifest

KINDS_BUILT_HERE = frozenset({"build"})
"""Origins whose rules are those of forks in the table: a JIT backend may have had prices of its own."""


class WrongMember(NamedTuple):
    """A member of a manifest that is not as it should be."""

    member: Member
    field: str
    expected: str

    @property
    def message(self) -> str:
        """In words."""
        found = getattr(self.member, self.field)
        return f"{self.field} of {self.member.label!r} is {_short(found)}, and should be {self.expected}"


def _short(value: object) -> str:
    return value[:16] if isinstance(value, str) else str(value)


def proved(member: Member, code: StoredCode) -> Member:
    """The member with all that its bytecode alone decides, but for the opcodes."""
    return member._replace(code_hash=keccak256(code.code).hex(), length=len(code.code), holes=code.holes)


def opcodes_of(code: StoredCode) -> str:
    """Bitmap of the opcodes that decide which rules a code can tell apart.  Takes 0.4 ms per KB."""
    from evmaot.codegen.frontend.decode import reachable_opcodes

    return opcode_bitmap(reachable_opcodes(code.code))


def wrong_members(
    manifest: PackManifest, profile: Profile, codes: Iterable[StoredCode] | None, *, decode: bool = False
) -> Iterator[WrongMember]:
    """Members that the bytecode, or the tables of forks, contradict; the first wrong field of each.

    `decode`: find out the opcodes of all codes, not only of those where there is a doubt.
    """
    by_sha256 = {code.sha256: code for code in codes or ()}
    # Another version of the compiler may price and analyse otherwise; what it made is then not for this one to judge.
    is_current = profile.compiler == compiler_digest()
    for member in manifest.members:
        wrong = _wrong_by_code(member, by_sha256.get(member.code_sha256))
        if wrong is None and is_current:
            is_built = manifest.origin.kind in KINDS_BUILT_HERE
            wrong = _wrong_by_rules(member, by_sha256.get(member.code_sha256), is_built, decode)
        if wrong is not None:
            yield wrong


def _wrong_by_code(member: Member, code: StoredCode | None) -> WrongMember | None:
    return None if code is None else _difference(member, proved(member, code), ("code_hash", "length", "holes"))


def _difference(member: Member, right: Member, fields: Iterable[str]) -> WrongMember | None:
    for field in fields:
        if getattr(member, field) != getattr(right, field):
            return WrongMember(member, field, _short(getattr(right, field)))
    return None


def _wrong_by_rules(member: Member, code: StoredCode | None, is_built: bool, decode: bool) -> WrongMember | None:
    """The rules digest covers the opcodes: if a fork gives it, both are right, or were computed of the same mistake."""
    unserved = [name for name in member.forks if not _serves(member, name)]
    unknown = [name for name in unserved if name not in FORKS]
    if not unserved and not decode:
        return None
    if code is not None:
        opcodes = opcodes_of(code)
        if opcodes != member.opcodes:
            return WrongMember(member, "opcodes", _short(opcodes))
    if unknown:
        return WrongMember(member, "forks", f"without {', '.join(unknown)}, which this compiler does not know")
    if not unserved or not is_built:
        return None
    if len(unserved) < len(member.forks):
        return WrongMember(member, "forks", f"without {', '.join(unserved)}")
    return WrongMember(member, "rules", "those of the opcodes under one of its forks")


def _serves(member: Member, fork: str) -> bool:
    return fork in FORKS and rules_digest(FORKS[fork], member.opcodes) == member.rules


def has_own_prices(manifest: PackManifest) -> bool:
    """Whether something in a pack was compiled for prices of no fork, as a JIT backend may have them (`gas_params`)."""
    if manifest.origin.kind in KINDS_BUILT_HERE:
        return False
    return not all(any(_serves(member, name) for name in member.forks) for member in manifest.members)


def compared(member: Member, expected: Mapping[tuple[str, str], Member]) -> WrongMember | None:
    """What is wrong with a member beside those that a compiler makes of the same pack, by SHA-256 and rules."""
    right = expected.get((member.code_sha256, member.rules))
    if right is None:
        return WrongMember(member, "code_sha256", "that of a code in the library")
    return _difference(member, right, ("code_hash", "length", "holes", "opcodes", "symbol"))


def corrected(manifest: PackManifest, codes: Collection[StoredCode], table: ParsedTable) -> tuple[Member, ...] | None:
    """The members made right, None where the table or the bytecode do not say how.

    `table`: of the library, whose bytes have the SHA-256 of the manifest.
    """
    by_sha256 = {code.sha256: code for code in codes}
    found = []
    for member in manifest.members:
        code = by_sha256.get(member.code_sha256)
        if code is None or table.find(bytes.fromhex(member.code_sha256), bytes.fromhex(member.rules)) is None:
            return None
        right = proved(member, code)._replace(opcodes=opcodes_of(code))
        key = unit_key(manifest.profile, right.rules, right.code_sha256, right.length, right.holes)
        right = right._replace(symbol=entry_symbol(key))
        served = tuple(name for name in FORKS if _serves(right, name))
        forks = tuple(name for name in member.forks if name in served) or served
        if not forks:
            return None
        found.append(right._replace(forks=forks))
    return tuple(found)
