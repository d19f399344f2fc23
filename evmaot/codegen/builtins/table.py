"""The table of compiled-code helpers: one row per symbol that a contract's code may call.

Job: signature and attributes of every helper, and the `declare` lines of a contract's module.  Two
kinds: *native* helpers compute, *host* helpers reach the host's functions through the frame's host
table; the bodies of both are compiled once per target and linked into each library.
Invariants: all symbols begin with `evmaot_` and are hidden; words are passed by pointer, 32 bytes,
native order, 8-byte aligned.  The attributes are promises that LLVM acts on: a helper that touches
the frame, or memory that it finds through the frame, must not promise `argmem` effects alone, since
memory behind a pointer loaded from an argument is not the argument's.
May import: nothing of evmaot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

SYMBOL_PREFIX = "evmaot_"


@dataclass(frozen=True, slots=True)
class Builtin:
    """One row."""

    name: str
    """Without the symbol's prefix."""
    parameters: tuple[str, ...]
    """LLVM types."""
    result: str
    """LLVM type."""
    attributes: str
    """LLVM function attributes of the declaration."""
    kind: Literal["native", "host"]
    doc: str
    parameter_attributes: tuple[str, ...] = ()
    """LLVM attributes of each parameter, or nothing for none."""

    @property
    def symbol(self) -> str:
        """The symbol's name, without LLVM's ``@``."""
        return SYMBOL_PREFIX + self.name

    @property
    def declaration(self) -> str:
        """The `declare` line; hidden, so that position-independent code calls it without a table."""
        attributes = self.parameter_attributes or ("",) * len(self.parameters)
        pairs = zip(self.parameters, attributes, strict=True)
        parameters = ", ".join(f"{kind} {extra}".rstrip() for kind, extra in pairs)
        return f"declare hidden {self.result} @{self.symbol}({parameters}) {self.attributes}".rstrip()


PURE = "nocallback nofree nosync nounwind willreturn memory(argmem: readwrite)"
"""Reads and writes only what its pointer arguments point to."""
TOUCHES_FRAME = "nounwind"
"""No promise about memory: reads and writes the frame, and may call the host, which may do anything but unwind."""
_IN = "readonly captures(none)"
_OUT = "writeonly captures(none)"


def _arithmetic(name: str, arguments: str) -> Builtin:
    """A helper from words to a word, all by pointer."""
    inputs = len(arguments.split()) - 1
    doc = f"({', '.join(arguments.split())}): out = {name.upper()}.  out may be an operand."
    attributes = (*(_IN,) * inputs, _OUT)
    return Builtin(name, ("ptr",) * (inputs + 1), "void", PURE, "native", doc, attributes)


_NATIVE = (
    _arithmetic("div", "a b out"),
    _arithmetic("mod", "a b out"),
    _arithmetic("sdiv", "a b out"),
    _arithmetic("smod", "a b out"),
    _arithmetic("exp", "base exponent out"),
    _arithmetic("addmod", "a b n out"),
    _arithmetic("mulmod", "a b n out"),
    _arithmetic("mul", "a b out"),
    _arithmetic("signextend", "index value out"),
    _arithmetic("byte", "index value out"),
    _arithmetic("shl", "count value out"),
    _arithmetic("shr", "count value out"),
    _arithmetic("sar", "count value out"),
    Builtin(
        "exponent_gas",
        ("i64", "ptr", "i64"),
        "i64",
        PURE,
        "native",
        "(gas, exponent, byte_price): the gas left behind EXP's dynamic gas; negative: out of gas.",
        ("", _IN, ""),
    ),
    Builtin(
        "keccak256",
        ("ptr", "i64", "ptr"),
        "void",
        PURE,
        "native",
        "(data, size, out): out = the hash of `size` bytes as a word; data at any alignment, unused if size is 0.",
        (_IN, "", _OUT),
    ),
    Builtin(
        "memory_grow",
        ("ptr", "i64", "i64"),
        "i64",
        TOUCHES_FRAME,
        "native",
        "(frame, gas, end): grow memory to `end` bytes (unsigned), rounded up to words; the gas left (`gas` if it "
        "was large enough), or -1: out of gas, or status_detail is MEMORY_LIMIT.  May move memory_base.",
    ),
    Builtin(
        "copy_padded",
        ("ptr", "ptr", "i64", "i64", "i64"),
        "void",
        PURE,
        "native",
        "(destination, source, source_size, source_offset, size): copy `size` bytes from the offset on, 0 behind the "
        "source's end.  The ranges do not overlap; offset and sizes are unsigned, size below 2**63.",
        (_OUT, _IN, "", "", ""),
    ),
    Builtin(
        "move",
        ("ptr", "ptr", "i64"),
        "void",
        PURE,
        "native",
        "(destination, source, size): copy `size` bytes (below 2**63); the ranges may overlap.",
        (_OUT, _IN, ""),
    ),
    Builtin(
        "load_padded",
        ("ptr", "i64", "i64", "ptr"),
        "void",
        PURE,
        "native",
        "(source, source_size, source_offset, out): out = 32 big-endian bytes from the offset on, 0 behind the "
        "source's end; offset and size are unsigned.",
        (_IN, "", "", _OUT),
    ),
)


def _host(name: str, arguments: str, doc: str, result: str = "i64") -> Builtin:
    """A helper of the frame: its first argument is the frame; the gas left or -1 is its answer."""
    kinds = tuple("ptr" if argument in _POINTERS else "i64" for argument in arguments.split())
    return Builtin(name, kinds, result, TOUCHES_FRAME, "host", f"({', '.join(arguments.split())}): {doc}")


_POINTERS = frozenset({"frame", "sp", "offset", "size", "key", "out", "new", "rules", "index", "beneficiary"})
_HOST = (
    _host("memory_range", "frame gas offset size", "pay for and grow memory to a range given as words."),
    _host("keccak", "frame sp gas word_price", "KECCAK256 of the operands behind sp; writes over the second."),
    _host("calldatacopy", "frame sp gas word_price", "CALLDATACOPY."),
    _host("codecopy", "frame sp gas word_price", "CODECOPY."),
    _host("returndatacopy", "frame sp gas word_price", "RETURNDATACOPY (EIP-211)."),
    _host("mcopy", "frame sp gas word_price", "MCOPY (EIP-5656)."),
    _host("extcodecopy", "frame sp gas word_price cold", "EXTCODECOPY."),
    _host("log", "frame sp gas count byte_price", "LOGn."),
    _host("output", "frame sp gas", "RETURN and REVERT: output_offset and output_size."),
    _host("sload", "frame gas key out cold", "SLOAD."),
    _host("sstore", "frame gas key new rules", "SSTORE; rules: sentry, cold, then (gas, refund) by StorageStatus."),
    _host("tstore", "frame gas key new", "TSTORE (EIP-1153)."),
    _host("account", "frame gas key out cold service", "BALANCE and its like; service: offset in the host table."),
    _host("ask", "frame gas key out service", "A host function of a word to a word without dynamic gas."),
    _host("blobhash", "frame index out", "BLOBHASH (EIP-4844).", "void"),
    _host("selfdestruct", "frame gas beneficiary rules", "SELFDESTRUCT; rules: system.SELFDESTRUCT_RULES."),
    _host("call", "frame sp gas kind rules", "CALL*: pay, fill the request; rules: system.CALL_RULES."),
    _host("create", "frame sp gas kind rules", "CREATE*: pay, fill the request; rules: system.CREATE_RULES."),
)

BUILTINS: Mapping[str, Builtin] = MappingProxyType({row.name: row for row in (*_NATIVE, *_HOST)})
"""Name (without prefix) to row."""


def declarations(names: Iterable[str]) -> str:
    """The `declare` lines of those helpers, each once and sorted.  KeyError for a name that is not in the table."""
    return "".join(BUILTINS[name].declaration + "\n" for name in sorted(set(names)))
