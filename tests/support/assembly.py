"""Bytecode from words: `assemble(1, 0, "SSTORE", "STOP")`."""

from __future__ import annotations

from evmaot.evm.opcodes import BY_MNEMONIC


def assemble(*items: int | str | bytes) -> bytes:
    """Numbers become the shortest PUSH (never PUSH0, which old forks lack), names opcodes, bytes are kept."""
    code = bytearray()
    for item in items:
        if isinstance(item, bytes):
            code += item
        elif isinstance(item, int):
            size = max(1, (item.bit_length() + 7) // 8)
            code += bytes([0x5F + size]) + item.to_bytes(size, "big")
        else:
            code.append(BY_MNEMONIC[item].value)
    return bytes(code)


def return_word() -> bytes:
    """Return the word on top of the stack."""
    return assemble(0, "MSTORE", 32, 0, "RETURN")


def call(
    kind: str, to: int, *, gas: int = 100_000, value: int = 0, input: tuple[int, int] = (0, 0),
    output: tuple[int, int] = (0, 0),
) -> bytes:  # fmt: skip
    """One CALL*, its operands pushed; leaves the result."""
    has_value = kind in ("CALL", "CALLCODE")
    operands = [output[1], output[0], input[1], input[0], *([value] if has_value else []), to, gas]
    return assemble(*operands, kind)


def deploying(runtime: bytes) -> bytes:
    """Init code that deploys `runtime`."""
    head = assemble(len(runtime), 0, 0, "CODECOPY", len(runtime), 0, "RETURN")
    offset = len(assemble(len(runtime), len(head), 0, "CODECOPY", len(runtime), 0, "RETURN"))
    return assemble(len(runtime), offset, 0, "CODECOPY", len(runtime), 0, "RETURN") + runtime


def store_bytes(data: bytes) -> bytes:
    """Code that puts `data` into memory from offset 0 on."""
    parts = []
    for offset in range(0, len(data), 32):
        chunk = data[offset : offset + 32].ljust(32, b"\0")
        parts.append(assemble(b"\x7f" + chunk, offset, "MSTORE"))
    return b"".join(parts)
