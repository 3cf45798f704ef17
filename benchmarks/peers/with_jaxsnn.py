"""jaxsnn: events in continuous time by the closed form that there is where tau_mem = 2 tau_syn; gradients by Eventprop.

A layer handles a fixed number of events; it is told how many there are.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import work
from jaxsnn.event.loss import first_spike
from jaxsnn.event.modules import LIF, Linear, Source
from jaxsnn.event.modules.lif.lif import LIFParameters
from jaxsnn.event.topology import Topology
from jaxsnn.event.types import Spike


def network(data: work.Data) -> tuple[dict[str, Any], Any]:
    """The weights, and what turns them and spikes of the input into the mean loss."""
    hidden, outputs = data["hid_to_out"].shape
    parameters = LIFParameters(
        tau_syn=float(data["tau_syn"]), tau_mem=float(data["tau_mem"]), v_th=1.0, v_leak=0.0, v_reset=0.0
    )
    topology = Topology(t_max=float(data["trial"]), backprop_method="eventprop")
    topology.add(
        {
            "input": Source(len(data["in_to_hid"])),
            "hidden": LIF(hidden, int(data["hidden_events"]), parameters),
            "output": LIF(outputs, int(data["events"]), parameters),
            **{name: Linear(pre_weights=jnp.asarray(data[name])) for name in CONNECTIONS if name in data},
        }
    )
    for name, (source, target) in CONNECTIONS.items():
        if name in data:
            topology.connect([(source, name), (name, target)])
    init, apply = topology.done()

    def loss_of(weights: dict[str, Any], inputs: Spike, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        trial, events = float(data["trial"]), apply({"input": inputs}, weights)
        first = jax.vmap(first_spike, in_axes=(0, None))(events["output"], outputs)
        first = jnp.where(first < trial, first, trial + 1.0)
        right = jnp.minimum(jnp.take_along_axis(first, labels[:, None], 1)[:, 0], trial)
        entropy = optax.softmax_cross_entropy_with_integer_labels(-first / float(data["tau_0"]), labels)
        spikes = (events["hidden"].internal & jnp.isfinite(events["hidden"].time)).sum(1).mean() / hidden
        return (entropy + float(data["alpha"]) / (1.01 * trial - right)).mean(), spikes

    return init(jax.random.PRNGKey(0)), loss_of


CONNECTIONS = {
    "in_to_hid": ("input", "hidden"),
    "hid_to_hid0": ("hidden", "hidden"),
    "hid_to_out": ("hidden", "output"),
}


def inputs(data: work.Data) -> Spike:
    order = np.argsort(data["times"], axis=1)
    zeros = jnp.zeros(order.shape)
    times = jnp.asarray(np.take_along_axis(data["times"], order, 1), zeros.dtype)
    return Spike(times, jnp.asarray(order), zeros, zeros.astype(int), zeros == 0.0)


def first_spikes(data: work.Data) -> Any:
    weights, loss_of = network(data)
    spikes, labels = inputs(data), jnp.asarray(data["labels"])
    adam = optax.adam(work.RATE)
    state = adam.init(weights)

    @jax.jit
    def train(weights: Any, state: Any, spikes: Spike, labels: jax.Array) -> tuple[Any, Any, jax.Array, jax.Array]:
        (loss, counted), gradient = jax.value_and_grad(loss_of, has_aux=True)(weights, spikes, labels)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(weights, updates), state, loss, counted

    def step() -> tuple[jax.Array, jax.Array]:
        nonlocal weights, state
        weights, state, loss, counted = train(weights, state, spikes, labels)
        return loss, counted

    return step


def gradients(data: work.Data) -> dict[str, np.ndarray]:
    weights, loss_of = network(data)
    (loss, _), found = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(
        weights, inputs(data), jnp.asarray(data["labels"])
    )
    return {"loss": np.asarray(loss), **{name: np.asarray(found[name]) for name in CONNECTIONS if name in data}}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", '"gradients"' in sys.argv[1])
    work.main(version("jaxsnn"), **{"first spikes": first_spikes, "gradients": gradients})
