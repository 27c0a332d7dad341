"""Rules from text: one registry, read without torch; rules of your own are rules like any other."""

from __future__ import annotations

import ast
import copy
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import dashtheory.rules
from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import data_facts, rule_jobs, run_rule
from dashtheory.experiments.discrete_learning import DiscreteConfig
from dashtheory.experiments.shrink_geometry import GeometryConfig, changed
from dashtheory.experiments.two_layer_dynamics import DynamicsConfig
from dashtheory.experiments.warm_start_text import TextConfig
from dashtheory.measure import compare
from dashtheory.parallel import run_jobs
from dashtheory.plot import RULE_STYLES, rule_style, sort_rules
from dashtheory.rules import RULES, Context, Learner, make_rule, parse_rule, parse_spec, rule_options
from dashtheory.twolayer.rules import parse_stack_rule
from tests.measure.model_cases import CHUNKS, net
from tests.rules.own import HEAD, SP, WRONG

TOY = RunConfig.of(
    model="mlp",
    model_options=("widths=16+16",),
    num_chunks=2,
    chunk_size=60,
    num_test=100,
    batch_size=16,
    max_epochs=4,
    learning_rate=0.1,
)


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """A rule of one's own that does what sp does."""
    (tmp_path / "mine.py").write_text(SP)
    return f"python:{tmp_path}/mine.py:Mine"


def silent(share: float, text: str) -> None:
    """Tell nobody."""


# The registry, and names that come when they are asked for.


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_reading_a_rule_loads_neither_torch_nor_figures_nor_tables() -> None:
    code = (
        "from dashtheory.rules import RULES, parse_spec\n"
        "spec = parse_spec('dash:lam=0.05:weight_decay=tuned')\n"
        "assert (spec.label, spec.slug, 'l2_init' in RULES, len(RULES)) > ('', '', False, 0)\n"
        "parse_spec('python:no_such_file.py:Mine')\n"
        "try: parse_spec('hot')\n"
        "except ValueError as error: assert str(error).startswith('rules must be one of cold, warm')\n"
    )
    assert not {"torch", "pandas", "matplotlib", "scipy", "numba"} & loaded_by(code)
    assert "torch" in loaded_by("from dashtheory.rules import dash_")


def test_each_class_is_known_by_its_own_name_and_has_a_look() -> None:
    assert all(RULES[name].name == name for name in RULES)
    assert list(RULES)[:4] == ["cold", "warm", "sp", "dash"]
    assert set(RULES) <= set(RULE_STYLES)
    assert "hot" not in RULES
    with pytest.raises(KeyError):
        RULES["hot"]


def test_lazy_names_are_those_that_type_checkers_see() -> None:
    stub = ast.parse(Path(str(dashtheory.rules.__file__)).with_suffix(".pyi").read_text())
    seen = {
        alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    for name, module in seen.items():
        home = importlib.import_module(f"dashtheory.rules.{module}")
        assert getattr(dashtheory.rules, name) is getattr(home, name)
    assert set(seen) <= set(dir(dashtheory.rules))
    with pytest.raises(AttributeError, match="nonsense"):
        dashtheory.rules.__getattr__("nonsense")


# Specs.


@given(
    st.sampled_from(sorted(RULES)),
    st.dictionaries(st.sampled_from(["learning_rate", "weight_decay"]), st.floats(1e-9, 1e9), max_size=2),
)
def test_training_options_stand_beside_the_rule_s(name: str, training: dict[str, float]) -> None:
    text = ":".join([name, *(f"{option}={value}" for option, value in training.items())])
    spec = parse_spec(text)
    assert (spec.text, spec.name, spec.options, spec.training, spec.tuned) == (text, name, {}, training, "")
    assert spec.rule == spec.make() == make_rule(name)
    assert spec == parse_spec(text)
    assert hash(spec) == hash(parse_spec(text))
    assert pickle.loads(pickle.dumps(spec)).rule == spec.rule


def test_values_of_a_rule_s_options_are_checked_when_it_is_made() -> None:
    spec = parse_spec("dash:lam=2:nu=1")
    with pytest.raises(ValueError, match="options of rule dash must be among"):
        spec.make()
    with pytest.raises(ValueError, match=r"lam must be a number in \[0, 1\], got 2"):
        _ = parse_spec("dash:lam=2").rule


# Rules of your own.


def test_a_rule_of_your_own_is_a_rule_like_any_other(mine: str) -> None:
    spec = parse_spec(f"{mine}:shrink=0.5:weight_decay=0.1")
    assert (spec.name, spec.options, spec.training) == (mine, {"shrink": 0.5}, {"weight_decay": 0.1})
    assert spec.label == "Mine, shrink=0.5, weight_decay=0.1"
    assert spec.slug.startswith("Mine-shrink=0.5-weight_decay=0.1~")
    rule = make_rule(mine, shrink=0.5)
    assert rule == spec.rule == parse_rule(f"{mine}:shrink=0.5")
    assert rule != make_rule(mine)
    assert type(rule) is type(make_rule(mine))
    assert rule_options(mine, ablations=True) == ("optimizer", "shrink", "perturb")
    with pytest.raises(ValueError, match="rule must have options of the rule alone"):
        parse_rule(f"{mine}:weight_decay=0.1")


def test_it_gives_the_bits_of_the_same_rule_by_name(mine: str) -> None:
    generator = torch.Generator().manual_seed(3)
    assert compare(net(), f"{mine}:shrink=0.6", CHUNKS, generator=generator).equals(
        compare(net(), "sp:shrink=0.6", CHUNKS, generator=generator)
    )
    rows = torch.eye(2)
    assert torch.equal(changed(mine, rows, 0), changed("sp", rows, 0))
    ours, theirs = (run_rule(TOY, f"{rule}:weight_decay=0.01", 0, "x", silent) for rule in (mine, "sp"))
    assert ours["value"].tolist() == theirs["value"].tolist()
    assert set(ours["rule"]) == {f"{mine}:weight_decay=0.01"}


def test_a_worker_makes_it_from_its_text_alone(mine: str) -> None:
    config = TOY.with_values(rules=(mine, "sp"))
    tables = {done.name: done.table for done in run_jobs(rule_jobs(config, [0], "x"), num_workers=2)}
    ours, theirs = (tables[f"{parse_spec(rule).slug}-seed0"] for rule in config.rules)
    assert ours["value"].tolist() == theirs["value"].tolist()


def test_an_edited_file_is_another_run(mine: str, tmp_path: Path) -> None:
    config = TOY.with_values(rules=("cold", mine))
    before, table = data_facts(config), run_rule(config, mine, 0, "x", silent, tmp_path / "kept")
    assert before["user_code"] == {mine: data_facts(config)["user_code"][mine]}  # type: ignore[index]
    assert "user_code" not in data_facts(TOY)
    again = run_rule(config, mine, 0, "x", silent, tmp_path / "kept")
    pd.testing.assert_frame_equal(table, again)
    file = tmp_path / "mine.py"
    file.write_text(SP.replace("shrink: float = 0.3", "shrink: float = 0.9"))
    assert data_facts(config)["user_code"] != before["user_code"]
    with pytest.raises(ValueError, match="checkpoint must be of this run"):
        run_rule(config, mine, 0, "x", silent, tmp_path / "kept")
    assert not run_rule(config, mine, 0, "x", silent, tmp_path / "new").equals(table)


def test_figures_give_it_a_look_of_its_own_and_its_name(mine: str) -> None:
    look = rule_style(f"{mine}:shrink=0.5")
    assert look == rule_style(f"{mine}:shrink=0.5")
    assert look.label == "Mine, shrink=0.5"
    assert look.color not in {usual.color for usual in RULE_STYLES.values()}
    looks = [rule_style(f"{mine}:shrink={value}") for value in range(40)]
    assert min(len({one.color for one in looks}), len({one.marker for one in looks})) > 4
    assert sort_rules([mine, "warm", "cold"]) == ["cold", "warm", mine]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_rule_is_refused_in_one_line(wrong: str, tmp_path: Path) -> None:
    source, options, message = WRONG[wrong]
    (tmp_path / "mine.py").write_text(HEAD + source)
    for make in (parse_rule, lambda text: TOY.with_values(rules=(text,))):
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            make(f"python:{tmp_path}/mine.py:Mine{options}")
        assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^rule must name a file that is there, got 'no/mine.py'\."):
        make_rule("python:no/mine.py:Mine")


def test_configurations_of_level_3_take_it_and_others_say_who_does(mine: str) -> None:
    assert TextConfig.of(rules=("cold", f"{mine}:shrink=0.5")).rules[1] == f"{mine}:shrink=0.5"
    GeometryConfig(rules=(mine,))
    for refused in (
        lambda: DiscreteConfig(rules=("cold", mine)),
        lambda: DynamicsConfig(rules=("cold", mine)),
        lambda: parse_stack_rule(mine),
    ):
        with pytest.raises(
            ValueError, match=r"^rules? must be one of cold, warm, .*Level 3 takes rules of your own"
        ):
            refused()


def test_a_rule_may_bring_a_state_and_a_learner_of_its_own(tmp_path: Path) -> None:
    """Not only weights in place: the whole of what `Rule` offers."""
    (tmp_path / "whole.py").write_text(
        HEAD
        + "@dataclass(frozen=True)\nclass Anew(Rule):\n    'Anew, from the very first weights.'\n"
        + "    def start(self, learner):\n"
        + "        return {name: value.detach().clone() for name, value in learner.model.state_dict().items()}\n"
        + "    def apply(self, learner, context):\n"
        + "        fresh = context.fresh()\n        fresh.model.load_state_dict(context.state)\n"
        + "        return fresh, None\n"
    )
    rule = make_rule(f"python:{tmp_path}/whole.py:Anew")
    model = net()
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    state, first = rule.start(learner), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    context = Context(
        chunks=lambda: [],
        loss_fn=functional.cross_entropy,
        fresh=lambda: Learner(other := net(), torch.optim.SGD(other.parameters(), lr=0.1)),
        generator=torch.Generator(),
        state=state,
    )
    after, _ = rule.apply(learner, context)
    assert all(map(torch.equal, after.model.state_dict().values(), first.state_dict().values()))
