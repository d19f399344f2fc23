"""The rules of ARCHITECTURE.md that a program can check, on every source file of the package."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from evmaot.evm.forks import FORKS
from tests.support.fixtures import REPOSITORY

PACKAGE = REPOSITORY / "evmaot"
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70

SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
MODULES = [path for path in SOURCES if path.name != "__init__.py" or path.stat().st_size]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def comments_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of each comment."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


every_source = pytest.mark.parametrize("path", SOURCES, ids=name_of)
every_module = pytest.mark.parametrize("path", MODULES, ids=name_of)
every_file = pytest.mark.parametrize("path", SOURCES + TESTS, ids=name_of)


@every_module
def test_a_module_says_its_job_and_its_imports(path: Path) -> None:
    """The first line of its docstring is its job; further down is what it may import."""
    text = ast.get_docstring(tree_of(path))
    assert text, "no module docstring"
    job = text.splitlines()[0]
    assert len(job.split()) >= 2, job
    assert job[-1] in ".:", job
    assert "ay import" in text, "the docstring does not say what the module may import"


@every_file
def test_a_file_is_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines < MAX_FILE_LINES, f"{lines} lines: split it by job"


@every_file
def test_a_function_fits_on_a_screen(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length < MAX_FUNCTION_LINES, f"{node.name} at line {node.lineno} has {length} lines"


ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
FORK_WORD = re.compile(r"(^|_)fork($|_)", re.IGNORECASE)


def identifiers(node: ast.AST) -> set[str]:
    """Names and attributes in an expression; the length of something says nothing about it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
        return set()
    found = {node.id} if isinstance(node, ast.Name) else {node.attr} if isinstance(node, ast.Attribute) else set()
    return found.union(*(identifiers(child) for child in ast.iter_child_nodes(node)))


def fork_comparisons(tree: ast.AST) -> list[int]:
    """Lines that order forks, or compare something with the name of one."""
    lines: list[int] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        ordered = any(isinstance(operator, ORDER) for operator in node.ops)
        names_fork = any(FORK_WORD.search(name) for side in sides for name in identifiers(side))
        strings = {leaf.value for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)}
        if (ordered and names_fork) or strings & set(FORKS):
            lines.append(node.lineno)
    return lines


@every_source
def test_a_fork_is_never_compared(path: Path) -> None:
    """Code asks the fork's tables: `fork.parameters.cold_sload`, never `fork >= BERLIN`."""
    assert not fork_comparisons(tree_of(path))


@pytest.mark.parametrize(
    "code",
    [
        "fork >= BERLIN",
        "self.fork.number < 7",
        "if fork_index > 3: pass",
        "fork.name == 'osaka'",
        "name in ('prague', 'osaka')",
        "a < fork < b",
    ],
)
def test_the_check_finds_a_comparison_of_forks(code: str) -> None:
    assert fork_comparisons(ast.parse(code)) == [1]


@pytest.mark.parametrize(
    "code", ["fork.parameters.keeps_one_64th", "fork is None", "gas < limit", "1 <= len(forks) < 9"]
)
def test_the_check_allows_questions_to_the_table(code: str) -> None:
    assert fork_comparisons(ast.parse(code)) == []


SUPPRESSION = re.compile(r"#\s*(?:type:\s*ignore(?:\[[\w\-, ]+\])?|noqa(?::\s*[A-Z0-9, ]+)?)(?P<rest>.*)$")


def unexplained(lines: list[str], number: int, comment: str) -> bool:
    """Whether a suppression has its reason neither behind it nor in a comment on the line above."""
    match = SUPPRESSION.search(comment)
    if match is None:
        return False
    above = lines[number - 2].strip() if number > 1 else ""
    return not re.search(r"\w", match["rest"]) and not above.startswith("#")


@every_file
def test_a_suppression_gives_its_reason(path: Path) -> None:
    """`# type: ignore[code]  # reason`, or the reason as a comment on the line above."""
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [number for number, comment in comments_of(path) if unexplained(lines, number, comment)]
    assert not bare, f"lines {bare}"


@every_file
def test_a_suppression_names_what_it_suppresses(path: Path) -> None:
    for number, comment in comments_of(path):
        assert not re.search(r"type:\s*ignore(?!\[)|noqa(?!: )", comment), f"line {number}: {comment}"


@every_source
def test_native_memory_is_touched_under_a_safety_comment(path: Path) -> None:
    """`ctypes` is our `unsafe`: a module that casts, copies or calls through it says why that is sound."""
    crossings = {"cast", "memmove", "memset", "string_at", "from_address", "CDLL", "PyDLL", "CFUNCTYPE", "PYFUNCTYPE"}
    tree = tree_of(path)
    used = {
        name for node in ast.walk(tree) if isinstance(node, ast.Call) for name in identifiers(node.func)
    } & crossings
    if "ctypes" in path.read_text(encoding="utf-8") and used:
        assert any("SAFETY:" in comment for _, comment in comments_of(path)), f"{sorted(used)} without `# SAFETY:`"


@every_source
def test_json_is_parsed_where_its_depth_is_bounded(path: Path) -> None:
    """`evmaot.json_text.parse_json`: the parser of the standard library overflows the C stack."""
    if path == PACKAGE / "json_text.py":
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "json":
            assert node.attr in {"dump", "dumps"}, f"json.{node.attr} at line {node.lineno}"
