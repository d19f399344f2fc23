"""The native helpers in memory: compiled for this host, linked to an image, called by ctypes.

A library that has each helper as an entry: LLVM's in-process linker would put sections anywhere, and aborts
when other reservations of the process leave no room for them within 2 GiB of each other.
Words go in and come out as Python ints.  The optimised tier is what is shipped; the fast one checks
that no body depends on an optimisation.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
from collections.abc import Callable
from functools import cache
from typing import Any

from evmaot.abi.layout import FINGERPRINT
from evmaot.abi.library import LibraryTable, TableEntry
from evmaot.codegen.backend.linker import link_shared_library
from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.builtins.module import builtins_text
from evmaot.codegen.builtins.table import BUILTINS
from evmaot.codegen.emit.table import table_text
from evmaot.codegen.options import Tier
from evmaot.runtime.image import load_image
from evmaot.target import host_target

TIERS = (Tier.OPTIMISED, Tier.FAST)
WORD_MASK = (1 << 256) - 1
LIMB_MASK = (1 << 64) - 1
_PAGE_BYTES = mmap.PAGESIZE
_C_TYPES: dict[str, Any] = {"ptr": ctypes.c_void_p, "i64": ctypes.c_uint64, "void": None}
Word = ctypes.c_uint64 * 4


def to_native(value: int) -> ctypes.Array[ctypes.c_uint64]:
    """A word in memory."""
    return Word(*(value >> shift & LIMB_MASK for shift in (0, 64, 128, 192)))


def from_native(word: ctypes.Array[ctypes.c_uint64]) -> int:
    """The int of a word in memory."""
    return sum(limb << shift for limb, shift in zip(word, (0, 64, 128, 192), strict=True))


class Builtins:
    """All helpers of one tier, as ctypes functions."""

    def __init__(self, tier: Tier) -> None:
        target, rules = host_target(), bytes(32)
        keys = {row.symbol: hashlib.sha256(row.symbol.encode()).digest() for row in BUILTINS.values()}
        entries = tuple(TableEntry(key, rules, symbol) for symbol, key in keys.items())
        table = table_text(LibraryTable(bytes.fromhex(FINGERPRINT), bytes(32), entries))
        texts = (builtins_text(target), table)
        objects = [compile_text(text, tier, target).data for text in texts]
        self._image = load_image(link_shared_library(objects, soname="builtins.so", target=target))
        self.functions: dict[str, Callable[..., Any]] = {}
        for row in BUILTINS.values():
            parameters = [_C_TYPES[kind] for kind in row.parameters]
            prototype = ctypes.CFUNCTYPE(_C_TYPES[row.result], *parameters)
            # SAFETY: the symbol has the row's signature; `self` keeps the code alive.
            self.functions[row.name] = prototype(self._image.entries[keys[row.symbol], rules])

    def word_function(self, name: str) -> Callable[..., int]:
        """A helper from words (pointers) to a word (the last pointer), on ints."""
        call = self.functions[name]

        def on_ints(*operands: int) -> int:
            out = to_native(WORD_MASK)
            call(*(to_native(operand) for operand in operands), out)
            return from_native(out)

        return on_ints


@cache
def load_builtins(tier: Tier) -> Builtins:
    """The helpers of a tier; compiled once per process."""
    return Builtins(tier)


class GuardedPage:
    """Two pages of memory between two that fault on any access: reads and writes out of bounds crash."""

    SIZE_BYTES = 2 * _PAGE_BYTES

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, self.SIZE_BYTES + 2 * _PAGE_BYTES)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        for guard in (start, start + _PAGE_BYTES + self.SIZE_BYTES):
            # SAFETY: both ranges are whole pages of the mapping, which lives as long as the process.
            if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(_PAGE_BYTES), ctypes.c_int(0)):
                raise OSError(ctypes.get_errno(), "mprotect")
        self.start = start + _PAGE_BYTES
        self.end = self.start + self.SIZE_BYTES

    def fill(self, address: int, data: bytes) -> None:
        """Write bytes."""
        assert self.start <= address
        assert address + len(data) <= self.end
        ctypes.memmove(address, data, len(data))

    def read(self, address: int, size_bytes: int) -> bytes:
        """Read bytes."""
        return ctypes.string_at(address, size_bytes)


@cache
def guarded_page(name: str) -> GuardedPage:
    """A page of that name; made once per process."""
    return GuardedPage()
