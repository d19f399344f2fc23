"""Reference functions of the EVM's pure opcodes: what compiled code and helpers are checked against.

Job: one function per opcode whose result depends on its operands alone, Frontier to Osaka.
Invariants: a word is a non-negative int below 2**256, two's complement where an opcode is signed;
operands come in stack order (first = top of the stack); a result is always a word; no function
fails.  Clarity beats speed here: nothing is shared with the native helpers.  May import: nothing of
evmaot.  Source: Yellow Paper, appendix H.2, and the EIP that a function names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

WORD_BITS = 256
MODULUS = 1 << WORD_BITS
"""2**256: arithmetic wraps modulo this."""
MAX_WORD = MODULUS - 1
SIGN_BIT = 1 << (WORD_BITS - 1)


def to_signed(word: int) -> int:
    """Two's complement value of a word: -2**255 to 2**255 - 1."""
    return word - MODULUS if word & SIGN_BIT else word


def to_word(value: int) -> int:
    """The word that represents any int, modulo 2**256."""
    return value & MAX_WORD


def _divide_toward_zero(dividend: int, divisor: int) -> int:
    """Quotient of signed ints, truncated; Python's own `//` rounds down."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


# --- 0x01 to 0x0b: arithmetic ---------------------------------------------------------------------


def add(a: int, b: int) -> int:
    """0x01 ADD: ``a + b``."""
    return to_word(a + b)


def mul(a: int, b: int) -> int:
    """0x02 MUL: ``a * b``."""
    return to_word(a * b)


def sub(a: int, b: int) -> int:
    """0x03 SUB: ``a - b``, a on top."""
    return to_word(a - b)


def div(dividend: int, divisor: int) -> int:
    """0x04 DIV: unsigned quotient, 0 for a zero divisor."""
    return 0 if divisor == 0 else dividend // divisor


def sdiv(dividend: int, divisor: int) -> int:
    """0x05 SDIV: signed quotient truncated toward zero; 0 for a zero divisor; -2**255 / -1 = -2**255."""
    if divisor == 0:
        return 0
    return to_word(_divide_toward_zero(to_signed(dividend), to_signed(divisor)))


def mod(dividend: int, divisor: int) -> int:
    """0x06 MOD: unsigned remainder, 0 for a zero divisor."""
    return 0 if divisor == 0 else dividend % divisor


def smod(dividend: int, divisor: int) -> int:
    """0x07 SMOD: remainder with the sign of the dividend; 0 for a zero divisor."""
    if divisor == 0:
        return 0
    a, b = to_signed(dividend), to_signed(divisor)
    return to_word(a - _divide_toward_zero(a, b) * b)


def addmod(a: int, b: int, modulus: int) -> int:
    """0x08 ADDMOD: ``(a + b) % modulus`` without wrapping the sum; 0 for a zero modulus."""
    return 0 if modulus == 0 else (a + b) % modulus


def mulmod(a: int, b: int, modulus: int) -> int:
    """0x09 MULMOD: ``(a * b) % modulus`` without wrapping the product; 0 for a zero modulus."""
    return 0 if modulus == 0 else (a * b) % modulus


def exp(base: int, exponent: int) -> int:
    """0x0a EXP: ``base ** exponent``; 0 ** 0 = 1."""
    return pow(base, exponent, MODULUS)


def signextend(size: int, value: int) -> int:
    """0x0b SIGNEXTEND: extend the sign of the lowest ``size + 1`` bytes; `size` >= 31 changes nothing."""
    if size >= 31:
        return value
    bits = 8 * (size + 1)
    low = value & ((1 << bits) - 1)
    return to_word(low - (1 << bits)) if low >> (bits - 1) else low


# --- 0x10 to 0x15: comparison ---------------------------------------------------------------------


def lt(a: int, b: int) -> int:
    """0x10 LT: 1 if ``a < b`` unsigned, a on top."""
    return int(a < b)


def gt(a: int, b: int) -> int:
    """0x11 GT: 1 if ``a > b`` unsigned, a on top."""
    return int(a > b)


def slt(a: int, b: int) -> int:
    """0x12 SLT: 1 if ``a < b`` signed, a on top."""
    return int(to_signed(a) < to_signed(b))


def sgt(a: int, b: int) -> int:
    """0x13 SGT: 1 if ``a > b`` signed, a on top."""
    return int(to_signed(a) > to_signed(b))


def eq(a: int, b: int) -> int:
    """0x14 EQ: 1 if equal."""
    return int(a == b)


def iszero(a: int) -> int:
    """0x15 ISZERO: 1 if zero."""
    return int(a == 0)


# --- 0x16 to 0x1e: bits ---------------------------------------------------------------------------


def and_(a: int, b: int) -> int:
    """0x16 AND."""
    return a & b


def or_(a: int, b: int) -> int:
    """0x17 OR."""
    return a | b


def xor(a: int, b: int) -> int:
    """0x18 XOR."""
    return a ^ b


def not_(a: int) -> int:
    """0x19 NOT: all bits flipped."""
    return a ^ MAX_WORD


def byte(index: int, value: int) -> int:
    """0x1a BYTE: byte `index` counted from the most significant one; 0 for `index` >= 32."""
    return 0 if index >= 32 else (value >> (8 * (31 - index))) & 0xFF


def shl(shift: int, value: int) -> int:
    """0x1b SHL (EIP-145): ``value << shift``, the shift on top; 0 for `shift` >= 256."""
    return 0 if shift >= WORD_BITS else to_word(value << shift)


def shr(shift: int, value: int) -> int:
    """0x1c SHR (EIP-145): logical ``value >> shift``; 0 for `shift` >= 256."""
    return 0 if shift >= WORD_BITS else value >> shift


def sar(shift: int, value: int) -> int:
    """0x1d SAR (EIP-145): arithmetic ``value >> shift``; 0 or -1 for `shift` >= 256."""
    return to_word(to_signed(value) >> min(shift, WORD_BITS - 1))


def clz(value: int) -> int:
    """0x1e CLZ (EIP-7939): leading zero bits; 256 for 0."""
    return WORD_BITS - value.bit_length()


PURE_FUNCTIONS: Mapping[str, Callable[..., int]] = MappingProxyType(
    {
        "ADD": add,
        "MUL": mul,
        "SUB": sub,
        "DIV": div,
        "SDIV": sdiv,
        "MOD": mod,
        "SMOD": smod,
        "ADDMOD": addmod,
        "MULMOD": mulmod,
        "EXP": exp,
        "SIGNEXTEND": signextend,
        "LT": lt,
        "GT": gt,
        "SLT": slt,
        "SGT": sgt,
        "EQ": eq,
        "ISZERO": iszero,
        "AND": and_,
        "OR": or_,
        "XOR": xor,
        "NOT": not_,
        "BYTE": byte,
        "SHL": shl,
        "SHR": shr,
        "SAR": sar,
        "CLZ": clz,
    }
)
"""Mnemonic to reference function; operands in stack order, first = top."""
