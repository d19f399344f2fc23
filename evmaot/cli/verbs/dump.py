"""`evmaot dump`: a stage of the compiler as text.

Job: one code, one fork, one stage, on stdout.  May import: `evmaot.codegen`, `evmaot.cli`, click.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from evmaot.cli.invocation import AnyType, Invocation, Verb, pass_invocation, setting_option
from evmaot.cli.options import fork_option

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork

_STAGES = ("bytecode", "program", "cfg", "ir", "optimised", "assembly")
"""Names for help and completion, which must not load the compiler; a test compares them with its table."""


class StageType(AnyType):
    """The name of a stage."""

    name = "STAGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is: `dump` knows which there are.  Raises nothing."""
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of stages."""
        return [CompletionItem(name) for name in _STAGES if name.startswith(incomplete)]


@click.command("dump", cls=Verb)
@click.argument("code")
@click.option(
    "--stage",
    type=StageType(),
    default="program",
    show_default=True,
    metavar="STAGE",
    help=f"One of: {', '.join(_STAGES)}.",
)
@fork_option("Rules; the default fork where none is given.")
@click.option("--contract", metavar="GLOB", help="Which contract of a file that holds several.")
@setting_option("input_format", "--format", metavar="FORMAT", help="Format of the input.")
@setting_option("tiers", "--opt", metavar="TIER", help="fast or optimised.")
@setting_option("targets", "--target", metavar="TARGET", help="Machine to compile for.")
@pass_invocation
def command(invocation: Invocation, code: str, stage: str, fork: Fork | None, contract: str | None) -> None:
    """Print a stage of the compiler as text.

    CODE is runtime code as hex digits with 0x, a file in any format that build reads, or - for standard input.

    The stages are bytecode (mnemonics and gas), program (blocks, sections and what the analyses found), cfg (control
    flow for dot), ir (LLVM IR as emitted), optimised (after LLVM's passes) and assembly.
    """
    from evmaot.cli.one_code import one_code
    from evmaot.codegen.dump import dump
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.evm.forks import DEFAULT_FORK, fork_named
    from evmaot.target import target_named

    settings = invocation.settings
    options = CompileOptions(Tier(settings.tier), target_named(settings.target))
    rules = fork or fork_named(DEFAULT_FORK)
    text = dump(one_code(invocation, code, contract, settings.input_format), rules, options, stage)
    if invocation.output.as_json:
        data = {"stage": stage, "fork": rules.name, "tier": settings.tier, "text": text}
        invocation.output.document("dump", data)
    else:
        invocation.output.data(text.rstrip("\n"))
