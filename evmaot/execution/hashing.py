"""Keccak-256 for the executor: the fastest that this interpreter has.

Job: hashes of codes and addresses, outside of compiled code.  Invariant: the same result whichever
implementation is found; pure Python is the last resort (0.15 ms a block).  May import: `evmaot.evm.keccak`.
"""

from __future__ import annotations

from collections.abc import Callable

from evmaot.evm import keccak as pure


def _choose() -> Callable[[bytes], bytes]:
    try:
        from Crypto.Hash import keccak
    except ImportError:
        return pure.keccak256
    new = keccak.new

    def keccak256(data: bytes) -> bytes:
        digest: bytes = new(data=data, digest_bits=256).digest()
        return digest

    # A foreign library is believed only as far as it was seen to agree.
    return keccak256 if keccak256(b"evmaot") == pure.keccak256(b"evmaot") else pure.keccak256


keccak256: Callable[[bytes], bytes] = _choose()
"""keccak-256 of some bytes: 32 bytes."""


def create_address(sender: int, nonce: int) -> int:
    """Address of a CREATE: the last 20 bytes of keccak(rlp([sender, nonce])) (Yellow Paper 7)."""
    if nonce == 0:
        encoded = b"\x80"
    elif nonce < 0x80:
        encoded = bytes([nonce])
    else:
        size = (nonce.bit_length() + 7) // 8
        encoded = bytes([0x80 + size]) + nonce.to_bytes(size, "big")
    payload = b"\x94" + sender.to_bytes(20, "big") + encoded
    return int.from_bytes(keccak256(bytes([0xC0 + len(payload)]) + payload)[12:], "big")


def create2_address(sender: int, salt: int, init_code: bytes) -> int:
    """Address of a CREATE2: the last 20 bytes of keccak(0xff ++ sender ++ salt ++ keccak(init code)) (EIP-1014)."""
    preimage = b"\xff" + sender.to_bytes(20, "big") + salt.to_bytes(32, "big") + keccak256(init_code)
    return int.from_bytes(keccak256(preimage)[12:], "big")
