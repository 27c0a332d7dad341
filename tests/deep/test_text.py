"""The text stream and the character transformer."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from dashtheory.deep.data import Corpus, encode, python_topics, text_stream
from dashtheory.deep.models import CharTransformer, TransformerConfig
from dashtheory.deep.run import data_facts, run_rule
from dashtheory.experiments.warm_start_text import TextConfig
from dashtheory.protocol import Task, TrainConfig, run_stages
from dashtheory.rules import Dash
from dashtheory.seeds import numpy_stream


def test_codes_spell_the_text() -> None:
    corpus = encode("banana split")
    assert "".join(corpus.symbols[code] for code in corpus.codes) == "banana split"
    assert corpus.symbols == "".join(sorted(set("banana split")))
    assert corpus.sha256 == hashlib.sha256(b"banana split").hexdigest()


def test_the_text_of_python_is_real_and_its_hash_is_recorded() -> None:
    from pydoc_data.topics import topics

    corpus = python_topics()
    assert len(corpus.codes) == sum(map(len, topics.values())) + len(topics) - 1
    assert data_facts(TextConfig.of())["sha256"] == corpus.sha256
    text = "".join(corpus.symbols[code] for code in corpus.codes.tolist())
    assert hashlib.sha256(text.encode()).hexdigest() == corpus.sha256


def numbered(length: int) -> Corpus:
    """A corpus whose codes are their own places, so that windows show where they came from."""
    corpus = encode("ab" * length)
    return Corpus(torch.arange(length), corpus.symbols, corpus.sha256)


def test_windows_hold_consecutive_characters_and_blocks_never_overlap() -> None:
    stream = text_stream(
        numbered(1000),
        context=5,
        chunk_size=8,
        num_chunks=3,
        num_test=12,
        generator=np.random.default_rng(0),
    )
    seen: list[int] = []
    for part in (*stream.chunks, stream.test):
        assert torch.equal(part.targets, part.inputs + 1)
        assert torch.equal(part.inputs, part.inputs[:, :1] + torch.arange(5))
        characters = set(part.inputs.flatten().tolist()) | set(part.targets.flatten().tolist())
        assert len(characters) == len(part) // 4 * 21  # 4 windows of 5, and one character more
        seen += sorted(characters)
    assert len(seen) == len(set(seen))
    assert [len(chunk) for chunk in stream.chunks] == [8, 8, 8]
    assert len(stream.test) == 12


def test_the_test_set_does_not_depend_on_the_number_of_chunks() -> None:
    def test_set(num_chunks: int) -> torch.Tensor:
        options = {"context": 5, "chunk_size": 8, "num_chunks": num_chunks, "num_test": 12}
        return text_stream(numbered(1000), **options, generator=np.random.default_rng(0)).test.inputs

    assert torch.equal(test_set(1), test_set(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_size": 6}, "chunk_size must be a multiple of 4, got 6"),
        ({"num_test": 0}, "num_test must be an integer >= 1, got 0"),
        ({"num_chunks": 0}, "num_chunks must be an integer >= 1, got 0"),
        ({"context": 0}, "context must be an integer >= 1, got 0"),
        ({"num_chunks": 50}, "103 blocks for 50 chunks"),
    ],
)
def test_impossible_streams_name_argument_and_value(changes: dict[str, int], message: str) -> None:
    options = {"context": 5, "chunk_size": 8, "num_chunks": 3, "num_test": 12, **changes}
    with pytest.raises(ValueError, match=message):
        text_stream(numbered(1000), **options, generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match="text must not be empty"):
        encode("")


SMALL = TransformerConfig(num_layers=2, width=8, num_heads=2, context=6)


def test_the_default_network_has_the_size_that_the_setting_names() -> None:
    model = CharTransformer(TransformerConfig(), 103, torch.Generator())
    assert sum(p.numel() for p in model.parameters()) == 69_703


def test_no_position_sees_the_future() -> None:
    model = CharTransformer(SMALL, 11, torch.Generator().manual_seed(0)).double()
    codes = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(1))
    logits = model(codes)
    for place in range(6):
        changed = codes.clone()
        changed[:, place] = (changed[:, place] + 1) % 11
        other = model(changed)
        assert torch.equal(other[:, :place], logits[:, :place])
        assert not torch.allclose(other[:, place], logits[:, place])


def test_attention_agrees_with_a_loop_over_heads_and_positions() -> None:
    model = CharTransformer(SMALL, 11, torch.Generator().manual_seed(0)).double()
    block = model.blocks[0]
    hidden = torch.randn(2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    query, key, value = block.query_key_value(hidden).split(8, dim=-1)  # type: ignore[operator]
    expected = torch.zeros_like(hidden)
    for batch in range(2):
        for head in (slice(0, 4), slice(4, 8)):
            for now in range(6):
                scores = key[batch, : now + 1, head] @ query[batch, now, head] / 4**0.5
                expected[batch, now, head] = scores.softmax(0) @ value[batch, : now + 1, head]
    assert torch.allclose(block._attend(hidden), expected, atol=1e-12)  # type: ignore[operator]


def test_the_network_is_its_transcription() -> None:
    model = CharTransformer(SMALL, 11, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():  # norms of their own, so that no part can be left out unnoticed
        for name, parameter in model.named_parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    weights = dict(model.named_parameters())
    codes = torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(1))

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["symbols.weight"][codes] + weights["positions.weight"][torch.arange(5)]
    for number in range(2):
        at = f"blocks.{number}"
        q, k, v = linear(norm(x, f"{at}.attention_norm"), f"{at}.query_key_value").split(8, -1)
        mixed = torch.zeros_like(x)
        for head in (slice(0, 4), slice(4, 8)):
            scores = q[..., head] @ k[..., head].mT / 2
            scores = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -torch.inf)
            mixed[..., head] = scores.softmax(-1) @ v[..., head]
        x = x + linear(mixed, f"{at}.projection")
        inner = linear(norm(x, f"{at}.mlp_norm"), f"{at}.mlp.0")
        inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
        x = x + linear(inner, f"{at}.mlp.2")
    assert torch.allclose(model(codes), linear(norm(x, "norm"), "head"), atol=1e-12)


def test_linear_layers_can_start_as_in_gpt_2() -> None:
    generator = torch.Generator().manual_seed(0)
    config = TransformerConfig(width=64, linear_std=0.02)
    model = CharTransformer(config, 500, generator)
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    assert len(layers) == 9  # four in each block, and the head
    for layer in layers:
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.1)  # 4,096 draws or more: 1% each
        assert not layer.bias.any()


def test_the_initialisation_comes_from_the_generator_alone() -> None:
    torch.manual_seed(0)
    first = CharTransformer(SMALL, 11, torch.Generator().manual_seed(4)).state_dict()
    torch.manual_seed(1)
    again = CharTransformer(SMALL, 11, torch.Generator().manual_seed(4)).state_dict()
    other = CharTransformer(SMALL, 11, torch.Generator().manual_seed(5)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    wide = CharTransformer(TransformerConfig(width=64, embedding_std=0.02), 500, torch.Generator().manual_seed(0))
    # 32,000 draws: their standard deviation is within 1.6% of 0.02 with 4 standard errors (1 / sqrt(2 n) each).
    assert float(wide.symbols.weight.detach().std()) == pytest.approx(0.02, rel=0.016)
    assert float(wide.head.weight.detach().abs().max()) <= 1 / 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_options": ("num_heads=5",)}, "num_heads must divide the width 48, got 5"),
        ({"model_options": ("width=0",)}, "width must be an integer >= 1, got 0"),
        ({"model_options": ("embedding_std=-1",)}, "embedding_std must be a number"),
        ({"model_options": ("linear_std=-1",)}, "linear_std must be a number"),
        ({"rules": ("cold", "cold")}, "rules must name at least one, each once"),
        ({"rules": ()}, "rules must name at least one"),
        ({"rules": ("hot",)}, "rules must be one of cold, warm, sp, dash, .*got 'hot'"),
        ({"rules": ("dash:alpha=0",)}, "alpha must be a number"),
        ({"rules": ("dash:lam=1.5",)}, "lam must be a number"),
        ({"learning_rate": 0.0}, "learning_rate must be a number"),
        ({"threshold": -1.0}, "threshold must be a number"),
        ({"max_epochs": 0}, "max_epochs must be an integer"),
    ],
)
def test_bad_settings_name_field_and_value(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextConfig.of(**changes)


def test_stages_end_by_training_loss() -> None:
    config = TextConfig.of(threshold=0.7, max_epochs=9, batch_size=5)
    stage = config.training
    assert (stage.batch_size, stage.criterion, stage.threshold, stage.max_epochs) == (5, "loss", 0.7, 9)


TOY = TextConfig.of(
    num_chunks=2,
    chunk_size=8,
    num_test=8,
    size=16,
    model_options=("num_layers=1", "width=16", "num_heads=2"),
    max_epochs=3,
)


def test_the_configuration_s_alone_is_a_plain_run_of_text() -> None:
    assert TOY.alone("dash").rules == ("dash",)
    assert (TOY.alone("dash").data.name, TOY.alone("dash").device.engine) == ("text", "fast")


def test_a_toy_run_is_reproducible_and_says_that_it_did_not_converge() -> None:
    shares: list[float] = []
    table = run_rule(TOY, "dash", 0, "toy", lambda share, text: shares.append(share))
    again = run_rule(TOY, "dash", 0, "toy", lambda share, text: None)
    assert table.equals(again)
    values = table.set_index(["stage", "metric"])["value"]
    assert values[1, "converged"] == 0.0
    assert values[2, "epochs"] == 3
    assert values[2, "steps"] == 3
    assert 0.3 <= values[2, "mean_scale"] <= 1.0
    assert (1, "mean_scale") not in values
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] == 1


def test_a_run_is_the_protocol_on_the_seeds_stream_with_the_settings_given() -> None:
    config = TOY.with_values(learning_rate=5e-3, batch_size=4, max_epochs=2)
    rule = "dash:lam=0.1:alpha=0.6"
    found = run_rule(config, rule, 3, "toy", lambda share, text: None)
    corpus = python_topics()
    stream = text_stream(
        corpus,
        context=16,
        chunk_size=8,
        num_chunks=2,
        num_test=8,
        generator=numpy_stream(3, "data"),
    )
    sizes = TransformerConfig(num_layers=1, width=16, num_heads=2, context=16)
    task = Task(
        make_model=lambda generator: CharTransformer(sizes, len(corpus.symbols), generator),
        make_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3, fused=True),
    )
    train = TrainConfig(batch_size=4, criterion="loss", threshold=1.0, max_epochs=2)
    expected = [
        ("deep", "toy", rule, 3, result.stage, metric, value)
        for result in run_stages(stream, Dash(alpha=0.6, lam=0.1), task, train, seed=3)
        for metric, value in result.metrics().items()
    ]
    assert list(found.itertuples(index=False, name=None)) == expected


def test_seeds_shuffle_the_text() -> None:
    options = {"context": 5, "chunk_size": 8, "num_chunks": 3, "num_test": 12}
    first, again, other = (
        text_stream(numbered(1000), **options, generator=np.random.default_rng(seed)).test.inputs
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, first.sort(dim=0).values)


def test_the_topics_are_joined_in_the_order_of_their_names() -> None:
    from pydoc_data.topics import topics

    corpus = python_topics()
    start = "".join(corpus.symbols[code] for code in corpus.codes[:200].tolist())
    assert "\n".join(topics[name] for name in sorted(topics)).startswith(start)
    assert corpus.sha256 == hashlib.sha256("\n".join(topics[name] for name in sorted(topics)).encode()).hexdigest()


def test_a_killed_run_goes_on_after_its_last_stage(tmp_path: Path) -> None:
    config = TOY.with_values(num_chunks=3)
    calls: list[str] = []

    def stop(share: float, text: str) -> None:
        calls.append(text)
        if text.startswith("stage 3"):
            raise KeyboardInterrupt

    whole = run_rule(config, "dash", 0, "e", lambda share, text: None)
    with pytest.raises(KeyboardInterrupt):
        run_rule(config, "dash", 0, "e", stop, tmp_path)
    again: list[str] = []
    table = run_rule(config, "dash", 0, "e", lambda share, text: again.append(text), tmp_path)
    assert table.equals(whole)
    assert all(text.startswith("stage 3") for text in again)
