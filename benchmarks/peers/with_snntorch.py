"""snnTorch: a loop over steps in Python, gradients by a surrogate. Its potential has no factor 1 - beta of the current,
so weights have it."""

from __future__ import annotations

from importlib.metadata import version

import by_torch
import snntorch
import torch
import work


class Net(torch.nn.Module):
    def __init__(self, data: work.Data) -> None:
        super().__init__()
        alpha, beta = work.decays(data)
        w, v, u = (torch.tensor((1.0 - beta) * data[n].T) for n in ("in_to_hid", "hid_to_hid", "hid_to_out"))
        self.feed, self.read = torch.nn.Linear(*w.T.shape, bias=False), torch.nn.Linear(*u.T.shape, bias=False)
        self.hidden = snntorch.RSynaptic(alpha, beta, linear_features=len(w), reset_mechanism="zero")
        self.out = snntorch.Synaptic(alpha, beta, reset_mechanism="none")
        self.feed.weight.data, self.read.weight.data, self.hidden.recurrent.weight.data = w, u, v
        self.hidden.recurrent.bias = None

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, current, potential = self.hidden.reset_mem()
        current_out, out = self.out.reset_mem()
        summed, counted = 0.0, 0.0
        for now in x:
            spikes, current, potential = self.hidden(self.feed(now), spikes, current, potential)
            _, current_out, out = self.out(self.read(spikes), current_out, out)
            summed, counted = summed + out, counted + spikes.detach()
        return summed / len(x), counted.mean()


def shd(data: work.Data) -> object:
    net, x = Net(data), torch.tensor(work.dense(data))
    return by_torch.training(net.parameters(), data, lambda steps: net(x[:steps]))


if __name__ == "__main__":
    work.main(version("snntorch"), SHD=shd)
