"""One thread: the tensors here are too small for two to help, and the machine may be shared."""

import torch

torch.set_num_threads(1)
