"""The entry of the input layer: bad input of each kind, directories, lists, standard input."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from evmaot.errors import UsageError
from evmaot.inputs.problems import PROBLEMS
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import ContractSource, InputLimits, Item, Problem

GOOD = "0x600160005500"


def read(path: Path | str, content: bytes | str | None = None, **options: object) -> list[Item]:
    if content is not None:
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_inputs([path], **options))  # type: ignore[arg-type]  # options of several types


def names(items: Sequence[Item]) -> list[str]:
    """Codes of contracts as digits, problems by name, in order."""
    return [item.code.hex() if isinstance(item, ContractSource) else item.code for item in items]


def only_problem(items: Sequence[Item]) -> Problem:
    (item,) = items
    assert isinstance(item, Problem)
    return item


def tar_of(content: bytes) -> bytes:
    stream, member = io.BytesIO(), tarfile.TarInfo("package/code.hex")
    member.size = len(content)
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


BAD_INPUTS: dict[str, tuple[str | bytes, str]] = {
    "odd.hex": ("0x600", "odd_hex"),
    "letters.hex": ("0x60zz", "not_hex"),
    "prose": ("this is not a code", "not_hex"),
    "empty.hex": ("", "empty_code"),
    "blank.json": (" \n\n", "empty_code"),
    "prefix.hex": ("0x", "empty_code"),
    "long.hex": ("00" * 49_153, "code_too_long"),
    "long.bin": (b"\0" * 49_153, "code_too_long"),
    "eof.hex": ("0xef0001010004", "eof_code"),
    "ef.hex": ("0xef", "invalid_ef_code"),
    "delegation.hex": ("0xef0100" + "11" * 20, "delegation"),
    "blueprint.hex": ("0xfe7100600060", "blueprint"),
    "unlinked.hex": ("0x73" + "__$" + "ab" * 17 + "$__", "unlinked"),
    "other.json": ('{"name": "x", "private": true}', "unknown_format"),
    "empty.json": ("{}", "unknown_format"),
    "number.json": ("[1, 2]", "unknown_format"),
    "cut.json": ('{"contracts": {"a.sol"', "bad_json"),
    "deep.json": ("[" * 200_000, "bad_json"),
    "deep-object.json": ('{"a":' * 200_000, "bad_json"),
    "digits.json": ("[" + "1" * 10_000 + "]", "bad_json"),
    "latin.json": (b'{"name": "\xe9"}', "not_utf8"),
    "zeros.json": (b'{"a"' + b"\0" * 100, "not_utf8"),
    "utf16.json": ('{"code": "0x00"}'.encode("utf-16"), "not_utf8"),
    "utf16.hex": (GOOD.encode("utf-16"), "not_utf8"),
    "null.json": ("null\n", "unknown_format"),
    "false": ("false", "unknown_format"),
    "program": (b"\x7fELF\x02\x01\x01" + b"\0" * 60, "unknown_format"),
    "archive.json.zst": (b"\x28\xb5\x2f\xfd\x04\x00", "unknown_format"),
    "package.tgz": (gzip.compress(tar_of(b"0x6000")), "archive"),
    "package.zip": (b"PK\x03\x04" + b"\0" * 60, "archive"),
    "Token.sol": ("contract Token {}", "source_code"),
    "source": ("// SPDX-License-Identifier: MIT\npragma solidity ^0.8.0;\ncontract C {}\n", "source_code"),
    "cut.hex.xz": (lzma.compress(GOOD.encode())[:-8], "bad_compression"),
    "damaged.hex.xz": (lzma.compress(GOOD.encode())[:-30] + b"\0" * 30, "bad_compression"),
    "cut.hex.gz": (gzip.compress(GOOD.encode())[:-4], "bad_compression"),
    "damaged.hex.gz": (gzip.compress(GOOD.encode())[:-6] + b"\0" * 6, "bad_compression"),
    "tail.hex.gz": (gzip.compress(GOOD.encode()) + b"something else", "bad_compression"),
    "state.hex": ("0x1f8b08000000", "bad_compression"),
    "state-odd.hex": ("0x1f8b0800000", "odd_hex"),
    "eoas.json": (json.dumps({"0x" + "11" * 20: {"balance": "0x1", "nonce": "0x1"}}), "no_code"),
    "no-runtime-of-interface.json": (
        '{"contracts": {"a.sol": {"I": {"evm": {"bytecode": {"object": ""}}}}}}',
        "no_runtime_code",
    ),
    "no-runtime.json": ('{"contracts": {"a.sol": {"A": {"abi": []}}}}', "runtime_code_missing"),
}


@pytest.mark.parametrize("file", BAD_INPUTS)
def test_bad_input_has_one_named_problem(file: str, tmp_path: Path) -> None:
    content, name = BAD_INPUTS[file]
    found = only_problem(read(tmp_path / file, content))
    assert found.code == name
    assert found.severity == PROBLEMS[name].severity
    assert found.subject.startswith(str(tmp_path / file))
    assert found.hint or found.cause or found.severity == "skip"


def test_a_document_that_is_null_is_named_as_such(tmp_path: Path) -> None:
    found = only_problem(read(tmp_path / "code.json", "null"))
    assert found.message == "JSON of no known format: null"
    assert "no such account" in (found.hint or "")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\x7fELF\2\1\1", "an ELF file"),
        (b"\xcf\xfa\xed\xfe\7\0\0\1", "a Mach-O file"),
        (b"MZ".ljust(60, b"\0") + b"\x40\0\0\0PE\0\0", "a Windows program"),
        (b"\0asm\1\0\0\0", "a WebAssembly module"),
    ],
)
def test_a_program_of_a_machine_is_named_and_gets_a_hint(tmp_path: Path, head: bytes, what: str) -> None:
    found = only_problem(read(tmp_path / "program", head + bytes(100)))
    assert (found.code, found.message) == ("unknown_format", f"not bytecode but {what}")
    assert "give EVM bytecode" in (found.hint or "")


def test_raw_code_that_begins_as_a_windows_program_does_is_code(tmp_path: Path) -> None:
    assert names(read(tmp_path / "code", b"MZ" + bytes(100))) == ["4d5a" + "00" * 100]


@pytest.mark.parametrize("file", BAD_INPUTS)
def test_bad_input_does_not_end_the_batch(file: str, tmp_path: Path) -> None:
    content, name = BAD_INPUTS[file]
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "good.hex").write_text(GOOD)
    items = list(read_inputs([tmp_path / "good.hex", tmp_path / file, tmp_path / "good.hex"]))
    assert names(items) == [GOOD[2:], name, GOOD[2:]]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert only_problem(read(tmp_path / "absent")).code == "not_found"


def test_a_code_on_the_command_line_gets_a_hint() -> None:
    found = only_problem(read(GOOD))
    assert found.code == "not_found"
    assert "evmaot build -" in (found.hint or "")


def test_a_path_with_a_nul_is_a_problem() -> None:
    assert only_problem(read("a\0b")).code == "not_found"


def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "secret.hex"
    path.write_text(GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    found = only_problem(read(path))
    assert found.code == "unreadable"
    assert found.cause


def test_a_failing_read_is_a_problem_and_what_came_before_stays() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            if not data:
                raise OSError(5, "Input/output error")
            return data

    head = "".join(json.dumps({"code": GOOD}) + "\n" for _ in range(20_000))
    items = list(read_inputs(["-"], stdin=Failing(head.encode())))
    last = items[-1]
    assert isinstance(last, Problem)
    assert (last.code, last.cause) == ("unreadable", "Input/output error")
    assert names(items[:-1]) == [GOOD[2:]] * (len(items) - 1)
    assert len(items) > 1000


def test_a_closed_standard_input_is_a_problem() -> None:
    stream = io.BytesIO(b"")
    stream.close()
    assert only_problem(list(read_inputs(["-"], stdin=stream))).code == "unreadable"


def test_an_unknown_format_name_is_a_usage_error_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        read_inputs([], format="fundry")
    assert caught.value.reference == "unknown_format_name"
    assert "foundry" in (caught.value.hint or "")


def test_auto_is_no_format() -> None:
    assert list(read_inputs([], format="auto")) == []


# Files by lines


def test_a_bad_line_costs_only_itself(tmp_path: Path) -> None:
    lines = [json.dumps({"code": GOOD}).encode(), b'{"code": "0x6', b'{"code": "\xff"}', json.dumps(["0x00"]).encode()]
    items = read(tmp_path / "codes", b"\n".join(lines))
    assert names(items) == [GOOD[2:], "bad_json", "not_utf8", "00"]
    assert [i.origin if isinstance(i, ContractSource) else i.subject for i in items] == [
        f"{tmp_path}/codes#{place}" for place in ("L1", "L2", "L3", "L4:0")
    ]


def test_a_bad_first_line_costs_only_itself_where_the_name_tells_of_lines(tmp_path: Path) -> None:
    assert names(read(tmp_path / "codes.jsonl", f'{{"code": "0x6\n{{"code": "{GOOD}"}}')) == ["bad_json", GOOD[2:]]


def test_lines_may_be_of_different_formats(tmp_path: Path) -> None:
    account = {"0x" + "11" * 20: {"balance": "0x1", "nonce": 1, "code": "0x01"}}
    records = [{"code": GOOD}, {"jsonrpc": "2.0", "id": 1, "result": "0x00"}, account, {"x": 1}]
    text = "\n".join(map(json.dumps, records))
    assert names(read(tmp_path / "mixed", text)) == [GOOD[2:], "00", "01", "unknown_format"]


def test_a_line_beyond_the_limit_is_skipped(tmp_path: Path) -> None:
    limits = InputLimits(line_size_bytes=100)
    long = json.dumps({"code": "0x" + "00" * 1000})
    text = "\n".join([json.dumps({"code": GOOD}), long, json.dumps({"code": "0x01"})])
    assert names(read(tmp_path / "codes", text, limits=limits)) == [GOOD[2:], "line_too_long", "01"]


def test_a_file_of_bad_lines_is_given_up(tmp_path: Path) -> None:
    text = '{"code": "0x00"}\n' + "nonsense\n" * 50
    items = read(tmp_path / "codes", text, limits=InputLimits(bad_lines=5))
    assert names(items) == ["00", *["bad_json"] * 5, "too_many_bad_lines"]


def test_a_pretty_printed_document_is_not_read_by_lines(tmp_path: Path) -> None:
    assert names(read(tmp_path / "a.json", json.dumps([GOOD, "0x00"], indent=1))) == [GOOD[2:], "00"]


def test_a_document_beyond_the_limit_is_a_problem(tmp_path: Path) -> None:
    text = json.dumps([GOOD] * 100, indent=1)
    assert names(read(tmp_path / "a.json", text, limits=InputLimits(document_size_bytes=1000))) == ["too_large"]


def test_several_lines_with_prefix_are_several_codes_and_without_are_one(tmp_path: Path) -> None:
    assert names(read(tmp_path / "a", "0x6001\n0x6002\n")) == ["6001", "6002"]
    assert names(read(tmp_path / "b", "0x6001\n6002\n")) == ["60016002"]
    assert names(read(tmp_path / "c", "6001\n60 02\n")) == ["60016002"]
    assert names(read(tmp_path / "d", "0x6001\n0x6002\n6003\n0x600")) == ["6001", "6002", "not_hex", "odd_hex"]


def test_the_names_of_unlinked_libraries_that_solc_adds_are_comments(tmp_path: Path) -> None:
    text = "6001\n\n// $0123$ -> a.sol:L\n"
    assert names(read(tmp_path / "a.bin-runtime", text)) == ["6001"]


# Duplicates


def test_duplicates_are_yielded_each_time(tmp_path: Path) -> None:
    (tmp_path / "a.hex").write_text(GOOD)
    (tmp_path / "b.hex").write_text(GOOD)
    items = list(read_inputs([tmp_path, tmp_path / "a.hex"]))
    assert names(items) == [GOOD[2:]] * 3
    assert [i.label for i in items if isinstance(i, ContractSource)] == ["a.hex", "b.hex", "a.hex"]


# Forced formats


def test_raw_bytes_are_taken_as_they_are(tmp_path: Path) -> None:
    for content in (b"[", b"0x6000", gzip.compress(b"x", mtime=0), b'{"a": 1}'):
        assert names(read(tmp_path / "f.json", content, format="raw")) == [content.hex()]


def test_a_forced_format_of_the_wrong_sort_is_a_problem(tmp_path: Path) -> None:
    assert names(read(tmp_path / "a", "0x6000", format="foundry")) == ["wrong_format"]
    assert names(read(tmp_path / "b", b"\x60\x00\x01", format="foundry")) == ["wrong_format"]
    assert names(read(tmp_path / "c", '{"a": 1}', format="hex")) == ["not_hex"]


def test_unlinked_codes_are_contracts_where_allowed(tmp_path: Path) -> None:
    text = "0x73" + "__$" + "ab" * 17 + "$__"
    (item,) = read(tmp_path / "a.hex", text, allow_unlinked=True)
    assert isinstance(item, ContractSource)
    assert len(item.holes) == 1


# Directories


def test_a_directory_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for index, name in enumerate(["b/z.hex", "b/a.hex", "a.hex", "c.hex", "B.hex"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"0x{index:02x}")
    assert names(list(read_inputs([str(tmp_path)]))) == ["04", "02", "01", "00", "03"]


def test_a_directory_yields_only_what_may_hold_contracts(tmp_path: Path) -> None:
    read_files = ["a.json", "b.jsonl", "c.ndjson", "d.hex", "e.bin-runtime", "f.evm", "g.txt", "h.asm", "i.BIN"]
    skipped_files = [
        "x.sol", "x.js", "noext", ".hidden.json", "X.dbg.json", "package.json", "tsconfig.build.json", "e.bin",
        ".git/a.json", "node_modules/p/a.json", "cache/a.json", "x.tar.gz",
    ]  # fmt: skip
    for name in (*read_files, *skipped_files):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("STOP" if name == "h.asm" else f'"{GOOD}"' if "json" in name else GOOD)
    (tmp_path / "j.hex.gz").write_bytes(gzip.compress(GOOD.encode()))
    (tmp_path / "k.json.xz").write_bytes(lzma.compress(f'"{GOOD}"'.encode()))
    items = list(read_inputs([tmp_path]))
    assert all(isinstance(item, ContractSource) for item in items)
    labels = [item.label.partition("#")[0] for item in items if isinstance(item, ContractSource)]
    assert labels == sorted([*read_files, "j.hex.gz", "k.json.xz"])


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("data.json", b'{"some": "thing"}', "unknown_format"),
        ("notes.txt", b"Remember the milk", "unknown_format"),
        ("latin.txt", b"Caf\xe9 au lait", "not_utf8"),
        ("abi.json", b'{"abi": [], "bytecode": "0x6000"}', "init_code_only"),
    ],
)
def test_what_a_directory_holds_besides_is_no_error(name: str, content: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = only_problem(read(tmp_path))
    assert (found.code, found.severity) == (code, "skip")
    named = only_problem(read(tmp_path / name))
    assert named.severity == "error"


@pytest.mark.parametrize(
    ("name", "content", "code"), [("a.json", b'{"abi": [', "bad_json"), ("a.hex", b"0x6zz0", "not_hex")]
)
def test_a_damaged_file_in_a_directory_is_an_error(name: str, content: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = only_problem(read(tmp_path))
    assert (found.code, found.severity) == (code, "error")


def test_links_to_files_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.hex").write_text(GOOD)
    (tmp_path / "d" / "b.hex").symlink_to("a.hex")
    (tmp_path / "d" / "self.hex").symlink_to("self.hex")
    (tmp_path / "d" / "gone.hex").symlink_to("gone-away.hex")
    (tmp_path / "d" / "up").symlink_to("..", target_is_directory=True)
    os.mkfifo(tmp_path / "d" / "pipe.hex")  # would block who opens it
    assert names(read(tmp_path / "d")) == [GOOD[2:]] * 2


def test_a_directory_that_is_named_by_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.hex").write_text(GOOD)
    (tmp_path / "link").symlink_to("d", target_is_directory=True)
    assert names(read(tmp_path / "link")) == [GOOD[2:]]


def test_an_empty_directory_yields_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == []


def test_deep_directories_need_no_recursion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, depth = sys.getrecursionlimit(), 600
    monkeypatch.chdir(tmp_path)
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    Path("a.hex").write_text(GOOD)
    try:
        sys.setrecursionlimit(500)
        assert names(read(tmp_path)) == [GOOD[2:]]
    finally:
        sys.setrecursionlimit(limit)
        # What cleans up behind tests does recurse.
        os.remove("a.hex")
        for _ in range(depth):
            os.chdir("..")
            os.rmdir("d")


def test_a_name_that_is_not_utf8_is_read_and_shown_escaped(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.hex")
    try:
        with open(path, "wb") as file:
            file.write(GOOD.encode())
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    (item,) = read(tmp_path)
    assert isinstance(item, ContractSource)
    item.label.encode("utf-8")
    item.origin.encode("utf-8")


# Standard input and lists


def test_standard_input_is_read_once() -> None:
    assert names(list(read_inputs(["-", "-"], stdin=io.BytesIO(GOOD.encode())))) == [GOOD[2:], "stdin_used_twice"]


def test_standard_input_is_the_callers_to_close() -> None:
    stream = io.BytesIO(GOOD.encode())
    list(read_inputs(["-"], stdin=stream))
    assert not stream.closed


def test_a_pipe_is_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as out:
        out.write(lzma.compress(json.dumps({"code": GOOD}).encode()))
    with os.fdopen(reader, "rb", buffering=0) as stdin:
        assert names(list(read_inputs(["-"], stdin=stdin))) == [GOOD[2:]]


def test_a_list_names_one_input_per_line(tmp_path: Path) -> None:
    (tmp_path / "a.hex").write_text("0x01")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.hex").write_text("0x02")
    listed = tmp_path / "list"
    listed.write_text(f"# comment\r\n{tmp_path}/a.hex\r\n\r\n  {tmp_path}/d\n-\n{tmp_path}/absent\n")
    items = list(read_inputs([f"@{listed}"], stdin=io.BytesIO(b"0x03")))
    assert names(items) == ["01", "02", "03", "not_found"]


def test_a_list_that_names_itself_ends(tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_text(f"@{listed}\n")
    assert names(list(read_inputs([f"@{listed}"]))) == ["list_too_deep"]


def test_a_missing_list_is_a_problem(tmp_path: Path) -> None:
    assert names(list(read_inputs([f"@{tmp_path}/absent"]))) == ["not_found"]
    assert names(list(read_inputs([f"@{tmp_path}"]))) == ["unreadable"]


def test_a_path_object_is_never_a_list_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("@list").write_text("0x01")
    Path("-").write_text("0x02")
    assert names(list(read_inputs([Path("@list"), Path("-"), "./-"]))) == ["01", "02", "02"]


@pytest.mark.parametrize(
    ("given", "words"),
    [("https://example.org/a.json", "downloaded"), ("0x6000", "printf"), ("missing.json", "check the path")],
)
def test_what_is_no_file_says_what_to_do_instead(given: str, words: str) -> None:
    problem = only_problem(read(given))
    assert problem.code == "not_found"
    assert problem.hint is not None and words in problem.hint
