"""Libraries in this process: loaded from memory, or opened by the dynamic loader.

Job: turn a library's bytes or path into addresses of entries.  `load_image` maps a library that needs no dynamic
relocation by itself: `dlopen` is quadratic in the number of loaded libraries, and wants a file.  `open_library`
asks the dynamic loader.  Both give a `LoadedLibrary`.  Invariants: the library keeps all rules of
`evmaot.store.elf_rules` before any of it is mapped; its ABI is this process's; every entry lies in its code;
no memory is ever writable and executable at once.  May import: `evmaot.store.elf_rules`, `evmaot.abi`,
`evmaot.target`, errors; never codegen.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Final

from evmaot.abi import elf
from evmaot.abi.elf import align_up
from evmaot.abi.layout import FINGERPRINT
from evmaot.abi.library import TABLE_SYMBOL, EntryKey, ParsedTable, parse_table
from evmaot.errors import LoadError
from evmaot.store.elf_rules import RULES, LibraryLayout, read_layout
from evmaot.target import host_target

_PROT_READ: Final = 1
_PROT_WRITE: Final = 2
_PROT_EXEC: Final = 4
_MAP_PRIVATE: Final = 2
_MAP_ANONYMOUS: Final = 0x20
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


class Entries(dict[EntryKey, int]):
    """Absolute addresses of a library's entries by (SHA-256 of the code, rules digest).

    The library stays loaded as long as this dictionary lives, so ``load_image(data).entries`` is safe to keep; a
    copy of an address alone keeps nothing.
    """

    __slots__ = ("__weakref__",)


class LoadedLibrary:
    """A library in this process.  Its addresses are valid until `close`, or as long as it or its entries live."""

    def __init__(
        self, base: int, size_bytes: int, table_address: int, table: ParsedTable, release: Callable[[], None]
    ) -> None:
        self.base = base
        """Absolute address of the library's first byte."""
        self.size_bytes = size_bytes
        """Bytes of address space from the base."""
        self.table_address = table_address
        """Absolute address of `evmaot_table`."""
        self.profile_id: bytes = table.profile_id
        self.abi_fingerprint: bytes = table.abi_fingerprint
        self.entries = Entries(((code_sha256, rules), table_address + offset) for code_sha256, rules, offset in table)
        self._finalizer = weakref.finalize(self.entries, release)
        # At exit other threads may still run compiled code; the kernel takes the memory back by itself.
        self._finalizer.atexit = False

    @property
    def is_closed(self) -> bool:
        """Has `close` been called?"""
        return not self._finalizer.alive

    def close(self) -> None:
        """Give the memory back; calling again does nothing.

        SAFETY: no call into the library may be running or follow; the caller drops all addresses first.
        """
        self.entries.clear()
        self._finalizer()


class LoadedImage(LoadedLibrary):
    """A library that `load_image` mapped."""


@cache
def _libc() -> ctypes.CDLL:
    """The C library of this process, with prototypes of what is used of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    size, pointer, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
    libc.mmap.argtypes = [pointer, size, number, number, number, ctypes.c_int64]
    libc.mmap.restype = pointer
    libc.mprotect.argtypes = [pointer, size, number]
    libc.munmap.argtypes = [pointer, size]
    libc.dlclose.argtypes = [pointer]
    return libc


def _system_refusal(what: str, subject: str) -> LoadError:
    number = ctypes.get_errno()
    return LoadError(
        "image_refused",
        f"{what} for {subject} failed",
        context={"subject": subject, "errno": number},
        cause=os.strerror(number),
        hint="memory is short, or a policy forbids new executable memory; open the library from its file instead",
    )


def checked_layout(data: bytes | mmap.mmap, subject: str) -> LibraryLayout:
    """The layout of a library that this machine may load.  `subject` names it in errors.

    Raises LoadError ``elf_rule:<rule>``.
    """
    layout = read_layout(data, architecture=host_target().architecture)
    if isinstance(layout, str):
        raise LoadError(
            f"elf_rule:{layout}",
            f"{subject} breaks the rule {layout!r}: {RULES[layout]}",
            context={"subject": subject, "rule": layout},
            cause="the library was damaged, or not built by evmaot",
            hint="evmaot verify --level elf --repair",
        )
    return layout


def load_image(data: bytes, *, subject: str = "the library") -> LoadedImage:
    """Map a library from memory, without the dynamic loader.

    The caller has checked that `data` is what was published (SHA-256): rules about structure cannot find a flipped
    bit in code.  Raises LoadError: ``elf_rule:<rule>``, ``image_relocations`` (made by another linker),
    ``image_pages`` (segments would share a page of this machine), ``image_refused`` (by the system),
    ``table_mismatch``, ``abi_mismatch``.
    """
    layout = checked_layout(data, subject)
    if layout.has_relocations:
        raise LoadError(
            "image_relocations",
            f"{subject} needs the dynamic loader",
            context={"subject": subject},
            cause="it holds dynamic relocations",
            hint="open it from its file, or link it with --linker own",
        )
    _refuse_shared_pages(layout, subject)
    table = _checked_table(data[layout.table_offset : layout.table_offset + layout.table_size_bytes], subject)
    size_bytes = align_up(layout.span_bytes, mmap.PAGESIZE)
    base, release = _map(data, layout, size_bytes, subject)
    return LoadedImage(base, size_bytes, base + layout.table_address, table, release)


def _refuse_shared_pages(layout: LibraryLayout, subject: str) -> None:
    """Protection is by page, and this machine's pages may be larger than the smallest of its kind."""
    previous_end = 0
    for part in layout.segments:
        if part.address & -mmap.PAGESIZE < previous_end:
            raise LoadError(
                "image_pages",
                f"segments of {subject} share a page of {mmap.PAGESIZE} bytes",
                context={"subject": subject, "page_size_bytes": mmap.PAGESIZE},
                hint="link it again with --linker own",
            )
        previous_end = align_up(part.address_end, mmap.PAGESIZE)


def _checked_table(data: bytes, subject: str) -> ParsedTable:
    """The table, of this process's ABI.  Raises LoadError ``table_mismatch``, ``abi_mismatch``."""
    table = parse_table(data)
    if table.abi_fingerprint.hex() != FINGERPRINT:
        raise LoadError(
            "abi_mismatch",
            f"{subject} has another native ABI than this version of evmaot",
            context={"subject": subject, "found": table.abi_fingerprint.hex(), "expected": FINGERPRINT},
            hint="build it again with this version",
        )
    return table


def _map(data: bytes, layout: LibraryLayout, size_bytes: int, subject: str) -> tuple[int, Callable[[], None]]:
    """Base address of a mapped copy, and what unmaps it.  Raises LoadError ``image_refused``."""
    libc = _libc()
    # SAFETY: a new private mapping at an address of the kernel's choice; nothing else can refer to it yet.
    base = libc.mmap(None, size_bytes, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_ANONYMOUS, -1, 0)
    if base is None or base == _MAP_FAILED:
        raise _system_refusal("mmap", subject)
    release = partial(_unmap, base, size_bytes)
    source = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
    assert source is not None
    for part in layout.segments:
        # SAFETY: the layout's rules keep offset + file_bytes inside `data`, which this call keeps alive, and
        # address + file_bytes inside the span that was just mapped.
        ctypes.memmove(base + part.address, source + part.offset, part.file_bytes)
    protections = [(0, size_bytes, _PROT_READ)]
    for part in layout.segments:
        if part.flags & elf.PF_X:
            start = part.address & -mmap.PAGESIZE
            protections.append((start, align_up(part.address_end, mmap.PAGESIZE) - start, _PROT_READ | _PROT_EXEC))
    for start, length, protection in protections:
        # SAFETY: whole pages of our own mapping, into which nothing is written any more.  The code was never mapped
        # executable while it was written, so on aarch64 too the kernel makes the instruction cache agree with it
        # when it makes these pages executable (the PG_dcache_clean protocol of arch/arm64/mm/flush.c).
        if libc.mprotect(base + start, length, protection) != 0:
            error = _system_refusal("mprotect", subject)
            release()
            raise error
    return base, release


def _unmap(base: int, size_bytes: int) -> None:
    # SAFETY: runs once, by the finalizer of the only object that hands out addresses of this mapping.
    _libc().munmap(base, size_bytes)


def open_library(path: Path) -> LoadedLibrary:
    """Open a library with the dynamic loader (`dlopen`, RTLD_LOCAL and RTLD_NOW) and find its entries.

    The caller has checked that the file's bytes are what was published, and opens a path that is never written
    again.  Raises LoadError: ``elf_rule:<rule>``, ``dlopen_failed``, ``table_mismatch``, ``abi_mismatch``.
    """
    subject = str(path)
    layout, expected = _layout_of_file(path)
    table = _checked_table(expected, subject)
    try:
        # SAFETY: dlopen trusts the file; `_layout_of_file` has checked every offset that it follows, and the rules
        # say that no code of the library runs by being loaded.
        library = ctypes.CDLL(os.path.abspath(path), mode=os.RTLD_LOCAL | os.RTLD_NOW)
    except OSError as error:
        raise _dlopen_failed(path, error) from error
    release = partial(_close_handle, library._handle)
    table_address = ctypes.addressof(ctypes.c_char.in_dll(library, TABLE_SYMBOL))
    base = table_address - layout.table_address
    # SAFETY: reads the symbol's own bytes; the checked file says how many it has.
    if base % mmap.PAGESIZE or ctypes.string_at(table_address, len(expected)) != expected:
        release()
        raise LoadError(
            "table_mismatch",
            f"the dynamic loader opened something else than {subject}",
            context={"path": subject},
            cause="another library was loaded from this path before, and the file was written again",
            hint="never write to a published library; restart this process",
        )
    return LoadedLibrary(base, align_up(layout.span_bytes, mmap.PAGESIZE), table_address, table, release)


def _dlopen_failed(path: Path, error: OSError) -> LoadError:
    return LoadError(
        "dlopen_failed",
        f"{path} cannot be opened",
        context={"path": str(path)},
        cause=str(error),
        hint="check that the file is readable and its file system allows execution (no noexec)",
    )


def _layout_of_file(path: Path) -> tuple[LibraryLayout, bytes]:
    """The checked layout of a file, and the bytes of its table, reading as little as possible of it."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return checked_layout(b"", str(path)), b""
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                layout = checked_layout(data, str(path))
                return layout, data[layout.table_offset : layout.table_offset + layout.table_size_bytes]
    except OSError as error:
        raise _dlopen_failed(path, error) from error


def _close_handle(handle: int) -> None:
    # SAFETY: runs once, by the finalizer of the only object that hands out addresses of this library.
    _libc().dlclose(handle)
