"""EELS's command-line tools (t8n, statetest, b11r, daemon of `ethereum-spec-evm`) with native execution.

    evmaot-spec-evm [--tier TIER] [--store DIR] [--cache DIR] [--strict] [--quiet] t8n ...
    python -m evmaot.hosts.eels_tools ...            # the same

Job: switch EELS to native execution, run its own entry point with the arguments that follow, say on stderr what ran
natively and what EELS interpreted, and why.  Invariant: output and exit status are EELS's.  Needs the extra
``evmaot[eels]``.  May import: hosts.eels, `evmaot.execution`, `evmaot.runtime`, `evmaot.codegen.options`; EELS.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import EvmaotError
from evmaot.execution.programs import ChainedPrograms, JitPrograms, StorePrograms
from evmaot.execution.protocol import ProgramSource
from evmaot.hosts import eels

PROGRAM = "evmaot-spec-evm"
USAGE_ERROR = 2


def main(
    arguments: Sequence[str] | None = None,
    *,
    out: TextIO | None = None,
    input: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Run one of EELS's tools natively; its exit status."""
    err = err if err is not None else sys.stderr
    options = _parser().parse_args(arguments)
    try:
        tools = importlib.import_module("ethereum_spec_tools.evm_tools")
    except ImportError as error:
        print(f"{PROGRAM}: EELS is not installed: {error}; pip install 'evmaot[eels]'", file=err)
        return USAGE_ERROR
    try:
        with eels.native(_programs(options), strict=options.strict):
            try:
                status: int = tools.main(options.tool, out, input)
            finally:
                if not options.quiet:
                    print(f"{PROGRAM}: {summary(eels.statistics())}", file=err)
    except EvmaotError as error:
        hint = f"; {error.hint}" if error.hint else ""
        print(f"{PROGRAM}: {error.message} [{error.reference}]{hint}", file=err)
        return USAGE_ERROR
    return status


def summary(statistics: eels.EelsStatistics) -> str:
    """What ran how, in one line."""
    fallbacks = statistics.fallbacks
    line = f"{statistics.native_messages} native messages with {statistics.native_frames} frames"
    reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(fallbacks.items()))
    return f"{line}, {sum(fallbacks.values())} interpreted by EELS" + (f" ({reasons})" if reasons else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="EELS's own tools (ethereum-spec-evm) with native execution. "
        "What needs EELS's interpreter, such as --trace and --opcode.count, runs on it and is counted.",
    )
    parser.add_argument("--tier", choices=[tier.value for tier in Tier], default=Tier.FAST.value,
                        help="of code that is compiled here (default: fast, which compiles soonest)")  # fmt: skip
    parser.add_argument("--store", type=Path, metavar="DIR", help="take code from this store where it has it")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep what is compiled here for the next run")
    parser.add_argument("--strict", action="store_true", help="fail where something cannot run natively")
    parser.add_argument("--quiet", action="store_true", help="do not say what ran how")
    parser.add_argument("tool", nargs=argparse.REMAINDER, metavar="t8n|statetest|b11r|daemon ...",
                        help="a tool of EELS with its arguments")  # fmt: skip
    return parser


def _programs(options: argparse.Namespace) -> ProgramSource:
    compiler = JitPrograms(CompileOptions(Tier(options.tier)), options.cache)
    if options.store is None:
        return compiler
    from evmaot.runtime.config import RuntimeConfig, with_environment
    from evmaot.runtime.preload import Preload, open_runtime

    require_signed = with_environment(RuntimeConfig()).require_signed
    resident = open_runtime(options.store, preload=Preload.LAZY, require_signed=require_signed)
    return ChainedPrograms((StorePrograms(resident.lookup), compiler))


if __name__ == "__main__":
    sys.exit(main())
