"""spyx: a compiled scan over steps, gradients by a surrogate. Its potential has no factor 1 - beta of the current, so
weights have it; its read-out has no current of its own."""

from __future__ import annotations

from importlib.metadata import version

import jax.numpy as jnp
import optax
import spyx.nn as snn
import work
from flax import nnx
from spyx.optimize import make_train_step


def shd(data: work.Data) -> object:
    alpha, beta = work.decays(data)
    neurons, outputs = data["hid_to_out"].shape
    rngs = nnx.Rngs(0)
    net = snn.Sequential(
        nnx.Linear(len(data["in_to_hid"]), neurons, use_bias=False, rngs=rngs),
        snn.RCuBaLIF((neurons,), alpha, beta, rngs=rngs),
        nnx.Linear(neurons, outputs, use_bias=False, rngs=rngs),
        snn.LI((outputs,), beta, rngs=rngs),
    )
    feed, hidden, read, _ = net.layers
    feed.kernel[...] = jnp.asarray((1.0 - beta) * data["in_to_hid"])
    hidden.recurrent_w[...] = jnp.asarray((1.0 - beta) * data["hid_to_hid"])
    read.kernel[...] = jnp.asarray((1.0 - beta) * data["hid_to_out"] / (1.0 - alpha))
    optimizer = nnx.Optimizer(net, optax.adam(work.RATE), wrt=nnx.Param)
    x, labels = jnp.asarray(work.dense(data)), jnp.asarray(data["labels"])

    def loss_of(model: snn.Sequential, x: jnp.ndarray, labels: jnp.ndarray) -> jnp.ndarray:
        voltages, _ = snn.run(model, x)
        return optax.softmax_cross_entropy_with_integer_labels(voltages.mean(0), labels).mean()

    train = make_train_step(loss_of)
    spikes, _ = snn.run(snn.Sequential(*net.layers[:2]), x[:, :8])
    counted = spikes.sum(0).mean()
    return lambda: (train(net, optimizer, x, labels), counted)


if __name__ == "__main__":
    work.main(version("spyx"), SHD=shd)
