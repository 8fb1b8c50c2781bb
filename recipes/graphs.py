"""A training step recorded as a CUDA graph, so that its thousand kernels are launched by one call."""

from __future__ import annotations

from collections.abc import Callable

import torch


def captured(step: Callable[[], torch.Tensor], adam: torch.optim.Optimizer, warm: int = 4) -> Callable[[], torch.Tensor]:
    """The step as a CUDA graph; the plain step where there is no GPU, or where the capture fails.

    Args:
        step: forward, backward and ``adam.step()``, everything drawn on the device; returns the loss. It must not touch
            the gradients' memory: it finds them at None and leaves them set.
        adam: made with ``capturable=True`` on a GPU.
        warm: plain steps made before the recording, besides the one that makes the optimiser's states.
    """

    def plain() -> torch.Tensor:
        adam.zero_grad(set_to_none=True)
        return step()

    if not torch.cuda.is_available():
        return plain
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), _undone(adam):
            for _ in range(max(warm, 2)):
                plain()
        torch.cuda.current_stream().wait_stream(side)
        adam.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            value = step()
    except Exception as error:  # whatever keeps a library's code from being recorded: slower, but it trains
        print(f"no CUDA graph: {type(error).__name__}: {str(error)[:300]}", flush=True)
        torch.cuda.synchronize()
        return plain

    def replay() -> torch.Tensor:
        graph.replay()
        return value

    return replay


class _undone:
    """Puts weights and optimiser states back in place: the steps before a recording must not count."""

    def __init__(self, adam: torch.optim.Optimizer):
        self.adam = adam

    def __enter__(self) -> None:
        self.weights = [p.detach().clone() for group in self.adam.param_groups for p in group["params"]]

    def __exit__(self, *_) -> None:
        with torch.no_grad():
            for p, before in zip((p for g in self.adam.param_groups for p in g["params"]), self.weights):
                p.copy_(before)
            for state in self.adam.state.values():
                for value in state.values():
                    if torch.is_tensor(value):
                        value.zero_()
