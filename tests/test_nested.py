"""Configurations in parts: flat and nested are two forms of one thing."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashtheory._nested import build, changed, flat, restore, values_of
from dashtheory.deep.config import RunConfig
from dashtheory.record.provenance import plain_config


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """Values of every kind."""

    name: str = field(default="oak", metadata={"as": "leaf"})
    sizes: tuple[int, ...] = (1, 2)
    green: bool = True


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A part with a part."""

    leaf: Leaf = field(default_factory=Leaf)
    length: float = 1.0

    def __post_init__(self) -> None:
        if self.length < 0:
            raise ValueError("length must be at least 0")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """All of it."""

    branch: Branch = field(default_factory=Branch)
    rules: tuple[str, ...] = ("cold",)
    age: int


NAMES = ("leaf", "sizes", "green", "length", "rules", "age")
values = st.fixed_dictionaries(
    {"age": st.integers()},
    optional={
        "leaf": st.text(),
        "sizes": st.lists(st.integers()).map(tuple),
        "green": st.booleans(),
        "length": st.floats(min_value=0),
        "rules": st.lists(st.text()).map(tuple),
    },
)


@given(given_values=values)
def test_flat_undoes_build_and_restore_undoes_json(given_values: dict[str, Any]) -> None:
    tree = build(Tree, given_values)
    usual = {"leaf": "oak", "sizes": (1, 2), "green": True, "length": 1.0, "rules": ("cold",)}
    assert flat(tree) == {**usual, **given_values}
    assert tuple(flat(tree)) == NAMES
    assert build(Tree, flat(tree)) == tree
    assert restore(Tree, json.loads(json.dumps(plain_config(tree)))) == tree


@given(given_values=values, more=values)
def test_changing_is_building_with_the_later_value(given_values: dict[str, Any], more: dict[str, Any]) -> None:
    tree = build(Tree, given_values)
    assert changed(tree, **more) == build(Tree, {**given_values, **more})
    assert flat(tree) == flat(build(Tree, given_values))  # and what was changed is as it was


def test_every_value_says_where_it_is() -> None:
    found = {one.name: (one.path, one.kind) for one in values_of(Tree)}
    assert found["leaf"] == (("branch", "leaf", "name"), str)
    assert found["sizes"] == (("branch", "leaf", "sizes"), tuple[int, ...])
    assert found["length"] == (("branch", "length"), float)
    assert found["age"] == (("age",), int)
    assert tuple(found) == NAMES


def test_the_configuration_of_deep_experiments_is_one() -> None:
    usual = RunConfig()
    assert build(RunConfig, flat(usual)) == usual
    assert restore(RunConfig, json.loads(json.dumps(plain_config(usual)))) == usual
    other = RunConfig.of(criterion="loss", threshold=2.0, decays=(0.0,), size=4, data_name="ours")
    assert restore(RunConfig, json.loads(json.dumps(plain_config(other)))) == other
    assert (other.data.size, other.data.title, other.training.threshold) == (4, "ours", 2.0)
    assert other.with_values(size=0).data == dataclasses.replace(other.data, size=0)


def test_a_name_given_twice_is_refused() -> None:
    @dataclass
    class Twice:
        leaf: Leaf = field(default_factory=Leaf)
        again: str = field(default="", metadata={"as": "sizes"})

    Twice.__annotations__.update(leaf=Leaf, again=str)
    with pytest.raises(
        ValueError, match=r"configuration must name every value once, got sizes\. Give one another"
    ):
        values_of(Twice)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="configuration of Tree has no value of this name, got 'name'"):
        build(Tree, {"age": 1, "name": "x"})
    with pytest.raises(ValueError, match="configuration of Tree has no value of this name, got 'name'"):
        changed(build(Tree, {"age": 1}), name="x")
    with pytest.raises(ValueError, match="of RunConfig has no value of this name, got 'colour'"):
        RunConfig.of(colour="red")


def test_a_part_checks_its_values_wherever_they_are_given() -> None:
    tree = build(Tree, {"age": 1})
    saved = {**plain_config(tree), "branch": {**plain_config(tree.branch), "length": -1.0}}
    with pytest.raises(ValueError, match="length must be at least 0"):
        build(Tree, {"age": 1, "length": -1.0})
    with pytest.raises(ValueError, match="length must be at least 0"):
        changed(tree, length=-1.0)
    with pytest.raises(ValueError, match="length must be at least 0"):
        restore(Tree, saved)


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: {**saved, "colour": "red"},
        lambda saved: {**saved, "branch": {"length": 1.0}},
        lambda saved: {name: value for name, value in saved.items() if name != "age"},
        lambda saved: {**saved, "branch": {**saved["branch"], "leaf": []}},
        lambda saved: {**saved, "branch": 3},
        lambda saved: {},
    ],
)
def test_what_has_other_fields_is_not_restored(damage: Any) -> None:
    saved = plain_config(build(Tree, {"age": 1}))
    with pytest.raises(ValueError, match="configuration must have the fields of Tree, got others"):
        restore(Tree, damage(saved))


def test_a_value_that_came_later_has_its_default_in_older_records() -> None:
    usual = RunConfig()
    saved = json.loads(json.dumps(plain_config(usual)))
    del saved["measures"]["effective_step"]
    assert restore(RunConfig, saved) == usual
    del saved["measures"]["weights"]
    with pytest.raises(ValueError, match="configuration must have the fields of RunConfig, got others"):
        restore(RunConfig, saved)
