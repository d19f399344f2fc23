"""Linkers of the system: how they are run, and what is said when they are missing, fail or hang."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from evmaot.codegen.backend.system_linker import SYSTEM_LINKERS, find_linker, link_with_system
from evmaot.errors import LinkError, UsageError
from evmaot.store.elf_rules import check_library
from evmaot.target import Target
from tests.support.elf_patch import parsed
from tests.support.libraries import AARCH64, X86_64, compiled, library_objects


def fake_linker(directory: Path, body: str, name: str = "ld") -> None:
    """An executable `name` in `directory` that runs a Python script."""
    path = directory / name
    path.write_text(f"#!{sys.executable} -IS\nimport os, sys, pathlib\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("linker", SYSTEM_LINKERS)
def test_a_missing_linker_is_a_usage_error_with_a_hint(
    linker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        link_with_system(linker, library_objects(), soname="x.so", target=X86_64)
    assert caught.value.reference == "linker_not_found"
    assert caught.value.hint is not None
    assert "--linker" in caught.value.hint


@pytest.mark.parametrize("linker", SYSTEM_LINKERS)
def test_a_linked_library_exports_the_table_alone_and_needs_nothing(linker: str) -> None:
    if find_linker(linker) is None:
        pytest.skip(f"{linker} is not installed")
    data = link_with_system(linker, library_objects(), soname="evmaot-x.so", target=X86_64)
    file = parsed(data)
    symbols = [
        symbol
        for symbol in file.get_section_by_name(".dynsym").iter_symbols()
        if symbol["st_info"]["bind"] != "STB_LOCAL"
    ]
    assert [symbol.name for symbol in symbols] == ["evmaot_table"]
    dynamic = file.get_section_by_name(".dynamic")
    assert list(dynamic.iter_tags("DT_NEEDED")) == []
    assert [tag.soname for tag in dynamic.iter_tags("DT_SONAME")] == ["evmaot-x.so"]
    assert file.get_section_by_name(".note.gnu.build-id") is None
    assert check_library(data, architecture="x86_64") is None


@pytest.mark.parametrize("linker", SYSTEM_LINKERS)
def test_a_linked_library_is_the_same_every_time(linker: str) -> None:
    if find_linker(linker) is None:
        pytest.skip(f"{linker} is not installed")
    one, two = (link_with_system(linker, library_objects(), soname="x.so", target=X86_64) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("linker", SYSTEM_LINKERS)
def test_an_undefined_symbol_fails_here_too(linker: str) -> None:
    if find_linker(linker) is None:
        pytest.skip(f"{linker} is not installed")
    text = "declare hidden i32 @nowhere()\ndefine hidden i32 @f() {\n  %r = call i32 @nowhere()\n  ret i32 %r\n}\n"
    with pytest.raises(LinkError) as caught:
        link_with_system(linker, (*library_objects(), compiled(text)), soname="x.so", target=X86_64)
    assert caught.value.reference == "linker_failed"
    assert caught.value.cause is not None
    assert "nowhere" in caught.value.cause


def test_a_failing_linker_is_quoted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_linker(tmp_path, "print('no such thing ' * 10000); sys.exit(3)")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LinkError) as caught:
        link_with_system("ld", library_objects(), soname="x.so", target=X86_64)
    assert (caught.value.reference, caught.value.context["status"]) == ("linker_failed", 3)
    assert caught.value.cause is not None
    assert caught.value.cause.startswith("no such thing")
    assert len(caught.value.cause) <= 2000


def test_a_linker_that_writes_nothing_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_linker(tmp_path, "sys.exit(0)")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LinkError) as caught:
        link_with_system("ld", library_objects(), soname="x.so", target=X86_64)
    assert caught.value.reference == "linker_failed"


def test_a_linker_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_linker(tmp_path, "import signal; signal.pause()")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LinkError) as caught:
        link_with_system("ld", library_objects(), soname="x.so", target=X86_64, timeout_seconds=0.2)
    assert (caught.value.reference, caught.value.context["timeout_seconds"]) == ("linker_timeout", 0.2)


def test_a_linker_that_cannot_be_run_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ld"
    path.write_text("#!/nonexistent/interpreter\n", encoding="ascii")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LinkError) as caught:
        link_with_system("ld", library_objects(), soname="x.so", target=X86_64)
    assert caught.value.reference == "linker_failed"


def test_the_linker_sees_no_flags_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("LDFLAGS", "LD_RUN_PATH", "LD_LIBRARY_PATH", "COMPILER_PATH", "LIBRARY_PATH", "GCC_EXEC_PREFIX")
    for name in names:
        monkeypatch.setenv(name, str(tmp_path))
    body = f"found = [name for name in {names!r} if name in os.environ]\n"
    body += "words = [' '.join(found), os.environ['LC_ALL'], ' '.join(sys.argv[1:])]\n"
    body += "pathlib.Path('library.so').write_text('|'.join(words))"
    fake_linker(tmp_path, body)
    monkeypatch.setenv("PATH", str(tmp_path))
    found, locale, arguments = (
        link_with_system("ld", library_objects(), soname="x.so", target=X86_64).decode().split("|")
    )
    assert (found, locale) == ("", "C")
    assert "-shared" in arguments
    assert "-Bsymbolic" in arguments


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    fake_linker(tmp_path, "pathlib.Path('library.so').write_text('done')")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert link_with_system("ld", library_objects(), soname="x.so", target=X86_64) == b"done"
    assert list(scratch.iterdir()) == []


def test_a_target_that_is_not_set_up_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_linker(tmp_path, "sys.exit(0)")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LinkError) as caught:
        link_with_system("ld", (), soname="x.so", target=Target("riscv64-unknown-linux-gnu", "generic"))
    assert caught.value.reference == "unsupported_target"


@pytest.mark.parametrize("linker", ["lld", "zig"])
def test_a_linker_for_many_machines_links_aarch64_anywhere(linker: str) -> None:
    if find_linker(linker) is None:
        pytest.skip(f"{linker} is not installed")
    data = link_with_system(linker, library_objects(target=AARCH64), soname="x.so", target=AARCH64)
    assert check_library(data, architecture="aarch64") is None
