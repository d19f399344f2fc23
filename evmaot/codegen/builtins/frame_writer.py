"""The writer of helpers that have the frame at hand.

Job: frame fields, operands on the native stack, failing, charging, host calls.  A helper answers the
gas left, or -1: then the frame halts with `status_detail`, or out of gas where that is 0.  `%sp`
points behind the top word of the native stack.  May import: `evmaot.abi`, `builtins.writer`.
"""

from __future__ import annotations

from evmaot.abi.layout import FRAME, HOST_TABLE
from evmaot.abi.status import Status
from evmaot.codegen.builtins.writer import UNLIKELY, Writer

ADDRESS_MASK = (1 << 160) - 1
_WORD = 32


class FrameWriter(Writer):
    """A helper's body with the frame at hand."""

    def field(self, name: str) -> str:
        """Address of a frame field."""
        return self.address("%frame", str(FRAME.offset(name)))

    def get(self, name: str, kind: str = "i64") -> str:
        """A frame field's value."""
        return self.value(f"load {kind}, ptr {self.field(name)}, align 8")

    def set(self, name: str, value: str, kind: str = "i64") -> None:
        """Store a frame field."""
        self.do(f"store {kind} {value}, ptr {self.field(name)}, align 8")

    def operand(self, depth: int) -> str:
        """Address of the operand `depth` words below the top (0: the top)."""
        return self.address("%sp", str(-_WORD * (depth + 1)))

    def word(self, pointer: str) -> str:
        """Load a word."""
        return self.value(f"load i256, ptr {pointer}, align 8")

    def fail_if(self, condition: str, detail: Status | None = None) -> None:
        """Answer -1, with a status other than out of gas if given, when the condition holds."""
        bad, good = self.label(), self.label()
        self.branch(condition, bad, good, UNLIKELY)
        self.start(bad)
        if detail is not None:
            self.set("status_detail", str(int(detail)))
        self.do("ret i64 -1")
        self.start(good)

    def charge(self, gas: str, amount: str) -> str:
        """`gas` - `amount`, failing below 0."""
        left = self.op("sub", gas, amount)
        self.fail_if(self.compare("slt", left, "0"))
        return left

    def fail_if_static(self) -> None:
        """EIP-214."""
        self.fail_if(self.compare("ne", self.get("is_static"), "0"), Status.STATIC_VIOLATION)

    def host(self, name: str, *arguments: str) -> str:
        """Call a host function; its answer, never negative."""
        return self.host_at(str(HOST_TABLE.offset(name)), *arguments)

    def ask_host(self, name: str, *arguments: str) -> str:
        """The same, but the caller looks whether the answer is negative."""
        return self._call_host(str(HOST_TABLE.offset(name)), *arguments)

    def _call_host(self, offset: str, *arguments: str) -> str:
        table = self.get("host_table", "ptr")
        target = self.value(f"load ptr, ptr {self.address(table, offset)}, align 8")
        rest = "".join(f", ptr {argument}" for argument in arguments)
        return self.value(f"call i64 {target}(ptr %frame{rest})")

    def host_at(self, offset: str, *arguments: str) -> str:
        """The same by byte offset in the table."""
        answer = self._call_host(offset, *arguments)
        self.fail_if(self.compare("slt", answer, "0"), Status.HOST_ERROR)
        return answer

    def helper(self, name: str, arguments: str) -> str:
        """Call another gas helper; the gas left, failing as it fails."""
        left = self.value(f"call i64 @{name}({arguments})")
        self.fail_if(self.compare("slt", left, "0"))
        return left

    def memory_range(self, gas: str, offset: str, size: str) -> str:
        """Pay for and grow memory to hold `size` bytes at `offset` (addresses of words)."""
        return self.helper("evmaot_memory_range", f"ptr %frame, i64 {gas}, ptr {offset}, ptr {size}")

    def low64(self, pointer: str) -> str:
        """The lowest limb of a word in memory."""
        return self.value(f"load i64, ptr {pointer}, align 8")

    def words(self, size: str) -> str:
        """Number of 32-byte words that hold `size` bytes."""
        return self.op("lshr", self.op("add", size, "31"), "5")

    def rule(self, rules: tuple[str, ...], name: str) -> str:
        """A number of the contract's constant table %rules."""
        return self.value(f"load i64, ptr {self.address('%rules', str(8 * rules.index(name)))}, align 8")

    def masked_address(self, pointer: str) -> str:
        """Address of a copy of a word with the upper 96 bits cleared."""
        slot = self.slot("i256", 16)
        masked = self.op("and", self.word(pointer), str(ADDRESS_MASK), "i256")
        self.do(f"store i256 {masked}, ptr {slot}, align 16")
        return slot

    def slot(self, kind: str, align: int) -> str:
        """Address of a local; allocated in the entry block, where it costs nothing."""
        name = self.fresh()
        self.insert(0, [f"{name} = alloca {kind}, align {align}"])
        return name

    def memory_at(self, offset: str) -> str:
        """Address of a byte of EVM memory."""
        return self.address(self.get("memory_base", "ptr"), offset)


def surcharge(w: FrameWriter, answer: str, flag: int, price: str) -> str:
    """`price` where the host's answer has the flag, else 0."""
    bit = w.compare("ne", w.op("and", answer, str(int(flag))), "0")
    return w.select(bit, price, "0")
