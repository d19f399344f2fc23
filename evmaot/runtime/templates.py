"""Templates of the catalogue: which artifacts stand for a code that was never compiled itself.

Job: find the templates that a code is made of, and remember the answer.  A template is compiled once for all
deployments that differ in its holes (immutables, library addresses); what is in the holes is read from the
running code.  Invariants: a match compares SHA-256 over the code's length, the holes and every byte outside
them; what is remembered for a code hash was found for code of that hash, and is bounded, as misses are; lists
are replaced, never changed, so that look-ups need no lock.  May import: `evmaot.evm`, `evmaot.store`,
`execution.hashing`, other parts of the runtime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from evmaot.evm.template import TemplateTable
from evmaot.execution.hashing import keccak256
from evmaot.runtime.candidates import Candidate, LibraryRecord
from evmaot.store.manifest import Member

MAX_REMEMBERED_CODES: Final = 16_384
"""Deployments that are remembered, each with 2 KB in all; then they are found again: factories make ever new ones."""


class TemplateIndex:
    """Templates by length, holes and digest."""

    def __init__(self) -> None:
        self._table: TemplateTable[Candidate] = TemplateTable()
        self._matched: dict[bytes, list[Candidate]] = {}
        # Nobody has hashed these codes: a wrong code must not hide the one that has the hash.
        self._unmatched: set[tuple[bytes, int]] = set()

    def add(self, rank: tuple[int, int, int], record: LibraryRecord, member: Member) -> None:
        """Index a template.  The caller has the catalogue's lock."""
        self._table.add(member.length, member.holes, member.code_sha256, Candidate(rank, record, member))
        # What was remembered may lack it.
        self._matched, self._unmatched = {}, set()

    def match(self, code_hash: bytes, code: bytes | None) -> Sequence[Candidate]:
        """Artifacts of the templates that a code is made of; by its hash alone, if that was found before."""
        remembered, unmatched = self._matched, self._unmatched
        known = remembered.get(code_hash)
        if known is not None or code is None or not self._table:
            return known or ()
        # The hash of bytes is computed once for each object.
        miss = code_hash, hash(code)
        if miss in unmatched:
            return ()
        # Of a template that is added meanwhile the answer knows nothing, and then it goes where nobody looks.
        matched = self._matches_of(code_hash, code)
        if not matched:
            if len(unmatched) >= MAX_REMEMBERED_CODES:
                self._unmatched = unmatched = set()
            unmatched.add(miss)
            return ()
        if len(remembered) >= MAX_REMEMBERED_CODES:
            self._matched = remembered = {}
        remembered[code_hash] = matched
        return matched

    def _matches_of(self, code_hash: bytes, code: bytes) -> list[Candidate]:
        found = self._table.matching(code)
        if not found or keccak256(code) != code_hash:
            return []
        code_sha256 = hashlib.sha256(code).hexdigest()
        return [
            Candidate(
                one.rank,
                one.record,
                one.member._replace(code_hash=code_hash.hex(), code_sha256=code_sha256),
                template=one.member,
            )
            for one in sorted(found, key=lambda one: one.rank)
        ]
