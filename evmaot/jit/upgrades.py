"""How long a compilation may take, and better code that failed to come in time.

Job: the deadline of a job, and the keys that stay with fast code because their upgrade met a deadline or an accident:
they are tried again when nothing else is to be done.  Invariants: a deadline grows with the code and with each attempt,
up to that of a build; keys are bounded in number and bytes, and given up after some attempts.  It belongs to the thread
that schedules.  May import: `evmaot.runtime`, jit.admission, jit.jobs,
jit.residency.
"""

from __future__ import annotations

from typing import Final

from evmaot.jit.admission import Failure
from evmaot.jit.jobs import Job, JobKey
from evmaot.jit.residency import ResidentMap
from evmaot.runtime.config import RuntimeTuning
from evmaot.runtime.events import CompilationKind

BYTES_PER_DEADLINE: Final = 8 << 10
"""Code up to this long has `jit_timeout`, longer code proportionally more."""
TIMEOUT: Final = "compile_timeout"
_MOST_ATTEMPTS: Final = 5
_MOST_BYTES: Final = 8 << 20


def deadline_seconds(tuning: RuntimeTuning, job: Job, before: Failure | None) -> float:
    """Time for a job whose last failure is `before`."""
    if job.kind is CompilationKind.AOT:
        return tuning.aot_timeout
    seconds = tuning.jit_timeout * max(1.0, len(job.code) / BYTES_PER_DEADLINE)
    if before is not None and before.reason == TIMEOUT:
        seconds *= 2.0 ** min(before.attempts, 16)
    return max(tuning.jit_timeout, min(seconds, tuning.aot_timeout))


class LateUpgrades:
    """Upgrades that are to be tried again."""

    def __init__(self) -> None:
        self._waiting: dict[JobKey, tuple[float, Job]] = {}
        self._bytes = 0

    def failed(self, job: Job, failure: Failure, *, is_repeatable: bool) -> None:
        """An upgrade failed; `is_repeatable` says that the code was the reason."""
        self.forget(job.job_key)
        if failure.reason != TIMEOUT and is_repeatable:
            return
        if failure.attempts < _MOST_ATTEMPTS and self._bytes + len(job.code) <= _MOST_BYTES:
            self._waiting[job.job_key] = failure.retry_at, job
            self._bytes += len(job.code)

    @property
    def deadline(self) -> float | None:
        """When the next one may be tried."""
        return min((retry_at for retry_at, _ in self._waiting.values()), default=None)

    def take(self, now: float, resident: ResidentMap) -> Job | None:
        """One that may be tried now, and whose fast code is still there: a job as it was when it failed."""
        for retry_at, job in list(self._waiting.values()):
            if retry_at <= now:
                self.forget(job.job_key)
                found = resident.peek(job.pair[0], job.fork_name, job.code)
                if found is not None and found.decision.program.tier != job.tier.value:
                    return job
        return None

    def forget(self, key: JobKey) -> None:
        """It is of no interest any more."""
        found = self._waiting.pop(key, None)
        if found is not None:
            self._bytes -= len(found[1].code)

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()
        self._bytes = 0
