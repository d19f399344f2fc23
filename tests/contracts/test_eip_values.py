"""What opcodes answer: examples of the EIPs' texts, and the values of block, transaction and account."""

from __future__ import annotations

import pytest

from evmaot.evm.keccak import keccak256
from tests.support.assembler import asm
from tests.support.native import (
    BLOCK_NUMBER,
    ENVIRONMENT,
    SELF,
    SENDER,
    Call,
    Contract,
    block_hash,
    result_word,
    run_code,
    run_native,
)

MAX = (1 << 256) - 1
TOP = 1 << 255

SHIFTS = [
    # EIP-145's test cases: opcode, value, shift, result
    ("SHL", 1, 0, 1), ("SHL", 1, 1, 2), ("SHL", 1, 0xFF, TOP), ("SHL", 1, 0x100, 0), ("SHL", 1, 0x101, 0),
    ("SHL", MAX, 0, MAX), ("SHL", MAX, 1, MAX - 1), ("SHL", MAX, 0xFF, TOP), ("SHL", MAX, 0x100, 0), ("SHL", 0, 1, 0),
    ("SHL", MAX >> 1, 1, MAX - 1), ("SHR", 1, 0, 1), ("SHR", 1, 1, 0), ("SHR", TOP, 1, TOP >> 1), ("SHR", TOP, 0xFF, 1),
    ("SHR", TOP, 0x100, 0), ("SHR", TOP, 0x101, 0), ("SHR", MAX, 0, MAX), ("SHR", MAX, 1, MAX >> 1),
    ("SHR", MAX, 0xFF, 1), ("SHR", MAX, 0x100, 0), ("SHR", 0, 1, 0), ("SAR", 1, 0, 1), ("SAR", 1, 1, 0),
    ("SAR", TOP, 1, TOP | TOP >> 1), ("SAR", TOP, 0xFF, MAX), ("SAR", TOP, 0x100, MAX), ("SAR", TOP, 0x101, MAX),
    ("SAR", MAX, 0, MAX), ("SAR", MAX, 1, MAX), ("SAR", MAX, 0xFF, MAX), ("SAR", MAX, 0x100, MAX), ("SAR", 0, 1, 0),
    ("SAR", 1 << 254, 0xFE, 1), ("SAR", MAX >> 1, 0xF8, 0x7F), ("SAR", MAX >> 1, 0xFE, 1), ("SAR", MAX >> 1, 0xFF, 0),
    ("SAR", MAX >> 1, 0x100, 0),
]  # fmt: skip


def test_eip_145_shifts(tier: str) -> None:
    for mnemonic in ("SHL", "SHR", "SAR"):
        unknown = asm(f"32 CALLDATALOAD 0 CALLDATALOAD {mnemonic}")
        for _, value, shift, result in (row for row in SHIFTS if row[0] == mnemonic):
            given = shift.to_bytes(32, "big") + value.to_bytes(32, "big")
            assert result_word(unknown, "constantinople", tier, input=given) == result, (mnemonic, hex(value), shift)


def test_eip_7939_leading_zeros(tier: str) -> None:
    unknown = asm("0 CALLDATALOAD CLZ")
    for value, result in ((0, 256), (TOP, 0), (MAX, 0), (1 << 254, 1), (MAX >> 1, 1), (1, 255)):
        assert result_word(unknown, "osaka", tier, input=value.to_bytes(32, "big")) == result
        assert result_word(asm(f"PUSH32={value} CLZ"), "osaka", tier) == result


PUSH_BLOCK = [
    # EIP-3855's test cases
    ("x5f", "success", 2), ("x" + "5f" * 1024, "success", 2048), ("x" + "5f" * 1025, "halt", 10_000),
]  # fmt: skip


@pytest.mark.parametrize(("text", "outcome", "gas"), PUSH_BLOCK, ids=lambda item: str(item)[:8])
def test_eip_3855_push0(text: str, outcome: str, gas: int, tier: str) -> None:
    ended = run_code(asm(text), "shanghai", tier, gas=10_000)
    assert (ended.outcome, 10_000 - ended.gas_left) == (outcome, gas)


MCOPY = [
    # EIP-5656's test cases: words of memory before (each byte is its index / 32 or counts up), operands, memory after
    ("00" * 32 + bytes(range(32)).hex(), (0, 32, 32), bytes(range(32)).hex() * 2, 6),
    ("01" * 32, (0, 0, 32), "01" * 32, 6),
    (bytes(range(8)).hex() + "08" + "00" * 23, (0, 1, 8), bytes(range(1, 9)).hex() + "08" + "00" * 23, 6),
    (bytes(range(8)).hex() + "08" + "00" * 23, (1, 0, 8), "00" + bytes(range(8)).hex() + "00" * 23, 6),
]


@pytest.mark.parametrize(("before", "operands", "after", "gas"), MCOPY, ids=["copy", "same", "down", "up"])
def test_eip_5656_mcopy(before: str, operands: tuple[int, int, int], after: str, gas: int, tier: str) -> None:
    memory = bytes.fromhex(before)
    stores = " ".join(f"PUSH32=0x{memory[at : at + 32].hex()} {at} MSTORE" for at in range(0, len(memory), 32))
    destination, source, size = operands
    measured = f"GAS {size} {source} {destination} MCOPY GAS SWAP1 SUB"
    ended = run_code(asm(f"{stores} {measured} {len(memory)} MSTORE {len(memory) + 32} 0 RETURN"), "cancun", tier)
    assert ended.output[: len(memory)].hex() == after
    assert int.from_bytes(ended.output[len(memory) :], "big") == gas + 2 + 9


def test_eip_211_return_data(tier: str) -> None:
    identity = "7 0 MSTORE 0 0 32 0 0 4 30000 CALL POP"
    assert result_word(asm("RETURNDATASIZE"), "byzantium", tier) == 0
    assert result_word(asm(f"{identity} RETURNDATASIZE"), "byzantium", tier) == 32
    assert result_word(asm(f"{identity} 32 0 64 RETURNDATACOPY 64 MLOAD"), "byzantium", tier) == 7
    for size, offset in ((33, 0), (1, 32), (0, 33), (1, MAX), (MAX, 1)):
        ended = run_code(asm(f"{identity} {size} {offset} 0 RETURNDATACOPY"), "byzantium", tier)
        assert ended.outcome == "halt", (size, offset)
    assert run_code(asm(f"{identity} 0 32 0 RETURNDATACOPY"), "byzantium", tier).outcome == "success"


def test_eip_211_a_create_leaves_return_data_only_when_it_reverts(tier: str) -> None:
    for init, size in (("60206000fd", 32), ("60206000f3", 0), ("fe", 0)):
        data = bytes.fromhex(init)
        code = asm(f"PUSH32=0x{data.ljust(32, bytes(1)).hex()} 0 MSTORE {len(data)} 0 0 CREATE POP RETURNDATASIZE")
        assert result_word(code, "byzantium", tier) == size


def test_eip_140_revert_gives_back_gas_and_data(tier: str) -> None:
    ended = run_code(asm("1 0 SSTORE 42 0 MSTORE 32 0 REVERT"), "byzantium", tier, gas=50_000)
    assert (ended.outcome, ended.output, ended.world[SELF].storage) == ("revert", (42).to_bytes(32, "big"), {})
    assert ended.gas_left == 50_000 - 20006 - 12 - 6


def test_eip_141_invalid_takes_everything(tier: str) -> None:
    assert run_code(asm("INVALID"), "frontier", tier).gas_left == 0


CREATE2 = [
    # EIP-1014's examples: deployer, salt, init code, address
    (0, 0, "00", 0x4D1A2E2BB4F88F0250F26FFFF098B0B30B26BF38),
    (0xDEADBEEF << 128, 0, "00", 0xB928F69BB1D91CD65274E3C79D8986362984FDA3),
    (0xDEADBEEF << 128, 0xFEED << 144, "00", 0xD04116CDD17BEBE565EB2422F2497E06CC1C9833),
    (0, 0, "deadbeef", 0x70F2B2914A2A4B783FAEFB75F459A580616FCB5E),
    (0xDEADBEEF, 0xCAFEBABE, "deadbeef", 0x60F3F640A8508FC6A86D45DF051962668E1E8AC7),
    (0xDEADBEEF, 0xCAFEBABE, "deadbeef" * 11, 0x1D8BFDC5D46DC4F61D6B6115972536EBE6A8854C),
    (0, 0, "", 0xE33C0C7F7DF4809055C3EBA6C09CFE4BAF1BD9E0),
]  # fmt: skip


@pytest.mark.parametrize(("deployer", "salt", "init", "address"), CREATE2, ids=lambda item: str(item)[:12])
def test_eip_1014_create2_addresses(deployer: int, salt: int, init: str, address: int, tier: str) -> None:
    data = bytes.fromhex(init)
    stores = " ".join(
        f"PUSH32=0x{data[at : at + 32].ljust(32, bytes(1)).hex()} {at} MSTORE" for at in range(0, len(data), 32)
    )
    code = asm(f"{stores} PUSH32={salt} {len(data)} 0 0 CREATE2 0 MSTORE 32 0 RETURN")
    world = {deployer: Contract(code), SENDER: Contract(balance=1)}
    ended = run_native(Call(world, target=deployer), "constantinople", tier)
    created = int.from_bytes(ended.output, "big")
    # 0xdeadbeef is no program: the create fails, so its address is what became warm in later rules.
    if init.startswith("dead"):
        ended = run_native(Call(world, target=deployer), "berlin", tier)
        assert address in ended.warm_addresses
    else:
        assert created == address


def test_eip_1052_code_hashes(tier: str) -> None:
    empty = int.from_bytes(keccak256(b""), "big")
    assert result_word(asm("0xDEAD EXTCODEHASH"), "osaka", tier) == 0
    assert result_word(asm(f"{SENDER} EXTCODEHASH"), "osaka", tier) == empty
    code = asm("ADDRESS EXTCODEHASH 0 MSTORE 32 0 RETURN")
    assert run_code(code, "osaka", tier).output == keccak256(code)
    high = (1 << 200) | SENDER
    assert result_word(asm(f"PUSH32={high} EXTCODEHASH"), "osaka", tier) == empty, "only 20 bytes are the address"


def test_eip_1153_transient_storage(tier: str) -> None:
    assert result_word(asm("5 TLOAD"), "cancun", tier) == 0
    assert result_word(asm("9 5 TSTORE 5 TLOAD 6 TLOAD ADD"), "cancun", tier) == 9
    ended = run_code(asm("9 5 TSTORE 5 SLOAD 0 MSTORE 32 0 RETURN"), "cancun", tier)
    assert (int.from_bytes(ended.output, "big"), ended.world[SELF].storage) == (0, {})
    reverting = f"CALLDATASIZE @child JUMPI 1 5 TSTORE 0 0 1 0 0 {SELF} 5000 CALL POP 5 TLOAD 0 MSTORE 32 0 RETURN"
    ended = run_code(asm(f"{reverting} child: 2 5 TSTORE 0 0 REVERT"), "cancun", tier)
    assert int.from_bytes(ended.output, "big") == 1


BLOCK = [
    ("COINBASE", "frontier", ENVIRONMENT.coinbase), ("TIMESTAMP", "frontier", ENVIRONMENT.timestamp),
    ("NUMBER", "frontier", BLOCK_NUMBER), ("PREVRANDAO", "frontier", ENVIRONMENT.prevrandao),
    ("PREVRANDAO", "paris", ENVIRONMENT.prevrandao), ("GASLIMIT", "frontier", ENVIRONMENT.gas_limit),
    ("ORIGIN", "frontier", ENVIRONMENT.origin), ("GASPRICE", "frontier", ENVIRONMENT.gas_price),
    ("CHAINID", "istanbul", 1), ("BASEFEE", "london", ENVIRONMENT.base_fee), ("BLOBBASEFEE", "cancun", 1),
    ("0 BLOBHASH", "cancun", ENVIRONMENT.blob_hashes[0]), ("1 BLOBHASH", "cancun", ENVIRONMENT.blob_hashes[1]),
    ("2 BLOBHASH", "cancun", 0), (f"PUSH32={1 << 64} BLOBHASH", "cancun", 0), (f"PUSH32={MAX} BLOBHASH", "cancun", 0),
    ("ADDRESS", "frontier", SELF), ("CALLER", "frontier", SENDER), ("CALLVALUE", "frontier", 0), ("PC", "frontier", 0),
    ("JUMPDEST PC", "frontier", 1), ("CODESIZE", "frontier", 9), ("SELFBALANCE", "istanbul", 10**18),
    (f"{BLOCK_NUMBER - 1} BLOCKHASH", "frontier", block_hash(BLOCK_NUMBER - 1)),
    (f"{BLOCK_NUMBER - 256} BLOCKHASH", "frontier", block_hash(BLOCK_NUMBER - 256)),
    (f"{BLOCK_NUMBER - 257} BLOCKHASH", "frontier", 0), (f"{BLOCK_NUMBER} BLOCKHASH", "frontier", 0),
    (f"PUSH32={(1 << 64) + BLOCK_NUMBER - 1} BLOCKHASH", "frontier", 0), ("MSIZE", "frontier", 0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fork", "value"), BLOCK, ids=str)
def test_values_of_block_transaction_and_frame(text: str, fork: str, value: int, tier: str) -> None:
    assert result_word(asm(text), fork, tier) == value


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64])
def test_call_data_is_padded_with_zeros(size: int, tier: str) -> None:
    data = bytes(range(1, size + 1))
    for offset in (0, 1, 31, 32, 33, 63, 64, 1 << 32, (1 << 64) - 1, 1 << 64, MAX):
        expected = int.from_bytes(data[offset : offset + 32].ljust(32, b"\0"), "big")
        assert result_word(asm(f"PUSH32={offset} CALLDATALOAD"), "osaka", tier, input=data) == expected
    assert result_word(asm("CALLDATASIZE"), "osaka", tier, input=data) == size
