"""Dynamic TAB completion: names of forks, targets, formats, and of what the store holds.

Job: candidates for a word.  Invariants: reads names only, never locks, writes or fails; anything
unexpected means no candidates.  May import: `evmaot.evm.forks`, `evmaot.target`, `evmaot.config`, click.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from click.shell_completion import CompletionItem

from evmaot import config

_MOST = 200
"""Candidates offered at most: more help nobody."""


def fork_names(incomplete: str) -> list[CompletionItem]:
    """Forks, also as the second end of a range (``london..``), and ``all``."""
    from evmaot.evm.forks import FORKS

    first, dots, last = incomplete.rpartition("..")
    head = f"{first}{dots}" if dots else ""
    items = [CompletionItem(head + fork.name, help=fork.title) for fork in FORKS.values() if fork.name.startswith(last)]
    if not dots and "all".startswith(incomplete):
        items.append(CompletionItem("all", help="every fork"))
    return items


def target_names(incomplete: str) -> list[CompletionItem]:
    """Named targets, and ``host``."""
    from evmaot.target import TARGETS

    return _starting(["host", *TARGETS], incomplete)


def setting_values(name: str, incomplete: str) -> list[CompletionItem]:
    """Candidates for the option that is backed by the setting `name`."""
    known: dict[str, Callable[[str], list[CompletionItem]]] = {
        "forks": fork_names,
        "targets": target_names,
        "tiers": lambda word: _starting(config.TIERS, word),
        "linker": lambda word: _starting(config.LINKERS, word),
        "store": lambda word: [CompletionItem(word, type="dir")],
    }
    return known[name](incomplete) if name in known else []


def _starting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)][:_MOST]


def stored_names(directory: Path, kinds: Iterable[str]) -> list[str]:
    """First 12 digits of the ``profiles`` and ``packs`` of a store, and its ``pins``, from names of files alone."""
    found: list[str] = []
    if "pins" in kinds:
        with contextlib.suppress(OSError):
            names = os.listdir(directory / "v1" / "pins")
            found += sorted(name[:-5] for name in names if name.endswith(".json"))
    try:
        profiles = sorted(os.scandir(directory / "v1" / "profiles"), key=lambda entry: entry.name)
    except OSError:
        return found
    for profile in profiles:
        if "profiles" in kinds:
            found.append(profile.name[:12])
        if "packs" in kinds:
            with contextlib.suppress(OSError):
                names = os.listdir(Path(profile.path) / "packs")
                found += sorted(name[:12] for name in names[:_MOST] if name.endswith(".json"))
    return found[:_MOST]
