"""Libraries in this process: the same from memory and by the dynamic loader, and refused with the store's reasons."""

from __future__ import annotations

import ctypes
import gc
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from evmaot.abi import elf
from evmaot.abi.library import LibraryTable, TableEntry
from evmaot.codegen.backend.linker import link, link_shared_library
from evmaot.codegen.backend.system_linker import find_linker
from evmaot.codegen.emit.table import table_text
from evmaot.errors import LoadError
from evmaot.runtime import image
from evmaot.runtime.image import LoadedLibrary, load_image, open_library
from evmaot.target import host_target
from tests.support.elf_patch import parsed, put, put_segment
from tests.support.libraries import (
    AARCH64,
    BUILTINS_TEXT,
    PROFILE,
    X86_64,
    assert_behaves,
    call,
    code_sha256,
    compiled,
    library_objects,
    rules,
)

pytestmark = pytest.mark.skipif(host_target() != X86_64, reason="loads x86-64 libraries")


def library(name: str = "evmaot-x.so") -> bytes:
    return link_shared_library(library_objects(), soname=name, target=X86_64)


def written(directory: Path, data: bytes, name: str = "library.so") -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


def mapped_ranges(start: int, size_bytes: int) -> list[tuple[int, int, str]]:
    """Ranges of this process's memory that meet a range: first address, last address, permissions."""
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, permissions = line.split()[:2]
        first, last = (int(part, 16) for part in span.split("-"))
        if first < start + size_bytes and start < last:
            # The kernel makes one of neighbours with equal permissions, another test's image for example.
            found.append((max(first, start), min(last, start + size_bytes), permissions))
    return found


def reason(data: bytes) -> str:
    with pytest.raises(LoadError) as caught:
        load_image(data)
    return caught.value.reference


def test_an_image_and_an_opened_library_hold_the_same(tmp_path: Path) -> None:
    mapped, opened = load_image(library()), open_library(written(tmp_path, library()))
    for found in (mapped, opened):
        assert_behaves(found.entries)
        assert found.profile_id == PROFILE
        assert bytes(ctypes.string_at(found.table_address, 6)) == b"EVMAOT"
        assert all(found.base <= address < found.base + found.size_bytes for address in found.entries.values())
    distances = [{key: address - found.base for key, address in found.entries.items()} for found in (mapped, opened)]
    assert distances[0] == distances[1]
    assert (mapped.abi_fingerprint, mapped.size_bytes) == (opened.abi_fingerprint, opened.size_bytes)


@pytest.mark.parametrize("how", ["image", "dlopen"])
def test_no_memory_of_a_library_is_writable_and_only_code_is_executable(how: str, tmp_path: Path) -> None:
    loaded: LoadedLibrary = load_image(library()) if how == "image" else open_library(written(tmp_path, library()))
    ranges = mapped_ranges(loaded.base, loaded.size_bytes)
    assert sum(last - first for first, last, _ in ranges) == loaded.size_bytes
    for first, last, permissions in ranges:
        assert permissions[:3] in ("r--", "r-x")
        holds_entries = any(first <= address < last for address in loaded.entries.values())
        assert holds_entries is (permissions[2] == "x")


def test_an_image_is_a_copy_of_the_file_in_memory() -> None:
    data, loaded = library(), load_image(library())
    for segment in parsed(data).iter_segments("PT_LOAD"):
        in_memory = ctypes.string_at(loaded.base + segment["p_vaddr"], segment["p_memsz"])
        assert in_memory == segment.data() + bytes(segment["p_memsz"] - segment["p_filesz"])


@pytest.mark.parametrize("how", ["image", "dlopen"])
def test_close_gives_the_memory_back_once(how: str, tmp_path: Path) -> None:
    data = library(f"close-{how}.so")
    loaded: LoadedLibrary = load_image(data) if how == "image" else open_library(written(tmp_path, data))
    base, size_bytes = loaded.base, loaded.size_bytes
    before = loaded.is_closed
    assert mapped_ranges(base, size_bytes)
    loaded.close()
    assert (before, loaded.is_closed) == (False, True)
    assert loaded.entries == {}
    assert mapped_ranges(base, size_bytes) == []
    loaded.close()


def test_the_entries_alone_keep_the_library_loaded() -> None:
    entries = load_image(library()).entries
    gc.collect()
    assert_behaves(entries)


def test_a_library_without_references_is_unloaded() -> None:
    loaded = load_image(library())
    base, size_bytes = loaded.base, loaded.size_bytes
    assert mapped_ranges(base, size_bytes)
    del loaded
    gc.collect()
    assert mapped_ranges(base, size_bytes) == []


def test_many_images_live_side_by_side() -> None:
    images = [load_image(library()) for _ in range(300)]
    assert len({loaded.base for loaded in images}) == 300
    for loaded in (images[0], images[150], images[299]):
        assert_behaves(loaded.entries)


def test_an_opened_library_may_be_unlinked(tmp_path: Path) -> None:
    path = written(tmp_path, library())
    loaded = open_library(path)
    path.unlink()
    assert_behaves(loaded.entries)


def test_a_library_is_opened_by_path_even_when_the_path_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, library(), "libm.so.6")
    monkeypatch.chdir(tmp_path)
    assert_behaves(open_library(Path("libm.so.6")).entries)


def test_a_library_with_an_empty_table_has_no_entries() -> None:
    objects = (compiled(BUILTINS_TEXT), compiled(table_text(LibraryTable(fingerprint(), PROFILE, ()))))
    assert load_image(link_shared_library(objects, soname="x.so", target=X86_64)).entries == {}


def fingerprint() -> bytes:
    from evmaot.abi.layout import FINGERPRINT

    return bytes.fromhex(FINGERPRINT)


def test_another_abi_is_refused(tmp_path: Path) -> None:
    table = LibraryTable(bytes(32), PROFILE, (TableEntry(code_sha256(0), rules(0), "entry_0000"),))
    objects = (library_objects()[0], compiled(BUILTINS_TEXT), compiled(table_text(table)))
    data = link_shared_library(objects, soname="x.so", target=X86_64)
    assert reason(data) == "abi_mismatch"
    with pytest.raises(LoadError) as caught:
        open_library(written(tmp_path, data))
    assert caught.value.reference == "abi_mismatch"
    assert caught.value.context["expected"] == fingerprint().hex()


def broken_libraries() -> list[tuple[bytes, str]]:
    return [
        (library()[:-1], "elf_rule:section_headers"),
        (library()[:100], "elf_rule:program_headers"),
        (b"", "elf_rule:elf_header"),
        (b"not a library", "elf_rule:elf_header"),
        (put_segment(library(), elf.PT_GNU_STACK, "flags", 7), "elf_rule:executable_stack"),
        (put_segment(library(), elf.PT_LOAD, "flags", 7, which=1), "elf_rule:write_execute"),
        (put(library(), 18, "H", elf.EM_AARCH64), "elf_rule:machine"),
        (link_shared_library(library_objects(target=AARCH64), soname="x.so", target=AARCH64), "elf_rule:machine"),
    ]


def test_what_breaks_a_rule_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("asked the loader")

    broken = broken_libraries()
    monkeypatch.setattr(image, "_map", never)
    monkeypatch.setattr(ctypes, "CDLL", never)
    for data, expected in broken:
        assert reason(data) == expected
        with pytest.raises(LoadError) as caught:
            open_library(written(tmp_path, data))
        assert caught.value.reference == expected
        assert caught.value.hint


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.so", tmp_path):
        with pytest.raises(LoadError) as caught:
            open_library(path)
        assert (caught.value.reference, caught.value.context["path"]) == ("dlopen_failed", str(path))


def test_a_file_that_is_replaced_between_check_and_dlopen_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, library())
    other = written(tmp_path, link_shared_library(library_objects(2), soname="x.so", target=X86_64), "other.so")
    opened = []

    def replacing(name: str, mode: int) -> ctypes.CDLL:
        other.replace(path)
        opened.append(real(name, mode=mode))
        return opened[0]

    real = ctypes.CDLL
    image._libc()  # it is a CDLL of its own
    monkeypatch.setattr(ctypes, "CDLL", replacing)
    with pytest.raises(LoadError) as caught:
        open_library(path)
    assert (caught.value.reference, len(opened)) == ("table_mismatch", 1)


@pytest.mark.skipif(find_linker("ld") is None, reason="ld is not installed")
def test_a_library_with_relocations_is_for_the_dynamic_loader_alone(tmp_path: Path) -> None:
    text = "@addresses = hidden constant [2 x ptr] [ptr @triple, ptr @add_seven]\n" + BUILTINS_TEXT
    objects = (*library_objects()[:-2], compiled(text), library_objects()[-1])
    data = link("ld", objects, soname="x.so", target=X86_64)
    assert reason(data) == "image_relocations"
    assert_behaves(open_library(written(tmp_path, data)).entries)


@pytest.mark.parametrize("linker", ["ld", "lld", "cc", "zig"])
def test_a_library_of_another_linker_without_relocations_is_an_image_too(linker: str) -> None:
    if find_linker(linker) is None:
        pytest.skip(f"{linker} is not installed")
    assert_behaves(load_image(link(linker, library_objects(), soname="x.so", target=X86_64)).entries)


def test_segments_that_share_a_page_of_this_machine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "PAGESIZE", 0x10000)
    assert reason(library()) == "image_pages"


@pytest.mark.parametrize("function", ["mmap", "mprotect"])
def test_a_refusal_of_the_system_is_named_and_leaves_nothing_mapped(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    libc, released = image._libc(), []

    class Refusing:
        def __init__(self) -> None:
            self.mmap, self.mprotect, self.munmap = libc.mmap, libc.mprotect, self.unmap

        def unmap(self, base: int, size_bytes: int) -> None:
            released.append((base, size_bytes))
            libc.munmap(base, size_bytes)

    def refuse(*_: int) -> int | None:
        ctypes.set_errno(12)
        return image._MAP_FAILED if function == "mmap" else -1

    refusing = Refusing()
    setattr(refusing, function, refuse)
    monkeypatch.setattr(image, "_libc", lambda: refusing)
    with pytest.raises(LoadError) as caught:
        load_image(library())
    assert (caught.value.reference, caught.value.context["errno"]) == ("image_refused", 12)
    assert len(released) == (0 if function == "mmap" else 1)
    assert all(mapped_ranges(base, size_bytes) == [] for base, size_bytes in released)


def test_the_loader_needs_no_compiler() -> None:
    script = (
        "import sys; import evmaot.runtime.image\n"
        "print([name for name in sys.modules if name.startswith(('llvmlite', 'evmaot.codegen', 'click', 'rich'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_an_entry_can_be_called_through_its_key() -> None:
    loaded = load_image(library())
    assert call(loaded.entries[code_sha256(1), rules(1)], (5, 0, 0, 9, 9))[0] == 15
