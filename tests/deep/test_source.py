"""Where data and networks come from: pictures, text, the user."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dashtheory.deep.config import RunConfig
from dashtheory.deep.data import find_data, make_stream
from dashtheory.deep.models import PictureNetwork, build_model
from dashtheory.deep.models.transformer import CharTransformer, TransformerConfig
from dashtheory.deep.run import data_facts, run_rule
from dashtheory.deep.source import Source, find_function, make_network
from dashtheory.deep.task import make_source, make_task
from dashtheory.experiments.warm_start_text import TextConfig
from dashtheory.protocol import Measures, Task, TrainConfig, run_stages
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import make_rule
from dashtheory.seeds import numpy_stream, torch_stream
from dashtheory.stream import Examples, Stream, cut

SIZES: dict[str, Any] = {
    "model": "mlp",
    "model_options": ("widths=16+16",),
    "num_chunks": 2,
    "chunk_size": 60,
    "num_test": 100,
    "batch_size": 20,
    "max_epochs": 6,
    "learning_rate": 0.1,
}


def silent(share: float, text: str) -> None:
    """No progress."""


def test_pictures_are_those_of_the_seed_s_stream_as_asked() -> None:
    config = RunConfig.of(data="digits", num_chunks=2, chunk_size=50, num_test=60, size=4, balanced=True)
    plain = config.with_values(balanced=False, label_noise=0.2)
    for which, options in ((config, {"balanced": True}), (plain, {"label_noise": 0.2})):
        for seed in (0, 3):
            mine = make_source(which, seed)
            generator = numpy_stream(seed, "data")
            sizes = {"num_chunks": 2, "chunk_size": 50, "num_test": 60, "size": 4}
            made = make_stream(find_data("digits"), **sizes, raw=True, generator=generator, **options)  # type: ignore[arg-type]
            for part, same in zip(
                (*mine.stream.chunks, mine.stream.test), (*made.stream.chunks, made.stream.test), strict=True
            ):
                assert torch.equal(part.inputs, same.inputs)
                assert torch.equal(part.targets, same.targets)
            assert mine.input_shape == (1, 4, 4)
            assert mine.num_classes == 10
    counts = [torch.bincount(chunk.targets).tolist() for chunk in make_source(config, 0).stream.chunks]
    assert counts == [[5] * 10] * 2


@pytest.mark.parametrize("size", [0, 4])
def test_a_network_sees_pictures_as_the_float_stream_has_them_to_the_bit(size: int) -> None:
    """Grey levels are kept as they are, shrunk or not: what is put before the network normalises them."""
    config = RunConfig.of(**SIZES, size=size, retention=-1)
    made = make_stream(
        find_data("digits"),
        num_chunks=2,
        chunk_size=60,
        num_test=100,
        size=size or None,
        generator=numpy_stream(0, "data"),
    )
    source = make_source(config, 0)
    shape = (1, size or 8, size or 8)
    for grey, normalised in zip(source.stream.chunks, made.stream.chunks, strict=True):
        assert grey.inputs.dtype == (torch.float32 if size else torch.uint8)
        seen: list[torch.Tensor] = []
        model = make_task(config, source).fresh(torch_stream(0, "init", 1)).model
        assert isinstance(model, PictureNetwork)
        model.network.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        model(grey.inputs)
        assert torch.equal(seen[0], normalised.inputs)
    task = Task(
        make_model=lambda generator: build_model("mlp", shape, 10, generator, widths=(16, 16)),
        make_optimizer=lambda parameters: make_optimizer("sgd", parameters, learning_rate=0.1),
    )
    training = TrainConfig(batch_size=20, max_epochs=6)
    results = run_stages(made.stream, make_rule("dash"), task, training, seed=0, measures=Measures(retention=-1))
    found = run_rule(config, "dash", 0, "x", silent)
    expected = [value for result in results for value in result.metrics().values()]
    assert found["value"].tolist() == expected


def test_text_runs_under_the_same_command_and_gives_the_text_experiment_s_numbers() -> None:
    sizes = {"num_chunks": 2, "batch_size": 16, "learning_rate": 0.002, "max_epochs": 2, "threshold": 1.0}
    config = RunConfig.of(
        data="text",
        model="transformer",
        model_options=("width=16", "num_layers=1"),
        chunk_size=8,
        num_test=8,
        size=16,
        optimizer="adam",
        criterion="loss",
        **sizes,
    )
    mine = run_rule(config, "dash", 0, "x", silent)
    theirs = run_rule(
        TextConfig.of(size=16, model_options=("width=16", "num_layers=1"), chunk_size=8, num_test=8, **sizes),
        "dash",
        0,
        "x",
        silent,
    )
    both = mine.merge(theirs, on=["stage", "metric"])
    assert len(both) == len(theirs)
    # That experiment uses the fused Adam, whose roundings differ.
    assert np.allclose(both["value_x"], both["value_y"], rtol=1e-4)
    assert data_facts(config)["symbols"]


def test_text_has_windows_of_64_and_400_to_test_unless_told() -> None:
    config = RunConfig.of(data="text", model="transformer", num_chunks=1, chunk_size=8)
    source = make_source(config, 0)
    assert tuple(source.stream.test.inputs.shape) == (400, 64)
    own = RunConfig.of(
        data="text", model="python:mine.py:network", num_chunks=1, chunk_size=8, size=16, num_test=8
    )
    assert tuple(make_source(own, 0).stream.test.inputs.shape) == (8, 16)
    options = {"width": 24, "num_heads": 3, "num_layers": 2}
    network = make_network("transformer", source, torch.Generator().manual_seed(0), options)
    same = CharTransformer(
        TransformerConfig(context=64, width=24, num_heads=3, num_layers=2),
        source.num_classes,
        torch.Generator().manual_seed(0),
    )
    assert all(map(torch.equal, network.parameters(), same.parameters()))


def test_a_user_s_data_and_network_run_under_the_same_command(tmp_path: Path) -> None:
    place = tmp_path / "mine.py"
    place.write_text(
        "import torch\n"
        "from torch import nn\n"
        "from dashtheory.deep.data import stream_of_tensors\n"
        "def data(generator):\n"
        "    x = torch.from_numpy(generator.normal(size=(60, 5))).float()\n"
        "    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()\n"
        "    return stream_of_tensors(x[:40], y[:40], x[40:], y[40:], 2)\n"
        "def network(shape, classes, generator, hidden=4):\n"
        "    assert (shape, classes) == ((5,), 3)\n"
        "    return nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, classes))\n"
        "not_a_function = 3\n"
        "def nothing(*args, **options): return None\n"
    )
    config = RunConfig.of(
        data=f"python:{place}:data", model=f"python:{place}:network", model_options=("hidden=8",), max_epochs=3
    )
    table = run_rule(config, "sp", 0, "x", silent)
    assert set(table["stage"]) == {1, 2}
    assert data_facts(config)["source"] == f"python:{place}:data"
    assert data_facts(config)["sha256"] == hashlib.sha256(place.read_bytes()).hexdigest()
    network = make_network(config.model.name, make_source(config, 0), torch.Generator(), config.model.values())
    assert [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)] == [8, 3]
    for field, name, message in (
        ("data", f"python:{place}:nothing", "must return a Stream, got NoneType"),
        ("model", f"python:{place}:nothing", "must return a torch.nn.Module, got NoneType"),
        ("data", f"python:{place}:not_a_function", "data must name a function of"),
        ("data", f"python:{tmp_path}/none.py:data", "data must name a file that is there"),
        ("model", "python:no_such_module:f", "model must name a module that can be imported"),
        ("model", "python:f", "model must be python:FILE.py:NAME or python:MODULE:NAME"),
    ):
        changes: dict[str, Any] = {"model_options": (), field: name}
        with pytest.raises(ValueError, match=message):
            run_rule(config.with_values(**changes), "warm", 0, "x", silent)


def test_what_is_not_there_is_called_by_its_argument(tmp_path: Path) -> None:
    """Wherever it is missed first: facts about the data are taken before anything runs."""
    missing = f"python:{tmp_path}/none.py:make"
    with pytest.raises(ValueError, match=r"^data must name a file that is there"):
        data_facts(RunConfig.of(data=missing, model="mlp"))
    with pytest.raises(ValueError, match=r"^model must name a file that is there"):
        data_facts(RunConfig.of(model=missing))
    for config, argument in ((RunConfig.of(data=missing), "data"), (RunConfig.of(model=missing), "model")):
        with pytest.raises(ValueError, match=rf"^{argument} must name a file that is there"):
            run_rule(config, "warm", 0, "x", silent, tmp_path / "kept")


@pytest.mark.parametrize("highest_in", ["chunks", "test"])
def test_the_classes_of_a_user_s_data_are_those_of_all_its_parts(highest_in: str, tmp_path: Path) -> None:
    place = tmp_path / "mine.py"
    place.write_text(
        "import torch\n"
        "from dashtheory.stream import Examples, Stream\n"
        "def data(generator):\n"
        "    x, few, many = torch.zeros(8, 2), torch.arange(8) % 2, torch.arange(8) % 4\n"
        f"    y, y_test = (many, few) if '{highest_in}' == 'chunks' else (few, many)\n"
        "    return Stream((Examples(x, y), Examples(x, y % 2)), Examples(x, y_test))\n"
    )
    config = RunConfig.of(data=f"python:{place}:data", model="mlp")
    assert make_source(config, 0).num_classes == 4


def test_an_importable_module_will_do() -> None:
    function, facts = find_function("model", "python:json:loads")
    assert function("[1]") == [1]
    assert facts["source"] == "python:json:loads"


def test_a_network_s_options_reach_it() -> None:
    labels = torch.arange(6) % 3
    examples = Examples(nn.functional.one_hot(labels, 3).float(), labels)
    source = Source(stream=Stream(cut(examples, 2), examples), num_classes=3)
    model = make_network("mlp", source, torch.Generator().manual_seed(0), {"widths": (7,)})
    assert [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)] == [7, 3]
