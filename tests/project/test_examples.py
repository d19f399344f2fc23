"""The contract that the README builds is the program that its source below says it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from evmaot.evm.opcodes import BY_MNEMONIC
from tests.support.assembler import asm
from tests.support.eels import Machine
from tests.support.fixtures import REPOSITORY

FIBONACCI = """
    0 CALLDATALOAD               ; n
    0 1                          ; b=1 a=0 n
    JUMPDEST                     ; 7: b a n
    DUP3 ISZERO 0x19 JUMPI       ; while n != 0
    DUP1 SWAP2 ADD               ; a+b b n
    SWAP2 1 SWAP1 SUB SWAP2      ; b'=a+b a'=b n-1
    7 JUMP
    JUMPDEST                     ; 0x19: b a 0
    POP 0 MSTORE
    32 0 RETURN
"""


def assemble(source: str) -> bytes:
    """Machine code of `asm`'s words; a comment runs from ; to the end of its line."""
    return asm(" ".join(line.partition(";")[0] for line in source.splitlines()))


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


def test_the_program_of_the_readme_is_the_shipped_one_and_finds_its_contract_in_the_store(tmp_path: Path) -> None:
    program = REPOSITORY / "examples" / "lookup.py"
    shown = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert program.read_text(encoding="utf-8").endswith(shown)
    code = REPOSITORY / "examples" / "fibonacci.hex"
    store = str(tmp_path / "store")
    build = [sys.executable, "-m", "evmaot", "--store", store, "build", "--fork", "osaka", str(code)]
    subprocess.run(build, check=True, cwd=REPOSITORY, capture_output=True, timeout=300)
    look_up = [sys.executable, str(program), store, code.read_text(encoding="ascii").strip(), "10"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(look_up, check=True, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("RETURN 55 ")
    assert "lookup_hits=1" in done.stdout and "compilations_dispatched=0" in done.stdout
