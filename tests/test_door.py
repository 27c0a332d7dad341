"""One line at the public doors, whatever library it was that failed, and nothing where nothing fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory._door import door
from dashtheory.errors import Diverged, memory_ran_out


@door()
def use(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss_fn: Callable[..., Tensor],
    *,
    generator: torch.Generator | None = None,
    rates: Sequence[float] = (0.1,),
    place: Path | str = "",
    rate: float = 0.1,
) -> float:
    """Touch all of them as a library would."""
    torch.empty(1).uniform_(generator=generator)
    Path(place)
    rate + sum(rates)
    return sum(float(loss_fn(model(inputs), labels).detach()) for inputs, labels in batches)


@door(fix="Take others.")
def walk(numbers: Iterable[int]) -> Iterator[int]:
    """One after another."""
    for number in numbers:
        yield 1 // number


NET = nn.Linear(4, 3)
DATA = [(torch.zeros(2, 4), torch.tensor([0, 1]))]
LOSS = nn.functional.cross_entropy


def test_what_works_works_as_before() -> None:
    assert use(NET, DATA, LOSS) > 0
    assert use(NET, iter(DATA), LOSS, rate=1, generator=torch.Generator()) > 0
    assert list(walk([1, 2])) == [1, 0]
    assert use.__doc__ == "Touch all of them as a library would."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "net"}, "model must be torch.Module, got str"),
        ({"loss_fn": None}, "loss_fn must be a function, got NoneType"),
        ({"batches": 3}, "batches must be something to go through, got int"),
        ({"generator": np.random.default_rng(0)}, "generator must be torch.Generator or None, got Generator"),
        ({"rates": 0.1}, "rates must be a list, got float"),
        ({"rate": "0.1"}, "rate must be a number, got str"),
        ({"place": 3}, "place must be pathlib.Path or text, got int"),
        (
            {"batches": [(torch.zeros(2, 5), DATA[0][1])]},
            "use must be able to use what it is given, got 'RuntimeError: mat1",
        ),
        (
            {"batches": [(DATA[0][0], torch.tensor([0, 9]))]},
            "use must be able to use what it is given, got 'IndexError: Target",
        ),
        (
            {"batches": [(DATA[0][0], torch.tensor([0]))]},
            "use must be able to use what it is given, got 'ValueError: Expected",
        ),
        ({"batches": [([[0.0] * 4], [1])]}, "use must be able to use what it is given, got 'TypeError: linear"),
    ],
)
def test_the_argument_is_named_or_the_error_quoted(change: dict[str, Any], message: str) -> None:
    arguments = {"model": NET, "batches": DATA, "loss_fn": LOSS, **change}
    with pytest.raises(ValueError, match=r".") as raised:
        use(**arguments)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert raised.value.__context__ is not None  # the cause, for whoever wants it


def test_a_generator_tells_where_it_is_consumed() -> None:
    numbers = walk([1, 0])
    assert next(numbers) == 1
    with pytest.raises(
        ValueError, match=r"walk must be able to use what it is given, got 'ZeroDivisionError: .*' *. Take others."
    ):
        next(numbers)


def test_errors_of_this_package_go_through_as_they_are() -> None:
    @door()
    def diverge(number: int) -> None:
        fail("loss", "must be finite", "nan", "Train more slowly.", error=Diverged)

    with pytest.raises(Diverged, match=r"^loss must be finite, got nan"):
        diverge("text")  # type: ignore[arg-type]


def test_what_a_user_raises_goes_through_as_it_is() -> None:
    def refuse(output: Tensor, labels: Tensor) -> Tensor:
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match=r"^not today$"):
        use(NET, DATA, refuse)


def test_memory_that_ran_out_goes_through_for_those_who_look_after_it() -> None:
    @door()
    def allocate(number: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    with pytest.raises(RuntimeError, match="can't allocate") as raised:
        allocate("text")  # type: ignore[arg-type]
    assert memory_ran_out(raised.value)


def test_a_call_with_other_arguments_is_python_s_own_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'modle'"):
        use(modle=NET)  # type: ignore[call-arg]


def test_of_doors_within_doors_the_outer_one_speaks() -> None:
    @door()
    def outer(model: nn.Module) -> float:
        return use(model, DATA, None)  # type: ignore[arg-type]

    with pytest.raises(
        ValueError, match=r"^outer must be able to use what it is given, got 'TypeError: 'NoneType'"
    ):
        outer(NET)
    with pytest.raises(ValueError, match=r"^model must be torch"):
        outer("net")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^loss_fn must be a function"):  # and later the inner one again
        use(NET, DATA, None)  # type: ignore[arg-type]
