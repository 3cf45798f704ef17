"""SpikingJelly: a loop over steps in Python (its multi-step mode takes longer here), gradients by a surrogate.

Its potential has no factor 1 - decay of the current, so weights have it; the read-out is the potential of neurons whose
threshold is out of reach.
"""

from __future__ import annotations

from importlib.metadata import version

import by_torch
import torch
import work
from spikingjelly.activation_based import functional, layer, neuron, surrogate


def shd(data: work.Data) -> object:
    alpha, beta = work.decays(data)
    w, v, u = (torch.tensor((1.0 - beta) * data[n].T) for n in ("in_to_hid", "hid_to_hid", "hid_to_out"))
    feed, read = layer.Linear(*w.T.shape, bias=False), layer.Linear(*u.T.shape, bias=False)
    cell = neuron.CUBALIFNode(alpha, beta, v_threshold=1.0, surrogate_function=surrogate.ATan())
    hidden = layer.LinearRecurrentContainer(cell, len(v), len(v), bias=False)
    feed.weight.data, read.weight.data = w, u
    hidden.rc.weight.data = torch.cat([torch.eye(len(v)), v], dim=1)
    out = neuron.CUBALIFNode(alpha, beta, v_threshold=1e9, surrogate_function=surrogate.ATan())
    net = torch.nn.Sequential(feed, hidden, read, out)
    x = torch.tensor(work.dense(data))

    def forward(steps: int | None) -> by_torch.Scores:
        functional.reset_net(net)
        summed, counted = 0.0, 0.0
        for now in x[:steps]:
            spikes = hidden(feed(now))
            out(read(spikes))
            summed, counted = summed + out.v, counted + spikes.detach()
        return summed / len(x), counted.mean()

    return by_torch.training(net.parameters(), data, forward)


if __name__ == "__main__":
    work.main(version("spikingjelly"), SHD=shd)
