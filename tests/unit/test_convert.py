"""Released files become safetensors; a wrong, damaged or dangerous one is named and refused."""

import pickle
import sys
import types
from pathlib import Path

import litv2_official as official
import pytest
import safetensors
import timm
import torch
from torch import Tensor
from typer.testing import CliRunner

from reprise.cli import app
from reprise.errors import ConfigError
from reprise.models import litv2  # noqa: F401  (registers the models)
from reprise.models.convert import convert


def zeros(dim: int = 96, depths: tuple[int, ...] = (2, 2, 6, 2), lofi: int = 10, classes: int = 5):
    """Weights that take no disk: one number each, seen as many."""
    shapes = official.shapes(dim, depths, lofi, classes)
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def test_a_released_file_becomes_one_that_timm_loads_strictly(tmp_path: Path) -> None:
    weights = official.weights(classes=10)
    converted = convert(saved({"model": weights}, tmp_path / "litv2_s.pth"))
    assert (converted.name, converted.args) == ("litv2_s", {"num_classes": 10})
    out = tmp_path / "out.safetensors"
    converted.write(out)
    with safetensors.safe_open(out, "pt") as header:
        assert header.metadata() == {"model": "litv2_s", "args": '{"num_classes": 10}'}
    model = timm.create_model("litv2_s", checkpoint_path=str(out), **converted.args).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = official.forward(weights, images)
        torch.testing.assert_close(model(images), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "dim", "depths", "lofi", "alpha"),
    [
        ("litv2_s", 96, (2, 2, 6, 2), 10, None),
        ("litv2_m", 96, (2, 2, 18, 2), 10, None),
        ("litv2_b", 128, (2, 2, 18, 2), 14, None),
        ("litv2_s", 96, (2, 2, 6, 2), 0, 0),
        ("litv2_s", 96, (2, 2, 6, 2), 6, 6),
        ("litv2_s", 96, (2, 2, 6, 2), 12, 12),
    ],
)
def test_size_and_alpha_are_read_off_the_weights(
    tmp_path: Path, name: str, dim: int, depths: tuple[int, ...], lofi: int, alpha: int | None
) -> None:
    converted = convert(saved(zeros(dim, depths, lofi, 1000), tmp_path / "a.pth"))
    assert converted.name == name
    assert ("alpha" in converted.args) == (alpha is not None)
    with torch.device("meta"):
        model = timm.create_model(name, **converted.args)
    assert model.layers[2].blocks[0].attn.lofi_heads == lofi


def test_the_configuration_of_their_training_loop_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pickled as a yacs object, which is not installed here."""

    class CfgNode(dict):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            self.__dict__["__immutable__"] = True

    module = types.ModuleType("yacs.config")
    module.CfgNode = CfgNode
    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    config = CfgNode({"MODEL": CfgNode({"ALPHA": 0.9})})
    path = saved({"model": zeros(), "config": config, "epoch": 299}, tmp_path / "a.pth")
    monkeypatch.delitem(sys.modules, "yacs.config")
    monkeypatch.delitem(sys.modules, "yacs")
    assert convert(path).name == "litv2_s"


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, (str(self.path), "w"))


def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(tmp_path: Path) -> None:
    trace = tmp_path / "harm-was-done"
    path = saved({"model": zeros(), "config": Harm(trace)}, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=r"a\.pth holds Python objects.*could run code"):
        convert(path)
    plain = tmp_path / "b.pth"
    plain.write_bytes(pickle.dumps(Harm(trace)))
    with pytest.raises(ConfigError, match=r"b\.pth"):
        convert(plain)
    assert not trace.exists()


def change(weights: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    key = "layers.2.blocks.3.attn.l_q.weight"
    if kind == "missing":
        return {name: value for name, value in weights.items() if name != key}
    if kind == "unknown":
        return {**weights, "layers.2.blocks.3.attn.l_qkv.weight": weights[key]}
    return {**weights, key: torch.zeros(320, 383)}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"layers\.2\.blocks\.3\.attn\.l_q\.weight is missing"),
        ("unknown", r"layers\.2\.blocks\.3\.attn\.l_qkv\.weight is unknown"),
        ("shape", r"l_q\.weight has shape \(320, 383\) instead of \(320, 384\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, kind: str, message: str) -> None:
    path = saved({"model": change(zeros(), kind)}, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=message):
        convert(path)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        convert(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("a page that says 404")
    with pytest.raises(ConfigError, match=r"text\.pth"):
        convert(tmp_path / "text.pth")
    (tmp_path / "text.pth").write_text("# A page about weights")
    told = CliRunner().invoke(app, ["convert", "litv2", str(tmp_path / "text.pth")]).exception
    assert "text.pth holds Python objects besides tensors" in str(told)
    assert "weights_only" not in str(told)
    assert "issue" not in str(told)
    whole = saved({"model": zeros()}, tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"cut\.pth"):
        convert(tmp_path / "cut.pth")
    other = timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()
    with pytest.raises(ConfigError, match=r"is no LITv2: .* none of litv2_s, litv2_m, litv2_b"):
        convert(saved(other, tmp_path / "vit.pth"))
    detector = {f"backbone.{name}": value for name, value in zeros().items()}
    with pytest.raises(ConfigError, match=r"detector or segmenter.*take the file of the ImageNet"):
        convert(saved({"state_dict": detector}, tmp_path / "retinanet.pth"))


def test_the_command_line_converts_and_says_how_to_load(tmp_path: Path) -> None:
    file = saved(zeros(classes=10), tmp_path / "released.pth")
    done = CliRunner().invoke(app, ["convert", "litv2", str(file)])
    assert done.exit_code == 0
    assert (tmp_path / "released.safetensors").is_file()
    assert "litv2_s, arguments {'num_classes': 10}" in done.output.replace("\n", "")
    wrong = CliRunner().invoke(app, ["convert", "can", str(file)])
    assert wrong.exit_code != 0
    assert "No such command 'can'" in wrong.output
