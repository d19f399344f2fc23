"""The pure-Python keccak-256 against an independent implementation and published digests."""

from __future__ import annotations

import random

import pytest
from Crypto.Hash import keccak

from evmaot.evm.keccak import EMPTY_HASH, keccak256


def test_every_size_up_to_300_and_some_larger() -> None:
    random_ = random.Random(1)
    for size in (*range(301), 407, 408, 409, 1024, 5000):
        data = random_.randbytes(size)
        assert keccak256(data) == keccak.new(digest_bits=256, data=data).digest(), size


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        (b"transfer(address,uint256)", "a9059cbb2ab09eb219583f4a59a5d0623ade346d962bcd4e46b11da047c9049b"),
    ],
)
def test_published_digests(data: bytes, digest: str) -> None:
    assert keccak256(data).hex() == digest


def test_it_is_not_sha3() -> None:
    """SHA-3 pads with 0x06 where Keccak pads with 0x01."""
    assert keccak256(b"").hex() != "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"


def test_the_hash_of_nothing_is_the_constant() -> None:
    assert keccak256(b"") == EMPTY_HASH


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_buffers_than_bytes(kind: type) -> None:
    assert keccak256(kind(b"abc")) == keccak256(b"abc")
