"""KECCAK256 against an independent implementation; data ends where memory ends."""

from __future__ import annotations

import random

import pytest
from Crypto.Hash import keccak

from evmaot.codegen.options import Tier
from tests.support.builtins_jit import TIERS, from_native, guarded_page, load_builtins, to_native


def reference(data: bytes) -> int:
    """The digest as the EVM pushes it."""
    return int.from_bytes(keccak.new(digest_bits=256, data=data).digest(), "big")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("side", ["start", "end"])
def test_every_size_up_to_300_reads_nothing_out_of_bounds(side: str, tier: Tier) -> None:
    """Behind and before the data lies memory that faults; ends at every size are unaligned."""
    function, page, random_ = load_builtins(tier).functions["keccak256"], guarded_page("source"), random.Random(1)
    for size in range(301):
        data = random_.randbytes(size)
        address = page.start if side == "start" else page.end - size
        page.fill(address, data)
        out = to_native(0)
        function(address, size, out)
        assert from_native(out) == reference(data), size


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("offset", range(8))
def test_every_alignment(offset: int, tier: Tier) -> None:
    function, page, random_ = load_builtins(tier).functions["keccak256"], guarded_page("source"), random.Random(2)
    for size in (1, 7, 31, 32, 64, 135, 136, 137, 272, 1000):
        data = random_.randbytes(size)
        page.fill(page.start + offset, data)
        out = to_native(0)
        function(page.start + offset, size, out)
        assert from_native(out) == reference(data), size


def test_large_inputs() -> None:
    function, random_ = load_builtins(Tier.OPTIMISED).functions["keccak256"], random.Random(3)
    for size in (1024, 4096, 16384, 100_003):
        data = random_.randbytes(size)
        out = to_native(0)
        function(data, size, out)
        assert from_native(out) == reference(data), size


def test_nothing_is_read_for_an_empty_input() -> None:
    out = to_native(0)
    load_builtins(Tier.OPTIMISED).functions["keccak256"](None, 0, out)
    assert from_native(out) == 0xC5D2460186F7233C927E7DB2DCC703C0E500B653CA82273B7BFAD8045D85A470


def test_the_digest_may_be_written_over_the_data() -> None:
    out = to_native(5)
    load_builtins(Tier.OPTIMISED).functions["keccak256"](out, 32, out)
    assert from_native(out) == reference((5).to_bytes(32, "little"))
