"""Compile time per KB of bytecode: chains of each opcode, and real contracts, in both tiers.

    python bench/compile_time.py [--fork osaka] [--bytes 2048] [--folder FOLDER] [--only NAME ...] [--no-contracts]

A *dense* chain repeats the opcode alone: hostile code, which would underflow and must be compiled all the
same.  A *fed* chain puts DUPs before each, so that it would run.  FOLDER holds transactions
as `bench/transactions.py` takes them; the code of the called contract is compiled.  Figures are CPU
milliseconds of this process per KB: only ratios carry over to another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from evmaot.cli.scenario import transaction_scenario
from evmaot.codegen.driver import compile_unit, reachable_opcodes
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import Fork, fork_named
from evmaot.evm.instruction_set import restrict
from evmaot.evm.opcodes import OPCODES, Opcode, Trait

POP, DUP1, JUMPDEST = 0x50, 0x80, 0x5B
TIERS = (Tier.FAST, Tier.OPTIMISED)


def main() -> None:
    """Print one row for each code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fork", default="osaka")
    parser.add_argument("--bytes", type=int, default=2048, help="length of a chain")
    parser.add_argument("--folder", type=Path, default=_default_folder())
    parser.add_argument("--only", nargs="*", default=None, help="names of opcodes, chains or contracts")
    parser.add_argument("--no-contracts", action="store_true")
    arguments = parser.parse_args()
    fork = fork_named(arguments.fork)
    print(f"{'code':34}{'bytes':>7}{'fast ms/KB':>12}{'optimised ms/KB':>17}")
    codes = list(_chains(fork, arguments.bytes))
    if not arguments.no_contracts and arguments.folder.is_dir():
        codes += _contracts(arguments.folder, fork)
    for name, code in codes:
        if arguments.only is None or name in arguments.only or name.split()[-1] in arguments.only:
            fast, optimised = (_milliseconds_per_kb(code, fork, tier) for tier in TIERS)
            print(f"{name:34}{len(code):>7}{fast:>12.0f}{optimised:>17.0f}", flush=True)


def _default_folder() -> Path:
    given = os.environ.get("EVMAOT_FIXTURES")
    return (Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "fixtures") / "bench"


def _chains(fork: Fork, size: int) -> Iterator[tuple[str, bytes]]:
    for row in OPCODES:
        if row is None or fork.opcode_gas[row.value] is None or row.has(Trait.TERMINATOR):
            continue
        unit = bytes([row.value]) + bytes([0xA5] * row.immediate_size)
        yield f"dense {row.mnemonic}", _entered(unit, size)
        unit = _fed(row)
        yield f"fed {row.mnemonic}", _entered(unit, size)
    yield "jumped-to JUMPDEST", _jumped_to(size)
    yield "dynamically jumped-to JUMPDEST", _entered(bytes([JUMPDEST]), size)


def _entered(unit: bytes, size: int) -> bytes:
    """Runs of the unit behind destinations of a computed jump: nothing is known of the stack there."""
    run = bytes([JUMPDEST]) + unit * max(1, 256 // len(unit))
    return bytes([0x5F, 0x35, 0x56]) + run * max(1, size // len(run))


def _fed(row: Opcode) -> bytes:
    """The opcode with variable operands, and as high a stack behind as before."""
    immediate = bytes([0xA5] * row.immediate_size)
    if row.mnemonic.startswith(("DUP", "SWAP", "PUSH")) or not row.inputs:
        return bytes([row.value]) + immediate + bytes([POP]) * max(0, row.outputs - row.inputs)
    feed = bytes(DUP1 + row.inputs - 1 for _ in range(row.inputs - row.outputs))
    return feed + bytes([row.value]) + immediate


def _jumped_to(size: int) -> bytes:
    """A run of destinations, and conditional jumps to each."""
    count = size // 7
    jumps = b"".join(
        bytes([DUP1, 0x61]) + (6 * count + index).to_bytes(2, "big") + b"\x57\x5a" for index in range(count)
    )
    return jumps + bytes([JUMPDEST]) * count


def _contracts(folder: Path, fork: Fork) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("*.json")):
        yield path.stem, transaction_scenario(json.loads(path.read_text()), fork, None)[0].message.code


def _milliseconds_per_kb(code: bytes, fork: Fork, tier: Tier) -> float:
    rules = restrict(fork, reachable_opcodes(code))
    start = time.process_time()
    compile_unit(code, rules, CompileOptions(tier), "evmaot_bench")
    return (time.process_time() - start) * 1e3 * 1024 / len(code)


if __name__ == "__main__":
    main()
