"""The deny list: what is not to be compiled.

Job: a file of code hashes and of patterns for labels.  Invariant: a line that is neither is refused, never ignored.
May import: errors.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path

from evmaot.errors import UsageError

_HASH = re.compile(r"(?:0[xX])?([0-9a-fA-F]{64})")
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
_DIGITS = re.compile(r"0[xX][0-9a-zA-Z]*")
_MAX_SIZE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class DenyList:
    """Code hashes, and patterns of labels."""

    code_hashes: frozenset[str] = frozenset()
    """Keccak-256, hex in lower case."""
    patterns: tuple[str, ...] = ()
    """Shell patterns in lower case; an address is one."""

    def has_hash(self, code_hash: str) -> bool:
        """Whether the code with that Keccak-256 is denied."""
        return code_hash in self.code_hashes

    def has_label(self, label: str) -> bool:
        """Whether a contract of that label is denied."""
        return any(fnmatch.fnmatchcase(label.lower(), pattern) for pattern in self.patterns)


def read_deny_list(path: Path) -> DenyList:
    """The list in a file: on each line a code hash, an address, or a pattern of labels; # begins a comment.

    UsageError ``deny_list_unreadable`` or ``bad_deny_entry``.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_SIZE_BYTES + 1)
        if len(data) > _MAX_SIZE_BYTES:
            raise ValueError(f"it has more than {_MAX_SIZE_BYTES} bytes")
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(
            "deny_list_unreadable",
            "the deny list cannot be read",
            context={"subject": str(path)},
            cause=cause,
            hint="one code hash, address or pattern of labels on each line",
        ) from None
    entries = [entry for line in text.splitlines() if (entry := line.partition("#")[0].strip())]
    for number, entry in enumerate((line.partition("#")[0].strip() for line in text.splitlines()), 1):
        if _DIGITS.fullmatch(entry) and not _HASH.fullmatch(entry) and not _ADDRESS.fullmatch(entry):
            # As a pattern it would fit nothing, and what was to be denied would be compiled.
            raise UsageError(
                "bad_deny_entry",
                f"line {number} is neither a code hash nor an address",
                context={"subject": str(path)},
                cause=f"{entry[:80]!r} has {len(entry) - 2} characters behind 0x",
                hint="a hash has 64 hexadecimal digits, an address 40; * and ? make it a pattern",
            )
    hashes = {match[1].lower() for entry in entries if (match := _HASH.fullmatch(entry))}
    return DenyList(frozenset(hashes), tuple(entry.lower() for entry in entries if not _HASH.fullmatch(entry)))
