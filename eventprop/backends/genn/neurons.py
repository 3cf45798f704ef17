"""GeNN neuron models from the declarations in :mod:`models`.

All neurons run the forward dynamics of one batch and the backward dynamics of the same or of the one before, in the
``num_steps`` steps of a trial; the host says which of both (``forward``, ``backward``). In step k of a trial, counted
from 0 in each, the backward part takes the adjoints from the end of step m = num_steps - 1 - k to its start.

A spike of step j is kept in a ring, with the values that its jump needs, and replayed in descending order: in step
k = num_steps - 2 - j an event is announced (``back_spike``), GeNN's synapses carry it while they sample their targets'
adjoints, and in the next step R has arrived and the adjoint jumps. Steps are whole numbers; no time is compared. A
neuron whose spike was dropped has no event, only the jump. Nobody spikes in the last step.

The current is part of the neuron (``I``; GeNN's own ``Isyn`` is what arrives in a step), since all synapses onto a
population share its time constant.
"""

from __future__ import annotations

from eventprop.backends.genn.builder import CLOCK, Layout, Neurons
from eventprop.backends.genn.read_out import ReadOut
from eventprop.backends.genn.spiking import Hidden, SpikingOutput
from eventprop.network import Network, Population

__all__ = ["input_neurons", "neurons"]


def _learns(network: Network) -> bool:
    """Whether anything of the network is trained."""
    synapses = any(p.trained or (p.delay and p.delay.trained) for p in network.projections)
    return synapses or any(q.trained for q in network.populations)


def input_neurons(network: Network, layout: Layout) -> Neurons:
    """The input, which shows what the host has written to ``raster``: a bit for each channel, step and sample."""
    words = -(-network.num_input // 32)
    code = """
    const int channel = id % num_channels;
    const int shift = (id / num_channels) * delay_steps;
    spike = 0;
    if (forward && batch < num_samples && k >= shift && k < num_steps - 1) {
        const int row = (half * num_batch + batch) * num_steps + k - shift;
        spike = (raster[row * words + channel / 32] & (1U << (channel % 32))) != 0U ? 1 : 0;
    }
    back_spike = 0;
    if (backward && batch < num_back && m - 1 >= shift) {
        const int row = (half_back * num_batch + batch) * num_steps + m - 1 - shift;
        back_spike = (raster[row * words + channel / 32] & (1U << (channel % 32))) != 0U ? 1 : 0;
    }
    """
    sizes = {"num_steps": network.num_steps, "num_channels": network.num_input, "words": words}
    sizes["delay_steps"] = network.delay_steps
    return Neurons(
        name="input",
        size=network.num_input * network.copies,
        sim_code=CLOCK + code,
        threshold="spike",
        sizes=sizes,
        variables=dict.fromkeys(("spike", "back_spike"), ("uint8_t", "READ_WRITE", 0)),
        arrays={
            "raster": ("uint32_t", layout.halves * layout.batch * network.num_steps * words),
            # What the custom updates of the group "Check" mark; GeNN has no array that nothing uses.
            **({"large": ("uint32_t", 1)} if _learns(network) else {}),
        },
    )


def neurons(network: Network, population: Population, layout: Layout) -> Neurons:
    """A hidden population or the output."""
    if population.name != "output":
        return Hidden(network, population, layout).neurons()
    made = SpikingOutput if network.loss.spiking else ReadOut
    return made(network, population, layout).neurons()
