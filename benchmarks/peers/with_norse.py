"""Norse: a loop over steps in Python, gradients by a surrogate."""

from __future__ import annotations

from importlib.metadata import version

import by_torch
import norse.torch as norse
import torch
import work


def shd(data: work.Data) -> object:
    w, v, u = (torch.nn.Parameter(torch.tensor(data[n].T)) for n in ("in_to_hid", "hid_to_hid", "hid_to_out"))
    rates = {f"{n}_inv": torch.tensor(1e3 / data[n], dtype=torch.float32) for n in ("tau_syn", "tau_mem")}
    hidden = norse.LIFRecurrentCell(
        w.shape[1], w.shape[0], norse.LIFParameters(**rates), input_weights=w, recurrent_weights=v, autapses=True
    )
    out = norse.LILinearCell(u.shape[1], u.shape[0], norse.LIParameters(**rates))
    out.input_weights = u
    x = torch.tensor(work.dense(data))

    def forward(steps: int | None) -> by_torch.Scores:
        state = state_out = None
        summed, counted = 0.0, 0.0
        for now in x[:steps]:
            spikes, state = hidden(now, state)
            voltage, state_out = out(spikes, state_out)
            summed, counted = summed + voltage, counted + spikes.detach()
        return summed / len(x), counted.mean()

    return by_torch.training([w, v, u], data, forward)


if __name__ == "__main__":
    work.main(version("norse"), SHD=shd)
