"""One region as a native function.

Job: the frame of the function: chains, checks, charges, edges between chains, exits.  What single
opcodes do is in `emit/lowerings`.  Every region has the same signature of 64-bit arguments
``i64 (ptr frame, ptr sp, i64 gas, i64 label)``, and regions go on with each other by `musttail`, so
that native stack use does not grow; 256-bit values cross function borders only in memory.
Invariant: each LLVM block begun is ended; an edge to a chain is recorded for its phis.
May import: `codegen.ir`, `codegen.builtins.table`, `emit.*` but lowerings' callers, `evmaot.abi`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from evmaot.abi.layout import ENVIRONMENT, FRAME, STACK_LIMIT
from evmaot.abi.status import Status
from evmaot.codegen.builtins.writer import UNLIKELY
from evmaot.codegen.emit.stack import VirtualStack
from evmaot.codegen.emit.values import Value, Word
from evmaot.codegen.emit.writer import ValueWriter
from evmaot.codegen.ir.program import Block, Entry, Instruction, Program
from evmaot.evm.instruction_set import CompileRules

SIGNATURE = "ptr noalias %frame, ptr noalias %sp, i64 %gas, i64 %label"
_EXIT_STATUS = {
    "exit_underflow": Status.STACK_UNDERFLOW,
    "exit_overflow": Status.STACK_OVERFLOW,
    "exit_bad_jump": Status.BAD_JUMP_DESTINATION,
    "exit_invalid": Status.INVALID_OPCODE,
    "exit_static": Status.STATIC_VIOLATION,
}


@dataclass(slots=True)
class ModuleContext:
    """What the regions of one contract share."""

    program: Program
    chain_of: dict[int, tuple[int, ...]]
    """Chain by the label of its head."""
    region_of: dict[int, int]
    """Region of a chain's head, by label."""
    label_of_pc: dict[int, int]
    """Label of each live JUMPDEST by pc."""
    enterable: frozenset[int]
    """Heads that can be entered from another function or by the driver."""
    used: set[str] = field(default_factory=set)
    """Helpers to declare."""
    rule_tables: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Constant tables of 64-bit numbers by name, passed to helpers."""
    uses_entry_table: bool = False
    label_bytes: int = 2
    """Size of a label in the jump table."""
    uses_jump_table: bool = False
    inline_budget: int = 0
    """What is left for opcodes that LLVM expands into much code; without it they are calls of helpers."""


@dataclass(slots=True)
class Edges:
    """Incoming edges of an LLVM block: name of the LLVM block, then a value for each column."""

    columns: tuple[tuple[str, str], ...] = (("sp", "ptr"), ("gas", "i64"))
    """(name, LLVM type) of what comes along an edge."""
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def phis(self, suffix: str) -> list[str]:
        """One phi for each column, named ``%name.suffix``."""
        lines = []
        for index, (name, kind) in enumerate(self.columns, 1):
            incoming = ", ".join(f"[ {row[index]}, %{row[0]} ]" for row in self.rows)
            lines.append(f"%{name}.{suffix} = phi {kind} {incoming}")
        return lines


_WITH_EXTRA = (("sp", "ptr"), ("gas", "i64"), ("extra", "i64"))
MAX_CARRIED_WORDS = 8
"""Stack words that come to a chain in SSA values: more would only be spilled by LLVM instead of us."""
MAX_CHARGES_IN_A_ROW = 96
"""Charges of a chain before LLVM is made to forget from which value they were subtracted: it folds them all to that
one, and for each compare it walks all compares of it.  Ordinary code has fewer."""
MAX_LOCAL_DYNAMIC_JUMPS = 64
"""Computed jumps of a region that may land in it without leaving the function: they make one loop of everything,
and LLVM's loop passes take time that grows faster than the number of ways around.  Ordinary code has fewer."""


Lowering = Callable[["RegionEmitter", Instruction, Block], None]
"""Emits one instruction."""


class RegionEmitter:
    """Emits one region; lowerings get it as their first argument."""

    def __init__(self, context: ModuleContext, index: int) -> None:
        self.context = context
        self.program = context.program
        self.index = index
        self.rules: CompileRules = context.program.rules
        self.writer = ValueWriter()
        self.heads = context.program.regions[index]
        self.chain_edges: dict[int, Edges] = {head: self._edges_of(head) for head in self.heads}
        self.stack = VirtualStack(self.writer, "%sp")
        self.gas = "%gas"
        self.memory_known = 0
        """Bytes that memory is known to have in this chain."""
        self._charges = 0
        self.variable_charges = 0
        """Charges of computed amounts that are inline in this region."""
        self.terminated = False
        """Whether the current LLVM block has been ended."""
        self._scratch: set[int] = set()
        self._exits: set[str] = set()
        self._fail_used = False
        self._stack_edges: list[tuple[str, str]] = []
        self._dynamic = Edges(_WITH_EXTRA)
        self._dispatch = Edges(_WITH_EXTRA)
        self._known_depth = 0
        self._known_room = 0
        self._height_bytes: str | None = None
        self._places: dict[int, int] = {}
        self._chain_sp = "%sp"

    # --- the function ---------------------------------------------------------------------------

    def function_text(self) -> str:
        """The whole definition."""
        from evmaot.codegen.emit.lowerings import lower  # lowerings know this class

        for chain in self._chains():
            self._begin_chain(chain[0])
            for label in chain:
                self._block(self.program.block(label), lower, last=label == chain[-1])
        self._emit_dynamic()
        entry = self._entry_lines()
        self._emit_dispatch()
        self._emit_exits()
        for head in sorted(self.heads, key=lambda head: -self._places[head]):
            self.writer.insert(self._places[head], self.chain_edges[head].phis(f"c{head}"))
        scratch = [f"  %scratch{slot} = alloca i256, align 32" for slot in sorted(self._scratch)]
        lines = "\n".join(["entry:", *scratch, *entry]) + "\n" + self.writer.text()
        return f"define internal i64 @region{self.index}({SIGNATURE}) #0 {{\n{lines}}}\n"

    def _chains(self) -> list[tuple[int, ...]]:
        return [self.context.chain_of[head] for head in self.heads]

    def _entry_lines(self) -> list[str]:
        """The function's entry: to its only entry, or to the dispatch."""
        entries = [head for head in self.heads if head in self.context.enterable]
        if len(entries) == 1 and not self._dispatch.rows:
            self.chain_edges[entries[0]].rows.append(("entry", "%sp", "%gas"))
            return [f"  br label %c{entries[0]}"]
        self._dispatch.rows.append(("entry", "%sp", "%gas", "%label"))
        return ["  br label %dispatch"]

    def _begin_chain(self, head: int) -> None:
        writer = self.writer
        writer.start(f"c{head}")
        self._places[head] = writer.mark()
        self._chain_sp = f"%sp.c{head}"
        self.stack = VirtualStack(writer, self._chain_sp)
        self.gas = f"%gas.c{head}"
        self.memory_known = 0
        self._charges = 0
        self._height_bytes = None
        # The first block is entered once, with an empty stack.
        carried = self._carried(head)
        self.stack.carry([f"%word{index}.c{head}" for index in range(carried)])
        self._known_depth, self._known_room = carried, STACK_LIMIT if head == 1 else 0
        if head == 1:
            self._height_bytes = "0"
        if self.program.block(head).entry is Entry.RESUME:
            self.stack.push(Word(self.load_frame("result", "i256")))

    def _block(self, block: Block, lower: Lowering, last: bool) -> None:
        self._check_stack(block)
        charges = dict(block.charges)
        self.terminated = False
        for index, instruction in enumerate(block.instructions):
            if index in charges:
                self.charge(charges[index])
            row = instruction.row
            if row is None or self.rules.gas(instruction.opcode) is None:
                self.exit("exit_invalid")
                return
            lower(self, instruction, block)
        if len(block.instructions) in charges:
            raise AssertionError("a section cannot begin behind a block")
        if self.terminated:
            return
        if block.falls_to is None:
            self.succeed(Status.STOP)
        elif last:
            self.go_to(block.falls_to)

    def _check_stack(self, block: Block) -> None:
        """Underflow and overflow of the whole block, once, as far as it is not known already."""
        height = self.stack.height - (1 if block.entry is Entry.RESUME else 0)
        depth = block.stack.needs - height
        room = height + block.stack.grows
        checks_depth, checks_room = depth > self._known_depth, room > self._known_room
        if not checks_depth and not checks_room:
            return
        writer, height_bytes = self.writer, self._height()
        if checks_depth and checks_room and depth < 512 and room < 512:
            # One unsigned compare for both: heights below the range wrap around to above it.
            shifted = writer.value(f"sub i64 {height_bytes}, {32 * depth}")
            wrong = writer.value(f"icmp ugt i64 {shifted}, {32 * (STACK_LIMIT - room - depth)}")
            self._exit_if(wrong, "exit_stack", height_bytes)
        else:
            if checks_depth:
                self._exit_if(writer.value(f"icmp slt i64 {height_bytes}, {32 * depth}"), "exit_underflow")
            if checks_room:
                bound = 32 * (STACK_LIMIT - room)
                self._exit_if(writer.value(f"icmp sgt i64 {height_bytes}, {bound}"), "exit_overflow")
        self._known_depth = max(self._known_depth, depth)
        self._known_room = max(self._known_room, room)

    def _require_depth(self, depth: int) -> None:
        """Underflow unless that many words are below the chain's stack pointer."""
        if depth > self._known_depth:
            self._exit_if(self.writer.value(f"icmp slt i64 {self._height()}, {32 * depth}"), "exit_underflow")
            self._known_depth = depth

    def _height(self) -> str:
        """Bytes on the native stack at the chain's start."""
        if self._height_bytes is None:
            base = self.load_frame("stack_base", "ptr", invariant=True)
            low = self.writer.value(f"ptrtoint ptr {base} to i64")
            here = self.writer.value(f"ptrtoint ptr {self._chain_sp} to i64")
            self._height_bytes = self.writer.value(f"sub i64 {here}, {low}")
        return self._height_bytes

    def _edges_of(self, head: int) -> Edges:
        words = tuple((f"word{index}", "i256") for index in range(self._carried(head)))
        return Edges((("sp", "ptr"), ("gas", "i64"), *words))

    def _carried(self, head: int) -> int:
        """Words that come to a chain in SSA values: those it uses, if it is entered from this region alone."""
        if head in self.context.enterable:
            return 0
        block = self.program.block(head)
        return min(block.stack.needs, MAX_CARRIED_WORDS)

    # --- what lowerings use ----------------------------------------------------------------------

    def charge(self, gas: int) -> None:
        """Charge a constant; out of gas below 0."""
        if gas:
            self.charge_value(str(gas))

    def charge_value(self, amount: str) -> None:
        """Charge an i64 value that is not negative and below 2^62."""
        left = self.writer.value(f"sub i64 {self.gas}, {amount}")
        self.set_gas_or_fail(left)

    def set_gas_or_fail(self, left: str) -> None:
        """Go on with this gas; where it is negative, halt as `status_detail` says or out of gas."""
        self._fail_used = True
        self._charges += 1
        if self._charges % MAX_CHARGES_IN_A_ROW == 0:
            # No instruction of the machine, on any target: the same register in and out.
            left = self.writer.value(f'call i64 asm "", "=r,0"(i64 {left})')
        good = self.writer.label()
        self.writer.branch(self.writer.value(f"icmp slt i64 {left}, 0"), "exit_fail", good, UNLIKELY)
        self.writer.start(good)
        self.gas = left

    def help(self, name: str, arguments: str) -> None:
        """Call a helper that answers the gas left."""
        self.context.used.add(name)
        self.set_gas_or_fail(self.writer.value(f"call i64 @{name}({arguments})"))

    def help_void(self, name: str, arguments: str) -> None:
        """Call a helper that cannot fail."""
        self.context.used.add(name)
        self.writer.do(f"call void @{name}({arguments})")

    def may_expand(self, weight: int) -> bool:
        """Whether an opcode that costs LLVM that much may still be inline; if so it is paid for.

        A share that grows with the program: ordinary code never uses it up, and hostile code cannot make
        LLVM's work grow faster than its own length.
        """
        if self.context.inline_budget < weight:
            return False
        self.context.inline_budget -= weight
        return True

    def rule_table(self, name: str, numbers: tuple[int, ...]) -> str:
        """Name of a constant table for a helper."""
        self.context.rule_tables[name] = numbers
        return f"@{name}"

    def frame_pointer(self, name: str) -> str:
        """Address of a frame field."""
        return self.writer.value(f"getelementptr i8, ptr %frame, i64 {FRAME.offset(name)}")

    def load_frame(self, name: str, kind: str = "i64", *, invariant: bool = False) -> str:
        """Value of a frame field; `invariant`: it never changes while the frame is alive."""
        mark = ", !invariant.load !1" if invariant else ""
        return self.writer.value(f"load {kind}, ptr {self.frame_pointer(name)}, align 8{mark}")

    def store_frame(self, name: str, value: str, kind: str = "i64") -> None:
        """Store a frame field."""
        self.writer.do(f"store {kind} {value}, ptr {self.frame_pointer(name)}, align 8")

    def load_environment(self, name: str) -> str:
        """A word of the environment."""
        base = self.load_frame("environment", "ptr", invariant=True)
        pointer = self.writer.value(f"getelementptr i8, ptr {base}, i64 {ENVIRONMENT.offset(name)}")
        return self.writer.value(f"load i256, ptr {pointer}, align 8, !invariant.load !1")

    def address_of(self, value: Value, slot: int) -> str:
        """Address of a word in memory that holds the value: its place on the stack, or a scratch slot."""
        home = self.stack.home(value)
        if home is not None:
            return home
        self._scratch.add(slot)
        self.writer.do(f"store i256 {self.writer.word(value)}, ptr %scratch{slot}, align 32")
        return f"%scratch{slot}"

    def push_place(self) -> str:
        """Push a word that a helper writes: the address it must write to."""
        position = self.stack.height
        pointer = self.stack.pointer(position)
        self.stack.written(position)
        self.stack.height += 1
        return pointer

    # --- ends ------------------------------------------------------------------------------------

    def succeed(self, status: Status) -> None:
        """End the frame without a halt."""
        self.store_frame("gas", self.gas)
        self.writer.do(f"ret i64 {int(status)}")
        self.terminated = True

    def exit(self, label: str) -> None:
        """Halt through a shared exit."""
        self._exits.add(label)
        self.writer.jump(label)
        self.terminated = True

    def _exit_if(self, condition: str, label: str, extra: str = "0") -> None:
        good = self.writer.label()
        if label == "exit_stack":
            self._stack_edges.append((extra, self.writer.block))
        else:
            self._exits.add(label)
        self.writer.branch(condition, label, good, UNLIKELY)
        self.writer.start(good)

    @contextmanager
    def side_exit(self) -> Iterator[None]:
        """Around code that leaves the chain while it goes on elsewhere: what is learnt there is forgotten."""
        known = self._known_depth, self._known_room, self._height_bytes
        yield
        self._known_depth, self._known_room, self._height_bytes = known

    def go_to(self, label: int, *, keep: bool = True) -> None:
        """End the LLVM block: go on with a chain; `keep=False` on a side exit."""
        if label in self.chain_edges:
            carried = self._carried(label)
            # The chain needs these words, so it would underflow: better before they are read.
            self._require_depth(carried - self.stack.height)
            self.stack.spill(keep=keep, leave=carried)
            words = self.stack.carried(carried, keep=keep)
            sp = self.stack.top_pointer()
            self.chain_edges[label].rows.append((self.writer.block, sp, self.gas, *words))
            self.writer.jump(f"c{label}")
        else:
            self.stack.spill(keep=keep)
            region = self.context.region_of[label]
            self._tail(f"@region{region}", self.stack.top_pointer(), self.gas, str(label))
        self.terminated = True

    def go_to_pc(self, pc: str, *, keep: bool) -> None:
        """End the LLVM block: a jump to a pc that is an i64 value, which may be no JUMPDEST."""
        self.stack.spill(keep=keep)
        sp = self.stack.top_pointer()
        self.context.uses_jump_table = True
        self._dynamic.rows.append((self.writer.block, sp, self.gas, pc))
        self.writer.jump("dynamic")
        self.terminated = True

    def go_to_one_of(self, pc: str, labels: tuple[int, ...]) -> None:
        """End the LLVM block: a jump to one of several known chains, by an i64 pc."""
        writer = self.writer
        stubs = [(label, writer.label()) for label in labels]
        rows = [f"i64 {self.program.block(label).pc}, label %{stub}" for label, stub in stubs]
        self._exits.add("exit_bad_jump")
        writer.do(f"switch i64 {pc}, label %exit_bad_jump [ {' '.join(rows)} ]")
        for label, stub in stubs:
            writer.start(stub)
            with self.side_exit():
                self.go_to(label, keep=False)
        self.terminated = True

    def suspend(self, status: Status, label: int) -> None:
        """Return to the driver; `label` is entered next."""
        self.context.uses_entry_table = True
        base = self.load_frame("stack_base", "ptr", invariant=True)
        low = self.writer.value(f"ptrtoint ptr {base} to i64")
        here = self.writer.value(f"ptrtoint ptr {self.stack.top_pointer()} to i64")
        height = self.writer.value(f"lshr i64 {self.writer.value(f'sub i64 {here}, {low}')}, 5")
        self.store_frame("stack_height", height)
        self.store_frame("resume", str(label))
        self.succeed(status)

    def _tail(self, function: str, sp: str, gas: str, label: str) -> None:
        arguments = f"ptr %frame, ptr {sp}, i64 {gas}, i64 {label}"
        result = self.writer.value(f"musttail call i64 {function}({arguments})")
        self.writer.do(f"ret i64 {result}")

    # --- shared blocks ---------------------------------------------------------------------------

    def _emit_dynamic(self) -> None:
        """Look a computed jump target up: 0 in the jump table is no JUMPDEST."""
        if not self._dynamic.rows:
            return
        writer = self.writer
        writer.start("dynamic")
        for line in self._dynamic.phis("dynamic"):
            writer.do(line)
        self._exits.add("exit_bad_jump")
        inside = writer.value(f"icmp ult i64 %extra.dynamic, {len(self.program.code)}")
        writer.branch(inside, "lookup", "exit_bad_jump")
        writer.start("lookup")
        size = self.context.label_bytes
        kind = f"i{8 * size}"
        place = writer.value(f"getelementptr {kind}, ptr @jump_table, i64 %extra.dynamic")
        label = writer.widen(writer.value(f"load {kind}, ptr {place}, align {size}"), "i64", kind)
        writer.branch(writer.compare("eq", label, "0"), "exit_bad_jump", "found")
        writer.start("found")
        row = (writer.block, "%sp.dynamic", "%gas.dynamic", label)
        if len(self.program.regions) == 1:
            self._dispatch.rows.append(row)
            writer.jump("dispatch")
            return
        self.context.uses_entry_table = True
        low, high = self.heads[0], self.heads[-1]
        if len(self._dynamic.rows) <= MAX_LOCAL_DYNAMIC_JUMPS:
            near = writer.compare("ule", writer.op("sub", label, str(low)), str(high - low))
            self._dispatch.rows.append(row)
            writer.branch(near, "dispatch", "foreign")
            writer.start("foreign")
        place = writer.value(f"getelementptr i32, ptr @entry_table, i64 {label}")
        offset = writer.value(f"sext i32 {writer.value(f'load i32, ptr {place}, align 4')} to i64")
        target = writer.value(f"getelementptr i8, ptr @entry_table, i64 {offset}")
        self._tail(target, "%sp.dynamic", "%gas.dynamic", label)

    def _emit_dispatch(self) -> None:
        """Where several chains can be entered."""
        if not self._dispatch.rows:
            return
        writer = self.writer
        writer.start("dispatch")
        for line in self._dispatch.phis("dispatch"):
            writer.do(line)
        entries = [head for head in self.heads if head in self.context.enterable]
        rows = " ".join(f"i64 {head}, label %c{head}" for head in entries)
        for head in entries:
            self.chain_edges[head].rows.append(("dispatch", "%sp.dispatch", "%gas.dispatch"))
        writer.do(f"switch i64 %extra.dispatch, label %exit_bad_jump [ {rows} ]")
        self._exits.add("exit_bad_jump")

    def _emit_exits(self) -> None:
        writer = self.writer
        if self._stack_edges:
            writer.start("exit_stack")
            height = writer.phi("i64", *self._stack_edges)
            low = writer.compare("ult", height, str(32 * STACK_LIMIT // 2))
            under, over = int(Status.STACK_UNDERFLOW), int(Status.STACK_OVERFLOW)
            writer.do(f"ret i64 {writer.select(low, str(under), str(over))}")
        if self._fail_used:
            writer.start("exit_fail")
            detail = self.load_frame("status_detail")
            status = writer.select(writer.compare("eq", detail, "0"), str(int(Status.OUT_OF_GAS)), detail)
            writer.do(f"ret i64 {status}")
        for label in sorted(self._exits):
            writer.start(label)
            writer.do(f"ret i64 {int(_EXIT_STATUS[label])}")
