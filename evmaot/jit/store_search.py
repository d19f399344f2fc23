"""Looking for a job's artifact in the store: runs in the store thread.

Job: find a library that fits, of the code or of a template that it is made of, and load it.  Invariant: whatever the
store does, the scheduler hears of it.
May import: `evmaot.runtime`, `evmaot.store.index`, errors, jit.jobs.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from evmaot.errors import EvmaotError
from evmaot.jit.jobs import Job
from evmaot.runtime.artifacts import ArtifactStore, StoredArtifact, TemplateStore
from evmaot.runtime.catalog import LibraryRecord
from evmaot.store.index import rules_digest

if TYPE_CHECKING:
    from evmaot.jit.core import Core

logger = logging.getLogger("evmaot.jit")


def find_in_store(core: Core, job: Job, tell: Callable[[Job, LibraryRecord | None], None]) -> None:
    """Load a library for a job, and have the scheduler told which, or that there is none."""
    record = None
    try:
        record = load_from_store(core, job)
    except EvmaotError as error:
        core.catalogue.skip(error.reference, f"0x{job.pair[0].hex()}", error.cause or error.message)
    except BaseException:  # a store may be anybody's code
        logger.exception("looking for an artifact failed")
    core.controls.append(partial(tell, job, record))
    core.wake()


def load_from_store(core: Core, job: Job) -> LibraryRecord | None:
    """A library that fits, loaded; None if there is none.  Raises EvmaotError."""
    found = _load_known(core, job)
    if found is not None or core.store is None:
        return found
    # Another process may have published it since the store was read.
    fork = core.map.fork(job.fork_name)
    assert fork is not None
    code_sha256 = hashlib.sha256(job.code).hexdigest()
    artifacts = [
        artifact
        for artifact in _found(core.store, job)
        if (artifact.member.holes or artifact.member.code_sha256 == code_sha256)
        and rules_digest(fork, artifact.member.opcodes) == artifact.member.rules
    ]
    if not artifacts:
        return None
    core.catalogue.add_artifacts(artifacts)
    return _load_known(core, job)


def _found(store: ArtifactStore, job: Job) -> Sequence[StoredArtifact]:
    if isinstance(store, TemplateStore):
        return store.find_for(job.pair[0], job.code)
    # A template under the code's own hash is none of the code.
    return [artifact for artifact in store.find(job.pair[0]) if not artifact.member.holes]


def _load_known(core: Core, job: Job) -> LibraryRecord | None:
    while (record := core.map.loadable(job.pair[0], job.fork_name, job.code)) is not None:
        assert core.store is not None
        with core.store.reading():
            if core.catalogue.load(record) is not None:
                return record
    return None
