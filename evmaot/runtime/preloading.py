"""The two choices of a preload: when libraries are loaded, and how they come into memory.

Job: the enumerations, apart from what reads stores, so that a configuration is light.  May import: errors.
"""

from __future__ import annotations

from enum import Enum


class Preload(Enum):
    """When libraries are loaded."""

    EAGER = "eager"
    """All when the store is opened."""
    LAZY = "lazy"
    """Each at the first look-up that needs it."""


class LibraryMapping(Enum):
    """How libraries come into this process."""

    FILE = "file"
    """By the dynamic loader: pages are shared between processes.  Truncating the file kills its users."""
    COPY = "copy"
    """A private copy of the bytes that were hashed: nothing that happens to the file matters any more."""
