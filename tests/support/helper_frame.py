"""A frame around one native helper: its record, a stack and Python host functions."""

from __future__ import annotations

import ctypes

from evmaot.abi.layout import FRAME
from evmaot.codegen.options import Tier
from evmaot.runtime.host_table import HostFunction, HostTable
from evmaot.runtime.log_buffer import LogBuffer
from evmaot.runtime.slot_table import GENERATION, SlotTable
from tests.support.builtins_jit import from_native, load_builtins, to_native

STACK_WORDS = 32


class HelperFrame:
    """A frame that no code runs in; helpers are called on it directly."""

    def __init__(
        self,
        slots: SlotTable | None = None,
        tier: Tier = Tier.OPTIMISED,
        logs: LogBuffer | None = None,
        **host: HostFunction,
    ) -> None:
        self.builtins = load_builtins(tier)
        self.table = HostTable(host)
        self.slots, self.logs = slots, logs
        self._record = (ctypes.c_uint64 * (FRAME.size_bytes // 8))()
        self._stack = (ctypes.c_uint64 * (4 * STACK_WORDS))()
        self._memory = (ctypes.c_uint8 * 4096)()
        self.address = ctypes.addressof(self._record)
        self.set("host_table", self.table.address)
        self.set("memory_base", ctypes.addressof(self._memory))
        self.set("memory_capacity", len(self._memory))
        if slots is not None:
            slots.begin(tracks_access=True)
            slots.cells[GENERATION] = 1
            self.set("slot_table", slots.address)
        if logs is not None:
            self.set("log_buffer", logs.address)

    def set(self, name: str, value: int) -> None:
        """Store a 64-bit field."""
        self._record[FRAME.offset(name) // 8] = value & ((1 << 64) - 1)

    def get(self, name: str) -> int:
        """A 64-bit field, signed."""
        value = self._record[FRAME.offset(name) // 8]
        return value - (1 << 64) if value >> 63 else value

    def word(self, name: str) -> int:
        """A word field."""
        return from_native(to_word_array(self.address + FRAME.offset(name)))

    def push(self, *words: int) -> int:
        """Put words on the stack, the top first; the stack pointer behind the top."""
        height = len(words)
        for depth, word in enumerate(words):
            for limb in range(4):
                self._stack[4 * (height - 1 - depth) + limb] = word >> (64 * limb) & ((1 << 64) - 1)
        return ctypes.addressof(self._stack) + 32 * height

    def stack_word(self, depth_from_bottom: int) -> int:
        """A word of the stack by its height."""
        return from_native(to_word_array(ctypes.addressof(self._stack) + 32 * depth_from_bottom))

    def call(self, name: str, *arguments: object) -> int:
        """Call a helper with the frame first; its signed answer.  Words are arrays as of `to_native`."""
        answer = self.builtins.functions[name](self.address, *arguments)
        return answer - (1 << 64) if answer >> 63 else int(answer)


def to_word_array(address: int) -> ctypes.Array[ctypes.c_uint64]:
    """The word at an address."""
    # SAFETY: callers give addresses inside buffers that they hold.
    return (ctypes.c_uint64 * 4).from_address(address)


def numbers(*values: int) -> ctypes.Array[ctypes.c_int64]:
    """A table of fork parameters, as compiled code passes them."""
    return (ctypes.c_int64 * len(values))(*values)


def store_word(address: int, value: int) -> None:
    """Write a word to an address."""
    # SAFETY: as above.
    ctypes.memmove(address, to_native(value), 32)


__all__ = ["HelperFrame", "from_native", "numbers", "store_word", "to_native", "to_word_array"]
