"""Two stages with the Trainer of transformers: DASH before the second. A tiny GPT-2, random tokens, seconds."""

from __future__ import annotations

import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from dashtheory.adapters import StageRule, TransformersRule


def tokens(number: int) -> list[dict[str, torch.Tensor]]:
    """Sentences of eight random tokens."""
    drawn = torch.randint(1, 20, (number, 8))
    return [{"input_ids": ids, "labels": ids} for ids in drawn]


def main() -> None:
    """Train on the first chunk, shrink, and train on both."""
    torch.manual_seed(0)
    chunks = [tokens(16), tokens(16)]
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    )
    for stage in (1, 2):
        rule = TransformersRule(StageRule(rule="dash:lam=0.3", chunks=chunks[:stage]), stage=stage)
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, num_train_epochs=2, use_cpu=True, report_to="none", disable_tqdm=True
            )
            data = [example for chunk in chunks[:stage] for example in chunk]
            Trainer(model=model, args=arguments, train_dataset=data, callbacks=[rule]).train()
        if rule.report is not None and rule.report.shrink is not None:
            print(f"stage {stage}: mean factor {rule.report.shrink.mean_scale:.2f}, {rule.report.chunks}")


if __name__ == "__main__":
    main()
