"""Fetching public data sets: resumed, checked, from the next mirror; nothing written outside."""

import hashlib
import io
import json
import os
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import photo_sets
import pytest
from file_server import Served, serving

from reprise import registry
from reprise.data import base, check, download, get, public
from reprise.data.public import Archive, Entry
from reprise.errors import ConfigError, DataError

NAME = "set.tar.gz"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACK_OFF", 0.0)
    monkeypatch.setattr(download, "CHUNK", 64)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """Return CIFAR-10's binary version, a few photographs of it, as its archive."""
    folder = photo_sets.cifar_binary(tmp_path / "source", 10)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder / "cifar-10-batches-bin", "cifar-10-batches-bin")
    return file.getvalue()


@pytest.fixture
def server(content: bytes) -> Iterator[Served]:
    with serving({f"one/{NAME}": content, f"two/{NAME}": content}) as served:
        yield served


def entry(server: Served, content: bytes, md5: bool = True) -> Entry:
    archive = Archive(
        name=NAME,
        urls=(f"{server.url}one/{NAME}", f"{server.url}two/{NAME}"),
        makes=("cifar-10-batches-bin",),
        md5=hashlib.md5(content).hexdigest() if md5 else "",
    )
    said = {"archives": (archive,), "counts": {"train": 10, "test": 4}}
    return public.by_name("cifar10").model_copy(update=said)


def with_archive(what: Entry, **said: Any) -> Entry:
    """Return a data set of whose only archive something else is said."""
    (archive,) = what.archives
    return what.model_copy(update={"archives": (archive.model_copy(update=said),)})


def fetched(what: Entry, root: Path) -> list[str]:
    said: list[str] = []
    get.get(what, root, said.append)
    return said


def refused(what: Entry, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        get.get(what, root, lambda _: None)
    return str(caught.value)


def test_a_set_is_fetched_checked_and_read(server: Served, content: bytes, tmp_path: Path) -> None:
    what, root = entry(server, content), tmp_path / "root"
    said = fetched(what, root)
    assert any("Licence: not stated" in line for line in said)
    assert not (root / NAME).exists(), "removed once it is unpacked"
    record = json.loads((root / get.RECORD).read_text())
    assert record[NAME]["sha256"] == hashlib.sha256(content).hexdigest()
    rows = check.check("cifar", {**what.args, "root": str(root)}, what, 10)
    assert {row.verdict for row in rows} == {check.OK, check.OPEN}
    assert rows[-2].found == "unpacked by --get, checked then"
    args = {"root": str(root), "classes": 10}
    base.prepare("cifar", tmp_path / "data", args, lambda _: None)
    assert len(base.load("cifar", "train", tmp_path / "data", args)) == 10


def test_the_same_command_again_asks_for_nothing(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    what = entry(server, content)
    fetched(what, tmp_path)
    assert len(server.asked) == 1
    assert f"{NAME}: done before" in fetched(what, tmp_path)
    assert len(server.asked) == 1
    (tmp_path / "cifar-10-batches-bin").rename(tmp_path / "gone")
    fetched(what, tmp_path)
    assert len(server.asked) == 2, "what was lost is fetched anew"


def test_a_cut_connection_is_resumed_by_range(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    server.faults[f"one/{NAME}"] = ["cut:100"] * 6
    said = fetched(entry(server, content), tmp_path)
    asked = server.ranges(f"one/{NAME}")
    assert asked == [None, *(f"bytes={100 * n}-" for n in range(1, 7))]
    assert sum("going on from byte" in line for line in said) == 6 > download.ATTEMPTS


def test_a_part_of_an_earlier_call_is_gone_on_with(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(content[:321])
    fetched(entry(server, content), tmp_path)
    assert server.ranges(f"one/{NAME}") == ["bytes=321-"]
    assert (tmp_path / "cifar-10-batches-bin").is_dir()


def test_a_server_that_ignores_ranges_is_begun_anew(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    server.faults[f"one/{NAME}"] = ["cut:100", "whole"]
    fetched(entry(server, content), tmp_path)
    assert server.ranges(f"one/{NAME}") == [None, "bytes=100-"]


def test_a_mirror_takes_over_where_the_first_only_stalls(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    server.faults[f"one/{NAME}"] = ["cut:200", *["503"] * 9]
    said = fetched(entry(server, content), tmp_path)
    assert len(server.ranges(f"one/{NAME}")) == 1 + download.ATTEMPTS
    assert server.ranges(f"two/{NAME}") == ["bytes=200-"], "goes on with the same bytes"
    assert any("3 attempts brought nothing new" in line for line in said)


def test_a_wrong_content_is_refused_and_the_mirror_asked(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    server.files[f"one/{NAME}"] = content[:-1] + bytes([content[-1] ^ 1])
    said = fetched(entry(server, content), tmp_path)
    assert any("refused, its content is not the published one (MD5" in line for line in said)
    assert server.ranges(f"two/{NAME}") == [None], "nothing of the wrong one is kept"
    assert (tmp_path / "cifar-10-batches-bin").is_dir()


def test_when_no_mirror_serves_all_are_listed(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    server.files[f"one/{NAME}"] = b"<html>please log in</html>"
    del server.files[f"two/{NAME}"]
    said = refused(entry(server, content), tmp_path)
    assert f"{server.url}one/{NAME}: refused, its content is not the published one" in said
    assert f"{server.url}two/{NAME}: HTTP 404" in said
    assert f"Put {NAME} into {tmp_path} by hand" in said
    assert not any(tmp_path.glob("*.tar*")), "nothing is left that could be taken for it"


def test_parts_of_two_servers_are_not_mixed_without_a_digest(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    what = entry(server, content, md5=False)
    server.faults[f"one/{NAME}"] = ["cut:100", "cut:100", *["503"] * 3, "404"]
    fetched(what, tmp_path)
    assert server.ranges(f"one/{NAME}")[:3] == [None, "bytes=100-", "bytes=200-"]
    assert server.ranges(f"two/{NAME}") == [None]
    rows = check.check("cifar", {**what.args, "root": str(tmp_path)}, what, 10)
    assert rows[-2].verdict == check.OPEN, "came unchecked"


@pytest.mark.parametrize("md5", [True, False])
def test_two_versions_at_one_address_are_not_mixed(
    server: Served, content: bytes, tmp_path: Path, md5: bool
) -> None:
    """Neither within a call, nor where another one goes on."""
    path = f"one/{NAME}"
    what = with_archive(entry(server, content, md5), urls=(f"{server.url}{path}",))
    server.files[path], server.tags[path] = bytes(len(content)), '"first"'
    server.faults[path] = ["cut:200", *["404"] * 9]
    assert "404" in refused(what, tmp_path)
    assert (tmp_path / f"{NAME}.part").stat().st_size == 200
    server.files[path], server.tags[path] = content, '"second"'
    server.faults[path] = []
    fetched(what, tmp_path)
    assert server.ranges(path)[-1] == "bytes=200-", "asked to go on, the server began anew"
    record = json.loads((tmp_path / get.RECORD).read_text())
    assert record[NAME]["sha256"] == hashlib.sha256(content).hexdigest()
    assert not [*tmp_path.glob(".set*")], "nothing is left of the download"


def test_without_digest_or_version_another_call_begins_anew(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(bytes(100))
    (tmp_path / f".{NAME}.from").write_text(f"{server.url}one/{NAME}")
    fetched(entry(server, content, md5=False), tmp_path)
    assert server.ranges(f"one/{NAME}") == [None]


def test_an_archive_placed_by_hand_is_taken_where_it_is_the_right_one(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / NAME).write_bytes(content)
    get.get(entry(server, content), tmp_path, lambda _: None, keep_archives=True)
    assert server.asked == []
    assert (tmp_path / NAME).is_file()
    other = tmp_path / "other"
    other.mkdir()
    (other / NAME).write_bytes(b"another version")
    fetched(entry(server, content), other)
    assert len(server.asked) == 1


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def link(name: str, to: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, to
    return member


@pytest.mark.parametrize(
    "members",
    [
        [(tarfile.TarInfo("../outside.txt"), b"x")],
        [(link("folder", "/tmp"), b""), (tarfile.TarInfo("folder/outside.txt"), b"x")],
        [(link("up", ".."), b""), (tarfile.TarInfo("up/outside.txt"), b"x")],
        [(link("inside", "photo.jpg"), b"")],
    ],
)
def test_a_tar_writes_nothing_outside(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    (tmp_path / "evil.tar").write_bytes(tar_of(members))
    with pytest.raises(DataError, match=r"evil.tar: cannot be unpacked"):
        get.unpack(tmp_path / "evil.tar", tmp_path / "inner" / "root", lambda _: None)
    assert not [*tmp_path.rglob("outside.txt")]


def test_a_zip_writes_nothing_outside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as content:
        content.writestr("../outside.txt", "x")
    with pytest.raises(DataError, match="would lie outside"):
        get.unpack(tmp_path / "evil.zip", tmp_path / "root", lambda _: None)
    assert not [*tmp_path.rglob("outside.txt")]


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as content:
        content.writestr("sketch/n01440764/a.JPEG", "x")
    get.unpack(tmp_path / "some.zip", tmp_path, lambda _: None)
    assert (tmp_path / "sketch/n01440764/a.JPEG").read_text() == "x"


@pytest.mark.parametrize("name", ["cut.tar.gz", "cut.zip"])
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=f"{name}: cannot be unpacked into .*; remove it"):
        get.unpack(tmp_path / name, tmp_path / "root", lambda _: None)


def test_a_wrong_bit_in_an_archive_is_told(tmp_path: Path) -> None:
    """Wherever it is, though the archive's own end comes before the checksum of it all."""
    pixels = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()
    with tarfile.open(tmp_path / "good.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("a.jpg")
        member.size = len(pixels)
        tar.addfile(member, io.BytesIO(pixels))
    with zipfile.ZipFile(tmp_path / "good.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.jpg", pixels + bytes(5000))
    for good in (tmp_path / "good.tar.gz", tmp_path / "good.zip"):
        get.unpack(good, tmp_path / f"{good.name} unpacked", lambda _: None)
        for place in np.linspace(2000, 18_000, 9).astype(int):
            bad = bytearray(good.read_bytes())
            bad[place] ^= 16
            (tmp_path / f"bad-{good.name}").write_bytes(bad)
            with pytest.raises(DataError, match="cannot be unpacked"):
                get.unpack(tmp_path / f"bad-{good.name}", tmp_path / "root", lambda _: None)


def test_an_archive_that_holds_something_else_is_told(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    what = entry(server, content)
    what = with_archive(what, makes=("imagenet-a",))
    assert "unpacked, but imagenet-a is not in it" in refused(what, tmp_path)


def test_a_disk_that_is_too_small_is_refused_first(
    server: Served, content: bytes, tmp_path: Path
) -> None:
    what = entry(server, content)
    what = with_archive(what, gigabytes=1e6)
    assert f"{NAME} needs about 2200000 GB more" in refused(what, tmp_path)
    assert server.asked == []
    with (tmp_path / f"{NAME}.part").open("wb") as part:
        part.truncate(3 * 10**9)  # sparse: takes no room
    assert f"{NAME} needs about 2199997 GB more" in refused(what, tmp_path), "less what is there"


@pytest.mark.parametrize("name", ["imagenet", "imagenet21k", "flickr30k", "stanford_cars"])
def test_what_needs_registering_says_where(name: str, tmp_path: Path) -> None:
    what = public.by_name(name)
    said = refused(what, tmp_path)
    assert f"{what.title} is not fetched" in said
    assert "https://" in said
    assert what.layout in said
    assert f"Licence: {what.licence}" in said


def test_the_list_of_public_sets_is_sound() -> None:
    for name, one in public.entries().items():
        assert one.name == name
        registry.module_path("data set", one.reader)
        assert public.of(one.reader, one.args) == one, "told from others of its reader"
        for archive in one.archives:
            for url in archive.urls:
                assert urlsplit(url).scheme in ("http", "https")
                assert os.path.basename(urlsplit(url).path) == archive.name
    with pytest.raises(ConfigError, match=r"unknown data set 'cifar' \(did you mean 'cifar1"):
        public.by_name("cifar")


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("mine: {title: mine}", "mine.reader: Field required"),
        ("mine: {titel: mine}", r"mine: unknown key 'titel' \(did you mean 'title'"),
    ],
)
def test_a_wrong_entry_is_named(
    said: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "public.yaml"
    file.write_text(said)
    monkeypatch.setattr(public, "FILE", file)
    with pytest.raises(ConfigError, match=rf"public.yaml: {wrong}"):
        public.entries.__wrapped__()  # not from the cache


def test_what_lies_beside_the_code_is_installed_with_it() -> None:
    package = Path(public.__file__).parents[1]
    settings = tomllib.loads((package.parents[1] / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["reprise"]
    beside = [path for path in package.rglob("*.*") if path.suffix not in (".py", ".pyc")]
    assert public.FILE in beside
    for path in beside:
        assert any(path in package.glob(pattern) for pattern in patterns), path
