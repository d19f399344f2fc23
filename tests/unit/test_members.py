"""What proves a member: its bytecode, and the tables of forks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evmaot.abi.library import ENTRY, ParsedTable
from evmaot.compiler_version import compiler_digest
from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import opcode_bitmap
from evmaot.evm.keccak import keccak256
from evmaot.members import corrected, wrong_members
from evmaot.store.codes import StoredCode
from evmaot.store.index import rules_digest
from tests.support.store_samples import pack, profile

CODE = StoredCode(bytes.fromhex("5f5400"), ("osaka",), "x")
"""PUSH0, SLOAD, STOP."""
OPCODES = opcode_bitmap({0x5F, 0x54, 0x00})
CURRENT = profile(compiler=compiler_digest())


def fields(
    kind: str = "build", *, decode: bool = False, codes: tuple[StoredCode, ...] = (CODE,), **changes: str
) -> list[str]:
    row = {"opcodes": OPCODES, "rules": rules_digest(FORKS["osaka"], changes.get("opcodes", OPCODES))} | changes
    _, manifest, _ = pack("x", CURRENT, code_sha256=CODE.sha256, code_hash=keccak256(CODE.code).hex(), length=3, **row)
    manifest = replace(manifest, origin=replace(manifest.origin, kind=kind))
    return [wrong.field for wrong in wrong_members(manifest, CURRENT, codes, decode=decode)]


def test_what_is_right_is_not_called_wrong() -> None:
    for kind in ("build", "jit", "import"):
        for decode in (False, True):
            assert fields(kind, decode=decode) == fields(kind, decode=decode, codes=()) == []


def test_opcodes_and_rules_that_agree_on_a_mistake_are_found_where_the_bytecode_is_decoded() -> None:
    """Without SLOAD in its set the artifact would serve forks with other prices of it: the dangerous mistake."""
    without = opcode_bitmap({0x5F, 0x00})
    assert fields(opcodes=without, decode=True) == ["opcodes"]
    assert fields(opcodes=without) == [], "its digest is of that set: only the bytecode tells"


@pytest.mark.parametrize("kind", ["build", "jit"])
def test_a_fork_that_no_version_knows_is_wrong_whoever_names_it(kind: str) -> None:
    row = {"opcodes": OPCODES, "rules": rules_digest(FORKS["osaka"], OPCODES)}
    _, manifest, _ = pack("x", CURRENT, forks=("osaka", "nosuch"), **row)
    manifest = replace(manifest, origin=replace(manifest.origin, kind=kind))
    assert [wrong.field for wrong in wrong_members(manifest, CURRENT, None)] == ["forks"]
    assert list(wrong_members(manifest, profile(), None)) == [], "another version may know it"


def test_a_member_whose_code_the_library_has_not_is_not_made_right() -> None:
    """Whatever its bytecode says: only the library's own table tells what is in it."""
    code = StoredCode(b"\x60\x01\x60\x02\x01\x00", ("osaka",), "a")
    _, manifest, _ = pack("a")
    (member,) = manifest.members
    manifest = replace(manifest, members=(member._replace(code_sha256=code.sha256),))
    entry = ENTRY.pack(bytes.fromhex(code.sha256), bytes.fromhex(member.rules), 0)
    table = ParsedTable(bytes(32), bytes(32), 1, entry)
    assert corrected(manifest, [code], table) is not None
    assert corrected(manifest, [code], replace(table, count=0, body=b"")) is None
