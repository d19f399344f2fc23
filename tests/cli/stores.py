"""Stores for tests of the command line: packs whose libraries are nobody's machine code."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evmaot.abi.layout import FINGERPRINT
from evmaot.compiler_version import compiler_digest, installed_llvmlite
from evmaot.evm.forks import fork_named
from evmaot.evm.instruction_set import opcode_bitmap, restrict
from evmaot.evm.keccak import keccak256
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.keys import Profile
from evmaot.store.manifest import Member, ObjectRecord, Origin, PackManifest, sorted_members

PROFILE = Profile(
    compiler=compiler_digest(),
    llvm="0",  # what loads compares llvmlite
    llvmlite=installed_llvmlite() or "0",
    abi=FINGERPRINT,
    triple="x86_64-unknown-linux-gnu",
    cpu="x86-64",
    features=(),
    tier="optimised",
    linker="own",
)


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract that exists in manifests only."""

    label: str
    code: bytes
    opcodes: tuple[str, ...] = ("STOP",)
    forks: tuple[str, ...] = ("osaka",)

    @property
    def code_hash(self) -> str:
        return keccak256(self.code).hex()

    def member(self, slot: int, fork: str) -> Member:
        values = frozenset(BY_MNEMONIC[name].value for name in self.opcodes)
        return Member(
            code_hash=self.code_hash,
            code_sha256=hashlib.sha256(self.code).hexdigest(),
            compile_ms=10 * len(self.code),
            forks=self.forks,
            holes=(),
            label=self.label,
            length=len(self.code),
            opcodes=opcode_bitmap(values),
            rules=restrict(fork_named(fork), values).digest,
            slot=slot,
            symbol=f"entry_{slot}",
        )


CONTRACTS = (
    Contract("src/Token.sol:Token", b"token", ("STOP", "SLOAD"), ("london", "osaka")),
    Contract("src/Vault.sol:Vault", b"the vault", ("STOP", "CLZ"), ("osaka",)),
    Contract("counter.hex", b"c"),
)


def publish(path: Path, contracts: Sequence[Contract] = CONTRACTS, profile: Profile = PROFILE) -> str:
    """Put one pack into the store, made where it is missing; answers the pack's name."""
    library = b"library of " + ",".join(contract.label for contract in contracts).encode() + profile.short.encode()
    sha256 = hashlib.sha256(library).hexdigest()
    members = [contract.member(slot, contract.forks[-1]) for slot, contract in enumerate(contracts)]
    manifest = PackManifest(
        profile.digest,
        ObjectRecord(sha256, len(library), f"evmaot-{sha256[:16]}.so", "evmaot_table"),
        Origin("build", "evmaot 0.1.0", "here"),
        "2025-11-20T10:00:00Z",
        sorted_members(members),
    )
    store = ArtifactDirectory.open(path, create=True, library_rules=lambda _: None)
    store.publish(library, manifest, profile)
    return sha256
