"""Data sets: prepared once, verified by content, refused by name; sources tried in turn."""

import functools
import gzip
import hashlib
import http.server
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from reprise.data import download
from reprise.data.base import ArraySet, few_labels, load, prepare
from reprise.data.sets import digits, fashion_mnist
from reprise.errors import ConfigError, DataError
from reprise.provenance import digest_of
from reprise.training.seeding import Key

KEY = Key(("few", 0))
SMALL = {"size": 8}


def silent(message: str) -> None:
    """Take a log line and drop it."""


def digits_set(split: str, root: Path, args: dict[str, Any] = SMALL) -> ArraySet:
    found = load("digits", split, root, args)
    assert isinstance(found, ArraySet)
    return found


# --- sets in memory, and few labels -----------------------------------------------------------


def test_an_array_set_is_addressed_by_index() -> None:
    images = torch.arange(5 * 3 * 4 * 4).view(5, 3, 4, 4).to(torch.uint8)
    data = ArraySet("set", "train", images, torch.tensor([4, 3, 2, 1, 0]), ("a",) * 5, "d")
    found, labels = data.fetch(torch.tensor([3, 0, 3]))
    assert torch.equal(found, torch.stack([images[3], images[0], images[3]]))
    assert labels.tolist() == [1, 4, 1]
    assert (len(data), data.channels, data.size) == (5, 3, 4)


def shuffled_labels(*sizes: int) -> Tensor:
    labels = torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)])
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]


@pytest.mark.parametrize("count", [4, 7, 100, 120])
def test_a_count_is_spread_evenly(count: int) -> None:
    labels = shuffled_labels(30, 40, 50, 60)
    chosen = few_labels(labels, count, KEY)
    assert chosen.dtype == torch.int64
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    per_class = labels[chosen].bincount(minlength=4)
    assert int(per_class.sum()) == count
    assert per_class.max() - per_class.min() <= 1


@pytest.mark.parametrize(("share", "expected"), [(0.1, [3, 4, 5, 6]), (0.5, [15, 20, 25, 30])])
def test_a_share_is_taken_of_every_class(share: float, expected: list[int]) -> None:
    labels = shuffled_labels(30, 40, 50, 60)
    assert labels[few_labels(labels, share, KEY)].bincount().tolist() == expected


def test_a_share_of_all_is_all_and_odd_shares_add_up() -> None:
    labels = shuffled_labels(30, 40, 50, 60)
    assert torch.equal(few_labels(labels, 1.0, KEY), torch.arange(180))
    assert len(few_labels(labels, 0.123, KEY)) == round(0.123 * 180)
    # 0.29 * 100 is 28.999... in floating point.
    assert len(few_labels(shuffled_labels(100, 100), 0.29, KEY)) == 58


def test_the_key_alone_decides_and_small_subsets_lie_in_large_ones() -> None:
    labels = shuffled_labels(50, 50, 50)
    first = few_labels(labels, 30, KEY)
    assert torch.equal(few_labels(labels, 30, KEY), first)
    assert not torch.equal(few_labels(labels, 30, KEY.fold(1)), first)
    assert set(first.tolist()) <= set(few_labels(labels, 90, KEY).tolist())
    assert set(first.tolist()) <= set(few_labels(labels, 31, KEY).tolist())


@pytest.mark.parametrize("wrong", [3, 0, -4, 124, 181, 1, True, 0.01, 0.0, 1.1, -0.5])
def test_an_impossible_number_of_labels_is_refused(wrong: float) -> None:
    labels = shuffled_labels(30, 40, 50, 60)
    with pytest.raises(ConfigError, match=r"labels = .* an int must be between 4 and 120"):
        few_labels(labels, wrong, KEY)


# --- preparing and loading --------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    prepare("digits", root, SMALL, silent)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A prepared root that a test may harm."""
    prepare("digits", tmp_path, SMALL, silent)
    return tmp_path


def test_digits_are_scikit_learns_split_without_overlap(digits_root: Path) -> None:
    train, test = (digits_set(split, digits_root) for split in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    assert test.labels.bincount().tolist() == [36] * 10
    assert train.classes == tuple("0123456789")
    expected = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    rows = [
        (int(label), image.numpy().tobytes())
        for data in (train, test)
        for image, label in zip(data.images, data.labels, strict=True)
    ]
    published = zip(load_digits().target.tolist(), expected, strict=True)
    assert sorted(rows) == sorted((label, image.tobytes()) for label, image in published)


def test_digits_are_enlarged_bilinearly(digits_root: Path, tmp_path: Path) -> None:
    prepare("digits", tmp_path, {}, silent)
    small, large = digits_set("test", digits_root), digits_set("test", tmp_path, {})
    assert large.images.shape == (360, 1, 16, 16)
    assert large.images.dtype == torch.uint8
    assert torch.equal(large.labels, small.labels)
    # Output pixel 1 lies a quarter of the way from input pixel 0 to 1.
    corner = small.images[:, 0, :2, :2].double()
    across = 0.75 * corner[:, :, 0] + 0.25 * corner[:, :, 1]
    expected = 0.75 * across[:, 0] + 0.25 * across[:, 1]
    assert (large.images[:, 0, 1, 1] - expected).abs().max() <= 1.0  # both are rounded
    smooth = F.interpolate(small.images.float(), (16, 16), mode="bilinear")
    assert (large.images - smooth).abs().max() <= 1.0


def test_the_digest_follows_split_and_arguments_not_place(
    digits_root: Path, root: Path, tmp_path: Path
) -> None:
    here, there = digits_set("train", digits_root), digits_set("train", root)
    assert here.digest == there.digest
    other = digits_set("test", root).digest
    prepare("digits", tmp_path, {"size": 9}, silent)
    larger = digits_set("train", tmp_path, {"size": 9}).digest
    assert len({here.digest, other, larger}) == 3


def test_other_arguments_are_refused_until_it_is_prepared_with_them(root: Path) -> None:
    with pytest.raises(DataError, match=r"args \{'size': 8\}, needed with \{'size': 9\}; run"):
        digits_set("train", root, {"size": 9})
    prepare("digits", root, {"size": 9}, silent)
    assert digits_set("train", root, {"size": 9}).size == 9


def test_preparing_again_changes_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (root / "digits").iterdir()}
    assert prepare("digits", root, SMALL, silent) == root / "digits"
    assert {path: path.stat().st_mtime_ns for path in (root / "digits").iterdir()} == before
    assert not list((root / "digits").glob("*.tmp"))


def test_the_manifest_lists_the_true_digests(root: Path) -> None:
    manifest = json.loads((root / "digits/manifest.json").read_text())
    assert (manifest["name"], manifest["args"]) == ("digits", {"size": 8})
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    assert manifest["digest"] == digest_of(rest)
    assert manifest["splits"]["test"]["count"] == 360
    for split in manifest["splits"].values():
        for file, digest in split["files"].items():
            content = (root / "digits" / file).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest


def test_a_kill_while_preparing_leaves_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(digits, "write_arrays", die)
        with pytest.raises(KeyboardInterrupt):
            prepare("digits", tmp_path, SMALL, silent)
    assert not (tmp_path / "digits/manifest.json").exists()
    with pytest.raises(DataError, match=r"is not prepared; run `python -m reprise data digits`"):
        digits_set("train", tmp_path)
    monkeypatch.setattr(sys, "argv", ["reprise", "train", "can/can", "--scale", "smoke"])
    with pytest.raises(DataError, match=r"run `python -m reprise data digits --scale smoke`"):
        digits_set("train", tmp_path)
    prepare("digits", tmp_path, SMALL, silent)
    assert len(digits_set("train", tmp_path)) == 1437


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [(flip_a_byte, "its content is not what was prepared"), (Path.unlink, "no such file")],
)
def test_a_harmed_file_is_refused_by_name_and_mended(
    root: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(root / "digits/train-images.npy")
    pattern = rf"train-images\.npy: {message}.*run `python -m reprise data digits`"
    with pytest.raises(DataError, match=pattern):
        digits_set("train", root)
    assert len(digits_set("test", root)) == 360  # the other split is whole
    said: list[str] = []
    prepare("digits", root, SMALL, said.append)
    assert "train-images.npy" in said[0]
    assert len(digits_set("train", root)) == 1437


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "digits"}'])
def test_a_malformed_manifest_is_refused_and_mended(root: Path, text: str) -> None:
    (root / "digits/manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json: not a manifest.*reprise data digits"):
        digits_set("train", root)
    prepare("digits", root, SMALL, silent)
    assert len(digits_set("train", root)) == 1437


@pytest.mark.parametrize(
    ("name", "split", "args", "message"),
    [
        ("digit", "train", {}, r"unknown data set 'digit' \(did you mean 'digits'\?\)"),
        ("digits", "train", {"sise": 8}, r"'digits': args.*'sise' \(did you mean 'size'\?\)"),
        ("digits", "train", {"size": 7}, r"'digits': args\.size: .*greater than or equal to 8"),
        ("fashion_mnist", "train", {"size": 28}, r"'fashion_mnist': args.*'size'"),
    ],
)
def test_wrong_names_and_arguments_are_refused(
    root: Path, name: str, split: str, args: dict[str, Any], message: str
) -> None:
    for call in (lambda: load(name, split, root, args), lambda: prepare(name, root, args, silent)):
        with pytest.raises(ConfigError, match=message):
            call()


def test_an_unknown_split_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="unknown split of data set 'digits' 'val'; known: test"):
        load("digits", "val", root, SMALL)


# --- Fashion-MNIST: a small one with the layout of the real one -------------------------------


def idx(array: np.ndarray[Any, Any]) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make the module believe in a data set of 30 + 20 images; return its four files."""
    random = np.random.default_rng(0)
    contents = {}
    for prefix, count in (("train", 30), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28))
        contents[f"{prefix}-images-idx3-ubyte"] = idx(images)
        contents[f"{prefix}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(fashion_mnist, "SHA256", digests)
    monkeypatch.setattr(fashion_mnist, "SPLITS", {"train": ("train", 30), "test": ("t10k", 20)})
    monkeypatch.setattr(fashion_mnist, "PACKAGE_FOLDER", "nowhere/fashion-mnist")
    monkeypatch.delenv(fashion_mnist.VARIABLE, raising=False)
    monkeypatch.setattr(download, "BACK_OFF", 0.0)
    return contents


@pytest.fixture
def no_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Path:
        raise download.Unavailable("no package today")

    monkeypatch.setattr(fashion_mnist, "debian_package", refuse)


def put(folder: Path, contents: dict[str, bytes], compress: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / (f"{name}.gz" if compress else name)
        path.write_bytes(gzip.compress(content, 1) if compress else content)


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves `files`; `faults` holds, per path, what goes wrong at each further request."""

    files: dict[str, bytes]
    faults: dict[str, list[str]]
    requests: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        span = self.headers.get("Range")
        self.requests.append((name, span))
        fault = self.faults.get(name, [])
        now = fault.pop(0) if fault else ""
        if now.isdigit() or name not in self.files:
            return self.send_error(int(now or 404))
        content = self.files[name] if now != "garbage" else b"<html>please log in</html>"
        first = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        if first >= len(content):
            return self.send_error(416)
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        body = content[first:]
        self.wfile.write(body[: len(body) // 2] if now == "cut" else body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def mirror(small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Mirror]]:
    """A local stand-in for torchvision's mirror."""
    from torchvision.datasets import FashionMNIST

    files = {f"{name}.gz": gzip.compress(content, 1) for name, content in small.items()}
    handler = type("Handler", (Mirror,), {"files": files, "faults": {}, "requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(FashionMNIST, "mirrors", [url])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


get_fashion = functools.partial(prepare, "fashion_mnist", args={})
TRAIN_IMAGES = "train-images-idx3-ubyte"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("place", ["raw", "variable"])
def test_an_existing_copy_is_read(
    small: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compress: bool,
    place: str,
) -> None:
    folder = tmp_path / ("fashion_mnist/raw" if place == "raw" else "elsewhere")
    put(folder, small, compress)
    if place == "variable":
        monkeypatch.setenv(fashion_mnist.VARIABLE, str(folder))
    get_fashion(tmp_path, log=silent)
    data = load("fashion_mnist", "test", tmp_path, {})
    images, labels = data.fetch(torch.arange(20))
    assert (data.channels, data.size, len(data.classes)) == (1, 28, 10)
    expected = small["t10k-images-idx3-ubyte"][16:]
    assert images.numpy().tobytes() == expected
    assert labels.tolist() == [n % 10 for n in range(20)]
    assert len(load("fashion_mnist", "train", tmp_path, {})) == 30
    assert str(folder) in (tmp_path / "fashion_mnist/source.txt").read_text()


def test_the_mirror_serves_and_the_manifest_does_not_tell(
    small: dict[str, bytes], mirror: type[Mirror], tmp_path: Path
) -> None:
    get_fashion(tmp_path / "a", log=silent)
    put(tmp_path / "b/fashion_mnist/raw", small)
    get_fashion(tmp_path / "b", log=silent)
    manifests = [(tmp_path / x / "fashion_mnist/manifest.json").read_bytes() for x in "ab"]
    assert manifests[0] == manifests[1]
    # What was downloaded is kept, so preparing anew needs no network.
    asked = len(mirror.requests)
    (tmp_path / "a/fashion_mnist/manifest.json").unlink()
    get_fashion(tmp_path / "a", log=silent)
    assert len(mirror.requests) == asked
    assert sorted(path.name for path in (tmp_path / "a/fashion_mnist/raw").iterdir()) == sorted(
        mirror.files
    )


@pytest.mark.parametrize(
    ("faults", "resumed"),
    [
        (["cut"], True),
        (["cut", "503"], True),
        (["503", "429"], False),
        (["garbage"], False),
    ],
)
def test_a_broken_download_is_retried(
    mirror: type[Mirror], tmp_path: Path, faults: list[str], resumed: bool
) -> None:
    mirror.faults[f"{TRAIN_IMAGES}.gz"] = list(faults)
    said: list[str] = []
    get_fashion(tmp_path, log=said.append)
    assert len(load("fashion_mnist", "train", tmp_path, {})) == 30
    asked = [span for name, span in mirror.requests if name == f"{TRAIN_IMAGES}.gz"]
    assert len(asked) == len(faults) + 1
    half = len(mirror.files[f"{TRAIN_IMAGES}.gz"]) // 2
    assert asked[-1] == (f"bytes={half}-" if resumed else None)
    assert sum("trying again" in line for line in said) == len(faults)


def test_a_part_that_is_already_whole_is_fetched_again(
    mirror: type[Mirror], tmp_path: Path
) -> None:
    raw = tmp_path / "fashion_mnist/raw"
    raw.mkdir(parents=True)
    part = raw / f".{TRAIN_IMAGES}.gz.part"
    part.write_bytes(mirror.files[f"{TRAIN_IMAGES}.gz"])
    get_fashion(tmp_path, log=silent)
    assert len(load("fashion_mnist", "train", tmp_path, {})) == 30
    assert not part.exists()


def test_a_wrong_digest_is_refused_by_name_and_the_next_source_tried(
    small: dict[str, bytes],
    mirror: type[Mirror],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    altered = small[TRAIN_IMAGES][:-1] + b"!"
    mirror.files[f"{TRAIN_IMAGES}.gz"] = gzip.compress(altered)

    def package(name: str, folder: Path, log: Callable[[str], None]) -> Path:
        assert name == "dataset-fashion-mnist"
        put(folder / "tree" / fashion_mnist.PACKAGE_FOLDER, small, compress=True)
        return folder / "tree"

    monkeypatch.setattr(fashion_mnist, "debian_package", package)
    said: list[str] = []
    get_fashion(tmp_path, log=said.append)
    refusal = next(line for line in said if "refused, its" in line)
    found = hashlib.sha256(altered).hexdigest()
    for part in ("127.0.0.1", TRAIN_IMAGES, fashion_mnist.SHA256[TRAIN_IMAGES], found):
        assert part in refusal
    assert sum(name == f"{TRAIN_IMAGES}.gz" for name, _ in mirror.requests) == 1  # not retried
    source = (tmp_path / "fashion_mnist/source.txt").read_text()
    assert source == "Debian's package dataset-fashion-mnist\n"
    assert len(load("fashion_mnist", "train", tmp_path, {})) == 30


@pytest.mark.usefixtures("no_debian")
def test_when_nothing_serves_the_error_lists_all_and_tells_what_to_do(
    small: dict[str, bytes],
    mirror: type[Mirror],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror.files.clear()
    elsewhere, raw = tmp_path / "elsewhere", tmp_path / "fashion_mnist/raw"
    put(elsewhere, {**small, TRAIN_IMAGES: small[TRAIN_IMAGES][:-1]})
    put(raw, dict.fromkeys(small, b"\x1f\x8b cut short"))
    for path in list(raw.iterdir()):
        path.rename(path.with_name(path.name + ".gz"))
    monkeypatch.setenv(fashion_mnist.VARIABLE, str(elsewhere))
    with pytest.raises(DataError) as caught:
        get_fashion(tmp_path, log=silent)
    text = str(caught.value)
    for part in (
        f"the copy in {elsewhere}: {elsewhere / TRAIN_IMAGES}: refused",
        f"the copy in {raw}: {raw / TRAIN_IMAGES}.gz: not a whole gzip file",
        "the copy in /nowhere/fashion-mnist: no file",
        "torchvision's mirror http://127.0.0.1",
        "HTTP 404",
        "Debian's package dataset-fashion-mnist: no package today",
        f"into {raw}, or",
        "REPRISE_FASHION_MNIST",
        "python -m reprise data fashion_mnist",
        *small,
    ):
        assert part in text
    assert len(mirror.requests) == 1  # a 404 is not retried
    assert not (tmp_path / "fashion_mnist/manifest.json").exists()


@pytest.mark.usefixtures("no_debian")
@pytest.mark.parametrize(
    ("url", "reason", "tries"),
    [
        ("http://no-such-host.invalid/", "no address for no-such-host.invalid", 1),
        ("http://127.0.0.1:9/", "refused", download.ATTEMPTS),
    ],
)
def test_without_a_network_the_reason_is_plain(
    small: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    reason: str,
    tries: int,
) -> None:
    from torchvision.datasets import FashionMNIST

    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(FashionMNIST, "mirrors", [url])
    said: list[str] = []
    with pytest.raises(DataError, match=reason):
        get_fashion(tmp_path, log=said.append)
    assert sum("trying again" in line for line in said) == tries - 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file of bytes"),
        (b"\0\0\x0d\x01\0\0\0\x01....", r"not an IDX file of bytes \(it begins with 00000d01\)"),
        (idx(np.zeros((2, 3)))[:-1], r"5 values do not fill the shape \(2, 3\)"),
        (idx(np.zeros((2, 3))) + b"x", r"7 values do not fill the shape \(2, 3\)"),
    ],
)
def test_malformed_idx_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"some-file: {message}"):
        fashion_mnist.parse_idx(content, "some-file")


def test_idx_is_read_with_its_shape() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(fashion_mnist.parse_idx(idx(array), "file"), array)


# --- Debian packages, with stand-ins for apt-get and dpkg -------------------------------------

APT = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  *update*) mkdir -p "$PWD/lists/got"; exit 100;;
  *Dir::State::lists*download*) [ -d "$PWD/lists/got" ] && touch "$PWD/thing_1.deb" && exit 0;;
  *download*) [ "$FRESH" ] || { touch "$PWD/thing_1.deb"; exit 0; };;
esac
echo "E: $COMPLAINT" >&2
exit 100
"""
DPKG = '#!/bin/sh\necho "$@" >> "$CALLS"\nmkdir -p "$3"; cp "$2" "$3/content"\n'


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put stand-ins for apt-get and dpkg first on the path; return the file of their calls."""
    for name, script in (("apt-get", APT), ("dpkg", DPKG)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("COMPLAINT", "Unable to locate package thing")
    (tmp_path / "work").mkdir()
    return tmp_path / "calls"


def test_a_debian_package_is_downloaded_and_unpacked(programs: Path, tmp_path: Path) -> None:
    tree = download.debian_package("thing", tmp_path / "work", silent)
    assert (tree / "content").is_file()
    assert programs.read_text().splitlines()[0] == "download thing"


def test_a_machine_without_package_lists_fetches_its_own(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESH", "1")
    tree = download.debian_package("thing", tmp_path / "work", silent)
    assert (tree / "content").is_file()
    calls = programs.read_text().splitlines()
    assert [call.split()[-1] for call in calls[:2]] == ["thing", "update"]
    assert f"Dir::State::lists={tmp_path / 'work/lists'}" in calls[2]


def test_a_failing_apt_get_says_why_and_is_not_tried_with_other_lists(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESH", "1")
    monkeypatch.setenv("COMPLAINT", "Could not resolve deb.example.org")
    with pytest.raises(download.Unavailable, match=r"apt-get failed: E: Could not resolve"):
        download.debian_package("thing", tmp_path / "work", silent)
    assert len(programs.read_text().splitlines()) == 1


def test_a_machine_without_apt_get_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(download.Unavailable, match="this machine has no apt-get"):
        download.debian_package("thing", tmp_path, silent)
