"""Train an agent from pixels; see ``python train.py --help``.

python train.py --seed 0 --out runs/pendulum
python train.py --preset paper --out runs/paper
python train.py --data data/a.npz data/b.npz --out runs/joined --model.latent-dim 4
"""

from e2c.commands import train_command

if __name__ == "__main__":
    train_command()
