"""A Dask cluster as an executor, for builds that one machine is too slow for.

Job: connect to a scheduler, count its workers, hand out a `concurrent.futures.Executor`.  Invariant: nothing but this
module imports distributed, and only when it is called (extra ``evmaot[dask]``).  May import: errors.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from evmaot.errors import EvmaotError, UsageError

_CONNECT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connected cluster."""

    executor: Executor
    threads: int
    """Jobs that it runs at a time."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """The cluster whose scheduler listens at ``tcp://HOST:PORT``.

    UsageError ``dask_missing`` or ``bad_scheduler``; EvmaotError ``scheduler_unreachable`` or ``scheduler_no_workers``.
    """
    try:
        import distributed
    except ImportError as error:
        hint = "pip install 'evmaot[dask]'"
        raise UsageError("dask_missing", "a scheduler needs Dask, which is not installed", hint=hint) from error
    if "://" not in address:
        hint = "give it as tcp://HOST:8786"
        raise UsageError("bad_scheduler", f"{address!r} is not the address of a scheduler", hint=hint)
    # What goes wrong is ours to tell, in one line; its log is tracebacks.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    client = _client(distributed, address)
    try:
        threads = sum(client.nthreads().values())
        if not threads:
            raise EvmaotError(
                "scheduler_no_workers",
                "the scheduler has no workers",
                context={"subject": address},
                hint=f"dask worker {address} (with evmaot installed)",
            )
        executor = client.get_executor(pure=False)
        yield Cluster(executor, threads)
        executor.shutdown(wait=False)
    finally:
        client.close(timeout=_CONNECT_SECONDS)


def _client(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise EvmaotError(
            "scheduler_unreachable",
            "the scheduler cannot be reached",
            context={"subject": address},
            cause=str(error) or type(error).__name__,
            hint="check the address, and that 'dask scheduler' runs there",
        ) from error
