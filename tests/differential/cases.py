"""Generated worlds, and the messages that enter every program in them.

`generated_world(seed, fork)` and `common_worlds(seed)` give the same for the same arguments, on any machine.  Each
message of a world calls one of its programs; `variants` gives the same message with as much gas as it used, or less.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from evmaot.codegen.driver import reachable_opcodes
from evmaot.evm.forks import FORKS, Fork
from evmaot.evm.instruction_set import restrict
from tests.differential.contracts import SELECTORS
from tests.differential.families import FAMILIES
from tests.differential.instructions import (
    CONTRACTS,
    DELEGATED,
    DELEGATED_TO_PRECOMPILE,
    EMPTY,
    RICH,
    SLOTS,
)
from tests.differential.programs import LOOPING, generated_code, random_shape
from tests.support.native import SENDER, Call, Contract, World

_ATTEMPTS: Final = 12
"""To generate a program that all forks price alike."""
_FIRST: Final = "frontier"
_DESIGNATOR: Final = b"\xef\x01\x00"


@dataclass(frozen=True, slots=True)
class Generated:
    """A world's messages under one fork; all of them start from the same world."""

    seed: str
    fork: str
    calls: tuple[Call, ...]


def fork_of(family: str, seed: str) -> str:
    """The fork that a world runs under."""
    return random.Random(f"fork {seed}").choice(FAMILIES[family])


def generated_world(seed: str, fork: str) -> Generated:
    """Programs, other accounts, and a message to each program."""
    random_ = random.Random(f"{seed} {fork}")
    rules = FORKS[fork]
    shapes = {address: random_shape(random_) for address in CONTRACTS}
    codes = {address: generated_code(random_, rules, shape) for address, shape in shapes.items()}
    return _generated(random_, seed, rules, shapes, codes)


def common_worlds(seed: str) -> list[Generated]:
    """The same programs under a fork of each family: compiled once, because these forks price them alike."""
    random_ = random.Random(f"{seed} common")
    forks = [FORKS[fork_of(family, seed)] for family in FAMILIES]
    shapes, codes = {}, {}
    for address in CONTRACTS:
        for _ in range(_ATTEMPTS):
            shapes[address] = random_shape(random_)
            code = codes[address] = generated_code(random_, FORKS[_FIRST], shapes[address])
            opcodes = reachable_opcodes(code)
            if len({restrict(fork, opcodes).digest for fork in forks}) == 1:
                break
    return [_generated(random.Random(f"{seed} {fork.name}"), seed, fork, shapes, codes) for fork in forks]


def _generated(
    random_: random.Random, seed: str, rules: Fork, shapes: Mapping[int, str], codes: Mapping[int, bytes]
) -> Generated:
    world = _world(random_, rules, codes)
    calls = [_call(random_, rules, world, target, loops=shape in LOOPING) for target, shape in shapes.items()]
    if rules.parameters.delegations and random_.random() < 0.3:
        target = random_.choice((DELEGATED, DELEGATED_TO_PRECOMPILE))
        calls.append(_call(random_, rules, world, target, loops=True))
    return Generated(seed, rules.name, tuple(calls))


def _world(random_: random.Random, rules: Fork, codes: Mapping[int, bytes]) -> World:
    world = {
        address: Contract(
            code,
            nonce=random_.choice((1, 1, 1, (1 << 64) - 1 if random_.random() < 0.2 else 2)),
            balance=random_.choice((0, 7, 1000)),
            storage={slot: random_.choice((1, 2, random_.getrandbits(256))) for slot in random_.sample(SLOTS, 3)},
        )
        for address, code in codes.items()
    }
    world[SENDER] = Contract(balance=10**18)
    world[EMPTY] = Contract(nonce=0)
    world[RICH] = Contract(nonce=0, balance=5)
    if rules.parameters.delegations:
        world[DELEGATED] = Contract(_DESIGNATOR + CONTRACTS[1].to_bytes(20, "big"))
        world[DELEGATED_TO_PRECOMPILE] = Contract(_DESIGNATOR + (2).to_bytes(20, "big"))
    return world


def _call(random_: random.Random, rules: Fork, world: World, target: int, *, loops: bool) -> Call:
    warm_addresses, warm_slots = {SENDER, target}, set[tuple[int, int]]()
    if random_.random() < 0.3:
        warm_addresses.add(random_.choice(list(world)))
        warm_slots.update((target, slot) for slot in random_.sample(SLOTS, 2))
    return Call(
        world,
        # EELS interprets each round of an endless loop.
        gas=random_.choice((2_000, 4_000, 12_000) if loops else (40_000, 60_000, 100_000, random_.randrange(25_000))),
        input=_input(random_),
        value=random_.choice((0, 0, 0, 3)),
        target=target,
        is_static=rules.prices("STATICCALL") and random_.random() < 0.05,
        warm_addresses=frozenset(warm_addresses),
        warm_slots=frozenset(warm_slots),
    )


def _input(random_: random.Random) -> bytes:
    kind = random_.random()
    if kind < 0.15:
        return b""
    if kind < 0.3:
        return bytes(64)
    if kind < 0.5:
        word = random_.choice((0, 1, random_.getrandbits(256), (1 << 256) - 1))
        return random_.choice(SELECTORS).to_bytes(4, "big") + word.to_bytes(32, "big")
    return random_.randbytes(random_.choice((3, 4, 32, 36, 68)))


def variants(call: Call, used: int, seed: str) -> tuple[Call, ...]:
    """The same message with less gas: exactly what it used, one less, or something between."""
    random_ = random.Random(f"gas {seed} {call.target}")
    if used < 2 or random_.random() < 0.5:
        return ()
    gas = random_.choice((used, used - 1, used - 1, random_.randrange(used), used + random_.randrange(2500)))
    return (replace(call, gas=gas),)
