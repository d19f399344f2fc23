"""The 609 single-frame vectors: what they give, what they expect, and how an outcome is compared.

A vector runs one frame under Frontier's rules: call depth 0, no value transfer, the hash of block n
is keccak-256 of its decimal text.  Without `post` the frame must halt exceptionally.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ethereum_rlp import rlp

from evmaot.evm.keccak import keccak256

FILE = "vmtests.jsonl.xz"
VECTORS = 609
RULES = "frontier"


@dataclass(frozen=True, slots=True)
class VectorAccount:
    """An account of a vector's state; slots with value 0 are left out."""

    nonce: int
    balance: int
    code: bytes
    storage: Mapping[int, int]


State = dict[int, VectorAccount]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a frame ended, in the terms that vectors compare.  Logs are (address, topics, data)."""

    halted: bool
    gas_left: int = 0
    output: bytes = b""
    logs: tuple[tuple[int, tuple[int, ...], bytes], ...] = ()
    state: State = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector.  Numbers are ints, addresses too."""

    name: str
    block: Mapping[str, int]
    address: int
    caller: int
    origin: int
    code: bytes
    data: bytes
    gas: int
    gas_price: int
    value: int
    pre: State
    post: State | None
    """None: the frame halts."""
    gas_left: int
    output: bytes
    logs_hash: bytes

    @property
    def is_long(self) -> bool:
        """Loops of up to 10 million rounds."""
        return self.name.startswith("vmPerformance/")


def number(text: str) -> int:
    """A hex number, leading zeros allowed."""
    return int(text, 16)


def data_of(text: str) -> bytes:
    """Hex bytes."""
    return bytes.fromhex(text.removeprefix("0x"))


def state_of(accounts: Mapping[str, Any]) -> State:
    """The accounts of a vector's `pre` or `post`."""
    return {
        number(address): VectorAccount(
            number(account["nonce"]),
            number(account["balance"]),
            data_of(account["code"]),
            {number(slot): number(value) for slot, value in account["storage"].items() if number(value)},
        )
        for address, account in accounts.items()
    }


def parse(case: Mapping[str, Any]) -> Vector:
    """A vector from its JSON object."""
    call = case["exec"]
    block = {key.removeprefix("current"): number(value) for key, value in case["env"].items()}
    halts = "post" not in case
    return Vector(
        name=case["id"],
        block=block,
        address=number(call["address"]),
        caller=number(call["caller"]),
        origin=number(call["origin"]),
        code=data_of(call["code"]),
        data=data_of(call["data"]),
        gas=number(call["gas"]),
        gas_price=number(call["gasPrice"]),
        value=number(call["value"]),
        pre=state_of(case["pre"]),
        post=None if halts else state_of(case["post"]),
        gas_left=0 if halts else number(case["gas"]),
        output=b"" if halts else data_of(case["out"]),
        logs_hash=b"" if halts else data_of(case["logs"]),
    )


def load(fixtures: Path) -> list[Vector]:
    """All vectors, in the file's order."""
    from tests.support.fixtures import read_json_lines

    return [parse(case) for case in read_json_lines(fixtures / FILE)]


def block_hash(height: int) -> int:
    """The hash of a block, as these vectors define it."""
    return int.from_bytes(keccak256(str(height).encode()), "big")


def logs_hash(logs: tuple[tuple[int, tuple[int, ...], bytes], ...]) -> bytes:
    """Keccak-256 of the RLP of the logs."""
    rows: list[Any] = [
        [address.to_bytes(20, "big"), [topic.to_bytes(32, "big") for topic in topics], data]
        for address, topics, data in logs
    ]
    return keccak256(bytes(rlp.encode(rows)))


def differences(vector: Vector, outcome: Outcome) -> list[str]:
    """What an outcome has otherwise than the vector expects; empty if it is right."""
    if vector.post is None:
        return [] if outcome.halted else ["the frame should halt, but it ended"]
    if outcome.halted:
        return ["the frame halted, but it should end"]
    found: list[str] = []
    if outcome.gas_left != vector.gas_left:
        found.append(f"gas left {outcome.gas_left}, expected {vector.gas_left}")
    if outcome.output != vector.output:
        found.append(f"output 0x{outcome.output.hex()}, expected 0x{vector.output.hex()}")
    if logs_hash(outcome.logs) != vector.logs_hash:
        found.append(f"other logs: {outcome.logs}")
    for address in sorted(set(outcome.state) | set(vector.post)):
        mine, expected = outcome.state.get(address), vector.post.get(address)
        if mine != expected:
            found.append(f"account 0x{address:040x}: {mine}, expected {expected}")
    return found
