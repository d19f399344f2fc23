"""Copies and memory growth as LLVM IR, without memcpy, memmove or memset.

Job: the bodies of `evmaot_move`, `_copy_padded`, `_load_padded` and `_memory_grow`.  Invariants:
exactly the bytes asked for are read and written, at any alignment; offsets and sizes are unsigned
and every comparison comes before the sum that could wrap; memory between a frame's memory_size and
memory_capacity is 0 already, so growth clears nothing.  Method of the copies: up to 64 bytes are
loaded whole before they are stored, with pieces that overlap; longer ones go 64 bytes at a time,
with the last piece, which overlaps, loaded first.  May import: `evmaot.abi`,
`evmaot.codegen.builtins.writer`, `evmaot.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from evmaot.abi.layout import FRAME, HOST_TABLE
from evmaot.abi.status import Status
from evmaot.codegen.builtins.writer import UNLIKELY, Writer, function
from evmaot.target import Target

_VECTOR = "<2 x i64>"
_CHUNK_BYTES = 64
_PIECES = ((1, "i8"), (2, "i16"), (4, "i32"), (8, "i64"), (16, _VECTOR))
"""Widths in bytes and their types: a size from `width` to 2 * `width` takes two, from both ends."""


def _load_all(w: Writer, places: Sequence[str], kind: str = _VECTOR) -> list[str]:
    return [w.load(place, kind=kind, align=1) for place in places]


def _store_all(w: Writer, values: Sequence[str], places: Sequence[str], kind: str = _VECTOR) -> None:
    for value, place in zip(values, places, strict=True):
        w.store(value, place, kind=kind, align=1)


def _ends(w: Writer, base: str, size: str, width: int, count: int) -> list[str]:
    """Addresses of `count` pieces from the start of a range and `count` up to its end; they may overlap."""
    end = w.address(base, size)
    starts = [w.address(base, str(width * index)) for index in range(count)]
    return starts + [w.address(end, str(-width * (index + 1))) for index in range(count)]


def _chunk(w: Writer, base: str) -> list[str]:
    """Addresses of the four vectors of 64 bytes."""
    return [w.address(base, str(offset)) for offset in range(0, _CHUNK_BYTES, 16)]


def _short_sizes(w: Writer, destination: str, source: str | None, size: str) -> None:
    """Copy (or, without a source, clear) up to 64 bytes and return; a larger size goes on.  Branches."""
    large, small, tiny = w.label(), w.label(), w.label()
    w.branch(w.compare("ult", size, "16"), tiny, small)
    w.start(tiny)
    for width, kind in reversed(_PIECES[:-1]):
        here, other = w.label(), w.label()
        w.branch(w.compare("uge", size, str(width)), here, other)
        w.start(here)
        _two_ends(w, destination, source, size, width, kind, 1)
        w.start(other)
    w.do("ret void")
    w.start(small)
    one, more, two = w.label(), w.label(), w.label()
    w.branch(w.compare("ule", size, "32"), one, more)
    w.start(one)
    _two_ends(w, destination, source, size, 16, _VECTOR, 1)
    w.start(more)
    w.branch(w.compare("ule", size, str(_CHUNK_BYTES)), two, large)
    w.start(two)
    _two_ends(w, destination, source, size, 16, _VECTOR, 2)
    w.start(large)


def _two_ends(w: Writer, destination: str, source: str | None, size: str, width: int, kind: str, count: int) -> None:
    """`count` pieces from each end, all loaded before any is stored, and return."""
    places = _ends(w, destination, size, width, count)
    values = [_zero(kind)] * len(places)
    if source is not None:
        values = _load_all(w, _ends(w, source, size, width, count), kind)
    _store_all(w, values, places, kind)
    w.do("ret void")


def _zero(kind: str) -> str:
    return "zeroinitializer" if kind.startswith("<") else "0"


def _loop(w: Writer, first: str, last: str, step: int, body: Callable[[str], None]) -> None:
    """Run `body(offset)` for offset = first, first + step, ... while offset < last (both signed).  Branches."""
    before, test, here, done = w.block, w.label(), w.label(), w.label()
    w.jump(test)
    w.start(test)
    offset, following = w.fresh(), w.fresh()
    w.define(offset, w.phi_text("i64", (first, before), (following, here)))
    w.branch(w.compare("slt", offset, last), here, done)
    w.start(here)
    body(offset)
    w.define(following, f"add i64 {offset}, {step}")
    w.jump(test)
    w.start(done)


def _move(target: Target) -> str:
    """memmove.  Sizes are below 2**63: no object is larger."""
    w = Writer()
    _short_sizes(w, "%destination", "%source", "%size")
    forward, backward = w.label(), w.label()
    positions = [w.value(f"ptrtoint ptr {name} to i64") for name in ("%destination", "%source")]
    distance = w.op("sub", positions[0], positions[1])
    rest = w.op("sub", "%size", str(_CHUNK_BYTES))
    # A forward copy is wrong only where the destination begins inside the source.
    w.branch(w.compare("uge", distance, "%size"), forward, backward)

    def copy_chunk(offset: str) -> None:
        values = _load_all(w, _chunk(w, w.address("%source", offset)))
        _store_all(w, values, _chunk(w, w.address("%destination", offset)))

    w.start(forward)
    tail = _load_all(w, _chunk(w, w.address("%source", rest)))
    _loop(w, "0", rest, _CHUNK_BYTES, copy_chunk)
    _store_all(w, tail, _chunk(w, w.address("%destination", rest)))
    w.do("ret void")
    w.start(backward)
    head = _load_all(w, _chunk(w, "%source"))
    negative = w.op("sub", "0", rest)

    def copy_chunk_backward(offset: str) -> None:
        copy_chunk(w.op("sub", "0", offset))

    _loop(w, negative, "0", _CHUNK_BYTES, copy_chunk_backward)
    _store_all(w, head, _chunk(w, "%destination"))
    w.do("ret void")
    return function("void @evmaot_move(ptr %destination, ptr %source, i64 %size)", w.text())


def _clear(target: Target) -> str:
    """`clear`: memset to 0."""
    w = Writer()
    _short_sizes(w, "%destination", None, "%size")
    rest = w.op("sub", "%size", str(_CHUNK_BYTES))
    zeros = ["zeroinitializer"] * 4
    _loop(w, "0", rest, _CHUNK_BYTES, lambda o: _store_all(w, zeros, _chunk(w, w.address("%destination", o))))
    _store_all(w, zeros, _chunk(w, w.address("%destination", rest)))
    w.do("ret void")
    return function("void @clear(ptr %destination, i64 %size)", w.text(), "internal")


def _available(w: Writer) -> str:
    """Bytes of the source from the offset on; 0 where the offset is past its end."""
    left = w.op("sub", "%source_size", "%source_offset")
    return w.select(w.compare("ult", "%source_offset", "%source_size"), left, "0")


def _copy_padded(target: Target) -> str:
    w = Writer()
    available = _available(w)
    enough = w.compare("uge", available, "%size")
    copied = w.select(enough, "%size", available)
    # With nothing to copy the sum may wrap; the pointer is then not used.
    place = w.address("%source", "%source_offset")
    whole, partial = w.label(), w.label()
    w.do(f"call void @evmaot_move(ptr %destination, ptr {place}, i64 {copied})")
    w.branch(enough, whole, partial)
    w.start(whole)
    w.do("ret void")
    w.start(partial)
    w.do(f"call void @clear(ptr {w.address('%destination', copied)}, i64 {w.op('sub', '%size', copied)})")
    w.do("ret void")
    return function(
        "void @evmaot_copy_padded(ptr %destination, ptr %source, i64 %source_size, i64 %source_offset, i64 %size)",
        w.text(),
    )


def _load_padded(target: Target) -> str:
    w = Writer()
    buffer = w.value("alloca i256, align 8")
    available = _available(w)
    whole, partial, done = w.label(), w.label(), w.label()
    place = w.address("%source", "%source_offset")
    w.branch(w.compare("uge", available, "32"), whole, partial)
    w.start(whole)
    direct = w.load(place, kind="i256", align=1)
    w.jump(done)
    w.start(partial)
    w.store("0", buffer, kind="i256")
    w.do(f"call void @evmaot_move(ptr {buffer}, ptr {place}, i64 {available})")
    padded = w.load(buffer, kind="i256")
    w.jump(done)
    w.start(done)
    value = w.phi("i256", (direct, whole), (padded, partial))
    w.store(w.value(f"call i256 @llvm.bswap.i256(i256 {value})"), "%out", kind="i256")
    w.do("ret void")
    signature = "void @evmaot_load_padded(ptr %source, i64 %source_size, i64 %source_offset, ptr %out)"
    return function(signature, w.text())


def _cost(w: Writer, words: str) -> str:
    """Gas of that many words of memory, an i128: 3 a word and words**2 / 512 (Yellow Paper, equation 326).

    An i64 would do for what can be paid, but only because of a bound that is not visible here.
    """
    wide = w.widen(words)
    linear = w.op("mul", wide, "3", "i128")
    quadratic = w.op("lshr", w.op("mul", wide, wide, "i128"), "9", "i128")
    return w.op("add", linear, quadratic, "i128")


def _memory_grow(target: Target) -> str:
    w = Writer()
    request = w.value("alloca i64, align 8")
    size_place, capacity_place, table_place, detail_place = (
        w.address("%frame", str(FRAME.offset(name)))
        for name in ("memory_size", "memory_capacity", "host_table", "status_detail")
    )
    size = w.load(size_place)
    # Not (end + 31) / 32: that wraps for the last 31 values.
    partial = w.compare("ne", w.op("and", "%end", "31"), "0")
    words = w.op("add", w.op("lshr", "%end", "5"), w.widen(partial, "i64", "i1"))
    old_words = w.op("lshr", size, "5")
    grows, unchanged, paid, unpaid, ask, granted, refused = (w.label() for _ in range(7))
    w.branch(w.compare("ugt", words, old_words), grows, unchanged)
    w.start(unchanged)
    w.do("ret i64 %gas")
    w.start(grows)
    price = w.op("sub", _cost(w, words), _cost(w, old_words), "i128")
    gas = w.value("sext i64 %gas to i128")
    left = w.op("sub", gas, price, "i128")
    w.branch(w.compare("slt", left, "0", "i128"), unpaid, paid, UNLIKELY)
    w.start(unpaid)
    w.do("ret i64 -1")
    # What 2**63 gas can pay for is below 2**36 words, so the size in bytes fits.
    w.start(paid)
    new_size = w.op("shl", words, "5")
    w.branch(w.compare("ugt", new_size, w.load(capacity_place)), ask, granted, UNLIKELY)
    w.start(ask)
    w.store(new_size, request)
    table = w.load(table_place, kind="ptr")
    grow = w.load(table, HOST_TABLE.offset("grow_memory"), kind="ptr")
    answer = w.value(f"call i64 {grow}(ptr %frame, ptr {request})")
    w.branch(w.compare("slt", answer, "0"), refused, granted, UNLIKELY)
    w.start(refused)
    w.store(str(int(Status.MEMORY_LIMIT)), detail_place)
    w.do("ret i64 -1")
    w.start(granted)
    w.store(new_size, size_place)
    w.do(f"ret i64 {w.low(left)}")
    return function("i64 @evmaot_memory_grow(ptr %frame, i64 %gas, i64 %end)", w.text())


BODIES: Mapping[str, Callable[[Target], str]] = {
    "move": _move,
    "clear": _clear,
    "copy_padded": _copy_padded,
    "load_padded": _load_padded,
    "memory_grow": _memory_grow,
}
"""Name to definition for a target; `clear` is internal."""
