"""Small libraries for tests of linker, checker and loader: IR texts, tables, and how to call what they hold."""

from __future__ import annotations

import ctypes
import hashlib
from functools import cache

from evmaot.abi.layout import FINGERPRINT
from evmaot.abi.library import LibraryTable, TableEntry
from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.emit.table import table_text
from evmaot.codegen.options import Tier
from evmaot.target import TARGETS, Target

X86_64 = TARGETS["x86_64-linux"]
AARCH64 = TARGETS["aarch64-linux"]
PROFILE = hashlib.sha256(b"profile").digest()

ENTRY_TEXT = """
declare hidden void @triple(ptr, ptr)
declare hidden i64 @add_seven(i64)
@constant_i8 = external hidden constant i8
@constant_i16 = external hidden constant i16
@constant_i32 = external hidden constant i32
@constant_i64 = external hidden constant i64
@constant_i128 = external hidden constant <2 x i64>

define internal i64 @relay(i64 %x) noinline {
  %r = musttail call i64 @add_seven(i64 %x)
  ret i64 %r
}

define internal i64 @one(i64 %x) {
  %r = mul i64 %x, 3
  ret i64 %r
}

define internal i64 @two(i64 %x) {
  %r = mul i64 %x, 5
  ret i64 %r
}

@targets = internal constant [3 x i32] [
  i32 trunc (i64 sub (i64 ptrtoint (ptr @one to i64), i64 ptrtoint (ptr @targets to i64)) to i32),
  i32 trunc (i64 sub (i64 ptrtoint (ptr @two to i64), i64 ptrtoint (ptr @targets to i64)) to i32),
  i32 trunc (i64 sub (i64 ptrtoint (ptr @add_seven to i64), i64 ptrtoint (ptr @targets to i64)) to i32)]

; The words at %words: 0 selects, 1 to 4 are operands and results.
define hidden i32 @ENTRY(ptr %words) {
  %selector = load i64, ptr %words
  %first = getelementptr i64, ptr %words, i64 1
  %x = load i64, ptr %first
  switch i64 %selector, label %other [
    i64 0, label %call_other_object
    i64 1, label %indirect
    i64 2, label %wide
    i64 3, label %floating
    i64 4, label %constants
    i64 5, label %vector
  ]
call_other_object:
  call void @triple(ptr %first, ptr %first)
  %tripled = load i64, ptr %first
  %relayed = call i64 @relay(i64 %tripled)
  store i64 %relayed, ptr %first
  ret i32 10
indirect:
  %index = urem i64 %x, 3
  %slot = getelementptr i32, ptr @targets, i64 %index
  %distance = load i32, ptr %slot
  %wide_distance = sext i32 %distance to i64
  %address = getelementptr i8, ptr @targets, i64 %wide_distance
  %called = call i64 %address(i64 %x)
  store i64 %called, ptr %first
  ret i32 11
wide:
  %word = load i256, ptr %first
  %product = mul i256 %word, 123456789012345678901234567890123456789012345678901234567890
  store i256 %product, ptr %first
  ret i32 12
floating:
  %integer = uitofp i64 %x to double
  %scaled = fmul double %integer, 3.25
  %back = fptoui double %scaled to i64
  store i64 %back, ptr %first
  ret i32 13
constants:
  %c8 = load i8, ptr @constant_i8
  %c16 = load i16, ptr @constant_i16
  %c32 = load i32, ptr @constant_i32
  %c64 = load i64, ptr @constant_i64
  %w8 = zext i8 %c8 to i64
  %w16 = zext i16 %c16 to i64
  %w32 = zext i32 %c32 to i64
  %s1 = add i64 %w8, %w16
  %s2 = mul i64 %s1, %w32
  %s3 = xor i64 %s2, %c64
  store i64 %s3, ptr %first
  ret i32 14
vector:
  %c128 = load <2 x i64>, ptr @constant_i128
  store <2 x i64> %c128, ptr %first, align 8
  ret i32 15
other:
  ret i32 SALT
}
"""
"""A contract of the tests: calls across objects, a jump table, a table of distances, constants of every size."""

BUILTINS_TEXT = """
@constant_i8 = hidden constant i8 201
@constant_i16 = hidden constant i16 50001
@constant_i32 = hidden constant i32 4000000001
@constant_i64 = hidden constant i64 1234567890123456789
@constant_i128 = hidden constant <2 x i64> <i64 1111111111111111111, i64 2222222222222222222>, align 16

define hidden void @triple(ptr %out, ptr %in) {
  %x = load i64, ptr %in
  %y = mul i64 %x, 3
  store i64 %y, ptr %out
  ret void
}

define hidden i64 @add_seven(i64 %x) {
  %y = add i64 %x, 7
  ret i64 %y
}
"""
"""What stands for the native builtins."""


def code_sha256(number: int) -> bytes:
    """The code hash of test contract `number`."""
    return hashlib.sha256(f"code {number}".encode()).digest()


def rules(number: int) -> bytes:
    """The rules digest of test contract `number`."""
    return hashlib.sha256(f"rules {number}".encode()).digest()


def table_of(count: int) -> LibraryTable:
    """The table of a library with `count` test contracts."""
    entries = [TableEntry(code_sha256(number), rules(number), f"entry_{number:04d}") for number in range(count)]
    return LibraryTable(bytes.fromhex(FINGERPRINT), PROFILE, tuple(entries))


def salt(number: int) -> int:
    """What contract `number` returns for an unknown selector."""
    return 1000 + number


@cache
def compiled(text: str, target: Target = X86_64, tier: Tier = Tier.OPTIMISED) -> bytes:
    """Object bytes of a text."""
    return compile_text(text, tier, target).data


def entry_text(number: int) -> str:
    """IR of test contract `number`."""
    return ENTRY_TEXT.replace("@ENTRY", f"@entry_{number:04d}").replace("SALT", str(salt(number)))


@cache
def library_objects(count: int = 3, target: Target = X86_64, tier: Tier = Tier.OPTIMISED) -> tuple[bytes, ...]:
    """Objects of a whole library with `count` contracts."""
    texts = [entry_text(number) for number in range(count)]
    return tuple(compiled(text, target, tier) for text in (*texts, BUILTINS_TEXT, table_text(table_of(count))))


INPUTS = tuple(
    (selector, x, (x * 0x9E3779B97F4A7C15) % 2**64, 3, 4) for selector in range(7) for x in (0, 1, 2, 3, 2**40 + 1)
)
"""Words for calls that together reach every branch of a test contract."""


def call(address: int, words: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Call an entry of a test contract: its result and the words after the call."""
    buffer = (ctypes.c_uint64 * len(words))(*words)
    # SAFETY (of the tests): a test contract touches the first five words alone.
    result = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)(ctypes.addressof(buffer))
    return int(result), tuple(buffer)


def expected(number: int, words: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The same in Python."""
    selector, x, *rest = words
    mask = 2**64 - 1
    if selector == 0:
        return 10, (selector, (3 * x + 7) & mask, *rest)
    if selector == 1:
        called = (3 * x, 5 * x, x + 7)[x % 3] & mask
        return 11, (selector, called, *rest)
    if selector == 2:
        word = sum(limb << 64 * index for index, limb in enumerate(words[1:5]))
        word = word * 123456789012345678901234567890123456789012345678901234567890 % 2**256
        return 12, (selector, *((word >> 64 * index) & mask for index in range(4)))
    if selector == 3:
        return 13, (selector, int(float(x) * 3.25), *rest)
    if selector == 4:
        return 14, (selector, ((201 + 50001) * 4000000001 & mask) ^ 1234567890123456789, *rest)
    if selector == 5:
        return 15, (selector, 1111111111111111111, 2222222222222222222, *words[3:])
    return salt(number), words


def assert_behaves(entries: dict[tuple[bytes, bytes], int], count: int = 3) -> None:
    """Every contract of a loaded library answers every input as Python does."""
    assert set(entries) == {(code_sha256(number), rules(number)) for number in range(count)}
    for number in range(count):
        for words in INPUTS:
            assert call(entries[code_sha256(number), rules(number)], words) == expected(number, words)
