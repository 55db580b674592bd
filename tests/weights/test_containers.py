"""Weights wherever trainers keep them, and tensors that are no plain arrays."""

from __future__ import annotations

import argparse
import json
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reslab.core.errors import UserError
from reslab.weights import files

torch = pytest.importorskip("torch")

NAMES = "conv1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.running_var", "fc.weight", "fc.bias"
State = dict[str, Any]


def state(value: float = 1.0) -> State:
    """A small state_dict in which every number is `value`."""
    return {name: torch.full((2, 3) if "weight" in name else (2,), value) for name in NAMES}


def prefixed(prefix: str, tensors: State) -> State:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def saved(tmp_path: Path, tree: Any, name: str = "a.pth", **options: Any) -> Path:
    torch.save(tree, tmp_path / name, **options)
    return tmp_path / name


def values(path: Path, ema: bool = True) -> set[float]:
    contents = files.read(path, ema)
    return {float(x) for array in contents.arrays.values() for x in np.ravel(array)}


OPTIMISER = {"state": {0: {"exp_avg": torch.zeros(2, 3), "step": torch.tensor(3.0)}}}
CONTAINERS: dict[str, Callable[[State], Any]] = {
    "plain": lambda s: s,
    "network": lambda s: {"network": s, "optimizer": OPTIMISER, "epoch": 3},
    "a name of one's own": lambda s: {"best weights": s, "lr": 0.1},
    "nested": lambda s: {"checkpoint": {"trainer": {"net": s, "step": torch.tensor(3)}}},
    "list": lambda s: [3, s],
    "DataParallel": lambda s: {"state_dict": prefixed("module.", s)},
    "torch.compile and DDP": lambda s: {"model": prefixed("module._orig_mod.", s)},
    "SWA": lambda s: {"n_averaged": torch.tensor(7), **prefixed("module.", s)},
    "timm": lambda s: {"arch": "resnet18", "args": argparse.Namespace(lr=0.1), "state_dict": s},
    "torchvision": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1), "optimizer": {}},
    "a defaultdict": lambda s: {"history": defaultdict(list, loss=[1.0]), "net": OrderedDict(s)},
    "numbers of NumPy": lambda s: {"state_dict": s, "best": np.float64(0.9), "x": np.arange(3)},
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".ckpt", ".bin"])
def test_containers(kind: str, suffix: str, tmp_path: Path) -> None:
    contents = files.read(saved(tmp_path, CONTAINERS[kind](state()), f"a{suffix}"))
    assert sorted(contents.arrays) == sorted(NAMES)
    assert contents.remarks == ()


@pytest.mark.parametrize("kind", ["plain", "timm", "a defaultdict"])
def test_the_older_format_of_torch_save(kind: str, tmp_path: Path) -> None:
    tree = CONTAINERS[kind](state())
    path = saved(tmp_path, tree, _use_new_zipfile_serialization=False)
    assert sorted(files.read(path).arrays) == sorted(NAMES)


TWO_SETS: dict[str, Callable[[State, State], Any]] = {  # of the last step, and averages
    "timm": lambda last, ema: {"state_dict": last, "state_dict_ema": ema},
    "torchvision": lambda last, ema: {
        "model": last,
        "model_ema": {"n_averaged": torch.tensor(3), **prefixed("module.", ema)},
    },
    "one module in another": lambda last, ema: {
        "state_dict": {**prefixed("net.", last), **prefixed("ema_net.module.", ema)}
    },
    "a flat file": lambda last, ema: {**last, **prefixed("ema.", ema)},
    "SWA beside": lambda last, ema: {"model": last, "swa_model": prefixed("module.", ema)},
    "a callback of Lightning": lambda last, ema: {
        "state_dict": prefixed("model.", last),
        "callbacks": {"EMA": {"ema_weights": prefixed("model.", ema)}},
        "hyper_parameters": argparse.Namespace(lr=0.1),
    },
    "Lightning's averaging": lambda last, ema: {
        "state_dict": ema,
        "current_model_state": last,
        "averaging_state": {"n_averaged": torch.tensor(3)},
    },
    "MMEngine": lambda last, ema: {  # its hook exchanges the two
        "meta": {"cfg": "...", "mmengine_version": "0.10.7"},
        "message_hub": {"log_scalars": {}},
        "state_dict": prefixed("backbone.", ema),
        "ema_state_dict": {"steps": torch.tensor(3), **prefixed("module.backbone.", last)},
    },
}


@pytest.mark.parametrize("kind", TWO_SETS)
def test_averages_are_preferred_and_the_remark_says_how_to_take_the_others(
    kind: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, TWO_SETS[kind](state(1.0), state(2.0)))
    assert values(path) == {2.0}
    assert values(path, ema=False) == {1.0}
    (remark,) = files.read(path).remarks
    assert "has two sets of weights" in remark
    assert "--no-ema" in remark


def test_two_networks_in_one_file_are_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path, {"net1": state(), "net2": state(2.0)})
    with pytest.raises(UserError, match=r"several sets of weights of one model, net1 and net2"):
        files.read(path)


def test_a_whole_pickled_module(tmp_path: Path) -> None:
    """torch.save(model): its class is not imported, its tensors are read."""
    model = torch.nn.Sequential(
        OrderedDict(conv=torch.nn.Conv2d(1, 2, 3), bn=torch.nn.BatchNorm2d(2))
    )
    path = saved(tmp_path, {"model": model, "epoch": 3})
    arrays = files.read(path).arrays
    assert arrays.keys() == model.state_dict().keys()
    assert np.array_equal(arrays["conv.weight"], model.state_dict()["conv.weight"].numpy())


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_other_objects_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only has attributes is replaced; a file that would call something is refused by name."""
    monkeypatch.chdir(tmp_path)
    for legacy in (False, True):
        evil = saved(
            tmp_path,
            {"state_dict": state(), "extra": Evil()},
            _use_new_zipfile_serialization=not legacy,
        )
        with pytest.raises(UserError, match=r"contains more than weights, .*builtins.getattr"):
            files.read(evil)
        harmless = {"state_dict": state(), "args": argparse.Namespace(out=Path("x"), lr=(1, 2))}
        path = saved(tmp_path, harmless, _use_new_zipfile_serialization=not legacy)
        assert sorted(files.read(path).arrays) == sorted(NAMES)
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"b\.pth"):
        files.read(tmp_path / "b.pth")
    assert not (tmp_path / "executed").exists()


# Tensors -----------------------------------------------------------------------------------------

RAMP = torch.arange(6.0).reshape(2, 3)
EXACT: dict[str, Callable[[], Any]] = {
    "sparse": lambda: RAMP.to_sparse(),
    "sparse in rows": lambda: RAMP.to_sparse_csr(),
    "bfloat16": lambda: RAMP.bfloat16(),
    "float8": lambda: RAMP.to(torch.float8_e4m3fn),
    "float64": lambda: RAMP.double(),
    "transposed": lambda: RAMP.t().contiguous().t(),
    "of a larger one": lambda: torch.arange(60.0)[:6].reshape(2, 3),
    "with a gradient": lambda: RAMP.clone().requires_grad_(),
    "a parameter": lambda: torch.nn.Parameter(RAMP.clone()),
    "negated by a flag": lambda: torch.complex(torch.zeros(2, 3), -RAMP).conj().imag,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", EXACT)
def test_tensors_that_float32_represents(kind: str, tmp_path: Path) -> None:
    arrays = files.read(saved(tmp_path, {"w": EXACT[kind]()})).arrays
    assert arrays["w"].dtype == "float32"
    assert np.array_equal(arrays["w"], RAMP.numpy())


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors_have_the_values_that_they_stand_for(tmp_path: Path) -> None:
    tensor = torch.quantize_per_tensor(RAMP, 0.5, 0, torch.qint8)
    assert np.array_equal(files.read(saved(tmp_path, {"w": tensor})).arrays["w"], RAMP.numpy())


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (RAMP.to("meta"), "a shape but no values"),
        (torch.complex(RAMP, RAMP), "complex numbers"),
        (torch.full((2,), 1e300, dtype=torch.float64), "float32 cannot represent"),
        (torch.ones(1).expand(10**9), "declares 3.73 GiB"),
        (torch.ones(1, dtype=torch.float64).expand(10**6, 10**6), "declares"),
    ],
    ids=["meta", "complex", "too large a number", "repeated", "repeated in two axes"],
)
def test_tensors_that_are_refused(tensor: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        files.read(saved(tmp_path, {"w": tensor}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_small_floats_of_safetensors(dtype: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": RAMP[:, :2].to(dtype).contiguous()}, tmp_path / "a.safetensors")
    assert np.array_equal(files.read(tmp_path / "a.safetensors").arrays["w"], RAMP[:, :2].numpy())


# Several files -----------------------------------------------------------------------------------


def shard(folder: Path, suffix: str, tensors: State) -> Path:
    """Write two files and their index."""
    from safetensors.torch import save_file

    names = list(tensors)
    where = {name: f"model-0000{1 + i % 2}-of-00002{suffix}" for i, name in enumerate(names)}
    for file in set(where.values()):
        part = {n: tensors[n] for n in names if where[n] == file}
        if suffix == ".bin":
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file)
    index = folder / f"model{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_sharded_weights(suffix: str, tmp_path: Path) -> None:
    index = shard(tmp_path, suffix, prefixed("module.", state(3.0)))
    for path in (index, tmp_path):
        contents = files.read(path)
        assert sorted(contents.arrays) == sorted(NAMES)
        assert len(contents.parts) == 3


def test_sharded_weights_with_averages(tmp_path: Path) -> None:
    index = shard(tmp_path, ".safetensors", {**state(1.0), **prefixed("ema.", state(2.0))})
    assert values(index) == {2.0}
    assert values(index, ema=False) == {1.0}


def test_indices_that_are_refused(tmp_path: Path) -> None:
    index = shard(tmp_path, ".safetensors", state())
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="which is not in its folder: download it"):
        files.read(index)
    for content, message in (
        ({"weight_map": {"w": "../other.safetensors"}}, "outside of its folder"),
        ({"weight_map": {"w": "/etc/passwd"}}, "outside of its folder"),
        ({"weight_map": {"w": "x" * 300}}, "which is not in its folder: download it"),
        ({"weight_map": {"w": "\0"}}, "which is not in its folder: download it"),
        ({"weight_map": {"w": 3}}, "expected 'str', got 'int'.*; download it again"),
        ({}, "it has no 'weight_map'; download it again"),
        ([], "expected 'object', got 'array'; download it again"),
    ):
        index.write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            files.read(index)
    index.write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested in more than 100 levels"):
        files.read(tmp_path)
