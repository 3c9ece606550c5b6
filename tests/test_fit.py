"""Fitting in memory does what the first phase of a run does."""

import torch
from tiny import CONFIG, SPEC, noise_data, tiny_model

from e2c.data.windows import Windows
from e2c.learning.schedule import Phase
from e2c.learning.trainer import Trainer
from e2c.lecture.fit import fit

DATA = noise_data((5, 7, 4))


def test_a_fit_takes_the_steps_of_a_first_phase() -> None:
    fitted, expected = tiny_model(), tiny_model()
    rows = fit(fitted, DATA, CONFIG.objective, CONFIG.optimiser, seed=2)
    windows = Windows([DATA], CONFIG.objective.horizon, 0.0, torch.device("cpu"))
    expected.decoder.start_at(windows.mean_observation)
    options = CONFIG.optimiser
    trainer = Trainer(expected.train(), CONFIG.objective, options, 2)
    phase = Phase(options.steps, options.learning_rate, ramp=True)
    assert rows == list(trainer.run(windows, phase))
    for name, weight in expected.named_parameters():
        assert torch.equal(weight, fitted.get_parameter(name)), name


def test_a_fitted_model_has_its_latent_variance_and_is_ready() -> None:
    model = tiny_model()
    fit(model, DATA, CONFIG.objective, CONFIG.optimiser)
    latents = model.encode(DATA.planes()).mean
    torch.testing.assert_close(model.latent_variance, latents.var(0).sum())
    assert not model.training
    assert SPEC.planes == DATA.planes().shape[1:]
