"""What the tools on PyTorch share: a step of training, and running a NIR graph that was read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import work

Scores = tuple[torch.Tensor, torch.Tensor]


def training(parameters: Iterable[torch.Tensor], data: work.Data, forward: Callable[[int | None], Scores]) -> object:
    """A step of training, of all steps of time or as many as it is given, and a short one for the start.

    Args:
        forward: scores, and spikes per neuron, after so many steps of time.
    """
    labels = torch.tensor(data["labels"].astype(np.int64))
    adam = torch.optim.Adam(parameters, lr=work.RATE)

    def step(steps: int | None = None) -> Scores:
        scores, spikes = forward(steps)
        loss = torch.nn.functional.cross_entropy(scores, labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.detach(), spikes

    return step, lambda: step(20)


def run_graph(job: dict[str, Any], net: Callable[..., tuple[torch.Tensor, Any]], tool: str) -> None:
    """Write the spikes of all steps, and print the tool's version."""
    state, found = None, []
    with torch.no_grad():
        for now in torch.tensor(np.load(job["data"])):
            spikes, state = net(now[None], state)
            found.append(spikes[0].numpy())
    np.save(job["out"], np.array(found))
    print(json.dumps({"version": version(tool)}))
