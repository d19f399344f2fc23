"""A program as text, and its control flow as a dot graph.

Job: what people read in dumps and golden tests.  Invariant: equal programs print equal text.
May import: `ir.program`.
"""

from __future__ import annotations

from evmaot.codegen.ir.program import Block, Instruction, Program


def instruction_text(instruction: Instruction, gas: int | None) -> str:
    """One instruction: mnemonic and immediate, marked where the fork does not define it."""
    row = instruction.row
    if row is None:
        return f"UNDEFINED 0x{instruction.opcode:02x}"
    name = row.mnemonic
    if row.immediate_size:
        name += " (hole)" if instruction.is_hole else f" 0x{instruction.immediate:0{2 * row.immediate_size}x}"
    return name if gas is not None else f"{name} ; undefined"


def program_text(program: Program) -> str:
    """All live blocks, grouped by region and chain."""
    chain_of = {chain[0]: chain for chain in program.chains}
    lines = [f"code {len(program.code)} bytes, rules {program.rules.digest[:16]}"]
    for index, region in enumerate(program.regions):
        lines.append(f"region {index}")
        for head in region:
            for label in chain_of[head]:
                mark = "chain" if label == head else "and"
                lines += [f"  {mark} {line}" if n == 0 else line for n, line in enumerate(_block_lines(program, label))]
    return "\n".join(lines) + "\n"


def _block_lines(program: Program, label: int) -> list[str]:
    block = program.block(label)
    effect = block.stack
    lines = [
        f"b{label} at {block.pc:05x} ({block.entry.value}) "
        f"needs {effect.needs} grows {effect.grows} change {effect.change:+d}"
    ]
    charges = dict(block.charges)
    for index, instruction in enumerate(block.instructions):
        if index in charges:
            lines.append(f"    charge {charges[index]}")
        lines.append(f"    {instruction.pc:05x} {instruction_text(instruction, program.rules.gas(instruction.opcode))}")
    lines.append(f"    -> {_successors_text(block)}")
    return lines


def _successors_text(block: Block) -> str:
    parts = []
    if block.jump.value != "none":
        labels = ", ".join(f"b{label}" for label in block.jump_labels)
        parts.append(f"jump {block.jump.value}{' ' + labels if labels else ''}")
    if block.falls_to is not None:
        parts.append(f"b{block.falls_to}")
    if block.resumes_at is not None:
        parts.append(f"suspend, resume b{block.resumes_at}")
    return "; ".join(parts) or "end"


def control_flow_graph(program: Program) -> str:
    """Live blocks and known edges in dot; a dashed edge to `dynamic` is a jump to any JUMPDEST."""
    lines = ["digraph program {", '  node [shape=box, fontname="monospace"];']
    if program.has_dynamic_jump:
        lines.append('  dynamic [shape=ellipse, label="any JUMPDEST"];')
    for label in sorted(program.live):
        block = program.block(label)
        end = block.instructions[-1] if block.instructions else None
        last = instruction_text(end, program.rules.gas(end.opcode)) if end else "(empty)"
        lines.append(f'  b{label} [label="b{label} pc {block.pc:#x}\\n{len(block.instructions)} ops, {last}"];')
        lines += [f"  b{label} -> b{target};" for target in block.jump_labels]
        if block.jump.value == "dynamic":
            lines.append(f"  b{label} -> dynamic [style=dashed];")
        if block.falls_to is not None:
            lines.append(f"  b{label} -> b{block.falls_to} [style=dotted];")
        if block.resumes_at is not None:
            lines.append(f'  b{label} -> b{block.resumes_at} [label="resume"];')
    return "\n".join([*lines, "}", ""])
