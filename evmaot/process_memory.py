"""The memory that this process holds but does not use.

Job: give it back to the system where the C library keeps it.  Invariants: it is a courtesy; where there is nothing to
call, nothing happens.  May import: the standard library.
"""

from __future__ import annotations

import ctypes


def return_free_memory() -> bool:
    """Have glibc return the free pages in its heaps; whether some were (False also where the C library is another).

    Objects and libraries of some hundred KiB are allocated in the heap once glibc has seen blocks of their size freed
    (mallopt(3), M_MMAP_THRESHOLD), and what is free below a block in use stays with the process.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return False
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    # SAFETY: malloc_trim is thread-safe and touches free pages only.
    return bool(trim(0))
