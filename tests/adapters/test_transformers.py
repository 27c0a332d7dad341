"""transformers: training after the hook is that after `dash_` by hand, and a killed one goes on exactly."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

transformers: Any = pytest.importorskip("transformers", exc_type=ImportError)
pytest.importorskip("accelerate", exc_type=ImportError)

from dashtheory.adapters import StageRule, TransformersRule  # noqa: E402
from dashtheory.adapters.own_loss import with_own_loss  # noqa: E402
from dashtheory.adapters.transformers import KEY  # noqa: E402
from dashtheory.rules import dash_  # noqa: E402
from tests.adapters.toys import same  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of pinned memory, tokenizers and the like


def language_model() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def sentences(seed: int, number: int = 12) -> list[dict[str, Tensor]]:
    """Padded by different amounts, so that batches weigh differently."""
    stream = torch.Generator().manual_seed(seed)
    found = []
    for index in range(number):
        ids = torch.randint(1, 20, (8,), generator=stream)
        labels = ids.masked_fill(torch.arange(8) >= 3 + index % 5, -100)
        found.append({"input_ids": ids, "labels": labels})
    return found


OLD, NEW = sentences(1), sentences(2)


class Killed(Exception):  # noqa: N818
    """The process ends here."""


class Kill(transformers.TrainerCallback):
    """Ends a fit."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.epoch and state.epoch >= 2:
            raise Killed


def trainer(folder: Path, model: Any, *callbacks: Any, **options: Any) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="epoch",
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        num_train_epochs=3,
        seed=3,
        **options,
    )
    return transformers.Trainer(model=model, args=arguments, train_dataset=NEW, callbacks=[*callbacks])


def rule(stage: int = 2, **options: Any) -> TransformersRule:
    return TransformersRule(StageRule(**{"rule": "dash:lam=0.05", "chunks": [OLD, NEW], **options}), stage=stage)


def own_loss(output: Any, target: Tensor) -> Tensor:
    loss: Tensor = output.loss
    return loss


def whole(sentences: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
    batch = {name: torch.stack([one[name] for one in sentences]) for name in sentences[0]}
    return batch, batch["labels"]


def by_hand(model: Any, chunks: list[list[dict[str, Tensor]]]) -> Any:
    again = copy.deepcopy(model)
    dash_(again, map(whole, chunks), own_loss, lam=0.05, forward=lambda model, inputs: model(**inputs))
    return again


def test_training_is_that_after_dash_by_hand(tmp_path: Path) -> None:
    ours = language_model()
    hand = by_hand(ours, [OLD, NEW])
    callback = rule(chunks=[whole(OLD)[0], whole(NEW)[0]])
    trainer(tmp_path / "a", ours, callback).train()
    trainer(tmp_path / "b", hand).train()
    assert same(ours, hand)
    assert callback.report is not None
    assert callback.report.shrink is not None
    assert callback.report.shrink.num_batches == 2


def test_parts_of_a_chunk_weigh_by_their_tokens() -> None:
    ours, hand = language_model(), by_hand(language_model(), [OLD])
    plan = with_own_loss(StageRule(rule="dash:lam=0.05"), ours)
    loader: Any = torch.utils.data.DataLoader(OLD, batch_size=5)  # type: ignore[arg-type]
    plan.apply(ours, [torch.optim.SGD(ours.parameters(), lr=1)], stage=2, loader=loader)
    torch.testing.assert_close(ours.state_dict(), hand.state_dict(), rtol=1e-4, atol=1e-6)


def test_a_killed_training_goes_on_without_a_second_rule(tmp_path: Path) -> None:
    one, other = language_model(), language_model()
    trainer(tmp_path / "a", one, rule()).train()
    with pytest.raises(Killed):
        trainer(tmp_path / "b", other, rule(), Kill()).train()
    resumed, again = rule(), language_model()
    trainer(tmp_path / "b", again, resumed).train(resume_from_checkpoint=True)
    assert resumed.report is None
    assert same(one, again)
    for folder in (tmp_path / "b").glob("checkpoint-*"):
        state = json.loads((folder / "trainer_state.json").read_text())
        assert state["stateful_callbacks"][KEY]["attributes"] == {"applied_at_stage": 2}


@pytest.mark.parametrize("restores", [False, True])
def test_a_checkpoint_of_the_stage_before_gets_the_rule(tmp_path: Path, restores: bool) -> None:
    trainer(tmp_path, language_model(), rule(stage=1)).train()
    callback = rule(stage=2)
    held = trainer(tmp_path, language_model(), callback, restore_callback_states_from_checkpoint=restores)
    held.train(resume_from_checkpoint=True)
    assert callback.report is not None
    assert held.state.best_metric is None


def test_a_checkpoint_that_does_not_know_its_stage_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, language_model()).train()
    with pytest.raises(ValueError, match=r"^checkpoint must tell its stage"):
        trainer(tmp_path, language_model(), rule()).train(resume_from_checkpoint=True)


def test_training_twice_in_a_process_is_one_stage(tmp_path: Path) -> None:
    callback = rule()
    held = trainer(tmp_path, language_model(), callback)
    held.train()
    first = callback.report
    held.train()
    assert callback.report is first
    callback.stage = 3
    held.train()
    assert callback.report is not first


def test_its_own_loader_is_one_chunk(tmp_path: Path) -> None:
    ours = language_model()
    hand = by_hand(ours, [NEW])
    callback = rule(chunks=None)
    trainer(tmp_path / "a", ours, callback, max_steps=1).train()
    trainer(tmp_path / "b", hand, max_steps=1).train()
    torch.testing.assert_close(ours.state_dict(), hand.state_dict(), rtol=1e-3, atol=1e-4)
    assert callback.report is not None
    assert callback.report.chunks == "the data of the training loop, as one chunk"


def test_batches_without_labels_are_refused() -> None:
    model = language_model()
    plan = with_own_loss(StageRule(chunks=[{"input_ids": OLD[0]["input_ids"][None]}]), model)
    with pytest.raises(ValueError, match=r"^pair must be given unless batches have labels, got input_ids"):
        plan.apply(model, [torch.optim.SGD(model.parameters(), lr=1)], stage=2)


def test_step_sizes_are_left_to_the_framework() -> None:
    with pytest.raises(ValueError, match=r"^rule must leave step sizes to the framework and"):
        TransformersRule(StageRule(rule="rewarm"), stage=2)
