"""Classes of code, each with its nearest neighbour that is not of the class."""

from __future__ import annotations

import pytest

from evmaot.inputs.classify import CodeClass, classify

TARGET = bytes(range(1, 21))
T = TARGET.hex()

PROXIES = {
    "EIP-1167": f"363d3d373d3d3d363d73{T}5af43d82803e903d91602b57fd5bf3",
    "0age's minimal proxy": f"3d3d3d3d363d3d37363d73{T}5af43d3d93803e602a57fd5bf3",
    "ERC-7511": f"365f5f375f5f365f73{T}5af43d5f5f3e5f3d91602a57fd5bf3",
    "Solady's PUSH0 proxy": f"5f5f365f5f37365f73{T}5af43d5f5f3e6029573d5ffd5b3d5ff3",
    "Vyper's proxy": f"366000600037611000600036600073{T}5af4602c57600080fd5b6110006000f3",
    "Vyper's first proxy": f"366000600037611000600036600073{T}5af41558576110006000f3",
}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("", CodeClass.EMPTY),
        ("00", CodeClass.ORDINARY),
        ("6000", CodeClass.ORDINARY),
        ("ef0100" + T, CodeClass.DELEGATION),
        ("ef0100" + T[2:], CodeClass.INVALID_EF),
        ("ef0100" + T + "00", CodeClass.INVALID_EF),
        ("ef0000" + T, CodeClass.EOF),
        ("ef00", CodeClass.EOF),
        ("ef", CodeClass.INVALID_EF),
        ("ef01", CodeClass.INVALID_EF),
        ("fe7100", CodeClass.BLUEPRINT),
        ("fe", CodeClass.ORDINARY),
        ("fe7000", CodeClass.ORDINARY),
        ("73" + T + "3014", CodeClass.LIBRARY),
        ("73" + T + "3014608060", CodeClass.LIBRARY),
        ("73" + T + "3015", CodeClass.ORDINARY),
        ("73" + T, CodeClass.ORDINARY),
        ("72" + T[2:] + "3014", CodeClass.ORDINARY),
    ],
)
def test_a_code_has_the_class_of_its_bytes(code: str, kind: CodeClass) -> None:
    assert classify(bytes.fromhex(code)).kind is kind


@pytest.mark.parametrize("name", PROXIES)
def test_a_minimal_proxy_tells_its_implementation(name: str) -> None:
    found = classify(bytes.fromhex(PROXIES[name]))
    assert (found.kind, found.detail, found.address) == (CodeClass.MINIMAL_PROXY, name, TARGET)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_s_address_stands_where_its_place_says(name: str) -> None:
    code = bytes.fromhex(PROXIES[name])
    found = classify(code)
    assert found.address_place is not None
    assert found.address is not None
    offset, length = found.address_place
    assert code[offset : offset + length] == found.address[20 - length :]
    assert code[offset - 1] == 0x5F + length  # PUSH of exactly that


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_with_one_byte_changed_is_ordinary(name: str) -> None:
    code = bytes.fromhex(PROXIES[name])
    start = code.index(TARGET)
    for position in range(len(code)):
        changed = bytearray(code)
        changed[position] ^= 1
        kind = classify(bytes(changed)).kind
        inside = start <= position < start + len(TARGET)
        assert kind is (CodeClass.MINIMAL_PROXY if inside else CodeClass.ORDINARY), position


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_cut_or_extended_is_ordinary(name: str) -> None:
    code = bytes.fromhex(PROXIES[name])
    assert classify(code[:-1]).kind is CodeClass.ORDINARY
    assert classify(code + b"\0").kind is CodeClass.ORDINARY


def test_a_proxy_of_an_address_with_leading_zeros_may_push_less() -> None:
    # EIP-1167, vanity address optimization: four zero bytes saved, the jump destination moved.
    code = bytes.fromhex("363d3d373d3d3d363d6f" + T[8:] + "5af43d82803e903d91602757fd5bf3")
    found = classify(code)
    assert (found.kind, found.address) == (CodeClass.MINIMAL_PROXY, b"\0" * 4 + TARGET[4:])
    assert code[0x27] == 0x5B  # where it jumps to


def test_delegation_and_library_tell_their_address() -> None:
    assert classify(b"\xef\x01\x00" + TARGET).address == TARGET
    assert classify(b"\x73" + TARGET + b"\x30\x14").address == TARGET
