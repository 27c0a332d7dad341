"""Rules by name, and the reader of a rule's text (the grammar is that of `dashtheory._spec`).

    parse_spec("dash:lam=0.05:weight_decay=tuned")   a `RuleSpec`: the rule's options apart from its training's
    parse_spec("warm:warmup_epochs=4")               warm, with step sizes that rise at first in every stage
    parse_rule("python:mine.py:Mine:strength=0.5")   the rule itself
    make_rule("dash", lam=0.05)                      the same from Python

A text is read without torch, so that a command line can refuse an unknown name at once; the rule's class is
imported, and values of its options are checked, when the rule is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dashtheory._check import choice, fail, integer, real
from dashtheory._door import door
from dashtheory._spec import SpecText, is_own, read_text

if TYPE_CHECKING:
    from dashtheory.rules.rule import Rule

TRAINING_OPTIONS = ("learning_rate", "weight_decay", "warmup_epochs")
"""Options of a text that are not the rule's: they stand in place of the run's."""
WARMUP = "warmup_epochs"
"""The one of them that counts, and cannot be tuned: epochs over which the step size first rises in every stage."""
TUNED = "tuned"


class Registry(Mapping[str, type[Any]]):
    """Classes by name, each imported when it is asked for.

    Args:
        places: "module:Class" by name.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)

    def __getitem__(self, name: str) -> type[Any]:
        module, attribute = self.place(name)
        found: type[Any] = getattr(import_module(module), attribute)
        return found

    def place(self, name: str) -> tuple[str, str]:
        """Module and class of a name; nothing is imported."""
        module, _, attribute = self._places[name].partition(":")
        return module, attribute

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places


RULES: Mapping[str, type[Rule]] = Registry(
    {
        "cold": "dashtheory.rules.cold:Cold",
        "warm": "dashtheory.rules.warm:Warm",
        "sp": "dashtheory.rules.shrink_and_perturb:ShrinkPerturb",
        "dash": "dashtheory.rules.dash:Dash",
        "warm_rm": "dashtheory.rules.warm:WarmRenewed",
        "reset": "dashtheory.rules.reset:Reset",
        "l2_init": "dashtheory.rules.l2_init:L2Init",
        "sp_ash_adams": "dashtheory.rules.shrink_and_perturb:ShrinkFresh",
        "perturb": "dashtheory.rules.controls:Perturb",
        "uniform": "dashtheory.rules.controls:Uniform",
        "permuted": "dashtheory.rules.controls:Permuted",
        "scattered": "dashtheory.rules.controls:Scattered",
        "norm_matched": "dashtheory.rules.matched:NormMatched",
        "proportional": "dashtheory.rules.proportional:Proportional",
        "threshold": "dashtheory.rules.controls:Threshold",
        "cold_shrunk": "dashtheory.rules.controls:ColdShrunk",
        "rewarm": "dashtheory.rules.rewarm:Rewarm",
        "fire": "dashtheory.rules.fire:Fire",
        "sp_init": "dashtheory.rules.sp_init:ShrinkInit",
        "sp_steps": "dashtheory.rules.sp_steps:ShrinkSteps",
        "sp_all": "dashtheory.rules.sp_all:ShrinkAll",
        "reset_last": "dashtheory.rules.reset_layers:ResetLast",
        "reset_full": "dashtheory.rules.reset_layers:ResetFull",
        "swr": "dashtheory.rules.swr:SoftRescale",
        "nap": "dashtheory.rules.nap:Project",
        "bn": "dashtheory.rules.bn:Reestimate",
        "l1_init": "dashtheory.rules.l1_init:L1Init",
        "huber_init": "dashtheory.rules.l1_init:HuberInit",
        "wasserstein": "dashtheory.rules.wasserstein:Wasserstein",
        "parseval": "dashtheory.rules.parseval:Parseval",
        "spectral": "dashtheory.rules.spectral:Spectral",
        "isometry": "dashtheory.rules.isometry:Isometry",
        "adamo": "dashtheory.rules.isometry:AdamO",
        "decoupling": "dashtheory.rules.decoupling:Decoupling",
        "ewc": "dashtheory.rules.ewc:EWC",
        "ewc_online": "dashtheory.rules.ewc:OnlineEWC",
        "mas": "dashtheory.rules.mas:MAS",
        "si": "dashtheory.rules.si:SI",
        "lwf": "dashtheory.rules.lwf:LwF",
        "hare_tortoise": "dashtheory.rules.hare_tortoise:HareTortoise",
        "ema": "dashtheory.rules.ema:EMA",
        "distill": "dashtheory.rules.ema:Distill",
        "inject": "dashtheory.rules.inject:Inject",
        "sam": "dashtheory.rules.sam:WithSAM",
        "muon": "dashtheory.rules.muon:WithMuon",
        "upgd": "dashtheory.rules.upgd:WithUPGD",
        "trac": "dashtheory.rules.trac:WithTRAC",
        "crelu": "dashtheory.rules.crelu:Concatenated",
        "fourier": "dashtheory.rules.fourier:DeepFourier",
        "aid": "dashtheory.rules.aid:Dropped",
        "layer_norm": "dashtheory.rules.layer_norm:LayerNorms",
        "nap_norm": "dashtheory.rules.nap_norm:NormalizeProject",
        "redo": "dashtheory.rules.redo:ReDo",
        "regrama": "dashtheory.rules.regrama:ReGraMa",
        "cbp": "dashtheory.rules.cbp:ContinualBackprop",
        "snr": "dashtheory.rules.snr:SelfNormalizedReset",
        "cpr": "dashtheory.rules.cpr:PartialReset",
        "swr_weights": "dashtheory.rules.swr_weights:SelectiveReset",
        "clip": "dashtheory.rules.clip:Clip",
        "cchain": "dashtheory.rules.cchain:ChurnReduction",
    }
)
"""Rule classes by name."""


@dataclass(frozen=True, kw_only=True)
class RuleSpec(SpecText):
    """A rule as written, and how its training differs from the run's.

    Attributes:
        options: of the rule alone.
        training: values of `TRAINING_OPTIONS` in place of the run's, by name.
        tuned: the training option that is to be chosen on held-out data; empty for none.
        registry: what the name is looked up in.
    """

    training: Mapping[str, float] = field(default_factory=dict, hash=False)
    tuned: str = ""
    registry: Mapping[str, type[Any]] = field(default_factory=lambda: RULES, repr=False, compare=False)

    def make(self) -> Any:
        """Make the rule: one of `dashtheory.rules`, or of the level whose registry this is.

        Raises:
            ValueError: in one line if it has no such option, a value does not fit, or your own does not load.
        """
        return _made(rule_class(self.name, self.registry), self.name, self.options)

    @property
    def rule(self) -> Rule:
        """The rule, made anew; rules are values."""
        made: Rule = self.make()
        return made


def parse_spec(
    spec: str,
    registry: Mapping[str, type[Any]] = RULES,
    *,
    argument: str = "rules",
    training: tuple[str, ...] = TRAINING_OPTIONS,
    own: bool = True,
) -> RuleSpec:
    """Read a rule as written on a command line; nothing heavy is imported, and the rule is not made yet.

    Args:
        spec: as written.
        registry: the rules of a level.
        argument: what errors call the text.
        training: options that are the training's, not the rule's.
        own: whether rules of your own are taken.

    Raises:
        ValueError: in one line if there is no such rule, an option is not name=value, a training option does not
            fit, or two are to be tuned.
    """
    read = read_text(spec, registry, argument=argument, own=own)
    options = dict(read.options)
    given = {option: options.pop(option) for option in training if option in options}
    tuned = [option for option, value in given.items() if value == TUNED]
    if len(tuned) > 1:
        fail(f"rule {read.name}", "may have one tuned option", " and ".join(tuned), "Fix one of them.")
    for option, value in given.items():
        if option == WARMUP:
            integer(option, value, minimum=0, fix="It counts epochs of every stage; it cannot be tuned.")
        elif value != TUNED:
            real(option, value, low=0, open_low=option == "learning_rate", fix="Or say tuned.")
    return RuleSpec(
        text=spec,
        name=read.name,
        options=options,
        training={option: float(value) for option, value in given.items() if value != TUNED},
        tuned=tuned[0] if tuned else "",
        registry=registry,
    )


@door()
def parse_rule(spec: str) -> Rule:
    """The rule of a text without training options: "dash", "dash:lam=0.05:alpha=0.3", "python:mine.py:Mine".

    Raises:
        ValueError: as `parse_spec` and `RuleSpec.make`, or if the text has training options.
    """
    parsed = parse_spec(spec, argument="rule")
    if parsed.training or parsed.tuned:
        fail("rule", "must have options of the rule alone", repr(spec), "Nothing is trained here.")
    return parsed.rule


@door()
def make_rule(name: str, **options: Any) -> Rule:
    """Make the rule called `name`, or your own ("python:mine.py:Mine"), with the given options.

    Raises:
        ValueError: in one line if there is no such rule, it has no such option, or a value does not fit.
    """
    made: Rule = _made(rule_class(name), name, options)
    return made


def rule_class(name: str, registry: Mapping[str, type[Any]] = RULES) -> type[Any]:
    """The class of the rule called `name`: of the registry, or your own.

    Raises:
        ValueError: in one line if there is no such rule, or your own does not load.
    """
    if is_own(name):
        from dashtheory.rules.own import own_rule_class

        return own_rule_class(name)
    return registry[choice("rule", name, registry)]


def rule_options(name: str, *, ablations: bool = False) -> tuple[str, ...]:
    """Names of the options of the rule called `name`.

    Args:
        name: the rule.
        ablations: list all options; otherwise only those that an experiment sets for all rules that have them
            (alpha, lam, shrink, perturb), so that one number cannot mean two things.

    Raises:
        ValueError: if there is no such rule.
    """
    return _options(rule_class(name), ablations=ablations)


def _options(kind: Any, *, ablations: bool) -> tuple[str, ...]:
    given = (option for option in fields(kind) if option.init)
    return tuple(option.name for option in given if ablations or not option.metadata.get("ablation"))


def _made(kind: type[Any], name: str, options: Mapping[str, Any]) -> Any:
    known = _options(kind, ablations=True)
    for option in options:
        if option not in known:
            rule = f"of rule {name} must be among {sorted(known) or 'none'}"
            fail("options", rule, repr(option), "Drop it or choose another rule.")
    if is_own(name):
        from dashtheory.rules.own import make_own_rule

        return make_own_rule(kind, name, options)
    return kind(**options)
