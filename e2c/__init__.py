"""Embed to Control: control from pixels.

>>> import e2c
>>> agent = e2c.load_agent(e2c.TRAINED)              # doctest: +SKIP
>>> agent.reset()                                    # doctest: +SKIP
>>> torque = agent.act(observation)                  # doctest: +SKIP
"""

from e2c.control.agent import Agent, load_agent
from e2c.errors import E2CError
from e2c.files.runs import TRAINED

__version__ = "0.1.0"
__all__ = ["TRAINED", "Agent", "E2CError", "__version__", "load_agent"]
