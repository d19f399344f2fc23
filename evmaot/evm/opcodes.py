"""The opcode table: one row per opcode that any fork from Frontier to Osaka knows.

Job: what an opcode is in every fork (value, name, stack effect, immediate, what ends or interrupts
a section, which fork parameters its compilation consults).  Prices live in `evm/forks.py`: an
opcode exists in a fork if and only if the fork prices it.  May import: nothing of evmaot.
Source: Yellow Paper appendix H, and the EIP named in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto


class Trait(Flag):
    """What the compiler must know about control and gas."""

    NONE = 0
    TERMINATOR = auto()
    """The next instruction is reached, if at all, only by a jump."""
    JUMP = auto()
    """Control may go to a JUMPDEST."""
    SUSPENDS = auto()
    """The frame returns to its driver and is entered again after the instruction."""
    OBSERVES_GAS = auto()
    """The gas left is visible to the instruction: nothing behind it may be charged before it."""
    CHANGES_STATE = auto()
    """Forbidden in a static frame (EIP-214); CALL is forbidden only with value."""


@dataclass(frozen=True, slots=True)
class Opcode:
    """One row."""

    value: int
    mnemonic: str
    inputs: int
    """Words popped; DUPn and SWAPn: words that must be there."""
    outputs: int
    """Words pushed; DUPn and SWAPn: words there afterwards, of those counted as inputs."""
    family: str
    """EELS's name of the group the instruction belongs to."""
    traits: Trait = Trait.NONE
    parameters: tuple[str, ...] = ()
    """Names in `ForkParameters` that its compilation consults: the rules digest covers exactly these."""
    immediate_size: int = 0
    """Bytes of immediate data behind the opcode."""

    def has(self, trait: Trait) -> bool:
        """Whether the row has that trait."""
        return bool(self.traits & trait)


_CALL_PARAMETERS = (
    "cold_account",
    "call_value",
    "call_stipend",
    "new_account",
    "new_account_needs_value",
    "keeps_one_64th",
    "delegated_account",
)
_CREATE_PARAMETERS = ("initcode_word", "max_initcode_size_bytes", "keeps_one_64th")
_SELFDESTRUCT_PARAMETERS = ("cold_selfdestruct", "selfdestruct_new_account", "new_account_needs_value")
_T = Trait
_CALLS = _T.SUSPENDS | _T.OBSERVES_GAS
_CREATES = _CALLS | _T.CHANGES_STATE

_ROWS: tuple[Opcode, ...] = (
    Opcode(0x00, "STOP", 0, 0, "control_flow", _T.TERMINATOR),
    Opcode(0x01, "ADD", 2, 1, "arithmetic"),
    Opcode(0x02, "MUL", 2, 1, "arithmetic"),
    Opcode(0x03, "SUB", 2, 1, "arithmetic"),
    Opcode(0x04, "DIV", 2, 1, "arithmetic"),
    Opcode(0x05, "SDIV", 2, 1, "arithmetic"),
    Opcode(0x06, "MOD", 2, 1, "arithmetic"),
    Opcode(0x07, "SMOD", 2, 1, "arithmetic"),
    Opcode(0x08, "ADDMOD", 3, 1, "arithmetic"),
    Opcode(0x09, "MULMOD", 3, 1, "arithmetic"),
    Opcode(0x0A, "EXP", 2, 1, "arithmetic", _T.NONE, ("exp_byte",)),
    Opcode(0x0B, "SIGNEXTEND", 2, 1, "arithmetic"),
    Opcode(0x10, "LT", 2, 1, "comparison"),
    Opcode(0x11, "GT", 2, 1, "comparison"),
    Opcode(0x12, "SLT", 2, 1, "comparison"),
    Opcode(0x13, "SGT", 2, 1, "comparison"),
    Opcode(0x14, "EQ", 2, 1, "comparison"),
    Opcode(0x15, "ISZERO", 1, 1, "comparison"),
    Opcode(0x16, "AND", 2, 1, "bitwise"),
    Opcode(0x17, "OR", 2, 1, "bitwise"),
    Opcode(0x18, "XOR", 2, 1, "bitwise"),
    Opcode(0x19, "NOT", 1, 1, "bitwise"),
    Opcode(0x1A, "BYTE", 2, 1, "bitwise"),
    Opcode(0x1B, "SHL", 2, 1, "bitwise"),  # EIP-145
    Opcode(0x1C, "SHR", 2, 1, "bitwise"),  # EIP-145
    Opcode(0x1D, "SAR", 2, 1, "bitwise"),  # EIP-145
    Opcode(0x1E, "CLZ", 1, 1, "bitwise"),  # EIP-7939
    Opcode(0x20, "KECCAK256", 2, 1, "keccak", _T.NONE, ("keccak_word",)),
    Opcode(0x30, "ADDRESS", 0, 1, "environment"),
    Opcode(0x31, "BALANCE", 1, 1, "environment", _T.NONE, ("cold_account",)),
    Opcode(0x32, "ORIGIN", 0, 1, "environment"),
    Opcode(0x33, "CALLER", 0, 1, "environment"),
    Opcode(0x34, "CALLVALUE", 0, 1, "environment"),
    Opcode(0x35, "CALLDATALOAD", 1, 1, "environment"),
    Opcode(0x36, "CALLDATASIZE", 0, 1, "environment"),
    Opcode(0x37, "CALLDATACOPY", 3, 0, "environment", _T.NONE, ("copy_word",)),
    Opcode(0x38, "CODESIZE", 0, 1, "environment"),
    Opcode(0x39, "CODECOPY", 3, 0, "environment", _T.NONE, ("copy_word",)),
    Opcode(0x3A, "GASPRICE", 0, 1, "environment"),
    Opcode(0x3B, "EXTCODESIZE", 1, 1, "environment", _T.NONE, ("cold_account",)),
    Opcode(0x3C, "EXTCODECOPY", 4, 0, "environment", _T.NONE, ("cold_account", "copy_word")),
    Opcode(0x3D, "RETURNDATASIZE", 0, 1, "environment"),  # EIP-211
    Opcode(0x3E, "RETURNDATACOPY", 3, 0, "environment", _T.NONE, ("copy_word",)),  # EIP-211
    Opcode(0x3F, "EXTCODEHASH", 1, 1, "environment", _T.NONE, ("cold_account",)),  # EIP-1052
    Opcode(0x40, "BLOCKHASH", 1, 1, "block"),
    Opcode(0x41, "COINBASE", 0, 1, "block"),
    Opcode(0x42, "TIMESTAMP", 0, 1, "block"),
    Opcode(0x43, "NUMBER", 0, 1, "block"),
    Opcode(0x44, "PREVRANDAO", 0, 1, "block"),  # DIFFICULTY before EIP-4399
    Opcode(0x45, "GASLIMIT", 0, 1, "block"),
    Opcode(0x46, "CHAINID", 0, 1, "block"),  # EIP-1344
    Opcode(0x47, "SELFBALANCE", 0, 1, "environment"),  # EIP-1884
    Opcode(0x48, "BASEFEE", 0, 1, "environment"),  # EIP-3198
    Opcode(0x49, "BLOBHASH", 1, 1, "environment"),  # EIP-4844
    Opcode(0x4A, "BLOBBASEFEE", 0, 1, "environment"),  # EIP-7516
    Opcode(0x50, "POP", 1, 0, "stack"),
    Opcode(0x51, "MLOAD", 1, 1, "memory"),
    Opcode(0x52, "MSTORE", 2, 0, "memory"),
    Opcode(0x53, "MSTORE8", 2, 0, "memory"),
    Opcode(0x54, "SLOAD", 1, 1, "storage", _T.NONE, ("cold_sload",)),
    Opcode(
        0x55,
        "SSTORE",
        2,
        0,
        "storage",
        _T.OBSERVES_GAS | _T.CHANGES_STATE,
        ("storage_schedule", "cold_sstore", "sstore_sentry"),
    ),
    Opcode(0x56, "JUMP", 1, 0, "control_flow", _T.TERMINATOR | _T.JUMP),
    Opcode(0x57, "JUMPI", 2, 0, "control_flow", _T.JUMP),
    Opcode(0x58, "PC", 0, 1, "control_flow"),
    Opcode(0x59, "MSIZE", 0, 1, "memory"),
    Opcode(0x5A, "GAS", 0, 1, "control_flow", _T.OBSERVES_GAS),
    Opcode(0x5B, "JUMPDEST", 0, 0, "control_flow"),
    Opcode(0x5C, "TLOAD", 1, 1, "storage"),  # EIP-1153
    Opcode(0x5D, "TSTORE", 2, 0, "storage", _T.CHANGES_STATE),  # EIP-1153
    Opcode(0x5E, "MCOPY", 3, 0, "memory", _T.NONE, ("copy_word",)),  # EIP-5656
    Opcode(0x5F, "PUSH0", 0, 1, "stack"),  # EIP-3855
    *(Opcode(0x5F + n, f"PUSH{n}", 0, 1, "stack", immediate_size=n) for n in range(1, 33)),
    *(Opcode(0x7F + n, f"DUP{n}", n, n + 1, "stack") for n in range(1, 17)),
    *(Opcode(0x8F + n, f"SWAP{n}", n + 1, n + 1, "stack") for n in range(1, 17)),
    *(Opcode(0xA0 + n, f"LOG{n}", 2 + n, 0, "log", _T.CHANGES_STATE, ("log_byte",)) for n in range(5)),
    Opcode(0xF0, "CREATE", 3, 1, "system", _CREATES, _CREATE_PARAMETERS),
    Opcode(0xF1, "CALL", 7, 1, "system", _CALLS, _CALL_PARAMETERS),
    Opcode(0xF2, "CALLCODE", 7, 1, "system", _CALLS, _CALL_PARAMETERS),
    Opcode(0xF3, "RETURN", 2, 0, "system", _T.TERMINATOR),
    Opcode(0xF4, "DELEGATECALL", 6, 1, "system", _CALLS, _CALL_PARAMETERS),  # EIP-7
    Opcode(0xF5, "CREATE2", 4, 1, "system", _CREATES, (*_CREATE_PARAMETERS, "keccak_word")),  # EIP-1014
    Opcode(0xFA, "STATICCALL", 6, 1, "system", _CALLS, _CALL_PARAMETERS),  # EIP-214
    Opcode(0xFD, "REVERT", 2, 0, "system", _T.TERMINATOR),  # EIP-140
    Opcode(0xFE, "INVALID", 0, 0, "system", _T.TERMINATOR),  # EIP-141; never priced
    Opcode(0xFF, "SELFDESTRUCT", 1, 0, "system", _T.TERMINATOR | _T.CHANGES_STATE, _SELFDESTRUCT_PARAMETERS),
)

OPCODES: tuple[Opcode | None, ...] = tuple({row.value: row for row in _ROWS}.get(value) for value in range(256))
"""Row by opcode value; None where no fork defines the value."""

BY_MNEMONIC: Mapping[str, Opcode] = {row.mnemonic: row for row in _ROWS}
"""Row by name."""
