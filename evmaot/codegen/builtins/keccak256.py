"""KECCAK256 as LLVM IR.

Job: the body of `evmaot_keccak256`: absorb in place, permute, write the digest as a word.
Invariants: reads exactly `size` bytes at any alignment; the digest's first byte is the word's most
significant one, so the four lanes are byte-swapped and stored last first.  Method: lanes in SSA,
four rounds an iteration; six lanes are kept complemented, which leaves 5 of the chi step's 25
negations a round ("lane complementing", Keccak implementation overview 3.2, section 2.2).
May import: `evmaot.codegen.builtins.writer`, `evmaot.evm.keccak` (constants), `evmaot.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from evmaot.codegen.builtins.writer import Limbs, Writer, function
from evmaot.evm.keccak import RATE_BYTES, ROUND_CONSTANTS
from evmaot.target import Target

_LANES = 25
_ROUNDS_PER_ITERATION = 4
"""Divides 24.  Measured, ns a block: 1 round 310, 2 295, 4 274, 6 272, each 700 bytes of code more."""
_COMPLEMENTED = (1, 2, 8, 12, 17, 20)


def _rotations() -> tuple[int, ...]:
    """Left rotation of lane 5 * y + x in the rho step, by its recurrence."""
    offsets = [0] * _LANES
    x, y = 1, 0
    for step in range(24):
        offsets[5 * y + x] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return tuple(offsets)


_ROTATIONS = _rotations()

_CHI: tuple[tuple[str, ...], ...] = (
    ("a^(b|c)", "b^(~c|d)", "c^(d&e)", "d^(e|a)", "e^(a&b)"),
    ("a^(b|c)", "b^(c&d)", "c^(d|~e)", "d^(e|a)", "e^(a&b)"),
    ("a^(b|c)", "b^(c&d)", "c^(~d&e)", "~d^(e|a)", "e^(a&b)"),
    ("a^(b&c)", "b^(c|d)", "c^(~d|e)", "~d^(e&a)", "e^(a|b)"),
    ("a^(~b&c)", "~b^(c|d)", "c^(d&e)", "d^(e|a)", "e^(a&b)"),
)
"""The chi step of each plane on complemented lanes: x ^ (y op z), where ~ negates."""


def _chi(w: Writer, plane: Sequence[str], formulas: Sequence[str]) -> list[str]:
    """One plane.  A negated lane occurs in up to two formulas and is negated once."""
    values = dict(zip("abcde", plane, strict=True))
    result = []
    for formula in formulas:
        left, right = formula[:-1].split("^(")
        operation = "|" if "|" in right else "&"
        first, second = right.split(operation)
        for term in (left, first, second):
            if term not in values:
                values[term] = w.op("xor", values[term[1:]], "-1")
        inner = w.op("or" if operation == "|" else "and", values[first], values[second])
        result.append(w.op("xor", values[left], inner))
    return result


def _rotate(w: Writer, lane: str, bits: int) -> str:
    return w.value(f"call i64 @llvm.fshl.i64(i64 {lane}, i64 {lane}, i64 {bits})") if bits else lane


def _round(w: Writer, lanes: Limbs, constant: str) -> Limbs:
    """theta, then rho, pi and chi plane by plane, then iota."""
    columns = []
    for x in range(5):
        column = lanes[x]
        for y in range(1, 5):
            column = w.op("xor", column, lanes[5 * y + x])
        columns.append(column)
    mixes = [w.op("xor", columns[(x + 4) % 5], _rotate(w, columns[(x + 1) % 5], 1)) for x in range(5)]
    result: list[str] = []
    for y in range(5):
        # pi moves lane (x, y) to (y, 2x + 3y): plane y gathers a diagonal.
        plane = []
        for x in range(5):
            source_x, source_y = (x + 3 * y) % 5, x
            lane = 5 * source_y + source_x
            plane.append(_rotate(w, w.op("xor", lanes[lane], mixes[source_x]), _ROTATIONS[lane]))
        result += _chi(w, plane, _CHI[y])
    result[0] = w.op("xor", result[0], constant)
    return tuple(result)


def _complement(w: Writer, lanes: Limbs) -> Limbs:
    return tuple(w.op("xor", lane, "-1") if index in _COMPLEMENTED else lane for index, lane in enumerate(lanes))


def _permutation(target: Target) -> str:
    """`keccak_f`: Keccak-f[1600] on 25 lanes in memory."""
    w = Writer()
    start = _complement(w, w.load_limbs("%state", _LANES))
    loop, done = w.label(), w.label()
    w.jump(loop)
    w.start(loop)
    lanes, place, next_place = tuple(w.fresh() for _ in range(_LANES)), w.fresh(), w.fresh()
    mark = w.mark()
    state: Limbs = lanes
    for index in range(_ROUNDS_PER_ITERATION):
        constant = w.load(w.address("@keccak_constants", place), 8 * index)
        state = _round(w, state, constant)
    w.define(next_place, f"add i64 {place}, {8 * _ROUNDS_PER_ITERATION}")
    finished = w.compare("eq", next_place, str(8 * len(ROUND_CONSTANTS)))
    w.branch(finished, done, loop)
    phis = [f"{place} = {w.phi_text('i64', ('0', 'entry'), (next_place, loop))}"]
    for name, first, last in zip(lanes, start, state, strict=True):
        phis.append(f"{name} = {w.phi_text('i64', (first, 'entry'), (last, loop))}")
    w.insert(mark, phis)
    w.start(done)
    w.store_limbs(_complement(w, state), "%state")
    w.do("ret void")
    table = ", ".join(f"i64 {constant}" for constant in ROUND_CONSTANTS)
    constants = f"@keccak_constants = private unnamed_addr constant [24 x i64] [{table}], align 8\n"
    return constants + function("void @keccak_f(ptr %state)", w.text(), "internal")


def _absorb_word(w: Writer, value: str, place: str) -> None:
    lane = w.load(place)
    w.store(w.op("xor", lane, value), place)


def _absorb_blocks(w: Writer, state: str) -> tuple[str, str]:
    """All full blocks; (pointer to the rest, its size).  Branches."""
    before, full, test, rest = w.block, w.label(), w.label(), w.label()
    w.jump(test)
    w.start(test)
    data, size, next_data, next_size = (w.fresh() for _ in range(4))
    w.define(data, w.phi_text("ptr", ("%data", before), (next_data, full)))
    w.define(size, w.phi_text("i64", ("%size", before), (next_size, full)))
    w.branch(w.compare("ult", size, str(RATE_BYTES)), rest, full)
    w.start(full)
    for offset in range(0, RATE_BYTES, 8):
        _absorb_word(w, w.load(data, offset, align=1), w.address(state, str(offset)))
    w.do(f"call void @keccak_f(ptr {state})")
    w.define(next_data, f"getelementptr i8, ptr {data}, i64 {RATE_BYTES}")
    w.define(next_size, f"sub i64 {size}, {RATE_BYTES}")
    w.jump(test)
    w.start(rest)
    return data, size


def _absorb_rest(w: Writer, state: str, data: str, size: str) -> None:
    """Fewer than 136 bytes and the padding: whole lanes, then one of 4, 2 and 1 bytes.  Branches."""
    before, test, body, tail = w.block, w.label(), w.label(), w.label()
    end = w.op("and", size, "-8")
    w.jump(test)
    w.start(test)
    offset, next_offset = w.fresh(), w.fresh()
    w.define(offset, w.phi_text("i64", ("0", before), (next_offset, body)))
    w.branch(w.compare("eq", offset, end), tail, body)
    w.start(body)
    _absorb_word(w, w.load(w.address(data, offset), align=1), w.address(state, offset))
    w.define(next_offset, f"add i64 {offset}, 8")
    w.jump(test)
    w.start(tail)
    # The padding's first bit goes behind the last byte; with the odd bytes it makes one more lane, so that
    # no lane is written in parts and read whole (a stalled load).
    moved = "0"
    lane = w.op("shl", "1", w.op("shl", w.op("and", size, "7"), "3"))
    for width in (4, 2, 1):
        before, here, after = w.block, w.label(), w.label()
        w.branch(w.compare("eq", w.op("and", size, str(width)), "0"), after, here)
        w.start(here)
        kind = f"i{8 * width}"
        piece = w.load(w.address(data, w.op("add", end, moved)), kind=kind, align=1)
        shifted = w.op("shl", w.widen(piece, "i64", kind), w.op("shl", moved, "3"))
        longer, further = w.op("or", lane, shifted), w.op("add", moved, str(width))
        w.jump(after)
        w.start(after)
        lane = w.phi("i64", (lane, before), (longer, here))
        moved = w.phi("i64", (moved, before), (further, here))
    _absorb_word(w, lane, w.address(state, end))
    # ... and its last bit is the top one of the block.
    _absorb_word(w, str(-1 << 63), w.address(state, str(RATE_BYTES - 8)))


def _keccak256(target: Target) -> str:
    w = Writer()
    state = w.value(f"alloca [{_LANES} x i64], align 16")
    w.do(f"store [{_LANES} x i64] zeroinitializer, ptr {state}, align 16")
    data, size = _absorb_blocks(w, state)
    _absorb_rest(w, state, data, size)
    w.do(f"call void @keccak_f(ptr {state})")
    digest = [w.value(f"call i64 @llvm.bswap.i64(i64 {lane})") for lane in w.load_limbs(state)]
    w.store_limbs(digest[::-1], "%out")
    w.do("ret void")
    return function("void @evmaot_keccak256(ptr %data, i64 %size, ptr %out)", w.text())


BODIES: Mapping[str, Callable[[Target], str]] = {"keccak_f": _permutation, "keccak256": _keccak256}
"""Name to definition for a target; `keccak_f` is internal."""
