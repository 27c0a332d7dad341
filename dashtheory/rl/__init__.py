"""Reinforcement learning: double DQN agents, many replicas at once, under the rules of the package.

lake, acrobot      environments of R replicas
stack, agents      R networks in one tensor, their optimizer, double-Q targets and updates
replay             the buffer, and streams of numbers shared by all arms of a seed
arms, redo         rules: the package's own, applied replica by replica, and two more
run                prime, act, learn, apply the rules
"""

from dashtheory.rl.acrobot import Acrobot
from dashtheory.rl.agents import Agents, td_loss
from dashtheory.rl.arms import RL_RULES, Arms, Explore, Moments, parse_arm
from dashtheory.rl.config import DQNConfig
from dashtheory.rl.environment import Environment, Outcome
from dashtheory.rl.lake import Lake
from dashtheory.rl.redo import ReDo, dormancy
from dashtheory.rl.replay import Draws, Replay, Transitions
from dashtheory.rl.run import Record, Run, run_arms
from dashtheory.rl.stack import Adam, Shape

__all__ = [
    "RL_RULES",
    "Acrobot",
    "Adam",
    "Agents",
    "Arms",
    "DQNConfig",
    "Draws",
    "Environment",
    "Explore",
    "Lake",
    "Moments",
    "Outcome",
    "ReDo",
    "Record",
    "Replay",
    "Run",
    "Shape",
    "Transitions",
    "dormancy",
    "parse_arm",
    "run_arms",
    "td_loss",
]
