"""CUDA graphs: all operations of a repeated step are launched on the GPU at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch


class Graphs:
    """Plays steps; on a GPU each kind of step is captured as a CUDA graph.

    The first step of a kind runs without a graph, so that libraries and optimisers allocate their
    memory. The second is captured. A step must read and write the same tensors every time, and must
    not wait for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.known: dict[Hashable, torch.cuda.CUDAGraph | None] = {}

    def play(self, kind: Hashable, step: Callable[[], None]) -> None:
        """Take a step; steps of equal ``kind`` must consist of the same operations."""
        if self.stream is None:
            step()
            return
        caller = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(caller)
        with torch.cuda.stream(self.stream):
            self._play(kind, step)
        caller.wait_stream(self.stream)

    def _play(self, kind: Hashable, step: Callable[[], None]) -> None:
        """Play a step on our stream."""
        if kind not in self.known:
            self.known[kind] = None
            step()
            return
        graph = self.known[kind]
        if graph is None:
            graph = self.known[kind] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.stream):
                step()
        graph.replay()
