"""Keccak-256 in pure Python, for places where nothing faster exists.

Job: the hash that the EVM uses: original Keccak padding (0x01), not SHA-3's (0x06).  Invariant:
needs nothing but the interpreter.  About 0.15 ms a block of 136 bytes; compiled code has its own
(`evmaot.codegen.builtins.keccak256`).  May import: nothing of evmaot.
Source: the Keccak reference, version 3.0; Yellow Paper, appendix B.
"""

from __future__ import annotations

import struct

RATE_BYTES = 136
"""Bytes absorbed by one permutation: 1600 bits of state less twice 256."""
ROUND_CONSTANTS = (
    0x0000000000000001,
    0x0000000000008082,
    0x800000000000808A,
    0x8000000080008000,
    0x000000000000808B,
    0x0000000080000001,
    0x8000000080008081,
    0x8000000000008009,
    0x000000000000008A,
    0x0000000000000088,
    0x0000000080008009,
    0x000000008000000A,
    0x000000008000808B,
    0x800000000000008B,
    0x8000000000008089,
    0x8000000000008003,
    0x8000000000008002,
    0x8000000000000080,
    0x000000000000800A,
    0x800000008000000A,
    0x8000000080008081,
    0x8000000000008080,
    0x0000000080000001,
    0x8000000080008008,
)
"""The iota step's constant of each of the 24 rounds."""
EMPTY_HASH = bytes.fromhex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")
"""keccak256(b"")."""
_MASK = (1 << 64) - 1
_BLOCK = struct.Struct("<17Q")


def keccak256(data: bytes) -> bytes:
    """The 32-byte digest of `data`."""
    padding = bytearray(RATE_BYTES - len(data) % RATE_BYTES)
    padding[0] = 0x01
    padding[-1] |= 0x80
    lanes = [0] * 25
    padded = bytes(data) + padding
    for offset in range(0, len(padded), RATE_BYTES):
        for index, word in enumerate(_BLOCK.unpack_from(padded, offset)):
            lanes[index] ^= word
        lanes = _permute(lanes)
    return struct.pack("<4Q", *lanes[:4])


def _permute(lanes: list[int]) -> list[int]:
    """Keccak-f[1600]; lane 5 * y + x.  Locals, not a list: three times as fast."""
    (a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12) = lanes[:13]
    (a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24) = lanes[13:]
    for constant in ROUND_CONSTANTS:
        # theta: the parity of each column
        c0 = a0 ^ a5 ^ a10 ^ a15 ^ a20
        c1 = a1 ^ a6 ^ a11 ^ a16 ^ a21
        c2 = a2 ^ a7 ^ a12 ^ a17 ^ a22
        c3 = a3 ^ a8 ^ a13 ^ a18 ^ a23
        c4 = a4 ^ a9 ^ a14 ^ a19 ^ a24
        d0 = c4 ^ (c1 << 1 | c1 >> 63) & _MASK
        d1 = c0 ^ (c2 << 1 | c2 >> 63) & _MASK
        d2 = c1 ^ (c3 << 1 | c3 >> 63) & _MASK
        d3 = c2 ^ (c4 << 1 | c4 >> 63) & _MASK
        d4 = c3 ^ (c0 << 1 | c0 >> 63) & _MASK
        # rho and pi: rotate each lane, and move it
        b0 = a0 ^ d0
        b10 = ((t := a1 ^ d1) << 1 | t >> 63) & _MASK
        b20 = ((t := a2 ^ d2) << 62 | t >> 2) & _MASK
        b5 = ((t := a3 ^ d3) << 28 | t >> 36) & _MASK
        b15 = ((t := a4 ^ d4) << 27 | t >> 37) & _MASK
        b16 = ((t := a5 ^ d0) << 36 | t >> 28) & _MASK
        b1 = ((t := a6 ^ d1) << 44 | t >> 20) & _MASK
        b11 = ((t := a7 ^ d2) << 6 | t >> 58) & _MASK
        b21 = ((t := a8 ^ d3) << 55 | t >> 9) & _MASK
        b6 = ((t := a9 ^ d4) << 20 | t >> 44) & _MASK
        b7 = ((t := a10 ^ d0) << 3 | t >> 61) & _MASK
        b17 = ((t := a11 ^ d1) << 10 | t >> 54) & _MASK
        b2 = ((t := a12 ^ d2) << 43 | t >> 21) & _MASK
        b12 = ((t := a13 ^ d3) << 25 | t >> 39) & _MASK
        b22 = ((t := a14 ^ d4) << 39 | t >> 25) & _MASK
        b23 = ((t := a15 ^ d0) << 41 | t >> 23) & _MASK
        b8 = ((t := a16 ^ d1) << 45 | t >> 19) & _MASK
        b18 = ((t := a17 ^ d2) << 15 | t >> 49) & _MASK
        b3 = ((t := a18 ^ d3) << 21 | t >> 43) & _MASK
        b13 = ((t := a19 ^ d4) << 8 | t >> 56) & _MASK
        b14 = ((t := a20 ^ d0) << 18 | t >> 46) & _MASK
        b24 = ((t := a21 ^ d1) << 2 | t >> 62) & _MASK
        b9 = ((t := a22 ^ d2) << 61 | t >> 3) & _MASK
        b19 = ((t := a23 ^ d3) << 56 | t >> 8) & _MASK
        b4 = ((t := a24 ^ d4) << 14 | t >> 50) & _MASK
        # chi and iota
        a0, a1, a2, a3, a4 = b0 ^ ~b1 & b2 ^ constant, b1 ^ ~b2 & b3, b2 ^ ~b3 & b4, b3 ^ ~b4 & b0, b4 ^ ~b0 & b1
        a5, a6, a7, a8, a9 = b5 ^ ~b6 & b7, b6 ^ ~b7 & b8, b7 ^ ~b8 & b9, b8 ^ ~b9 & b5, b9 ^ ~b5 & b6
        a10, a11, a12 = b10 ^ ~b11 & b12, b11 ^ ~b12 & b13, b12 ^ ~b13 & b14
        a13, a14 = b13 ^ ~b14 & b10, b14 ^ ~b10 & b11
        a15, a16, a17 = b15 ^ ~b16 & b17, b16 ^ ~b17 & b18, b17 ^ ~b18 & b19
        a18, a19 = b18 ^ ~b19 & b15, b19 ^ ~b15 & b16
        a20, a21, a22 = b20 ^ ~b21 & b22, b21 ^ ~b22 & b23, b22 ^ ~b23 & b24
        a23, a24 = b23 ^ ~b24 & b20, b24 ^ ~b20 & b21
    first = [a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12]
    return [*first, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24]
