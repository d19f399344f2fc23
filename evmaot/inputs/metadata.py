"""The metadata that compilers append to a runtime code.

Job: where it is.  Invariant: no answer is better than a guess.  May import: nothing of evmaot.

Source: Solidity documentation, "Encoding of the Metadata Hash in the Bytecode": a CBOR map and two bytes with
its length, big-endian; Vyper before 0.3.10 writes the same with the key "vyper".
"""

from __future__ import annotations

_KEYS = (b"solc", b"ipfs", b"bzzr0", b"bzzr1", b"vyper", b"experimental")
_LENGTH_BYTES = 2
_MAP, _LARGEST_MAP = 0xA1, 0xA5  # CBOR maps of 1 to 5 pairs
_TEXT = 0x60


def metadata_hole(code: bytes) -> tuple[int, int] | None:
    """(offset, length) of the CBOR map, its length's two bytes left out; None where there is none."""
    size_bytes = int.from_bytes(code[-_LENGTH_BYTES:], "big")
    start = len(code) - _LENGTH_BYTES - size_bytes
    if size_bytes < _LENGTH_BYTES or start <= 0 or not _MAP <= code[start] <= _LARGEST_MAP:
        return None
    key_size = code[start + 1] - _TEXT
    key = code[start + 2 : start + 2 + max(0, key_size)]
    return (start, size_bytes) if key in _KEYS else None
