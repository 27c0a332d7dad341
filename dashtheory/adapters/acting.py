"""Which rules can act in a training loop that is not ours: those that change weights or the optimizer in place."""

from __future__ import annotations

from dashtheory._check import fail
from dashtheory.rules import Rule, moments_of
from dashtheory.rules.rewarm import Rewarm
from dashtheory.rules.rule import overrides


def refuse_elsewhere(rule: Rule) -> None:
    """Refuse a rule that would do nothing, or less than it says, if it were applied between stages alone.

    Methods tell, and not only `acts`, which a rule of one's own may leave as it is.

    Args:
        rule: made.

    Raises:
        ValueError: in one line that says where it acts, and what to do for that.
    """
    name, must = rule.name or type(rule).__name__, "must act between stages alone"
    elsewhere = [moment for moment in moments_of(rule) if moment in ("loss", "steps", "evaluation")]
    if elsewhere:
        got = f"{name}, which acts in the loss, after steps or in evaluation ({', '.join(elsewhere)})"
        fail("rule", must, got, "Train with dashtheory.run_stages for that.")
    if overrides(rule, "finish"):
        got = f"{name}, which remembers what a stage ended with"
        fail("rule", must, got, "Train with dashtheory.run_stages for that.")
    if overrides(rule, "optimizer_for"):
        got = f"{name}, which trains with an optimizer of its own from the first stage on"
        fail("rule", must, got, "Train with what its optimizer_for(model, make) gives: no adapter is needed.")
    if "network" in moments_of(rule):
        got = f"{name}, which trains another network from the first stage on"
        fail("rule", must, got, "Train what its adapted(model, generator) gives: no adapter is needed.")
    if rule.anew or overrides(rule, "rebuild"):
        fix = "Make the new model and its optimizer yourself, before the fit."
        fail("rule", "must change the model that it is given in place", name, fix)


def refuse_step_sizes(rule: Rule) -> None:
    """Refuse a rule that changes step sizes, where a schedule or a resumed fit would set them back.

    Schedules of a framework have noted the step sizes before its hooks run, and a checkpoint with more groups of
    parameters than the optimizer that is made for it cannot be loaded.

    Args:
        rule: made.

    Raises:
        ValueError: in one line.
    """
    if isinstance(rule, Rewarm):
        fix = "Call StageRule.apply in a loop of your own, and make schedules after it."
        fail("rule", "must leave step sizes to the framework and its schedules", rule.name, fix)
