"""Evaluate a trained agent against the oracle; see ``python evaluate.py --help``.

python evaluate.py runs/pendulum --episodes 100 --json results.json --video episode.mp4
python evaluate.py runs/pendulum --mass 1.1 --kick 2 --frame-noise 10
"""

from e2c.commands import evaluate_command

if __name__ == "__main__":
    evaluate_command()
