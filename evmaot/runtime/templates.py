"""Templates of the catalogue: which artifacts stand for a code that was never compiled itself.

Job: find the templates that a code is made of, and remember the answer.  A template is compiled once for all
deployments that differ in its holes (immutables, library addresses); what is in the holes is read from the
running code.  Invariants: a match compares SHA-256 over the code's length, the holes and every byte outside
them; what is remembered for a code hash was found for code of that hash; lists are replaced, never changed,
so that look-ups need no lock.  May import: `evmaot.evm`, `evmaot.store`, `execution.hashing`, other parts of the
runtime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from evmaot.evm.template import TemplateTable
from evmaot.execution.hashing import keccak256
from evmaot.runtime.candidates import Candidate, LibraryRecord
from evmaot.store.manifest import Member

MAX_REMEMBERED_CODES: Final = 65_536
"""Then all is forgotten and found again: a chain has ever new deployments."""


class TemplateIndex:
    """Templates by length, holes and digest."""

    def __init__(self) -> None:
        self._table: TemplateTable[Candidate] = TemplateTable()
        self._matched: dict[bytes, list[Candidate]] = {}

    def add(self, rank: tuple[int, int, int], record: LibraryRecord, member: Member) -> None:
        """Index a template.  The caller has the catalogue's lock."""
        candidate = Candidate(rank, record, member)
        self._table.add(member.length, member.holes, member.code_sha256, candidate)
        # What was remembered may lack it.
        self._matched = {}

    def match(self, code_hash: bytes, code: bytes | None) -> Sequence[Candidate]:
        """Artifacts of the templates that a code is made of; by its hash alone, if that was found before."""
        remembered = self._matched
        known = remembered.get(code_hash)
        if known is not None or code is None:
            return known or ()
        found = self._table.matching(code)
        if not found or keccak256(code) != code_hash:
            return ()
        code_sha256 = hashlib.sha256(code).hexdigest()
        matched = [
            Candidate(
                one.rank,
                one.record,
                one.member._replace(code_hash=code_hash.hex(), code_sha256=code_sha256),
                template=one.member,
            )
            for one in sorted(found, key=lambda one: one.rank)
        ]
        if len(remembered) >= MAX_REMEMBERED_CODES:
            self._matched = remembered = {}
        # Of a template that was added meanwhile `matched` knows nothing, and then it goes where nobody looks.
        remembered[code_hash] = matched
        return matched
