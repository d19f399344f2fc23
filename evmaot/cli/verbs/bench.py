"""`evmaot bench`: how long a message takes, in native code of each tier, and beside other interpreters.

Job: options to engines, what they took to a table or a document.  Invariants: compiling is told apart from running; all
engines take turns; where results differ, that is told before any time.  May import: `evmaot.cli`, click.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation, setting_option
from evmaot.cli.messages import (
    MessageOptions,
    ending,
    message_options,
    names_artifact,
    requested_scenario,
    rules_of,
)
from evmaot.cli.output import Column, brief_seconds, counted, human_rate
from evmaot.config_values import parse_duration

if TYPE_CHECKING:
    from evmaot.cli.bench_engines import NativeEngine
    from evmaot.cli.bench_rounds import Engine, Measured
    from evmaot.cli.programs import RunPrograms
    from evmaot.cli.scenario import Scenario
    from evmaot.evm.forks import Fork

REFERENCES = ("eels", "pyrevm")
RESULTS_DIFFER = 1
"""Exit code where two tiers, or native code and EELS, disagree: somebody is wrong."""
_PATIENCE_SECONDS = 10.0
"""What EELS's interpreter gets for one message at least."""


@dataclass(slots=True)
class Row:
    """One engine."""

    name: str
    engine: Engine
    gas_used: int = 0
    programs: RunPrograms | None = None
    """Where its native code is from."""
    note: str | None = None


@click.command("bench", cls=Verb)
@message_options()
@click.option("--no-store", is_flag=True, help="Compile here; do not look into the store.")
@setting_option("tiers", "--opt", metavar="TIER", multiple=True, help="fast or optimised; may be repeated.")
@click.option(
    "--seconds", default="2s", metavar="TIME", show_default=True, help="Processor time that each engine gets."
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="So many messages instead.")
@click.option(
    "--against",
    multiple=True,
    type=click.Choice([*REFERENCES, "none"]),
    help="An interpreter to compare with; may be repeated. By default those that are installed.",
)
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    /,
    no_store: bool,
    seconds: str,
    count: int | None,
    against: tuple[str, ...],
    **options: Any,
) -> None:
    """Execute a message again and again, and tell how long one takes.

    The message is described as that of evmaot run. Each message starts from the same state, and nothing is committed.
    The engines take turns in short batches, and times are of the processor, so that other work on the machine hits all
    alike. MESSAGE is the median of the batches, SPREAD half the distance between their quartiles, RATIO what the first
    row's MESSAGE goes into, TIMES the number of messages. Compiling is not part of it.

    EELS's interpreter (extra evmaot[eels]) and revm's (pip install pyrevm) are compared with where they are installed.
    pyrevm has no access lists and no Osaka. A message that takes EELS longer than 10 s, or 5 times --seconds, is given
    up. Exit status 1 means that results differ.
    """
    from evmaot.cli.bench_rounds import measure
    from evmaot.cli.programs import RunPrograms
    from evmaot.codegen.options import Tier

    try:
        limit_seconds = parse_duration(seconds)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--seconds") from error
    message = MessageOptions(**options)
    fork = rules_of(message)
    tiers = list(dict.fromkeys(invocation.settings.tiers))
    programs = [RunPrograms(invocation, use_store=not no_store, tier=Tier(tier)) for tier in tiers]
    scenario, name = requested_scenario(invocation, programs, message)
    rows, natives = _native_rows(programs, tiers, scenario, fork, by_hash=names_artifact(message.code))
    patience = max(_PATIENCE_SECONDS, 5 * limit_seconds)
    wanted = _references(against, by_hash=names_artifact(message.code))
    others, left_out = _reference_rows(scenario, fork, wanted, patience)
    rows += others
    found = measure({row.name: row.engine for row in rows}, limit_seconds, count)
    for row in others:
        row.gas_used = int(getattr(row.engine, "gas_used", 0))
        if not found[row.name].samples:
            left_out[row.name] = f"not through with one message in {patience:.0f} s"
    rows = [row for row in rows if found[row.name].samples]
    data = _as_data(scenario, fork, name, natives[0], rows, found, left_out)
    _render(invocation, data)
    if data["results_differ"]:
        invocation.output.warn("error: the results of two engines differ [results_differ]", style="error")
        invocation.output.warn("hint: one of them is wrong: please report this message; see: evmaot run")
        context.exit(RESULTS_DIFFER)


def _native_rows(
    programs: list[RunPrograms], tiers: list[str], scenario: Scenario, fork: Fork, *, by_hash: bool
) -> tuple[list[Row], list[NativeEngine]]:
    """A row for each tier; what an artifact's hash names has the tier that it has."""
    from evmaot.cli.bench_engines import NativeEngine

    rows: list[Row] = []
    engines: list[NativeEngine] = []
    for tier, source in zip(tiers, programs, strict=True):
        engine = NativeEngine(source, scenario, fork)
        message = scenario.message
        if by_hash:
            tier = source.program_for(message.code, message.code_hash, fork).tier
        if all(row.name != tier for row in rows):
            rows.append(Row(tier, engine, message.gas - engine.result.gas_left, source))
            engines.append(engine)
    return rows, engines


def _references(against: tuple[str, ...], *, by_hash: bool) -> dict[str, bool]:
    """Interpreters to compare with, and whether each was asked for by name."""
    if by_hash:  # The store keeps no code that an interpreter could run.
        return {}
    return {name: bool(against) for name in REFERENCES if name in against or not against}


def _reference_rows(
    scenario: Scenario, fork: Fork, wanted: dict[str, bool], patience_seconds: float
) -> tuple[list[Row], dict[str, str]]:
    """Rows of the other engines, and why some are left out."""
    from evmaot.cli.bench_engines import EelsEngine, NotComparable, RevmEngine
    from evmaot.cli.bench_rounds import TooLong

    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for name in wanted:
        try:
            engine = RevmEngine(scenario, fork) if name == "pyrevm" else EelsEngine(scenario, fork, patience_seconds)
            engine.batch(1)
        except NotComparable as error:
            left_out[name] = str(error)
        except TooLong:
            left_out[name] = f"not through with one message in {patience_seconds:.0f} s"
        else:
            rows.append(Row(name, engine, note=getattr(engine, "note", None)))
    return rows, left_out


def _as_data(
    scenario: Scenario,
    fork: Fork,
    name: str | None,
    native: NativeEngine,
    rows: list[Row],
    found: dict[str, Measured],
    left_out: dict[str, str],
) -> dict[str, Any]:
    result = native.result
    gas_used = scenario.message.gas - result.gas_left
    first = found[rows[0].name].median
    return {
        "name": name,
        "fork": fork.name,
        "status": result.status.name,
        "failure": result.failure.value if result.failure else None,
        "gas_used": gas_used,
        "code_size_bytes": len(scenario.message.code),
        "native_frames": result.native_frames,
        "engines": [_row_data(row, found[row.name], first, gas_used) for row in rows],
        "left_out": [{"engine": engine, "reason": reason} for engine, reason in left_out.items()],
        # pyrevm is known to charge a little less in some cases: that is a note.
        "results_differ": any(row.gas_used != gas_used for row in rows if row.name != "pyrevm"),
    }


def _row_data(row: Row, measured: Measured, first: float, gas_used: int) -> dict[str, Any]:
    low, high = measured.quartiles
    median, note = measured.median, row.note
    if row.gas_used != gas_used:
        note = f"{note}, " if note else ""
        note += f"{row.gas_used:,} gas, not {gas_used:,}"
    programs = row.programs
    return {
        "engine": row.name,
        "code": None if programs is None else "compiled" if programs.compiled else "store",
        "compile_seconds": None if programs is None else round(programs.compile_seconds, 6),
        "messages": measured.messages,
        "batches": len(measured.samples),
        "median_seconds": median,
        "best_seconds": measured.best,
        "quartile_seconds": [low, high],
        "gas_used": row.gas_used,
        "gas_per_second": round(row.gas_used / median) if median else None,
        "ratio": round(median / first, 4) if first else None,
        "note": note,
    }


def _render(invocation: Invocation, data: dict[str, Any]) -> None:
    from evmaot.evm.forks import FORKS

    output = invocation.output
    if output.as_json:
        output.document("bench", data, ok=not data["results_differ"])
        return
    columns = (
        Column("ENGINE"),
        Column("CODE", drop_rank=3),
        Column("COMPILE", right=True, drop_rank=2),
        Column("MESSAGE", right=True),
        Column("BEST", right=True, drop_rank=4),
        Column("SPREAD", right=True, drop_rank=1),
        Column("GAS/S", right=True, drop_rank=5),
        Column("TIMES", right=True, drop_rank=6),
        Column("RATIO", right=True),
    )
    output.table(columns, [_cells(row) for row in data["engines"]])
    how = ending(data["status"], data["failure"])
    frames = counted(data["native_frames"], "native frame")
    output.say(f"{how} under {FORKS[data['fork']].title}, {data['gas_used']:,} gas, {frames}")
    for row in data["engines"]:
        if row["note"]:
            output.say(f"{row['engine']}: {row['note']}")
    for row in data["left_out"]:
        output.say(f"not compared with {row['engine']}: {row['reason']}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["quartile_seconds"]
    spread = 100 * (high - low) / 2 / row["median_seconds"] if row["median_seconds"] else 0.0
    ratio = row["ratio"]
    return (
        row["engine"],
        row["code"] or "-",
        brief_seconds(row["compile_seconds"]) if row["compile_seconds"] else "-",
        brief_seconds(row["median_seconds"]),
        brief_seconds(row["best_seconds"]),
        f"{spread:.0f} %" if row["batches"] > 1 else "-",
        human_rate(row["gas_per_second"] or 0),
        f"{row['messages']:,}",
        "-"
        if ratio is None
        else f"{ratio:,.0f}"
        if ratio >= 100
        else f"{ratio:.3g}"
        if ratio >= 10
        else f"{ratio:.2f}",
    )
