"""Man pages and completions: current, lint-free, and working in the real shells."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evmaot.cli import generate, manual, roff
from evmaot.cli.root import VERBS
from tests.cli.conftest import Cli

REPOSITORY = Path(__file__).parents[2]


def test_generated_files_are_current() -> None:
    assert generate.stale(REPOSITORY) == [], "run: python -m evmaot.cli.generate"


def test_check_names_what_is_stale_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--directory", str(tmp_path)]) == 0
    assert generate.main(["--directory", str(tmp_path), "--check"]) == 0
    page = tmp_path / "man" / "man1" / "evmaot.1"
    page.write_text("old")
    (tmp_path / "man" / "man1" / "evmaot-gone.1").write_text("left over")
    capsys.readouterr()
    assert generate.main(["--directory", str(tmp_path), "--check"]) == 1
    err = capsys.readouterr().err
    assert "stale: man/man1/evmaot.1;" in err
    assert "stale: man/man1/evmaot-gone.1;" in err
    assert page.read_text() == "old"
    assert generate.main(["--directory", str(tmp_path)]) == 0
    assert not (tmp_path / "man" / "man1" / "evmaot-gone.1").exists()


def test_every_verb_has_a_page_and_examples() -> None:
    assert set(manual.EXAMPLES) == {"evmaot", *VERBS}
    assert set(manual.VERB_SECTIONS) <= set(VERBS)
    names = {generate.page_file(name) for name in generate.page_names()}
    assert names == {"evmaot.1", "evmaot-store.5", *(f"evmaot-{name}.1" for name in VERBS)}


@pytest.mark.parametrize("name", generate.page_names())
def test_pages_have_their_sections(name: str) -> None:
    text = generate.page(name)
    required = {
        "evmaot": ("ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SECURITY"),
        "store": ("LAYOUT", "SECURITY"),
    }
    for heading in required.get(name, ("OPTIONS", "EXIT STATUS", "EXAMPLES")):
        assert f".SH {heading}\n" in text
    assert "SEE ALSO" in text


@pytest.mark.parametrize("name", generate.page_names())
def test_pages_pass_the_linter(name: str, tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    path = tmp_path / generate.page_file(name)
    path.write_text(generate.page(name))
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_man_prints_pages(cli: Cli) -> None:
    assert cli("man").out == generate.page("evmaot")
    assert cli("man", "evmaot-build").out == cli("man", "build").out == generate.page("build")
    result = cli("man", "bild")
    assert (result.code, "[unknown_page]" in result.err) == (2, True)


def test_roff_escapes_what_roff_would_read() -> None:
    assert roff.escaped(".x") == "\\&.x"
    assert roff.escaped("a\n'b") == "a\n\\&'b"
    assert roff.escaped("--opt \\n") == "\\-\\-opt \\en"
    assert roff.paragraphs("one\ntwo\n\n  code\n  more") == ["one two", ".PP", ".nf", "  code", "  more", ".fi"]


def environment_with_command(directory: Path) -> dict[str, str]:
    """An environment whose PATH has an `evmaot` that is this checkout's."""
    command = directory / "bin" / "evmaot"
    command.parent.mkdir()
    arguments = f"{shlex.quote(sys.executable)} -m evmaot"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(REPOSITORY))} exec {arguments} "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}


def run_shell(shell: str, script: str, directory: Path) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *options, "-c", script], capture_output=True, text=True, check=True,
        env=environment_with_command(directory), timeout=60,
    )  # fmt: skip
    return done.stdout.split("\n")


def complete_in_bash(line: str, directory: Path) -> list[str]:
    words = [*line.split(" ")]
    quoted = " ".join(shlex.quote(word) for word in words)
    script = (
        f"source {shlex.quote(str(REPOSITORY / 'completions' / 'evmaot.bash'))}; "
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
        '_evmaot_completion evmaot; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return run_shell("bash", script, directory)


def test_bash_completes_verbs_options_and_forks(home: Path) -> None:
    assert "forks" in complete_in_bash("evmaot fo", home)


def test_bash_completes_the_end_of_a_range(home: Path) -> None:
    assert "london..osaka" in complete_in_bash("evmaot build --fork london..os", home)


def test_fish_completes(home: Path) -> None:
    path = shlex.quote(str(REPOSITORY / "completions" / "evmaot.fish"))
    lines = run_shell("fish", f"source {path}; complete -C 'evmaot build --opt '", home)
    assert {line.split("\t")[0] for line in lines} >= {"fast", "optimised"}


def test_zsh_completes(home: Path) -> None:
    path = shlex.quote(str(REPOSITORY / "completions" / "_evmaot"))
    # The functions of zsh's completion system are replaced by ones that print what they are given.
    script = (
        'compdef() {}; _describe() { print -l -- "${(@P)3}" }; compadd() { print -l -- "${(@P)@[-1]}" }; '
        f"words=(evmaot fo); CURRENT=2; source {path}; _evmaot_completion"
    )
    assert any(line.startswith("forks") for line in run_shell("zsh", script, home))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("evmaot ", "build"),
        ("evmaot build --", "--fork"),
        ("evmaot build --target aa", "aarch64-linux"),
        ("evmaot forks show can", "cancun"),
        ("evmaot forks d", "diff"),
        ("evmaot clear --fork pra", "prague"),
        ("evmaot dump --stage c", "cfg"),
        ("evmaot man sto", "store"),
        ("evmaot completion z", "zsh"),
    ],
)
def test_words_are_offered(process: Cli, monkeypatch: pytest.MonkeyPatch, line: str, expected: str) -> None:
    words = line.split(" ")
    monkeypatch.setenv("_EVMAOT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    result = process()
    assert (result.code, result.err) == (0, "")
    assert f"plain,{expected}" in result.out.splitlines()


@pytest.mark.parametrize("broken", [False, True])
def test_names_of_packs_come_from_the_store_and_never_fail(
    process: Cli, monkeypatch: pytest.MonkeyPatch, home: Path, broken: bool
) -> None:
    from tests.cli.stores import publish

    pack = publish(home.parent / "cache" / "evmaot" / "store")
    if broken:
        (home / "evmaot.toml").write_text("build = {")
    monkeypatch.setenv("_EVMAOT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"evmaot show {pack[:3]}")
    monkeypatch.setenv("COMP_CWORD", "2")
    result = process()
    assert (result.code, result.err) == (0, "")
    assert (f"plain,{pack[:12]}" in result.out) is not broken
