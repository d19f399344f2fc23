"""What a look at the store found, as data.

Job: one finding of `verify`, and one reason why an index leaves something out.  May import: nothing of evmaot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(str, Enum):
    """How bad a finding is."""

    ERROR = "error"
    """What is on disk is not what was published, or can't be used."""
    UNCHECKED = "unchecked"
    """Nobody knows: this machine or this version can't look."""
    NOTE = "note"
    """Allowed: an unreferenced or left-over file, which a sweep removes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.  `code` is stable snake_case, `subject` a path relative to the store's root."""

    code: str
    subject: str
    message: str
    severity: Severity = Severity.ERROR
