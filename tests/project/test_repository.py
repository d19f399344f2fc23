"""The documents say what is there, and the repository says nothing about the machines it was made on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.fixtures import REPOSITORY

DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
SKIPPED_DIRECTORIES = {".git", ".venv", ".hypothesis", "__pycache__", "build", "dist", "store"}
PRIVATE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")


def repository_files() -> list[Path]:
    """Every file that may be committed."""
    found: list[Path] = []
    pending = [REPOSITORY]
    while pending:
        for path in pending.pop().iterdir():
            if path.is_dir():
                if path.name not in SKIPPED_DIRECTORIES and not path.name.endswith(("_cache", ".egg-info")):
                    pending.append(path)
            elif path.name != ".git":  # in a worktree it is a file, which names the repository's place
                found.append(path)
    return sorted(found)


def test_no_file_names_a_path_of_one_machine() -> None:
    for path in repository_files():
        if path == Path(__file__):
            continue
        match = PRIVATE_PATH.search(path.read_text(encoding="utf-8", errors="replace"))
        assert match is None, f"{path.relative_to(REPOSITORY)} contains {match and match.group()}"


@pytest.mark.parametrize("text", ["see /root/x", "'/home/ann/evmaot'", "/work/tree/evmaot"])
def test_the_check_finds_a_path(text: str) -> None:
    assert PRIVATE_PATH.search(text)


def test_no_committed_file_is_large() -> None:
    """Vectors, stores and libraries stay outside."""
    for path in repository_files():
        assert path.stat().st_size <= 512 * 1024, path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_names_only_files_that_exist(document: str) -> None:
    """Links, and paths in backticks below the repository's own directories."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)#:]+)\)", text))
    quoted = set(re.findall(r"`((?:evmaot|tests|examples|\.ci)/[\w./-]+)`", text))
    missing = sorted(name for name in linked | quoted if not (REPOSITORY / name).exists())
    assert not missing


CONFLICT_MARKER = re.compile(r"^(?:<{7}|>{7}|={7}$|[|]{7})", re.MULTILINE)


def test_no_file_keeps_a_merge_conflict() -> None:
    for path in repository_files():
        found = CONFLICT_MARKER.search(path.read_text(encoding="utf-8", errors="replace"))
        assert found is None, f"{path.relative_to(REPOSITORY)} has a conflict marker"


def test_the_changelog_says_nothing_twice() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert sorted(set(lines)) == sorted(lines)


ABSENT_DOCUMENT = re.compile(r"\b[A-Z]{4,}(?:\.md)?,? sections? \d")


def test_sources_refer_to_documents_that_are_here() -> None:
    """A comment cites an EIP, the Yellow Paper, or a document of this repository."""
    for path in repository_files():
        if path.suffix == ".py" and path != Path(__file__):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                assert not ABSENT_DOCUMENT.search(line), f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"


def test_both_licences_are_there() -> None:
    assert "Permission is hereby granted" in (REPOSITORY / "LICENSE-MIT").read_text(encoding="utf-8")
    assert "Apache License" in (REPOSITORY / "LICENSE-APACHE").read_text(encoding="utf-8")


def setup_commands() -> list[str]:
    """The lines of README's code blocks that set up an environment: the ones `.ci/run` executes."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("python3 -m venv ")]


def test_the_readme_has_exactly_two_set_up_commands() -> None:
    main_job, tests = setup_commands()
    assert "evmaot build" in main_job
    assert "examples/" in main_job
    assert "[test]" in tests
    assert "pytest" in tests
