"""What jumps can reach: precise where compilers are, and never less than what really happens."""

from __future__ import annotations

import random

import pytest

from evmaot.codegen.analysis.jump_targets import MAX_HEIGHT, MAX_TARGETS
from evmaot.codegen.driver import plan
from evmaot.codegen.ir.program import Block, Entry, Instruction, JumpKind, Program
from evmaot.codegen.options import CompileOptions
from evmaot.evm.forks import FORKS
from evmaot.evm.opcodes import Opcode
from evmaot.evm.semantics import PURE_FUNCTIONS
from tests.support.programs import planned, rules_of
from tests.support.random_programs import random_jumps


def jumps(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Kind and pcs of each live jump, in order."""
    program = planned(text)
    blocks = [program.block(label) for label in sorted(program.live)]
    return [
        (block.jump.value, tuple(program.block(label).pc for label in block.jump_labels))
        for block in blocks
        if block.jump is not JumpKind.NONE
    ]


def test_a_pushed_target_is_static() -> None:
    assert jumps("@a JUMP a: STOP") == [("static", (4,))]


@pytest.mark.parametrize(
    "text",
    [
        "1 3 ADD JUMP JUMPDEST",
        "0 JUMP",
        "PUSH2=3 JUMP",
        "4 JUMP x605b",
    ],
)
def test_a_known_target_that_is_no_jumpdest_is_invalid(text: str) -> None:
    assert jumps(text) == [("invalid", ())]


@pytest.mark.parametrize(
    ("text", "pc"),
    [
        ("PUSH2=6 1 ADD JUMP a: STOP", 7),
        ("PUSH2=0xFFFF PUSH2=8 AND JUMP a: STOP", 8),
        ("PC 5 ADD JUMP a: STOP", 5),
        ("PUSH2=0x0700 8 SHR JUMP a: STOP", 7),
        ("9 2 SWAP1 SUB JUMP a: STOP", 7),
    ],
)
def test_masked_and_computed_constants_are_known(text: str, pc: int) -> None:
    assert jumps(text) == [("static", (pc,))]


def test_call_data_is_not_known() -> None:
    assert jumps("0 CALLDATALOAD JUMP a: STOP") == [("dynamic", ())]


def test_a_word_that_is_one_of_two_constants() -> None:
    text = "@a @b 0 CALLDATALOAD @c JUMPI SWAP1 c: JUMP a: STOP b: STOP"
    kinds = dict(enumerate(jumps(text)))
    assert [kind for kind, _ in kinds.values()] == ["static", "several"]
    assert len(kinds[1][1]) == 2


def test_two_calls_of_a_function_return_to_their_own_callers() -> None:
    """The two returns are one jump, but nothing else is confused: all targets are known."""
    text = "@r1 @f JUMP r1: @r2 @f JUMP r2: STOP f: JUMP"
    found = jumps(text)
    assert [kind for kind, _ in found] == ["static", "static", "several"]
    assert len(found[-1][1]) == 2


def test_nested_calls_are_followed() -> None:
    text = "@r1 @f JUMP r1: @r2 @f JUMP r2: @r3 @g JUMP r3: STOP f: @s @g JUMP s: JUMP g: JUMP"
    assert not planned(text).has_dynamic_jump


def test_recursion_ends_in_the_answer_that_nothing_is_known() -> None:
    """Constants within a block are still known."""
    text = "@end 9 @f JUMP f: DUP1 @base JUMPI @r SWAP1 @f JUMP r: JUMP base: POP JUMP end: STOP"
    found = jumps(text)
    assert ("dynamic", ()) in found
    assert "static" in [kind for kind, _ in found]


def test_a_height_beyond_the_bound_ends_in_the_answer_that_nothing_is_known() -> None:
    words = "CALLER " * (MAX_HEIGHT + 1)
    assert jumps(f"@a {words} SWAP1 POP @b JUMP b: JUMP a: STOP")[-1] == ("dynamic", ())


def test_more_targets_than_the_bound() -> None:
    """As many callers as you like: each is a context of its own."""
    calls = " ".join(f"@r{n} @f JUMP r{n}: CALLER POP" for n in range(MAX_TARGETS + 6))
    kind, pcs = jumps(f"{calls} STOP f: JUMP")[-1]
    assert (kind, len(pcs)) == ("several", MAX_TARGETS + 6)


def test_a_path_that_underflows_goes_nowhere() -> None:
    program = planned("POP @a JUMP a: STOP")
    assert all(block.jump is JumpKind.NONE for block in program.blocks)


class Walk:
    """A concrete run of the instructions that matter for jumps; anything else pushes chosen words."""

    def __init__(self, program: Program, random_: random.Random) -> None:
        self.program, self.random = program, random_
        self.by_pc = {block.pc: block for block in program.blocks if block.entry is Entry.JUMPDEST}

    def step(self, block: Block, stack: list[int]) -> Block | None:
        """The block that follows; None where the run ends."""
        for instruction in block.instructions:
            row = instruction.row
            if row is None or len(stack) < row.inputs:
                return None
            if row.mnemonic in ("JUMP", "JUMPI"):
                target = stack.pop()
                if row.mnemonic == "JUMPI" and (stack.pop() == 0 or self.random.random() < 0.4):
                    continue
                return self.jump(block, target)
            self.compute(instruction, row, stack)
        return self.program.block(block.falls_to) if block.falls_to is not None else None

    def compute(self, instruction: Instruction, row: Opcode, stack: list[int]) -> None:
        if row.mnemonic.startswith("PUSH"):
            stack.append(instruction.immediate)
        elif row.mnemonic.startswith("DUP"):
            stack.append(stack[-row.inputs])
        elif row.mnemonic.startswith("SWAP"):
            stack[-1], stack[-row.inputs] = stack[-row.inputs], stack[-1]
        elif row.mnemonic == "PC":
            stack.append(instruction.pc)
        else:
            operands = [stack.pop() for _ in range(row.inputs)]
            function = PURE_FUNCTIONS.get(row.mnemonic)
            chosen = self.random.choice((0, 1, 5, *self.by_pc))
            stack += [function(*operands) if function else chosen] * row.outputs

    def jump(self, block: Block, target: int) -> Block | None:
        found = self.by_pc.get(target)
        if block.jump is not JumpKind.DYNAMIC:
            assert found is None or found.label in block.jump_labels, f"block {block.label} jumps to {target}"
        return found


@pytest.mark.parametrize("seed", range(150))
def test_no_walk_goes_where_the_analysis_does_not_see_it(seed: int) -> None:
    random_ = random.Random(seed)
    code = random_jumps(random_, FORKS["osaka"])
    program = plan(code, rules_of(code), CompileOptions())
    walk = Walk(program, random_)
    for _ in range(20):
        block: Block | None = program.blocks[0]
        stack: list[int] = []
        for _ in range(60):
            if block is None:
                break
            assert block.label in program.live
            block = walk.step(block, stack)
