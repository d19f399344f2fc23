"""Hand-written entry functions for the tests of the runtime: LLVM IR, compiled and linked by our own back end."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.abi.layout import FINGERPRINT, FRAME, HOST_TABLE
from evmaot.abi.library import LibraryTable, TableEntry, parse_table
from evmaot.codegen.backend.linker import link_shared_library
from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.emit.table import table_text
from evmaot.codegen.options import Tier
from evmaot.runtime.program import CompiledProgram, ProgramKind
from evmaot.target import host_target

RULES = bytes(32)


def _field(name: str) -> str:
    return f"getelementptr i8, ptr %f, i64 {FRAME.offset(name)}"


def _load(register: str, name: str, kind: str = "i64") -> str:
    return f"  %{register}.p = {_field(name)}\n  %{register} = load {kind}, ptr %{register}.p\n"


_counter = iter(range(1_000_000))


def _store(name: str, value: str, kind: str = "i64") -> str:
    place = f"s{next(_counter)}"
    return f"  %{place} = {_field(name)}\n  store {kind} {value}, ptr %{place}\n"


def _entry(name: str, body: str) -> str:
    return f"define hidden i32 @entry_{name}(ptr %f) {{\n{body}}}\n"


def _grow_and_fill(size: int) -> str:
    """Memory of that size, its first and last word all ones; stores what was there before in `refund`."""
    return (
        _load("base", "memory_base", "ptr")
        + f"  %last = getelementptr i8, ptr %base, i64 {size - 8}\n"
        + "  %a = load i64, ptr %base\n  %b = load i64, ptr %last\n  %seen = or i64 %a, %b\n"
        + "  store i64 -1, ptr %base\n  store i64 -1, ptr %last\n"
        + _store("memory_size", str(size))
        + _store("refund", "%seen")
    )


def _echo_call_data() -> str:
    """RETURN of the first 32 bytes of call data, after paying 7 gas."""
    return (
        _load("input", "input", "ptr")
        + _load("base", "memory_base", "ptr")
        + _load("gas", "gas")
        + "  %word = load i256, ptr %input, align 1\n  store i256 %word, ptr %base, align 8\n"
        + "  %left = sub i64 %gas, 7\n"
        + _store("gas", "%left")
        + _store("memory_size", "32")
        + _store("output_size", "32")
        + "  ret i32 1\n"
    )


def _call_then_return() -> str:
    """Asks for a call with 64 bytes of input and 32 of output; then returns memory and the result word."""
    return (
        _load("state", "resume")
        + _load("base", "memory_base", "ptr")
        + "  %first = icmp eq i64 %state, 0\n  br i1 %first, label %ask, label %answer\nask:\n"
        + "  store i64 72340172838076673, ptr %base\n"
        + _store("memory_size", "96")
        + _store("gas", "1000")
        + _store("request_kind", "0")
        + _store("request_gas", "500")
        + _store("request_target", "4660", "i256")
        + _store("request_value", "9", "i256")
        + _store("request_salt", "0", "i256")
        + _store("request_input_offset", "0")
        + _store("request_input_size", "64")
        + _store("request_output_offset", "64")
        + _store("request_output_size", "16")
        + _store("resume", "1")
        + "  ret i32 4\nanswer:\n"
        + _load("result", "result", "i256")
        + _load("returned", "return_data_size")
        + "  store i256 %result, ptr %base, align 8\n"
        + "  %size.p = getelementptr i8, ptr %base, i64 32\n  store i64 %returned, ptr %size.p\n"
        + _store("output_size", "96")
        + "  ret i32 1\n"
    )


def _ask_host(function: str) -> str:
    """Calls a host function with null arguments; HOST_ERROR if it fails, else STOP with its answer as refund."""
    row = next(row for row in HOST_TABLE.fields if row.name == function)
    arguments = "".join(", ptr null" for _ in row.arguments)
    return (
        _load("table", "host_table", "ptr")
        + f"  %slot = getelementptr i8, ptr %table, i64 {HOST_TABLE.offset(function)}\n"
        + "  %function = load ptr, ptr %slot\n"
        + f"  %answer = call i64 %function(ptr %f{arguments})\n"
        + _store("refund", "%answer")
        + "  %failed = icmp slt i64 %answer, 0\n  %status = select i1 %failed, i32 64, i32 0\n  ret i32 %status\n"
    )


BODIES = {
    "stop": "  ret i32 0\n",
    "out_of_gas": _store("gas", "-5") + _store("refund", "77") + "  ret i32 16\n",
    "unknown_status": "  ret i32 99\n",
    "echo": _echo_call_data(),
    "fill_small": _grow_and_fill(64) + "  ret i32 0\n",
    "fill_page": _grow_and_fill(40_000) + "  ret i32 0\n",
    "fill_large": _grow_and_fill(1_000_032) + "  ret i32 0\n",
    "fill_then_call": _grow_and_fill(4128) + "  ret i32 4\n",
    "call": _call_then_return(),
    "balance": _ask_host("get_balance"),
    "grow_memory": _ask_host("grow_memory"),
    "return_data_pointer": _load("pointer", "return_data") + _store("refund", "%pointer") + "  ret i32 0\n",
    "revert_nothing": "  ret i32 3\n",
    "return_outside_memory": _store("output_size", "32") + "  ret i32 1\n",
}


def _link(path: Path) -> None:
    target = host_target()
    text = "".join(_entry(name, body) for name, body in BODIES.items())
    entries = tuple(TableEntry(hashlib.sha256(name.encode()).digest(), RULES, f"entry_{name}") for name in BODIES)
    table = LibraryTable(bytes.fromhex(FINGERPRINT), bytes(32), entries)
    objects = [compile_text(part, Tier.FAST, target).data for part in (text, table_text(table))]
    path.write_bytes(link_shared_library(objects, soname="test.so", target=target))


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], CompiledProgram]:
    """The program of that name (`BODIES`)."""
    path = tmp_path_factory.mktemp("native") / "test.so"
    _link(path)
    library = ctypes.CDLL(str(path))
    anchor = ctypes.c_char.in_dll(library, "evmaot_table")
    address = ctypes.addressof(anchor)
    size = 80 + 72 * len(BODIES)
    table = parse_table(ctypes.string_at(address, size))

    def program(name: str) -> CompiledProgram:
        digest = hashlib.sha256(name.encode()).digest()
        offset = table.find(digest, RULES)
        assert offset is not None
        return CompiledProgram(
            address + offset,
            digest,
            digest,
            RULES,
            kind=ProgramKind.AOT,
            tier="fast",
            size_bytes=1,
            backing=library,
        )

    return program
