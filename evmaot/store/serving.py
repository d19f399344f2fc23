"""Which forks an artifact serves: those whose rules it cannot tell from the ones that it was compiled for.

Job: the answer for every fork at the price of one digest.  Invariants: the answer is that of comparing the rules digest
under each fork (`evmaot.store.index.serves`), never a list of names; two forks differ for a code if and only if they
differ in an opcode that it contains.  May import: `evmaot.evm`, `evmaot.store.index`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

from evmaot.evm.forks import FORKS, Fork
from evmaot.evm.opcodes import OPCODES
from evmaot.store.index import rules_digest
from evmaot.store.manifest import Member

_ALL_OPCODES = f"{(1 << 256) - 1:064x}"


class ServedForks:
    """Names of the forks that members serve, in the order of the forks; remembered by what decides it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}

    def __call__(self, member: Member) -> tuple[str, ...]:
        """The forks that the member serves."""
        return self.of(member.opcodes, member.rules, member.forks)

    def of(self, opcodes: str, rules: str, likely: Iterable[str] = ()) -> tuple[str, ...]:
        """The forks under whose rules code with these opcodes (bitmap) has that rules digest.

        `likely`: names that are tried first; they change how long it takes and not what is answered.
        """
        found = self._known.get((opcodes, rules))
        if found is None:
            found = self._known[opcodes, rules] = served_forks(opcodes, rules, likely)
        return found


def served_forks(opcodes: str, rules: str, likely: Iterable[str] = ()) -> tuple[str, ...]:
    """The same, not remembered."""
    names = [name for name in likely if name in FORKS]
    bitmap = int(opcodes, 16)
    for name in (*names, *FORKS):
        if rules_digest(FORKS[name], opcodes) == rules:
            return tuple(other for other in FORKS if not bitmap & _difference(name, other))
    return ()


@cache
def _difference(one: str, other: str) -> int:
    """Opcodes (bit n: opcode n) that two forks price or parametrise otherwise."""
    return sum(1 << value for value in range(256) if _differ(FORKS[one], FORKS[other], value))


def _differ(one: Fork, other: Fork, value: int) -> bool:
    price, row = one.opcode_gas[value], OPCODES[value]
    if price != other.opcode_gas[value]:
        return True
    # As the rules digest: an opcode that a fork does not have consults no parameter.
    names = () if row is None or price is None else row.parameters
    return any(getattr(one.parameters, name) != getattr(other.parameters, name) for name in names)


@cache
def fork_table_digest() -> str:
    """SHA-256, hex, of everything that decides which forks an artifact serves: it is remembered on disk by this."""
    digests = ":".join(f"{name}={rules_digest(fork, _ALL_OPCODES)}" for name, fork in FORKS.items())
    return hashlib.sha256(digests.encode()).hexdigest()
