"""The virtual stack: what is loaded, what is stored, and where a word may be read from."""

from __future__ import annotations

from evmaot.codegen.emit.stack import VirtualStack
from evmaot.codegen.emit.values import Constant, Flag, Narrow, Value, Word
from evmaot.codegen.emit.writer import NARROW_LIMIT, ValueWriter


def fresh() -> tuple[ValueWriter, VirtualStack]:
    writer = ValueWriter()
    return writer, VirtualStack(writer, "%sp")


def count(writer: ValueWriter, word: str) -> int:
    return sum(word in line for line in writer.text().splitlines())


def loads(writer: ValueWriter) -> int:
    return count(writer, "= load i256")


def stores(writer: ValueWriter) -> int:
    return count(writer, "store i256")


def test_pushed_words_are_not_in_memory() -> None:
    writer, stack = fresh()
    first, second = Constant(1), Word("%w")
    stack.push(first)
    stack.push(second)
    assert stack.pop() is second
    assert stack.pop() is first
    assert writer.text().strip() == ""


def test_a_word_found_on_the_stack_is_loaded_once() -> None:
    writer, stack = fresh()
    stack.duplicate(2)
    stack.duplicate(3)
    assert stack.pop() is stack.pop()
    assert loads(writer) == 1
    assert "i64 -64" in writer.text()


def test_a_spill_stores_what_changed_and_is_live() -> None:
    writer, stack = fresh()
    stack.duplicate(1)  # loaded, unchanged below
    stack.push(Constant(7))
    stack.push(Constant(8))
    stack.drop()
    stack.spill()
    assert stores(writer) == 2
    stack.spill()
    assert stores(writer) == 2, "the second finds all of it in memory"


def test_a_swap_back_stores_nothing() -> None:
    writer, stack = fresh()
    stack.swap(3)
    stack.swap(3)
    stack.spill()
    assert (loads(writer), stores(writer)) == (2, 0)


def test_a_swap_stores_both_places() -> None:
    writer, stack = fresh()
    stack.swap(1)
    stack.spill()
    assert (loads(writer), stores(writer)) == (2, 2)


def test_a_side_exit_leaves_nothing_behind() -> None:
    writer, stack = fresh()
    flag = Flag("%f")
    stack.push(flag)
    stack.push(Narrow("%n"))
    stack.spill(keep=False)
    assert flag.word_name is None, "its widening is in a block that does not dominate what follows"
    before = stores(writer)
    stack.spill()
    assert stores(writer) == 2 * before
    assert flag.word_name is not None


def test_words_that_are_carried_are_not_stored() -> None:
    writer, stack = fresh()
    for number in range(4):
        stack.push(Constant(number))
    stack.spill(leave=3)
    assert stores(writer) == 1
    assert stack.carried(3, keep=True) == ["3", "2", "1"]


def test_carried_words_below_the_chain_are_loaded() -> None:
    writer, stack = fresh()
    stack.push(Constant(9))
    names = stack.carried(2, keep=False)
    assert (names[0], loads(writer)) == ("9", 1)
    again = stack.carried(2, keep=True)
    assert again[1] != names[1], "a load of a side exit is not used again"
    assert stack.carried(2, keep=True) == again


def test_words_that_came_in_values_have_no_place_in_memory() -> None:
    writer, stack = fresh()
    stack.carry(["%a", "%b"])
    stack.duplicate(1)
    top = stack.pop()
    assert top.word_name == "%a"
    assert stack.home(top) is None
    stack.spill()
    assert stores(writer) == 2
    assert stack.home(top) is not None


def test_a_spill_of_operands_alone() -> None:
    writer, stack = fresh()
    for number in range(5):
        stack.push(Constant(number))
    stack.spill(only=2)
    assert stores(writer) == 2
    assert "store i256 3," in writer.text()
    assert "store i256 4," in writer.text()


def test_a_place_that_a_helper_writes_is_no_home_any_more() -> None:
    writer, stack = fresh()
    value = stack.pop()
    assert stack.home(value) is not None
    stack.written(stack.height)
    assert stack.home(value) is None
    stack.height += 1
    assert stack.pop() is not value
    assert loads(writer) == 2


def test_a_home_moves_with_what_was_stored() -> None:
    writer, stack = fresh()
    first, second = stack.pop(), stack.pop()
    stack.push(first)
    stack.push(second)
    stack.spill()
    place = stack.home(first)
    assert place is not None
    assert f"{place} = getelementptr i8, ptr %sp, i64 -64" in writer.text()
    assert stores(writer) == 2


def test_constants_are_seen_where_they_are() -> None:
    _, stack = fresh()
    stack.push(Constant(5))
    stack.push(Word("%w"))
    assert (stack.peek_constant(0), stack.peek_constant(1), stack.peek_constant(2)) == (None, 5, None)
    stack.swap(1)
    assert stack.peek_constant(0) == 5


def test_operands_of_each_kind_of_value() -> None:
    writer = ValueWriter()
    wide = 1 << 200
    cases: list[tuple[Value, str, str]] = [
        (Constant(5), "5", "true"),
        (Constant(0), "0", "false"),
        (Constant(wide), str(NARROW_LIMIT), "true"),
        (Narrow("%n"), "%n", "%v0"),
    ]
    for value, saturated, truth in cases:
        assert (writer.saturated(value), writer.truth(value)) == (saturated, truth)
    flag = Flag("%f")
    assert writer.truth(flag) == "%f"
    assert writer.word(flag) == writer.word(flag), "its widening is made once"
    assert "icmp ugt i256 %w" in (writer.saturated(Word("%w")), writer.text())[1]
