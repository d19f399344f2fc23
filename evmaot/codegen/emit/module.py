"""A program as one LLVM module: regions, tables, entry function.

Job: text for `backend.llvm`.  Invariants: the only undefined symbols are helpers; tables hold
distances, never addresses, so no dynamic relocation is needed; the same program gives the same text.
May import: `emit.region`, `codegen.builtins.table`, `codegen.ir`, `evmaot.abi`.
"""

from __future__ import annotations

from evmaot.abi.layout import FRAME
from evmaot.abi.status import Status
from evmaot.codegen.builtins.table import SYMBOL_PREFIX, declarations
from evmaot.codegen.builtins.writer import FUNCTION_ATTRIBUTES, MODULE_FOOTER
from evmaot.codegen.emit.lowerings.control_flow import MAX_SWITCH_TARGETS
from evmaot.codegen.emit.region import ModuleContext, RegionEmitter
from evmaot.codegen.ir.program import Entry, Program

MIN_INLINE_BUDGET = 64
INSTRUCTIONS_PER_INLINE_UNIT = 8
"""A unit is about a millisecond of LLVM's time; a MUL weighs 1, a variable shift 4."""


_STATUS = "  %status = trunc i64 %result to i32\n"
_SINGLE_STATUS = (
    "  %any = trunc i64 %result to i32\n"
    f"  %past = sub i32 %any, {int(Status.OUT_OF_GAS)}\n"
    f"  %halted = icmp ult i32 %past, {int(Status.HOST_ERROR) - int(Status.OUT_OF_GAS)}\n"
    f"  %status = select i1 %halted, i32 {int(Status.OUT_OF_GAS)}, i32 %any\n"
)


def module_text(program: Program, symbol: str, *, single_error: bool = False) -> str:
    """LLVM IR that defines ``i32 symbol(Frame*)``."""
    context = _context(program)
    functions = [RegionEmitter(context, index).function_text() for index in range(len(program.regions))]
    entry = _entry_text(context, symbol, _SINGLE_STATUS if single_error else _STATUS)
    used = {name.removeprefix(SYMBOL_PREFIX) for name in context.used}
    parts = [
        declarations(used),
        *(_table(name, "i64", list(numbers)) for name, numbers in sorted(context.rule_tables.items())),
        _jump_table(context) if context.uses_jump_table else "",
        _entry_table(context) if context.uses_entry_table else "",
        *functions,
        entry,
        f"attributes #0 = {{ {FUNCTION_ATTRIBUTES} }}\n",
        MODULE_FOOTER,
        "!1 = !{}\n",
    ]
    return "\n".join(part for part in parts if part)


def _context(program: Program) -> ModuleContext:
    region_of = {head: index for index, region in enumerate(program.regions) for head in region}
    region_of_label = {label: region_of[chain[0]] for chain in program.chains for label in chain}
    enterable = {1}
    for chain in program.chains:
        for label in chain:
            block = program.block(label)
            here = region_of[chain[0]]
            falls_to = block.falls_to if label == chain[-1] else None
            for target in (falls_to, *block.jump_labels):
                if target is not None and region_of_label[target] != here:
                    enterable.add(target)
            if block.resumes_at is not None:
                enterable.add(block.resumes_at)
    labels = {
        block.pc: block.label for block in program.blocks if block.entry is Entry.JUMPDEST and block.label in region_of
    }
    if program.has_dynamic_jump:
        enterable.update(labels.values())
    for label in program.live:
        targets = program.block(label).jump_labels
        if len(targets) > MAX_SWITCH_TARGETS:
            enterable.update(targets)

    def live_size(chain: tuple[int, ...]) -> int:
        return sum(len(program.block(label).instructions) for label in chain)

    return ModuleContext(
        program,
        {chain[0]: chain for chain in program.chains},
        region_of,
        labels,
        frozenset(enterable & region_of.keys()),
        inline_budget=max(MIN_INLINE_BUDGET, sum(map(live_size, program.chains)) // INSTRUCTIONS_PER_INLINE_UNIT),
        label_bytes=2 if len(program.blocks) < 1 << 16 else 4,
    )


def _entry_text(context: ModuleContext, symbol: str, status: str) -> str:
    """Load the frame's registers and enter the first region, or the one that is to be resumed."""

    def load(name: str, kind: str) -> str:
        return (
            f"  %{name}.at = getelementptr i8, ptr %frame, i64 {FRAME.offset(name)}\n"
            f"  %{name} = load {kind}, ptr %{name}.at, align 8\n"
        )

    loads = load("stack_base", "ptr") + load("stack_height", "i64") + load("gas", "i64") + load("resume", "i64")
    head = f"define hidden i32 @{symbol}(ptr noalias %frame) #0 {{\nentry:\n{loads}"
    top = "  %bytes = shl i64 %stack_height, 5\n  %sp = getelementptr i8, ptr %stack_base, i64 %bytes\n"
    resumes = any(context.program.block(label).resumes_at is not None for label in context.program.live)
    if not resumes:
        call = "  %result = call i64 @region0(ptr %frame, ptr %sp, i64 %gas, i64 1)\n"
        return f"{head}{top}{call}{status}  ret i32 %status\n}}\n"
    context.uses_entry_table = True
    error = int(Status.HOST_ERROR)
    return (
        f"{head}{top}"
        "  %fresh = icmp eq i64 %resume, 0\n"
        "  %label = select i1 %fresh, i64 1, i64 %resume\n"
        f"  %known = icmp ule i64 %label, {len(context.program.blocks)}\n"
        "  br i1 %known, label %enter, label %refuse\n"
        "enter:\n"
        "  %place = getelementptr i32, ptr @entry_table, i64 %label\n"
        "  %distance = load i32, ptr %place, align 4\n"
        "  %none = icmp eq i32 %distance, 0\n"
        "  br i1 %none, label %refuse, label %go\n"
        "go:\n"
        "  %offset = sext i32 %distance to i64\n"
        "  %function = getelementptr i8, ptr @entry_table, i64 %offset\n"
        "  %result = call i64 %function(ptr %frame, ptr %sp, i64 %gas, i64 %label)\n"
        f"{status}"
        "  ret i32 %status\n"
        f"refuse:\n  ret i32 {error}\n}}\n"
    )


def _jump_table(context: ModuleContext) -> str:
    """Label of each JUMPDEST by pc, 0 elsewhere: a small integer for each byte of code."""
    width = context.label_bytes
    table = bytearray(width * len(context.program.code))
    for pc, label in context.label_of_pc.items():
        if label not in context.enterable:
            continue  # no computed jump goes there, as the analysis of jump targets has shown
        table[width * pc : width * (pc + 1)] = label.to_bytes(width, "little")
    text = "".join(f"\\{byte:02x}" for byte in table)
    return f'@jump_table = internal constant [{len(table)} x i8] c"{text}", align {width}\n'


def _entry_table(context: ModuleContext) -> str:
    """Distance from this table to the function of each enterable label."""
    distances = []
    for label in range(len(context.program.blocks) + 1):
        if label in context.enterable:
            region = f"ptr @region{context.region_of[label]}"
            distances.append(
                f"trunc (i64 sub (i64 ptrtoint ({region} to i64), i64 ptrtoint (ptr @entry_table to i64)) to i32)"
            )
        else:
            distances.append("0")
    return _table("entry_table", "i32", distances)


def _table(name: str, kind: str, values: list[str] | list[int]) -> str:
    rows = ", ".join(f"{kind} {value}" for value in values)
    return f"@{name} = internal constant [{len(values)} x {kind}] [{rows}], align 8\n"
