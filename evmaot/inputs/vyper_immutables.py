"""How many bytes of immutables Vyper's constructor appends to the runtime code.

Job: read it from the compiler's `layout`, or from the CBOR trailer of the init code.  Invariant: no
answer is better than a guess: 0 where neither says it plainly.  May import: inputs.context.

Source: Vyper since 0.3.10 ends init code with a CBOR list [integrity hash (since 0.4.1), size of the
runtime code, [sizes of data sections], size of immutables, {"vyper": [version]}] and two bytes with
the length of the trailer, big-endian, themselves included.
"""

from __future__ import annotations

from evmaot.inputs.context import object_or_empty
from evmaot.inputs.hexadecimal import HexFault, decode_hex, strip_prefix

_MAX_IMMUTABLES_SIZE_BYTES = 24_576  # they are part of the deployed code: EIP-170
_MAX_DEPTH = 8


def appended_size(layout: object, init_code: object, runtime_size_bytes: int) -> int:
    """Bytes behind the runtime code; 0 if unknown or none."""
    size = _from_layout(object_or_empty(layout).get("code_layout"), 0)
    if not size and isinstance(init_code, str):
        decoded = decode_hex(strip_prefix(init_code))
        if not isinstance(decoded, HexFault):
            size = _from_trailer(decoded.code, runtime_size_bytes)
    return size if size <= _MAX_IMMUTABLES_SIZE_BYTES else 0


def _from_layout(value: object, depth: int) -> int:
    """End of the last immutable; modules of Vyper 0.4 nest their variables."""
    if depth > _MAX_DEPTH:
        return 0
    fields = object_or_empty(value)
    offset, length = fields.get("offset"), fields.get("length")
    if type(offset) is int and type(length) is int:
        return max(0, offset + length)
    return max((_from_layout(inner, depth + 1) for inner in fields.values()), default=0)


def _from_trailer(init_code: bytes, runtime_size_bytes: int) -> int:
    trailer_size = int.from_bytes(init_code[-2:], "big")
    if not 2 < trailer_size <= len(init_code):
        return 0
    try:
        fields, rest = _cbor(init_code[-trailer_size:-2], 0)
    except (ValueError, IndexError, TypeError):  # TypeError: a list as a key
        return 0
    if rest or not isinstance(fields, list) or len(fields) not in (4, 5):
        return 0
    runtime, data_sections, immutables, version = fields[-4:]
    if not isinstance(version, dict) or "vyper" not in version or not isinstance(data_sections, list):
        return 0
    if runtime != runtime_size_bytes or type(immutables) is not int:
        return 0
    return immutables


def _cbor(data: bytes, depth: int) -> tuple[object, bytes]:
    """One value of the part of CBOR (RFC 8949) that the trailer uses, and the bytes behind it."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    major, low = data[0] >> 5, data[0] & 0x1F
    width = {24: 1, 25: 2, 26: 4}.get(low, 0)
    if low >= 24 and not width:
        raise ValueError("unused form")
    argument = int.from_bytes(data[1 : 1 + width], "big") if width else low
    data = data[1 + width :]
    if major == 0:
        return argument, data
    if major in (2, 3):
        if argument > len(data):
            raise ValueError("cut off")
        piece = data[:argument]
        return (piece if major == 2 else piece.decode("ascii")), data[argument:]
    if major not in (4, 5):
        raise ValueError("unused type")
    items: list[object] = []
    for _ in range(argument if major == 4 else 2 * argument):
        item, data = _cbor(data, depth + 1)
        items.append(item)
    return (items if major == 4 else dict(zip(items[::2], items[1::2], strict=True))), data
