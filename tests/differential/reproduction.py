"""A message with its world as JSON, and the search for a smaller one that still differs.

`Trial` runs one message on both sides; `shrink` takes away accounts, slots, input and instructions as long as a
trial says that the difference is still there, within a bound on trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from evmaot.evm.opcodes import OPCODES
from tests.differential.compare import differences
from tests.differential.eels_side import EelsSide
from tests.differential.native_side import NativeSide
from tests.support.native import SENDER, Call, Contract

MAX_TRIALS: Final = 1500
_JUMPDEST: Final = 0x5B


def to_json(call: Call, fork: str) -> dict[str, Any]:
    """Numbers as hex, so that a reader recognises addresses and slots."""
    return {
        "fork": fork,
        "target": hex(call.target),
        "gas": call.gas,
        "input": call.input.hex(),
        "value": hex(call.value),
        "is_static": call.is_static,
        "warm_addresses": sorted(map(hex, call.warm_addresses)),
        "warm_slots": [[hex(address), hex(slot)] for address, slot in sorted(call.warm_slots)],
        "world": {
            hex(address): {
                "code": contract.code.hex(),
                "nonce": hex(contract.nonce),
                "balance": hex(contract.balance),
                "storage": {hex(slot): hex(value) for slot, value in sorted(contract.storage.items())},
            }
            for address, contract in sorted(call.world.items())
        },
    }


def from_json(data: dict[str, Any]) -> tuple[Call, str]:
    """The call and its fork."""
    world = {
        int(address, 16): Contract(
            bytes.fromhex(row["code"]), int(row["nonce"], 16), int(row["balance"], 16),
            {int(slot, 16): int(value, 16) for slot, value in row["storage"].items()},
        )
        for address, row in data["world"].items()
    }  # fmt: skip
    call = Call(
        world, data["gas"], bytes.fromhex(data["input"]), int(data["value"], 16), int(data["target"], 16),
        data["is_static"], frozenset(int(address, 16) for address in data["warm_addresses"]),
        frozenset((int(address, 16), int(slot, 16)) for address, slot in data["warm_slots"]),
    )  # fmt: skip
    return call, data["fork"]


class Trial:
    """One message on both sides."""

    def __init__(self, fork: str, eels: EelsSide, native: NativeSide) -> None:
        self.fork = fork
        self.eels = eels
        self.native = native

    def words(self, call: Call) -> list[str]:
        """What differs; empty if nothing does."""
        expected = self.eels.run(call)
        self.native.programs.prepare(())
        try:
            found = self.native.run(call, self.fork)
        except Exception as error:
            return [f"exception: {type(error).__name__}: {error}"]
        return differences(call, self.fork, expected, found)


def shrink(call: Call, differs: Callable[[Call], bool], max_trials: int = MAX_TRIALS) -> Call:
    """The smallest call found that still differs."""
    left = max_trials
    progress = True
    while progress and left > 0:
        progress = False
        for step in (_fewer_accounts, _simpler_message, _simpler_accounts, _shorter_codes):
            found = True
            while found and left > 0:
                found = False
                for smaller in step(call):
                    left -= 1
                    if left < 0:
                        break
                    if differs(smaller):
                        call, found, progress = smaller, True, True
                        break
    return call


def _fewer_accounts(call: Call) -> Iterator[Call]:
    for address in call.world:
        if address not in (call.target, SENDER):
            yield replace(call, world={key: value for key, value in call.world.items() if key != address})


def _simpler_message(call: Call) -> Iterator[Call]:
    if call.input:
        for input in (b"", call.input[: len(call.input) // 2], bytes(len(call.input))):
            if input != call.input:
                yield replace(call, input=input)
    if call.value:
        yield replace(call, value=0)
    if call.is_static:
        yield replace(call, is_static=False)
    if call.warm_slots:
        yield replace(call, warm_slots=frozenset())
    plain = frozenset((SENDER, call.target))
    if call.warm_addresses != plain:
        yield replace(call, warm_addresses=plain)


def _with(call: Call, address: int, contract: Contract) -> Call:
    return replace(call, world={**call.world, address: contract})


def _simpler_accounts(call: Call) -> Iterator[Call]:
    for address, contract in call.world.items():
        if contract.storage:
            yield _with(call, address, replace(contract, storage={}))
            for slot in contract.storage:
                rest = {key: value for key, value in contract.storage.items() if key != slot}
                yield _with(call, address, replace(contract, storage=rest))
        if address != SENDER and contract.balance:
            yield _with(call, address, replace(contract, balance=0))
        if contract.code and contract.nonce != 1:
            yield _with(call, address, replace(contract, nonce=1))


def _shorter_codes(call: Call) -> Iterator[Call]:
    for address, contract in call.world.items():
        for code in shorter_codes(contract.code):
            yield _with(call, address, replace(contract, code=code))


def shorter_codes(code: bytes) -> Iterator[bytes]:
    """Codes with instructions cut out, or blotted out so that the others keep their places."""
    starts = []
    pc = 0
    while pc < len(code):
        starts.append(pc)
        row = OPCODES[code[pc]]
        pc += 1 + (row.immediate_size if row else 0)
    ends = [*starts[1:], len(code)]
    size = max(1, len(starts) // 2)
    while starts:
        for first in range(0, len(starts), size):
            begin, end = starts[first], ends[min(first + size, len(starts)) - 1]
            yield code[:begin] + code[end:]
            blot = bytes((_JUMPDEST,)) * (min(end, len(code)) - begin)
            if code[begin:end] != blot:
                yield code[:begin] + blot + code[end:]
        if size == 1:
            return
        size //= 2
