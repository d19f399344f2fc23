"""Keys and signatures in minisign's format, against minisign itself where it is installed."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from evmaot.errors import SignatureError, TrustError, UsageError
from evmaot.sharing.signature import (
    new_secret_key,
    parse_public_key,
    public_key_text,
    read_public_key,
    read_secret_key,
    secret_key_text,
    sign,
    verify,
    write_key_pair,
)

KEY = new_secret_key()
DATA = b"an export" * 1000


def no_password() -> str:
    raise AssertionError("no password is asked for")


def signed(data: bytes = DATA) -> str:
    return sign(io.BytesIO(data), KEY, "timestamp:1\tfile:a")


def test_what_was_signed_verifies_with_its_comment() -> None:
    assert verify(io.BytesIO(DATA), signed(), [new_secret_key().public, KEY.public], "a") == (
        KEY.public,
        "timestamp:1\tfile:a",
    )


def test_signing_again_gives_the_same_text() -> None:
    assert signed() == signed()


@pytest.mark.parametrize("at", [0, 4500, len(DATA) - 1])
def test_a_changed_byte_is_a_bad_signature(at: int) -> None:
    changed = bytearray(DATA)
    changed[at] ^= 1
    with pytest.raises(SignatureError) as caught:
        verify(io.BytesIO(bytes(changed)), signed(), [KEY.public], "a")
    assert (caught.value.reference, caught.value.exit_code) == ("bad_signature", 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("file:a", "file:b"),
        lambda text: "",
        lambda text: text + "more\n",
        lambda text: text.replace("trusted comment: t", "comment: t"),
        lambda text: "\n".join([text.splitlines()[0], "!!!!", *text.splitlines()[2:]]),
        lambda text: text.splitlines()[0] + "\n" + signed(b"other").split("\n", 1)[1],
    ],
    ids=["comment", "empty", "longer", "no comment", "no base64", "of other bytes"],
)
def test_a_changed_signature_is_a_bad_signature(change: object) -> None:
    assert callable(change)
    with pytest.raises(SignatureError) as caught:
        verify(io.BytesIO(DATA), change(signed()), [KEY.public], "a")
    assert caught.value.reference == "bad_signature"


def test_another_key_is_untrusted_and_a_key_of_the_same_number_is_bad() -> None:
    other = new_secret_key()
    with pytest.raises(SignatureError) as caught:
        verify(io.BytesIO(DATA), signed(), [other.public], "a")
    assert caught.value.reference == "untrusted_key"
    same_number = parse_public_key(base64.b64encode(b"Ed" + KEY.id + other.public.point).decode(), "key")
    with pytest.raises(SignatureError) as caught:
        verify(io.BytesIO(DATA), signed(), [same_number], "a")
    assert caught.value.reference == "bad_signature"


def test_keys_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "ci.key"
    public = write_key_pair(path, KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_secret_key(path, no_password) == KEY
    assert read_public_key(str(public)) == KEY.public == read_public_key(KEY.public.text)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    write_key_pair(tmp_path / "ci.key", KEY)
    with pytest.raises(UsageError, match="not overwritten"):
        write_key_pair(tmp_path / "ci.key", new_secret_key())
    (tmp_path / "ci.key.pub").unlink()
    with pytest.raises(UsageError, match="not overwritten"):
        write_key_pair(tmp_path / "ci.key", new_secret_key())
    assert read_secret_key(tmp_path / "ci.key", no_password) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_key_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    write_key_pair(tmp_path / "ci.key", KEY)
    (tmp_path / "ci.key").chmod(mode)
    with pytest.raises(TrustError) as caught:
        read_secret_key(tmp_path / "ci.key", no_password)
    assert (caught.value.reference, caught.value.exit_code) == ("key_exposed", 77)


@pytest.mark.parametrize(
    "text",
    ["", "untrusted comment: x\n", "RWQ", KEY.public.text[:-4] + "!!!!"],
    # The key is another one in each process; tests of one run must have the same names in all.
    ids=["nothing", "a comment alone", "cut", "not base64"],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_public_key(text, "here")
    assert caught.value.reference == "bad_key"


def encrypted(password: bytes, operations: int, memory: int, cost: int, parallel: int) -> str:
    """A key file with a password; the cost parameters of scrypt are given, not derived."""
    plain = base64.b64decode(secret_key_text(KEY).splitlines()[1])
    salt = bytes(range(32))
    stream = hashlib.scrypt(password, salt=salt, n=cost, r=8, p=parallel, maxmem=1 << 28, dklen=104)
    body = bytes(one ^ other for one, other in zip(plain[54:], stream, strict=True))
    limits = operations.to_bytes(8, "little") + memory.to_bytes(8, "little")
    data = b"EdScB2" + salt + limits + body
    return f"untrusted comment: minisign encrypted secret key\n{base64.b64encode(data).decode()}\n"


@pytest.mark.parametrize(
    ("operations", "memory", "cost", "parallel"), [(32768, 16 << 20, 1024, 1), (524288, 16 << 20, 16384, 1)]
)
def test_a_key_with_a_password_is_read_with_it_alone(
    tmp_path: Path, operations: int, memory: int, cost: int, parallel: int
) -> None:
    path = tmp_path / "ci.key"
    path.write_text(encrypted(b"secret", operations, memory, cost, parallel))
    path.chmod(0o600)
    assert read_secret_key(path, lambda: "secret") == KEY
    with pytest.raises(UsageError) as caught:
        read_secret_key(path, lambda: "Secret")
    assert caught.value.cause == "the password is wrong"


def test_minisign_itself_agrees_in_both_directions(tmp_path: Path) -> None:
    program = shutil.which("minisign")
    if program is None:
        pytest.skip("minisign is not installed")
    file, own = tmp_path / "file", tmp_path / "own.key"
    file.write_bytes(DATA)
    write_key_pair(own, KEY)
    (tmp_path / "file.minisig").write_text(signed())
    subprocess.run([program, "-Vm", file, "-P", KEY.public.text], check=True, capture_output=True, timeout=60)
    subprocess.run([program, "-Sm", file, "-s", own], check=True, capture_output=True, timeout=60)
    assert verify(io.BytesIO(DATA), (tmp_path / "file.minisig").read_text(), [KEY.public], "a")[0] == KEY.public
    assert public_key_text(KEY.public).splitlines()[1] == KEY.public.text
