"""What a pass is.

Job: a pass is one file, a function of a frozen `Program` to a new one, with the passes it needs to
have run before it.  May import: `ir`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from evmaot.codegen.ir.program import Program
from evmaot.errors import CompilerBug


@dataclass(frozen=True, slots=True)
class Pass:
    """A named transformation."""

    name: str
    run: Callable[[Program], Program]
    needs: tuple[str, ...] = ()


def run_pipeline(program: Program, passes: tuple[Pass, ...]) -> Program:
    """Run passes in order.  CompilerBug where an order constraint does not hold."""
    for step in passes:
        missing = set(step.needs) - program.facts
        if missing:
            raise CompilerBug(f"pass {step.name} needs {sorted(missing)} before it")
        result = step.run(program)
        program = replace(result, facts=program.facts | {step.name})
    return program
