"""Embed to Control: control from pixels.

A shipped agent swings a pendulum up, from images alone:

    >>> import e2c
    >>> agent = e2c.load_agent(e2c.TRAINED)
    >>> world = e2c.make_world("E2C/PendulumSwingUp-v0", 3)
    >>> found = e2c.evaluate(world, agent, seed=1000)
    >>> found.scores.summary()["success_rate"]
    1.0

Its model can be used alone:

    >>> observations, _ = world.reset(seed=0)
    >>> z = agent.model.encode(observations).mean
    >>> z.shape
    torch.Size([3, 5])

`collect` records episodes, and `train` learns from scratch or from files of episodes.
"""

# ruff: noqa: E402
from e2c.errors import E2CError, check_surroundings

check_surroundings()

from e2c.control.agent import Agent
from e2c.control.base import Controller, make_world, rollout
from e2c.control.live import LiveAgent
from e2c.data.episodes import Episodes
from e2c.door import collect, load_agent, train
from e2c.evaluation.evaluate import Evaluation, evaluate
from e2c.files.runs import TRAINED

__version__ = "0.2.0"
__all__ = [
    "TRAINED",
    "Agent",
    "Controller",
    "E2CError",
    "Episodes",
    "Evaluation",
    "LiveAgent",
    "__version__",
    "collect",
    "evaluate",
    "load_agent",
    "make_world",
    "rollout",
    "train",
]
