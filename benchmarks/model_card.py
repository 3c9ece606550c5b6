"""The figures of the model card, from the files of the model that comes with the package.

python -m benchmarks.model_card    # writes them into docs/model-card.md; `make model` does it too
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import e2c
from e2c.files import runs

CARD = Path(__file__).parents[1] / "docs" / "model-card.md"
TABLE = re.compile(r"(?<=\| of the model \| figure \|\n\|---\|---\|\n)(?:\|.*\|\n)*")


def figures(folder: Path = e2c.TRAINED) -> str:
    """Say in rows of Markdown what the files of a run tell: of its model, training, evaluation."""
    run = json.loads((folder / "run.json").read_text("utf-8"))
    found = json.loads((folder / "evaluation.json").read_text("utf-8"))
    weights = folder / "checkpoint.safetensors"
    agent = e2c.load_agent(folder)
    config = runs.read_recipe(folder / runs.CONFIG).config
    rows = {
        "task": f"`{config.env}`",
        "observation": f"{agent.spec.observation_shape} grey levels, the newest frame last",
        "latent dimension": config.model.latent_dim,
        "parameters": f"{sum(p.numel() for p in agent.model.parameters()):,}",
        "size of the weights": f"{weights.stat().st_size / 1e6:.1f} MB",
        "SHA-256 of the weights": f"`{hashlib.sha256(weights.read_bytes()).hexdigest()[:16]}`…",
        "transitions learned from": f"{run['transitions']:,}, own episodes included",
        "steps of the optimiser": f"{run['steps']:,}",
        "seed": run["seed"],
        "time of the whole run": f"{run['seconds']['total']:.0f} s",
        "made at commit": f"`{run['commit']}`, with torch {run['versions']['torch']}",
        "episodes evaluated": f"{len(found['episodes'])}, from seed {found['start_seed']}",
        "success": f"{found['success_rate']:.0%}",
        "in goal": f"{found['time_in_goal']:.3f} (oracle {found['oracle_time_in_goal']:.3f})",
        "first arrival, median": f"{found['steps_to_goal_median']:.0f} steps of {agent.spec.dt} s",
        "mean return": f"{found['return_mean']:.0f}",
        "one plan": f"{found['plan_ms_median']:.1f} ms, 99% within {found['plan_ms_p99']:.1f} ms",
    }
    return "".join(f"| {what} | {figure} |\n" for what, figure in rows.items())


if __name__ == "__main__":
    CARD.write_text(TABLE.sub(lambda _: figures(), CARD.read_text("utf-8")), "utf-8")
