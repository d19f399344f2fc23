"""The level exec of `evmaot verify`: stored code beside EELS's interpreter.

Job: options to `evmaot.hosts.exec_check`, its report to words and data.  Invariant: EELS is imported when the level is
asked for.  May import: `evmaot.hosts`, `evmaot.evm`, `evmaot.store`, `evmaot.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from evmaot.cli.invocation import Invocation
from evmaot.cli.output import Output, counted
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork
    from evmaot.hosts.exec_check import ExecutionReport
    from evmaot.store.directory import ArtifactDirectory


def executed(
    invocation: Invocation, store: ArtifactDirectory, sample: int | None, *, seed: int, calls: int,
    recorded: tuple[Path, ...], fork: Fork | None,
) -> ExecutionReport:  # fmt: skip
    """What running the stored code says.  Raises UsageError ``eels_missing``."""
    try:
        from evmaot.hosts.exec_check import check_execution, stored_codes
    except ModuleNotFoundError as error:
        hint = "pip install 'evmaot[eels]'"
        text = "level exec compares with EELS, which is not installed"
        raise UsageError("eels_missing", text, cause=str(error), hint=hint) from error
    from evmaot.evm.forks import DEFAULT_FORK
    from evmaot.hosts.recorded import read_recorded

    codes, lacking = stored_codes(store, sample, seed)
    if lacking:
        text = f"warning: the bytecode of {counted(lacking, 'artifact')} is not in the store; only --recorded runs them"
        invocation.output.warn(text, style="yellow")
    tests = [test for path in recorded for test in read_recorded(path, fork.name if fork else DEFAULT_FORK)]
    return check_execution(store, codes, tests, calls=calls, seed=seed)


def execution_data(execution: ExecutionReport) -> dict[str, Any]:
    """What ran, for JSON."""
    return {"artifacts": execution.artifacts, "calls": execution.calls, "frames": execution.frames}


def say_execution(output: Output, execution: ExecutionReport) -> None:
    """What ran, in words."""
    ran_text = f"{counted(execution.calls, 'call')} of {counted(execution.artifacts, 'artifact')}"
    output.say(f"ran {ran_text} beside EELS's interpreter, {counted(execution.frames, 'frame')} compared")


def say_wrong_results(output: Output, execution: ExecutionReport) -> None:
    """What it means that stored code computes something else."""
    wrong = [finding for finding in execution.findings if finding.code == "wrong_result"]
    if wrong:
        output.warn(f"error: {counted(len(wrong), 'wrong result')} of stored code [wrong_result]", style="error")
        output.warn("effect: the runtime uses that code: whoever reads this store computes wrong results")
        output.warn("hint: evmaot clear the named artifacts now, and report them with the finding")
