"""The contract that the README builds is the program that its source below says it is."""

from __future__ import annotations

from evmaot.evm.opcodes import BY_MNEMONIC
from tests.support.eels import Machine
from tests.support.fixtures import REPOSITORY

FIBONACCI = """
    PUSH1 0x00 CALLDATALOAD          ; n
    PUSH1 0x00 PUSH1 0x01            ; b=1 a=0 n
    JUMPDEST                         ; 7: b a n
    DUP3 ISZERO PUSH1 0x19 JUMPI     ; while n != 0
    DUP1 SWAP2 ADD                   ; a+b b n
    SWAP2 PUSH1 0x01 SWAP1 SUB SWAP2 ; b'=a+b a'=b n-1
    PUSH1 0x07 JUMP
    JUMPDEST                         ; 0x19: b a 0
    POP PUSH1 0x00 MSTORE
    PUSH1 0x20 PUSH1 0x00 RETURN
"""


def assemble(source: str) -> bytes:
    """Machine code of mnemonics and hex immediates; a comment runs from ; to the end of its line."""
    code = bytearray()
    for line in source.splitlines():
        for token in line.partition(";")[0].split():
            code += bytes.fromhex(token[2:]) if token.startswith("0x") else bytes([BY_MNEMONIC[token].value])
    return bytes(code)


def test_the_shipped_contract_is_its_source() -> None:
    shipped = (REPOSITORY / "examples" / "fibonacci.hex").read_text(encoding="ascii")
    assert shipped == "0x" + assemble(FIBONACCI).hex() + "\n"


def test_the_shipped_contract_computes_fibonacci_numbers() -> None:
    """On EELS, so what the README prints has a second source."""
    code = assemble(FIBONACCI)
    for n, expected in ((0, 0), (1, 1), (2, 1), (10, 55), (100, 354224848179261915075)):
        assert run_on_eels(code, n) == expected


def run_on_eels(code: bytes, n: int) -> int:
    """Output word of a frame with calldata `n`, on Osaka's instructions."""
    machine = Machine("osaka")
    frame = machine.frame([], code=code)
    evm = frame.evm
    evm.message.data = n.to_bytes(32, "big")
    evm.valid_jump_destinations = machine.eels.runtime.get_valid_jump_destinations(evm.code)
    names = {row.value: row.mnemonic for row in BY_MNEMONIC.values()}
    while evm.running and int(evm.pc) < len(code):
        measured = frame.execute(names[code[int(evm.pc)]])
        assert measured.error is None, measured.error
    return int.from_bytes(evm.output, "big")
