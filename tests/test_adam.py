"""Adam does what torch's class does, bit for bit, and knows when to stand still."""

import torch
from torch import nn

from e2c.learning.adam import Adam

CPU = torch.device("cpu")


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (5,), ())]


def give_gradients(all_of: list[nn.Parameter], seed: int) -> None:
    """The last parameter gets its first gradient late."""
    generator = torch.Generator().manual_seed(seed)
    for p in all_of[: 2 if seed < 3 else 3]:
        p.grad = torch.randn(p.shape, generator=generator)


def test_it_moves_as_torch_s_does() -> None:
    ours, theirs = parameters(), parameters()
    adam = Adam(ours, CPU, beta2=0.95)
    reference = torch.optim.Adam(theirs, lr=0.0, betas=(0.9, 0.95), fused=True)
    for seed, rate in enumerate((0.1, 0.03, 0.2, 0.01, 0.1)):
        give_gradients(ours, seed)
        give_gradients(theirs, seed)
        adam.set_rate(rate)
        reference.param_groups[0]["lr"] = rate
        adam.step()
        reference.step()
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)
            for name, value in reference.state[b].items():
                assert torch.equal(adam.state[a][name], value)


def test_a_step_that_is_not_sound_changes_nothing() -> None:
    ours = parameters()
    adam = Adam(ours, CPU)
    adam.set_rate(torch.tensor(0.1))
    give_gradients(ours, 4)
    adam.step(torch.tensor(True))
    before = [p.detach().clone() for p in ours]
    kept = [value.clone() for state in adam.state.values() for value in state.values()]
    ours[0].grad = torch.full((3, 2), torch.nan)
    adam.step(torch.tensor(False))
    now = [value for state in adam.state.values() for value in state.values()]
    assert all(map(torch.equal, ours, before))
    assert all(map(torch.equal, now, kept))
    adam.clear_gradients()
    adam.step(torch.tensor(True))
    assert all(map(torch.equal, ours, before))
