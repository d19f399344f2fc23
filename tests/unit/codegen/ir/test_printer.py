"""Programs as text."""

from __future__ import annotations

from evmaot.codegen.ir.printer import control_flow_graph, instruction_text, program_text
from evmaot.codegen.ir.program import Instruction
from tests.support.programs import SAMPLES, planned


def test_an_immediate_has_the_width_of_its_push() -> None:
    assert instruction_text(Instruction(0, 0x62, 5), 3) == "PUSH3 0x000005"
    assert instruction_text(Instruction(0, 0x5F), 2) == "PUSH0"


def test_what_is_not_defined_is_marked() -> None:
    assert instruction_text(Instruction(0, 0x5F), None) == "PUSH0 ; undefined"
    assert instruction_text(Instruction(0, 0x0C), None) == "UNDEFINED 0x0c"


def test_every_live_block_is_printed_once() -> None:
    for text in SAMPLES.values():
        program = planned(text)
        lines = program_text(program).splitlines()
        for block in program.blocks:
            count = sum(f" b{block.label} at " in line for line in lines)
            assert count == (block.label in program.live)


def test_the_graph_has_every_edge() -> None:
    graph = control_flow_graph(planned(SAMPLES["branch_and_loop"]))
    assert {line.strip() for line in graph.splitlines() if "->" in line} == {
        "b1 -> b2 [style=dotted];",
        "b2 -> b4;",
        "b2 -> b3 [style=dotted];",
        "b3 -> b2;",
    }
    assert graph.startswith("digraph program {")


def test_the_graph_shows_computed_jumps_and_suspensions() -> None:
    assert "b1 -> dynamic [style=dashed];" in control_flow_graph(planned(SAMPLES["computed_jump"]))
    assert 'b1 -> b2 [label="resume"];' in control_flow_graph(planned(SAMPLES["call_and_resume"]))
