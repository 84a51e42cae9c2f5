"""Full disks, lost workers, losses that are no numbers, other numbers of processes."""

import errno
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drill import STEPS, afresh, drop_privileges, ended, fingerprint, make_fit, started
from tiny import TinyMethod, photos
from torch import Tensor, nn

from reprise.data.base import Derived
from reprise.errors import Interrupted, NonFiniteError, RepriseError
from reprise.files import write_atomic
from reprise.settings.base import Optim
from reprise.training import checkpoint, distributed, loop
from reprise.training.distributed import World
from reprise.training.loop import Fit
from reprise.training.method import Batch
from reprise.training.seeding import Draws

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> str:
    fit = make_fit(tmp_path_factory.mktemp("straight"))
    fit.run()
    return fingerprint(fit)


def stop_after(folder: Path, step: int, **over: Any) -> None:
    """Train until a signal comes in a step, which is finished and saved."""
    fit = make_fit(folder, **over)
    real = fit._backward

    def signalled(*given: Any) -> Any:
        if fit.state.step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    setattr(fit, "_backward", signalled)  # noqa: B010
    with pytest.raises(Interrupted):
        fit.run()


# ---- 4. no space, no right to write ----
@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "drill", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk but for some bytes; return the file that does it."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))
    return filler


def refused(fit: Fit) -> str:
    """Run a fit that must fail for want of space or rights; return what the user is told."""
    with pytest.raises((RepriseError, OSError)) as caught:
        fit.run()
    return str(caught.value)


def test_a_full_disk_names_file_and_size_and_costs_nothing_that_was_there(
    disk: Path, straight: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    folder = disk / "state"
    stop_after(folder, 10)
    before = {path.name: path.read_bytes() for path in folder.glob("step-*")}
    filler = fill(disk, leave=12_000)  # enough for the curve, not for a checkpoint
    said = refused(make_fit(folder))
    assert re.search(rf"checkpoint {folder}/step-0000000\d\d\.pt \(about [\d,]+ MB\)", said)
    assert os.strerror(errno.ENOSPC) in said
    after = {path.name: path.read_bytes() for path in folder.glob("step-*")}
    assert before.items() <= after.items()
    assert not list(folder.glob("*.tmp"))
    filler.unlink()
    fit = make_fit(folder)
    fit.run()
    assert fingerprint(fit) == straight


def test_a_full_disk_leaves_the_published_file_as_it_was(disk: Path) -> None:
    path = disk / "model.safetensors"
    write_atomic(path, b"old" * 1000)
    fill(disk, leave=8192)
    with pytest.raises(OSError, match=r"No space left.*model\.safetensors") as caught:
        write_atomic(path, b"new" * 100_000)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old" * 1000
    assert {file.name for file in disk.iterdir()} == {"model.safetensors", "filler"}


def refused_by_a_limit(folder: Path) -> None:
    loop.CHECKPOINT_SECONDS = 0.0
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
    said = refused(make_fit(folder))
    assert str(folder / "step-") in said
    assert os.strerror(errno.EFBIG) in said


def test_a_limit_on_the_size_of_files_is_told_like_a_full_disk(tmp_path: Path) -> None:
    """Where no disk may be mounted this is the one error of the kind that is real."""
    stop_after(tmp_path, 5)
    newest = max(tmp_path.glob("*.pt"))

    assert afresh(refused_by_a_limit, tmp_path) == 0
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert found["step"] == 5
    assert max(tmp_path.glob("*.pt")) == newest


def refused_by_rights(folder: Path) -> None:
    drop_privileges()
    assert str(folder) in refused(make_fit(folder))


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, straight: str) -> None:
    folder = tmp_path / "state"
    stop_after(folder, 10)
    folder.chmod(0o555)
    assert afresh(refused_by_rights, folder) == 0
    folder.chmod(0o755)
    fit = make_fit(folder)
    fit.run()
    assert fingerprint(fit) == straight


# ---- 13. a data-loading worker that is killed, or hangs ----
class Deadly(Derived):
    """Photographs that end, or stop, the worker process that fetches the sixth batch."""

    def __init__(self, how: str, flag: Path) -> None:
        self.data, self.how, self.flag, self.main = photos(), how, flag, os.getpid()

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        if os.getpid() != self.main:
            with self.flag.open("a") as stream:
                stream.write(".")
            if self.flag.stat().st_size == 6:
                if self.how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(3600)
        return self.data.fetch(indices)


def lose_a_worker(folder: Path, how: str, flag: Path) -> None:
    loop.CHECKPOINT_SECONDS = 0.0
    loop.WORKER_SECONDS = 60.0 if how == "killed" else 5.0
    fit = make_fit(folder, workers=1)
    fit.steps._data = Deadly(how, flag)
    with pytest.raises(RepriseError, match="same command goes on") as caught:
        fit.run()
    assert "drill: " in str(caught.value)


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_lost_worker_ends_the_run_in_words_and_the_next_goes_on(
    tmp_path: Path, straight: str, how: str
) -> None:
    flag = tmp_path / "fetched"
    while not flag.exists() or flag.stat().st_size < 6:  # on a busy machine it may seem lost before
        # it ends, though the worker that hangs does not do so by itself
        assert afresh(lose_a_worker, tmp_path / "state", how, flag) == 0
    saved = checkpoint.load_newest(tmp_path / "state")
    assert saved is not None
    assert 0 < saved["step"] < STEPS
    fit = make_fit(tmp_path / "state", workers=1)
    fit.run()
    assert fingerprint(fit) == straight


# ---- 14. a loss that is no number ----
class Poisoned(TinyMethod):
    """Its loss is no number in a batch with photograph 17, from step 9 on; keeps what it saw."""

    def __init__(self, first: int = 9) -> None:
        super().__init__()
        self.first, self.calls, self.seen = first, 0, list[Any]()

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        losses = super().forward(batch, draws)
        self.calls += 1
        if self.calls > self.first and 17 in batch.indices:
            self.seen = [batch.indices, batch.views[0], draws.normal("noise", 1, 8, 8)]
            losses["loss"] = losses["loss"] + (losses["loss"] * 0 - 1).sqrt()
        return losses


@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:Error detected in Sqrt")
def test_a_loss_that_is_no_number_stops_the_step_and_is_replayed(tmp_path: Path) -> None:
    bad = Poisoned()
    with pytest.raises(NonFiniteError, match=r"is not finite.*nonfinite-rank0\.json") as caught:
        make_fit(tmp_path, bad).run()
    record = json.loads((tmp_path / "nonfinite-rank0.json").read_text())
    assert record["indices"] == bad.seen[0].tolist()
    assert record["losses"]["loss"] == "nan"
    assert f"step {record['step']} " in str(caught.value)
    assert record["rng_key"][-2:] == ["step", str(record["step"])]
    saved = checkpoint.load_newest(tmp_path)
    assert saved is not None
    assert saved["step"] == record["step"]
    assert all(torch.isfinite(value).all() for value in saved["method"].values())
    again = Poisoned(first=0)
    with pytest.raises(RuntimeError, match="SqrtBackward"):  # the operation that made it
        make_fit(tmp_path, again).replay()
    assert all(torch.equal(a, b) for a, b in zip(bad.seen, again.seen, strict=True))


# ---- 15. another number of processes ----
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ordered(TinyMethod):
    """Notes the indices of each of its batches; has no dropout, which is drawn per process."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.encoder[3] = nn.Identity()  # type: ignore[index]
        self.file = file

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        with self.file.open("a") as stream:
            stream.write(json.dumps(batch.indices.tolist()) + "\n")
        return super().forward(batch, draws)


# Plain SGD: Adam would magnify rounding where a gradient is almost zero.
PLAIN: dict[str, Any] = {"optim": Optim(name="sgd", lr=0.1, ema_decay=0.9), "log_every": 1}
PLAIN |= {"steps": 12, "batch_size": 128}


def process(size: int, rank: int, port: str, work: Callable[..., None], *given: Any) -> None:
    os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with distributed.world("cpu") as world:
        work(world, *given)


def together(size: int, work: Callable[..., None], folder: Path) -> list[int]:
    """Do some work in so many processes that train together; return their exit codes."""
    port = str(free_port())
    children = [started(process, size, rank, port, work, folder) for rank in range(size)]
    return [ended(child) for child in children]


def first(world: World, folder: Path) -> None:
    method = Ordered(folder / f"first-{world.rank}")
    stop_after(folder / "state", 6, method=method, world=world, **PLAIN)


def second(world: World, folder: Path) -> None:
    method = Ordered(folder / f"second-{world.rank}")
    fit = make_fit(folder / "state", method, world=world, **PLAIN)
    assert fit.run().resumed == 1
    if world.is_main:
        torch.save([fit.state.log, fit.method.state_dict()], folder / "end.pt")


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_goes_on_with_the_same_samples(
    tmp_path: Path, before: int, after: int
) -> None:
    """Losses agree to 1e-4, weights to 1e-3 and 2e-5: sums over processes round otherwise."""
    assert together(before, first, tmp_path) == [0] * before
    assert together(after, second, tmp_path) == [0] * after
    whole = make_fit(tmp_path / "whole", Ordered(tmp_path / "whole-order"), **PLAIN)
    whole.run()

    def order(*names: str) -> list[list[int]]:
        shares = zip(*[(tmp_path / name).read_text().splitlines() for name in names], strict=True)
        return [[one for share in step for one in json.loads(share)] for step in shares]

    resumed = [
        step
        for part, size in (("first", before), ("second", after))
        for step in order(*(f"{part}-{rank}" for rank in range(size)))
    ]
    assert resumed == order("whole-order")
    log, weights = torch.load(tmp_path / "end.pt", weights_only=True)
    for one, other in zip(log, whole.state.log, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    for name, value in whole.method.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=2e-5)
    assert np.isfinite([line["loss"] for line in log]).all()
