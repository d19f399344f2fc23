"""What sort of code a code is, from its bytes alone.

Job: recognise codes that are not compiled (empty, delegation, 0xEF, blueprint) or that are compiled
once and shared (minimal proxies, deployed libraries).  Invariant: recognition is exact, byte by
byte: code that only resembles a pattern is ordinary.  May import: nothing of evmaot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ADDRESS_SIZE_BYTES = 20

_DELEGATION_PREFIX = bytes.fromhex("ef0100")  # EIP-7702
_BLUEPRINT_PREFIX = bytes.fromhex("fe71")  # EIP-5202
_PUSH20 = 0x73
_LIBRARY_GUARD_TAIL = bytes.fromhex("3014")  # ADDRESS EQ: Solidity, "call protection for libraries"
LIBRARY_ADDRESS_OFFSET = 1


class CodeClass(Enum):
    """The class of a code; see `Classification.address` for what the address is."""

    ORDINARY = "ordinary"
    EMPTY = "empty"
    DELEGATION = "delegation"
    """EIP-7702: the account runs the code of another one."""
    EOF = "eof"
    """0xEF00: the EVM object format (EIP-3540), active in no fork."""
    INVALID_EF = "invalid_ef"
    """Any other code with 0xEF in front: not deployable since EIP-3541, and not executable before."""
    MINIMAL_PROXY = "minimal_proxy"
    """EIP-1167 and its relatives: one DELEGATECALL to a fixed address."""
    BLUEPRINT = "blueprint"
    """EIP-5202: init code behind a preamble, not to be executed."""
    LIBRARY = "library"
    """Solidity's guard with the library's own address, written at deployment."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The class of a code and what its bytes say about it."""

    kind: CodeClass
    detail: str
    """For people: the name of the variant."""
    address: bytes | None = None
    """20 bytes: target of a delegation, implementation of a proxy, own address of a library."""
    address_place: tuple[int, int] | None = None
    """(offset, length) of the address in a code that is the same but for it: of a proxy or a library."""


@dataclass(frozen=True, slots=True)
class _Proxy:
    name: str
    prefix: bytes
    suffix: bytes

    @property
    def address_size_bytes(self) -> int:
        """What the PUSH at the end of the prefix takes."""
        return self.prefix[-1] - 0x5F


def _eip1167() -> tuple[_Proxy, ...]:
    # EIP-1167, "vanity address optimization": an address with leading zero bytes is pushed by a
    # shorter PUSH, and the jump destination moves with it.
    variants = []
    for size in range(1, ADDRESS_SIZE_BYTES + 1):
        shift = ADDRESS_SIZE_BYTES - size
        prefix = bytes.fromhex("363d3d373d3d3d363d") + bytes([0x5F + size])
        suffix = bytes.fromhex("5af43d82803e903d9160") + bytes([0x2B - shift]) + bytes.fromhex("57fd5bf3")
        name = "EIP-1167" if shift == 0 else f"EIP-1167 with a {size}-byte address"
        variants.append(_Proxy(name, prefix, suffix))
    return tuple(variants)


def _proxy(name: str, prefix: str, suffix: str) -> _Proxy:
    return _Proxy(name, bytes.fromhex(prefix), bytes.fromhex(suffix))


_PROXIES: tuple[_Proxy, ...] = (
    *_eip1167(),
    _proxy("0age's minimal proxy", "3d3d3d3d363d3d37363d73", "5af43d3d93803e602a57fd5bf3"),
    _proxy("ERC-7511", "365f5f375f5f365f73", "5af43d5f5f3e5f3d91602a57fd5bf3"),
    _proxy("Solady's PUSH0 proxy", "5f5f365f5f37365f73", "5af43d5f5f3e6029573d5ffd5b3d5ff3"),
    _proxy("Vyper's proxy", "366000600037611000600036600073", "5af4602c57600080fd5b6110006000f3"),
    _proxy("Vyper's first proxy", "366000600037611000600036600073", "5af41558576110006000f3"),
)
_LONGEST_PROXY = 2 * ADDRESS_SIZE_BYTES + 30


def classify(code: bytes) -> Classification:
    """The class of a runtime code.  Never fails; whatever has no pattern is ordinary."""
    if not code:
        return Classification(CodeClass.EMPTY, "empty")
    if code[0] == 0xEF:
        return _classify_ef(code)
    if code.startswith(_BLUEPRINT_PREFIX):
        return Classification(CodeClass.BLUEPRINT, "EIP-5202 blueprint")
    if len(code) <= _LONGEST_PROXY:
        for proxy in _PROXIES:
            implementation = _implementation(code, proxy)
            if implementation is not None:
                place = (len(proxy.prefix), proxy.address_size_bytes)
                return Classification(CodeClass.MINIMAL_PROXY, proxy.name, implementation, place)
    if has_library_guard(code):
        place = (LIBRARY_ADDRESS_OFFSET, ADDRESS_SIZE_BYTES)
        return Classification(CodeClass.LIBRARY, "library guard", _library_address(code), place)
    return Classification(CodeClass.ORDINARY, "ordinary")


def has_library_guard(code: bytes) -> bool:
    """Whether the code begins with PUSH20 <address> ADDRESS EQ."""
    end = LIBRARY_ADDRESS_OFFSET + ADDRESS_SIZE_BYTES
    return len(code) > end and code[0] == _PUSH20 and code.startswith(_LIBRARY_GUARD_TAIL, end)


def _library_address(code: bytes) -> bytes:
    return code[LIBRARY_ADDRESS_OFFSET : LIBRARY_ADDRESS_OFFSET + ADDRESS_SIZE_BYTES]


def _classify_ef(code: bytes) -> Classification:
    if code.startswith(_DELEGATION_PREFIX) and len(code) == len(_DELEGATION_PREFIX) + ADDRESS_SIZE_BYTES:
        return Classification(CodeClass.DELEGATION, "EIP-7702 delegation", code[len(_DELEGATION_PREFIX) :])
    if code.startswith(b"\xef\x00"):
        return Classification(CodeClass.EOF, "EVM object format")
    return Classification(CodeClass.INVALID_EF, "0xEF code")


def _implementation(code: bytes, proxy: _Proxy) -> bytes | None:
    """The implementation's address if the code is that proxy."""
    size = proxy.address_size_bytes
    if len(code) != len(proxy.prefix) + size + len(proxy.suffix):
        return None
    if not (code.startswith(proxy.prefix) and code.endswith(proxy.suffix)):
        return None
    return code[len(proxy.prefix) : len(proxy.prefix) + size].rjust(ADDRESS_SIZE_BYTES, b"\0")
