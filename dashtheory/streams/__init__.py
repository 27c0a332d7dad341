"""Streams that change: many short tasks, a fresh twin beside every one, all replicas in one batched call.

    config        what changes from task to task, and how a stream is trained
    tasks         the tasks of a seed, one by one
    regression    targets of threshold units over bits that flip one by one
    stack         many small networks as one tensor, gradients by hand
    steps         SGD and Adam on them, with decay and a pull to the start for each
    boundary      rules of `dashtheory.rules` between tasks
    guests        those that act while a task trains
    train         the stream of tasks; gives a tidy table for `dashtheory.measure.plasticity`

Rooms above give the data; no data set is known here.
"""

from dashtheory.streams.boundary import Member
from dashtheory.streams.config import KINDS, StreamConfig, StreamTraining, read_stream
from dashtheory.streams.regression import ThresholdTarget, changing_regression
from dashtheory.streams.stack import NetworkStack
from dashtheory.streams.tasks import Base, Task, make_tasks
from dashtheory.streams.train import run_stream

__all__ = [
    "KINDS",
    "Base",
    "Member",
    "NetworkStack",
    "StreamConfig",
    "StreamTraining",
    "Task",
    "ThresholdTarget",
    "changing_regression",
    "make_tasks",
    "read_stream",
    "run_stream",
]
