"""Hashes and addresses of new contracts."""

from __future__ import annotations

import pytest

from evmaot.evm import keccak as pure
from evmaot.execution.hashing import create2_address, create_address, keccak256


@pytest.mark.parametrize("size", [0, 1, 31, 32, 135, 136, 137, 1000])
def test_the_chosen_keccak_is_keccak(size: int) -> None:
    data = bytes(range(256)) * 4
    assert keccak256(data[:size]) == pure.keccak256(data[:size])


@pytest.mark.parametrize(
    ("nonce", "expected"),
    [
        (0, 0xCD234A471B72BA2F1CCF0A70FCABA648A5EECD8D),
        (1, 0x343C43A37D37DFF08AE8C4A11544C718ABB4FCF8),
        (2, 0xF778B86FA74E846C4F0A1FBD1335FE81C00A0C91),
        (3, 0xFFFD933A0BC612844EAF0C6FE3E5B8E9B6C1D19C),
    ],
)
def test_create_addresses_of_small_nonces(nonce: int, expected: int) -> None:
    assert create_address(0x6AC7EA33F8831EA9DCC53393AAA88B25A785DBF0, nonce) == expected


@pytest.mark.parametrize("nonce", [0x7F, 0x80, 0xFF, 0x100, 2**64 - 2])
def test_create_addresses_of_large_nonces_are_those_of_eels(nonce: int) -> None:
    address = pytest.importorskip("ethereum.forks.osaka.utils.address")
    types = pytest.importorskip("ethereum_types.numeric")
    sender = pytest.importorskip("ethereum_types.bytes").Bytes20(b"\x01" * 20)
    theirs = address.compute_contract_address(sender, types.Uint(nonce))
    assert create_address(int.from_bytes(sender, "big"), nonce) == int.from_bytes(theirs, "big")


@pytest.mark.parametrize(
    ("sender", "salt", "init_code", "expected"),
    [  # EIP-1014's examples
        (0, 0, "00", 0x4D1A2E2BB4F88F0250F26FFFF098B0B30B26BF38),
        (0xDEADBEEF << 128, 0, "00", 0xB928F69BB1D91CD65274E3C79D8986362984FDA3),
        (0xDEADBEEF << 128, 0xFEED << 144, "00", 0xD04116CDD17BEBE565EB2422F2497E06CC1C9833),
        (0, 0, "deadbeef", 0x70F2B2914A2A4B783FAEFB75F459A580616FCB5E),
        (0xDEADBEEF, 0xCAFEBABE, "deadbeef", 0x60F3F640A8508FC6A86D45DF051962668E1E8AC7),
        (0, 0, "", 0xE33C0C7F7DF4809055C3EBA6C09CFE4BAF1BD9E0),
    ],
)
def test_create2_addresses_of_the_eip(sender: int, salt: int, init_code: str, expected: int) -> None:
    assert create2_address(sender, salt, bytes.fromhex(init_code)) == expected
