"""Which stage a fit is of, and whether its rule has been applied: a resumed fit is no new stage."""

from __future__ import annotations

from dashtheory._check import fail, integer


def is_due(stage: int, applied: int) -> bool:
    """Whether a stage's rule is still to be applied.

    Args:
        stage: that the fit is of, from 1; the first one needs no rule.
        applied: the last stage whose rule was applied, or that was trained; 0 for none.
    """
    return stage > max(applied, 1)


def checked_stage(stage: object) -> int:
    """Return `stage` if it is one; it cannot be seen from inside a fit whether a model was trained before."""
    return integer("stage", stage, minimum=1, fix="Say stage=1 for the first data, stage=2 when more has come.")


def refuse_unknown(steps: int, applied: int, stage: int) -> None:
    """Refuse a fit that goes on where nothing tells of which stage it is.

    Args:
        steps: that were taken before.
        applied: as in `is_due`.
        stage: as in `is_due`.

    Raises:
        ValueError: if steps were taken, and none of the adapter's stages is known.
    """
    if steps and not applied and stage > 1:
        fix = "Begin the stage with the checkpoint's weights alone, or go on without the adapter."
        fail("checkpoint", "must tell its stage", f"one of {steps} steps by a fit without the adapter", fix)
