"""Precompiled contracts on native libraries give what EELS's own give: gas, output, and what is refused."""

from __future__ import annotations

import importlib
from functools import cache
from types import SimpleNamespace

import pytest

pytest.importorskip("ethereum.forks")
pytest.importorskip("gmpy2", reason="pip install 'evmaot[vectors]'")
pytest.importorskip("blake2b", reason="pip install 'evmaot[vectors]'")
pytest.importorskip("py_arkworks_bls12381", reason="pip install 'evmaot[vectors]'")

from evmaot.execution.precompiles import eels_precompiles, run_eels_precompile
from evmaot.execution.protocol import PrecompileCall, PrecompileResult
from evmaot.hosts import fast_precompiles

G1_X = 0x17F1D3A73197D7942695638C4FA9AC0FC3688C4F9774B905A14E3A3F171BAC586C55E83FF97A1AEFFB3AF00ADB22C6BB
G1_Y = 0x08B3F481E3AAA0F1A09E30ED741D8AE4FCF5E095D5D00AF600DB18CB2C04B3EDD03CC744A2888AE40CAA232946C5E7E1
MODULUS = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
G2 = (
    0x024AA2B2F08F0A91260805272DC51051C6E47AD4FA403B02B4510B647AE3D1770BAC0326A805BBEFD48056C8C121BDB8,
    0x13E02B6052719F607DACD3A088274F65596BD0D09920B61AB5DA61BBDC7F5049334CF11213945D57E5AC7D055D042B7E,
    0x0CE5D527727D6E118CC9CDC6DA2E351AADFD9BAA8CBDD3A76D429A695160D12C923AC9CC3BACA289E193548608B82801,
    0x0606C4A02EA734CC32ACD2B02BC28B99CB3E287E85A763AF267492AB572E99AB3F370D275CEC1DA1AAA9075FF05F79BE,
)


def field(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(64, "big") for number in numbers)


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


P = field(G1_X, G1_Y)
MINUS_P = field(G1_X, MODULUS - G1_Y)
Q = field(*G2)
NOWHERE = field(1, 1)
OUTSIDE = field(0x0, 0x02)  # (0, 2) is on y^2 = x^3 + 4 and not in the subgroup: its order is 3
BIG = b"\xff" * 64
POLYNOMIAL = "c0" + "00" * 47


def modexp(base: bytes, exponent: bytes, modulus: bytes) -> bytes:
    return word(len(base)) + word(len(exponent)) + word(len(modulus)) + base + exponent + modulus


def blake2(rounds: int, final: int) -> bytes:
    return rounds.to_bytes(4, "big") + bytes(range(64)) + bytes(range(128)) + bytes(range(16)) + bytes([final])


@cache
def commitment_hash() -> bytes:
    kzg = importlib.import_module("ethereum.crypto.kzg")
    return bytes(kzg.kzg_commitment_to_versioned_hash(bytes.fromhex(POLYNOMIAL)))


def kzg(z: int, y: int, proof: str = POLYNOMIAL) -> bytes:
    """A claim about the polynomial 0: it is 0 everywhere, and its proof is infinity."""
    return commitment_hash() + word(z) + word(y) + bytes.fromhex(POLYNOMIAL) + bytes.fromhex(proof)


QUICK = [
    (5, modexp(b"\x03", b"\xff" * 40, b"\x61" * 33)),
    (5, modexp(b"\x00" * 3, b"", b"\x05")), (5, modexp(b"2", b"3", b"\0")),
    (9, blake2(12, 1)), (9, blake2(0, 0)), (9, blake2(1, 2)), (9, b"\0" * 212),
    (11, P + P), (11, P + MINUS_P), (11, P + bytes(128)), (11, P + NOWHERE), (11, P + OUTSIDE), (11, P + BIG + BIG),
    (11, P), (11, field(MODULUS, 0) + P), (11, bytes(256)),
    (12, b""), (12, P + word(0)), (12, P + word(2**256 - 1) + MINUS_P + word(7)), (12, OUTSIDE + word(1)),
    (12, NOWHERE + word(1)), (12, bytes(128) + word(5)),
    (13, Q + bytes(256)), (13, Q + Q), (13, Q[:-1]), (13, Q + field(1, 0, 1, 0)), (13, Q + BIG * 4),
    (14, Q + word(3)), (14, bytes(256) + word(1)), (14, field(1, 0, 1, 0) + word(1)),
    (15, b""), (15, P + Q[:-1]), (15, NOWHERE + Q), (15, OUTSIDE + Q), (15, P + field(1, 0, 1, 0)),
    (16, field(5)), (16, field(0)), (16, field(MODULUS)), (16, BIG),
    (17, field(5, 6)), (17, field(0, MODULUS)), (17, BIG),
    (10, kzg(3, 0, "00" * 48)), (10, kzg(2**256 - 1, 0)), (10, bytes(192)),
]  # fmt: skip
SLOW = [(15, P + Q + MINUS_P + Q), (15, P + Q), (10, kzg(3, 0)), (10, kzg(3, 1))]
"""Pairings: half a second or more each on EELS."""


def result(address: int, data: bytes, gas: int) -> PrecompileResult:
    eels = eels_precompiles("osaka")
    call = PrecompileCall(address, data, gas, 0, 0, 0, False, 1)
    return run_eels_precompile(eels, call, SimpleNamespace(data=eels.to_bytes(data), gas=gas))


@pytest.mark.parametrize(("address", "data"), [*QUICK, *SLOW])
def test_a_fast_precompile_is_the_same(address: int, data: bytes) -> None:
    expected, poor = result(address, data, 10**7), result(address, data, 1)
    with fast_precompiles.installed() as names:
        assert set(names) == {"bn254", "modexp", "blake2f", "bls12_381", "kzg"}
        assert (result(address, data, 10**7), result(address, data, 1)) == (expected, poor)


def test_bn254_remembers_and_gives_the_same() -> None:
    one = word(1) + word(2)
    q = bytes.fromhex(
        "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
        "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
        "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
        "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
    )
    inputs = [(8, one + q), (7, one + word(2**255)), (6, one + one), (8, word(1) + word(3) + q), (8, b"\0")]
    expected = [result(address, data, 10**7) for address, data in inputs]
    with fast_precompiles.installed():
        for _ in range(2):
            assert [result(address, data, 10**7) for address, data in inputs] == expected


def test_restoring_puts_everything_back() -> None:
    names = ("modexp", "point_evaluation", "bls12_381.bls12_381_pairing", "alt_bn128", "bls12_381.bls12_381_g2")
    modules = [importlib.import_module(f"ethereum.forks.prague.vm.precompiled_contracts.{name}") for name in names]
    before = [dict(vars(module)) for module in modules]
    with fast_precompiles.installed():
        assert fast_precompiles.install() == ()
        assert all(dict(vars(module)) != old for module, old in zip(modules, before, strict=True))
    assert [dict(vars(module)) for module in modules] == before


def test_what_is_not_installed_stays_eels_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fast_precompiles.PACKAGES, "kzg", ("no_such_package", "x"))
    monkeypatch.setitem(fast_precompiles.PACKAGES, "modexp", ("gmpy2", "no_such_function"))
    assert fast_precompiles.missing() == ("modexp", "kzg")
    with fast_precompiles.installed() as names:
        assert "kzg" not in names and "modexp" not in names and "bls12_381" in names
