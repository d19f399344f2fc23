"""What the input layer yields: contracts, and named problems in place of contracts.

Job: the data types that every later stage reads.  Invariants: a `ContractSource` holds at least one
byte of legacy EVM code, no longer than the limit, with sorted holes inside it; a `Problem` carries
everything that a front end shows.  May import: nothing of evmaot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "skip"]
"""error: the user should act, the batch is partial (exit 3).  skip: there is rightly nothing to compile."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes of a code that differ between deployments of one contract."""

    offset: int
    """In bytes, from the start of the code."""
    length: int
    """In bytes, at least 1."""
    kind: Literal["immutable", "library", "proxy"]
    """immutable: values written by the constructor.  library: the address of a library, or a library's own.
    proxy: the address of a minimal proxy's implementation."""


@dataclass(frozen=True, slots=True)
class ContractSource:
    """One runtime code to compile, and where it came from."""

    code: bytes
    """Runtime code.  In a hole it has either zero bytes or the values of one deployment."""
    label: str
    """For people: `src/X.sol:X`, an address, a test name, a file name.  Not unique."""
    origin: str
    """Path of the input (`-` for standard input) and, behind `#`, the place inside it."""
    holes: tuple[Hole, ...] = ()
    """Sorted by offset, without overlap, inside the code."""
    evm_version: str | None = None
    """The compiler's target as the input names it ("cancun"), where it does."""
    count: int = 1
    """Heat: how many records of one document used this code."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something in the input yields no contract."""

    code: str
    """Stable name from `problems.PROBLEMS`, such as "odd_hex"."""
    severity: Severity
    subject: str
    """The input, as in `ContractSource.origin`."""
    message: str
    """What is wrong, without the subject."""
    hint: str | None = None
    """What to do about it."""
    cause: str | None = None
    """Why, where something below us said so (the system, a decoder, a node)."""


Item: TypeAlias = "ContractSource | Problem"


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Bounds of what one input may cost; each has its named problem."""

    code_size_bytes: int = 49_152
    """One code; the default is EIP-3860's limit of init code, twice that of deployed code (EIP-170)."""
    document_size_bytes: int = 1 << 30
    """One file that is read as a whole (JSON that is not by lines, hex, assembly)."""
    line_size_bytes: int = 64 << 20
    """One record of a file by lines."""
    decompressed_size_bytes: int = 64 << 30
    """What one compressed file may grow to."""
    decoder_memory_bytes: int = 256 << 20
    """Dictionary of an xz stream."""
    bad_lines: int = 1_000
    """Unreadable records of one file before the rest of it is given up."""
    list_depth: int = 8
    """`@list` files inside `@list` files."""
