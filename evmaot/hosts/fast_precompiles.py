"""Fast back ends for EELS's precompiled contracts: native libraries under EELS's own rules.

Job: `install` puts fast arithmetic in the place of the pure-Python one that EELS's precompile modules use: modexp
on gmpy2, BLAKE2b's F on blake2b-py, BLS12-381 and KZG on py-arkworks-bls12381; `restore` puts the originals back.
Invariants: lengths, gas, and which input is refused stay EELS's own code; only field and curve arithmetic changes; a
library that is not installed leaves EELS's code in place.  For official vectors (extra ``evmaot[vectors]``): the
frames around a precompile are native either way.  May import: nothing of evmaot; EELS and the libraries lazily.

Already native in EELS: ecrecover (coincurve), P256VERIFY (cryptography), the hashes.  bn254 has no native library on
the package index that exposes its pairing: there the results of equal pairs are remembered.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

FORKS_PACKAGE = "ethereum.forks"
PACKAGES = {
    "modexp": ("gmpy2", "powmod"),
    "blake2f": ("blake2b", "compress"),
    "bls12_381": ("py_arkworks_bls12381", "Scalar.from_be_bytes_mod_order"),
    "kzg": ("py_arkworks_bls12381", "Scalar.from_be_bytes_mod_order"),
}
"""Python module behind each back end, and a name that old versions of it lack; bn254 needs none."""
_REMEMBERED = 4096

_patches: list[tuple[Any, str, Any, bool]] = []
"""(module, name, what was there, whether something was)."""


def install() -> tuple[str, ...]:
    """Put in what is installed; the names of the back ends.  Does nothing when it is in already."""
    if _patches:
        return ()
    done = ["bn254"]
    for fork in _forks():
        base = f"{FORKS_PACKAGE}.{fork}.vm.precompiled_contracts"
        _optional(f"{base}.alt_bn128", _remember_bn254)
        for name, module, change in (
            ("modexp", f"{base}.modexp", _fast_modexp),
            ("bls12_381", f"{base}.bls12_381.bls12_381_g1", _fast_g1),
            ("bls12_381", f"{base}.bls12_381.bls12_381_g2", _fast_g2),
            ("bls12_381", f"{base}.bls12_381.bls12_381_pairing", _fast_pairing),
            ("kzg", f"{base}.point_evaluation", _fast_kzg),
        ):
            if _has(name) and _optional(module, change) and name not in done:
                done.append(name)
    if _has("blake2f") and _optional("ethereum.crypto.blake2", _fast_blake2):
        done.append("blake2f")
    return tuple(sorted(done))


def restore() -> None:
    """Put EELS's own code back."""
    while _patches:
        module, name, before, was_there = _patches.pop()
        if was_there:
            setattr(module, name, before)
        else:
            delattr(module, name)


@contextlib.contextmanager
def installed() -> Iterator[tuple[str, ...]]:
    """`install` for the duration of a `with` block."""
    try:
        yield install()
    finally:
        restore()


def missing() -> tuple[str, ...]:
    """Back ends whose library is not installed."""
    return tuple(name for name in PACKAGES if not _has(name))


def _forks() -> list[str]:
    package = importlib.import_module(FORKS_PACKAGE)
    return [module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg]


def _has(name: str) -> bool:
    package, needed = PACKAGES[name]
    try:
        attrgetter(needed)(importlib.import_module(package))
    except (ImportError, AttributeError):
        return False
    return True


def _optional(module_name: str, change: Callable[[Any], None]) -> bool:
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        return False  # the fork does not have it
    change(module)
    return True


def _put(module: Any, name: str, value: Any) -> None:
    _patches.append((module, name, vars(module).get(name), name in vars(module)))
    setattr(module, name, value)


# --- arithmetic on integers and words ---------------------------------------------------------------


def _fast_modexp(module: Any) -> None:
    gmpy2 = importlib.import_module("gmpy2")

    def power(base: Any, exponent: Any, modulus: Any) -> Any:
        return type(modulus)(int(gmpy2.powmod(int(base), int(exponent), int(modulus))))

    _put(module, "pow", power)  # before the builtin of that name


def _fast_blake2(module: Any) -> None:
    library = importlib.import_module("blake2b")

    def compress(_self: Any, rounds: Any, h: Any, m: Any, t_0: Any, t_1: Any, f: Any) -> bytes:
        words = [int(word) for word in h], [int(word) for word in m]
        answer: bytes = library.compress(int(rounds), *words, (int(t_0), int(t_1)), bool(f))
        return answer

    _put(module.Blake2b, "compress", compress)


def _remember_bn254(module: Any) -> None:
    """Tests give the same points at many gas limits and forks."""
    pairing, multiply = module.pairing, module.multiply

    @lru_cache(maxsize=_REMEMBERED)
    def paired(q: tuple[Any, ...], p: tuple[int, ...]) -> Any:
        fq, fq2 = module.FQ, module.FQ2
        return pairing(tuple(fq2(part) for part in q), tuple(fq(part) for part in p))

    def remembered(q: Any, p: Any) -> Any:
        return paired(tuple(tuple(map(int, part.coeffs)) for part in q), tuple(int(part) for part in p))

    @lru_cache(maxsize=_REMEMBERED)
    def multiplied(kind: Any, point: tuple[Any, ...], factor: int) -> Any:
        return multiply(tuple(kind(part) for part in point), factor)

    def product(point: Any, factor: int) -> Any:
        kind: Any = type(point[0])
        parts = tuple(tuple(map(int, part.coeffs)) if hasattr(part, "coeffs") else int(part) for part in point)
        return multiplied(kind, parts, factor)

    _put(module, "pairing", remembered)
    _put(module, "multiply", product)


# --- BLS12-381 ----------------------------------------------------------------------------------------

_FIELD_BYTES = 48
_PADDED_BYTES = 64


def _fields_of(data: bytes, count: int, error: type[Exception]) -> bytes:
    """Field elements of 64 bytes (EIP-2537) as the library wants them: 48 bytes each, below the modulus."""
    if len(data) != count * _PADDED_BYTES:
        raise error(f"Input should be {count * _PADDED_BYTES} bytes long")
    parts = []
    for start in range(0, len(data), _PADDED_BYTES):
        if any(data[start : start + _PADDED_BYTES - _FIELD_BYTES]):
            raise error("Invalid field element")
        parts.append(bytes(data[start + _PADDED_BYTES - _FIELD_BYTES : start + _PADDED_BYTES]))
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    zeros = bytes(_PADDED_BYTES - _FIELD_BYTES)
    return b"".join(
        zeros + data[start : start + _FIELD_BYTES] for start in range(0, len(data), _FIELD_BYTES)
    )  # fmt: skip


def _decoder(point_type: Any, count: int, error: type[Exception]) -> Callable[..., Any]:
    """`bytes_to_g1` and `bytes_to_g2` of EELS."""

    def decode(data: Any, subgroup_check: bool = False) -> Any:
        fields = _fields_of(bytes(data), count, error)
        make = point_type.from_xy_bytes_be if subgroup_check else point_type.from_xy_bytes_unchecked_be
        try:
            return make(fields)
        except Exception as problem:
            raise error("not a point of the group") from problem

    return decode


def _fast_g1(module: Any) -> None:
    library = importlib.import_module("py_arkworks_bls12381")
    _fast_group(module, "g1", library.G1Point, library.Scalar, 2)
    _put(module, "map_to_curve_G1", lambda element: library.G1Point.map_from_fp_be(_field(element.n)))
    _put(module, "clear_cofactor_G1", lambda point: point)  # the mapping has done it


def _fast_g2(module: Any) -> None:
    library = importlib.import_module("py_arkworks_bls12381")
    _fast_group(module, "g2", library.G2Point, library.Scalar, 4)

    def mapped(element: Any) -> Any:
        return library.G2Point.map_from_fp2_be(b"".join(_field(int(part)) for part in element.coeffs))

    _put(module, "map_to_curve_G2", mapped)
    _put(module, "clear_cofactor_G2", lambda point: point)


def _field(number: int) -> bytes:
    return int(number).to_bytes(_FIELD_BYTES, "big")


def _fast_group(module: Any, name: str, point_type: Any, scalar_type: Any, fields: int) -> None:
    decode = _decoder(point_type, fields, module.InvalidParameter)
    size = fields * _PADDED_BYTES

    def decode_pair(data: Any) -> tuple[Any, Any]:
        scalar = scalar_type.from_be_bytes_mod_order(bytes(data[size : size + 32]))
        return decode(data[:size], subgroup_check=True), scalar

    _put(module, f"bytes_to_{name}", decode)
    _put(module, f"{name}_to_bytes", lambda point: _padded(point.to_xy_bytes_be()))
    _put(module, f"decode_{name}_scalar_pair", decode_pair)
    _put(module, "bls12_multiply", lambda point, scalar: point * scalar)
    _put(module, "bls12_add", lambda one, other: one + other)


def _fast_pairing(module: Any) -> None:
    """EELS multiplies pairings into one; a subgroup check is a product with the order that must be infinity."""
    library = importlib.import_module("py_arkworks_bls12381")
    _put(module, "bytes_to_g1", _decoder(library.G1Point, 2, module.InvalidParameter))
    _put(module, "bytes_to_g2", _decoder(library.G2Point, 4, module.InvalidParameter))
    _put(module, "bls12_multiply", lambda point, _order: point.is_in_subgroup())
    _put(module, "is_inf", lambda is_in_subgroup: is_in_subgroup)
    _put(module, "FQ12", SimpleNamespace(one=library.GT.one))
    _put(module, "pairing", lambda q, p: library.GT.pairing(p, q))


def _fast_kzg(module: Any) -> None:
    library = importlib.import_module("py_arkworks_bls12381")
    kzg: Any = importlib.import_module("ethereum.crypto.kzg")
    g1, g2, scalar = library.G1Point, library.G2Point, library.Scalar
    setup = g2.from_compressed_bytes(bytes.fromhex(kzg.KZG_SETUP_G2_MONOMIAL_1.removeprefix("0x")))

    def verify(commitment: Any, z: Any, y: Any, proof: Any) -> bool:
        """EIP-4844: e(P - y, -G2) * e(proof, X - z) == 1; raises for what is no point or no field element."""
        for part in (z, y):
            kzg.bytes_to_bls_field(part)
        p_minus_y = g1.from_compressed_bytes(bytes(commitment)) - g1() * scalar.from_be_bytes(bytes(y))
        x_minus_z = setup - g2() * scalar.from_be_bytes(bytes(z))
        proof_point = g1.from_compressed_bytes(bytes(proof))
        answer: bool = library.GT.pairing_check([p_minus_y, proof_point], [-g2(), x_minus_z])
        return answer

    _put(module, "verify_kzg_proof", verify)
