"""The explorers, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashtheory.explore.discrete import DiscreteFound, DiscreteState, Simulations, describe
from dashtheory.explore.draw_discrete import DiscreteDrawing
from dashtheory.explore.explorer import Explorer, need_widgets
from dashtheory.explore.state import moved

if TYPE_CHECKING:
    from dashtheory.explore.alpha_lambda import AlphaLambdaFound, AlphaLambdaState
    from dashtheory.explore.geometry import ShrinkFound, ShrinkState
    from dashtheory.explore.steps import StepFound, StepState


class DiscreteExplorer(Explorer[DiscreteState, DiscreteFound]):
    """Level 1 by stage, with a button that simulates the present state.

    Args:
        state: where the controls start.
        simulate: simulate that state at once.
    """

    def __init__(self, state: DiscreteState, *, simulate: bool = True) -> None:
        self._simulations = Simulations()
        if simulate:
            self._simulations.run(state)
        super().__init__(
            title="Features and noise, stage by stage",
            state=state,
            compute=self._simulations.found,
            describe=describe,
            drawing=DiscreteDrawing(),
        )
        self.actions["Simulate this state (dots)"] = self.simulate

    def simulate(self) -> None:
        """Simulate the present state and show it as dots; a state is simulated once."""
        if not self.error:
            self._simulations.run(self.state)
            self.refresh()


def explore_discrete(**values: object) -> DiscreteExplorer:
    """Level 1: what cold, warm, ideal and forgetting learn and memorise, for any gamma, tau, N, J and features.

    Lines are the population limit, dots a simulation, of the states that were simulated.

    Args:
        **values: where controls start, in place of their defaults (`DiscreteState`).

    Raises:
        ImportError: without ipywidgets.
        ValueError: as `Explorer.set`.
    """
    return DiscreteExplorer(moved(DiscreteState(), values))


def explore_alpha_lambda(
    network: str = "two_layer", *, seed: int = 0, **values: object
) -> Explorer[AlphaLambdaState, AlphaLambdaFound]:
    """DASH's alpha and lambda on a trained network, from one pass over its chunks.

    Args:
        network: "two_layer" (a patch network on signal + noise), "digits" (a small convolutional network that has
            memorised wrong labels) or "resnet" (a residual network on pictures with right labels).
        seed: root seed; of seed 0 the trained network is stored, of any other it is trained, within seconds.
        **values: where controls start, in place of their defaults (`AlphaLambdaState`).

    Raises:
        ImportError: without ipywidgets.
        ValueError: if there is no such network, or as `Explorer.set`.
    """
    from dashtheory.explore.alpha_lambda import AlphaLambdaState, Shrinks
    from dashtheory.explore.draw_alpha_lambda import AlphaLambdaDrawing
    from dashtheory.explore.networks import NETWORKS, trained

    need_widgets()
    state = moved(AlphaLambdaState(), values)
    shrinks = Shrinks(trained(network, seed))
    return Explorer(
        title=f"α and λ: {NETWORKS[network]}",
        state=state,
        compute=shrinks.compute,
        describe=shrinks.describe,
        drawing=AlphaLambdaDrawing(shrinks.compute(state), shrinks.network.lengths_title),
    )


def explore_steps(**values: object) -> Explorer[StepState, StepFound]:
    """Effective step and norm of the weights by stage and rule, and whether they tell where a rule ends.

    Args:
        **values: where controls start, in place of their defaults (`StepState`).

    Raises:
        ImportError: without ipywidgets.
        ValueError: as `Explorer.set`.
    """
    from dashtheory.explore.draw_steps import StepDrawing
    from dashtheory.explore.steps import StepState, compute, describe, limits

    state = moved(StepState(), values)
    return Explorer(
        title="Shrinking as a step size",
        state=state,
        compute=compute,
        describe=describe,
        drawing=StepDrawing(compute(state), limits()),
    )


def explore_shrink(**values: object) -> Explorer[ShrinkState, ShrinkFound]:
    """What DASH, S&P and a uniform shrink do to one weight vector, in two dimensions.

    Args:
        **values: where controls start, in place of their defaults (`ShrinkState`).

    Raises:
        ImportError: without ipywidgets.
        ValueError: as `Explorer.set`.
    """
    from dashtheory.explore.draw_geometry import ShrinkDrawing
    from dashtheory.explore.geometry import ShrinkState, compute, describe

    return Explorer(
        title="The geometry of shrinking",
        state=moved(ShrinkState(), values),
        compute=compute,
        describe=describe,
        drawing=ShrinkDrawing(),
    )
