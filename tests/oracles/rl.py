"""Reinforcement learning, written down naively: one agent, one environment, one unit at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

MOVES = {0: (0, -1), 1: (1, 0), 2: (0, 1), 3: (-1, 0)}  # left, down, right, up


def cross(moves: Sequence[int], switch: int) -> list[tuple[int, float, int, bool, bool]]:
    """What moves lead to on the 2 x 2 lake: (state, reward, next state, terminal, ended) of each."""
    found = []
    row = column = made = 0
    for number, move in enumerate(moves):
        lake = ["SH", "FG"] if number < switch else ["SF", "HG"]
        before = 2 * row + column
        row = min(max(row + MOVES[move][0], 0), 1)
        column = min(max(column + MOVES[move][1], 0), 1)
        letter = lake[row][column]
        made += 1
        terminal = letter in "HG"
        ended = terminal or made == 2
        found.append((before, float(letter == "G"), 2 * row + column, terminal, ended))
        if ended:
            row = column = made = 0
    return found


def double_q_step(
    network: nn.Module,
    target: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[tuple[Tensor, int, float, Tensor, bool]],
    discount: float,
) -> list[float]:
    """One update of a double DQN, transition by transition; the targets."""
    wanted, losses = [], []
    for observed, action, reward, following, terminal in batch:
        with torch.no_grad():
            best = int(network(following).argmax())
            later = 0.0 if terminal else float(target(following)[best])
        wanted.append(reward + discount * later)
        error = network(observed)[action] - wanted[-1]
        losses.append(0.5 * error**2 if abs(float(error.detach())) <= 1 else error.abs() - 0.5)
    optimizer.zero_grad()
    torch.stack(losses).mean().backward()
    optimizer.step()
    return wanted


def redo(
    layers: Sequence[nn.Linear],
    fresh: Sequence[nn.Linear],
    state: Mapping[Tensor, Mapping[str, Tensor]],
    inputs: Tensor,
    tau: float,
) -> int:
    """Reset dormant units one by one, in place; how many."""
    with torch.no_grad():
        activations, found = [], inputs
        for layer in layers[:-1]:
            found = layer(found).clamp(min=0)
            activations.append(found)
        count = 0
        for place, values in enumerate(activations):
            layer_mean = values.abs().mean()
            for unit in range(values.shape[1]):
                if values[:, unit].abs().mean() / (layer_mean + 1e-9) > tau:
                    continue
                count += 1
                layers[place].weight[unit] = fresh[place].weight[unit]
                layers[place].bias[unit] = 0
                layers[place + 1].weight[:, unit] = 0
                for name in ("exp_avg", "exp_avg_sq"):
                    state[layers[place].weight][name][unit] = 0
                    state[layers[place].bias][name][unit] = 0
                    state[layers[place + 1].weight][name][:, unit] = 0
    return count
