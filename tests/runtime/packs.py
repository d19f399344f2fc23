"""Hand-made packs: real libraries of trivial entry functions, published into real stores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evmaot.abi.layout import FINGERPRINT, FRAME
from evmaot.abi.library import LibraryTable, TableEntry
from evmaot.codegen.backend.linker import link_shared_library
from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.emit.table import table_text
from evmaot.codegen.options import Tier
from evmaot.compiler_version import compiler_digest, installed_llvmlite
from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import opcode_bitmap, restrict
from evmaot.evm.keccak import keccak256
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.evm.template import code_digest, masked_code
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.keys import Holes, Profile
from evmaot.store.manifest import Member, ObjectRecord, Origin, PackManifest
from evmaot.target import host_target

CODE = bytes.fromhex("602a5f5260205ff3")
"""PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN."""
MNEMONICS = ("PUSH1", "PUSH0", "MSTORE", "RETURN")
GAS = 3 + 2 + (3 + 3) + 3 + 2 + 0
"""What `CODE` costs: PUSH1 3, PUSH0 2, MSTORE 3 and 3 for the first word of memory, RETURN 0."""


@dataclass(frozen=True)
class Contract:
    """One member: what the library claims to be compiled from, and what its entry returns."""

    code: bytes = CODE
    answer: int = 42
    fork: str = "osaka"
    mnemonics: tuple[str, ...] = MNEMONICS
    holes: Holes = ()
    rules: str | None = None

    @property
    def opcodes(self) -> frozenset[int]:
        return frozenset(BY_MNEMONIC[name].value for name in self.mnemonics)

    @property
    def rules_digest(self) -> str:
        return self.rules or restrict(FORKS[self.fork], self.opcodes).digest

    @property
    def code_hash(self) -> bytes:
        return keccak256(masked_code(self.code, self.holes))

    @property
    def code_sha256(self) -> bytes:
        return bytes.fromhex(code_digest(self.code, self.holes))


def profile(
    *,
    compiler: str | None = None,
    abi: str = FINGERPRINT,
    triple: str | None = None,
    features: tuple[str, ...] = (),
    tier: str = "optimised",
) -> Profile:
    target = host_target()
    return Profile(
        compiler=compiler or compiler_digest(),
        llvm="0",
        llvmlite=installed_llvmlite() or "0",
        abi=abi,
        triple=triple or target.triple,
        cpu=target.cpu,
        features=features,
        tier=tier,
    )


def entry_text(symbol: str, answer: int) -> str:
    """Charges `GAS`, stores the answer as a big-endian word and returns it."""

    def store(name: str, value: int) -> str:
        return f"  %{name}.p = getelementptr i8, ptr %f, i64 {FRAME.offset(name)}\n  store i64 {value}, ptr %{name}.p\n"

    word = int.from_bytes(answer.to_bytes(32, "big"), "little")
    return (
        f"define hidden i32 @{symbol}(ptr %f) {{\n"
        f"  %base.p = getelementptr i8, ptr %f, i64 {FRAME.offset('memory_base')}\n"
        f"  %base = load ptr, ptr %base.p\n  store i256 {word}, ptr %base, align 8\n"
        f"  %gas = load i64, ptr %f\n  %left = sub i64 %gas, {GAS}\n  store i64 %left, ptr %f\n"
        + store("memory_size", 32)
        + store("output_size", 32)
        + "  ret i32 1\n}\n"
    )


@cache
def make_library(
    contracts: tuple[Contract, ...], profile_id: bytes, abi: str = FINGERPRINT, soname: str = "evmaot-test"
) -> bytes:
    target = host_target()
    symbols = [f"evmaot_entry_{index}" for index in range(len(contracts))]
    entries = tuple(
        TableEntry(contract.code_sha256, bytes.fromhex(contract.rules_digest), symbol)
        for contract, symbol in zip(contracts, symbols, strict=True)
    )
    table = LibraryTable(bytes.fromhex(abi), profile_id, entries)
    text = "".join(entry_text(symbol, contract.answer) for contract, symbol in zip(contracts, symbols, strict=True))
    objects = [compile_text(part, Tier.FAST, target).data for part in (text, table_text(table))]
    return link_shared_library(objects, soname=soname, target=target)


def make_manifest(library: bytes, contracts: Sequence[Contract], of: Profile) -> PackManifest:
    members = [
        Member(
            code_hash=contract.code_hash.hex(),
            code_sha256=contract.code_sha256.hex(),
            compile_ms=1,
            forks=(contract.fork,),
            holes=contract.holes,
            label=f"contract {index}",
            length=len(contract.code),
            opcodes=opcode_bitmap(contract.opcodes),
            rules=contract.rules_digest,
            slot=index,
            symbol=f"evmaot_entry_{index}",
        )
        for index, contract in enumerate(contracts)
    ]
    return PackManifest(
        profile=of.digest,
        object=ObjectRecord(hashlib.sha256(library).hexdigest(), len(library), "evmaot-test", "evmaot_table"),
        origin=Origin("build", "tests", "here"),
        created="2026-01-01T00:00:00Z",
        members=tuple(members),
    )


def publish(root: Path, *contracts: Contract, of: Profile | None = None, library: bytes | None = None) -> Path:
    """Publish one pack into the store at `root` (made if missing); answers the path of its library."""
    of = of or profile()
    data = library or make_library(tuple(contracts), bytes.fromhex(of.digest), of.abi)
    return ArtifactDirectory.open(root, create=True).publish(data, make_manifest(data, contracts, of), of)


def overwrite(path: Path, data: bytes) -> None:
    """Other bytes under a published name, as damage or an attacker would leave them."""
    path.chmod(0o644)
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o444)
