"""eventax: events in continuous time, found and integrated by diffrax's solvers; gradients by its Eventprop adjoint.

Steps are timed with its default solver and root finder (Euler, in steps of 0.1 ms), and "precise": with Tsit5 in steps
of 1 ms, whose loss is right to five digits. Gradients are compared in double precision with tight tolerances.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import work
from eventax.adjoint import EventPropAdjoint
from eventax.evnn import EvNN
from eventax.neuron_models import LIF

WAYS = {
    "default": (diffrax.Euler(), 0.1, None, None),
    "precise": (diffrax.Tsit5(), 1.0, None, None),
    "tight": (diffrax.Tsit5(), 0.01, diffrax.PIDController(rtol=1e-10, atol=1e-10), 1e-10),
}
"""Solver, step (ms), control of the step, and how near the threshold a spike is found."""


def network(data: work.Data, way: str) -> EvNN:
    solver, step, controller, near = WAYS[way]
    hidden, outputs = data["hid_to_out"].shape
    n, inputs = hidden + outputs, len(data["in_to_hid"])
    weights, mask = np.zeros((n + inputs, n)), np.zeros((n + inputs, n))
    for name, rows, columns in (
        ("hid_to_hid0", slice(0, hidden), slice(0, hidden)),
        ("hid_to_out", slice(0, hidden), slice(hidden, n)),
        ("in_to_hid", slice(n, None), slice(0, hidden)),
    ):
        if name in data:
            weights[rows, columns], mask[rows, columns] = data[name], 1.0
    controller = controller or diffrax.ConstantStepSize()
    is_hidden = np.arange(n) < hidden
    return EvNN(
        LIF,
        n,
        max_solver_time=float(data["trial"]),
        in_size=inputs,
        key=jax.random.PRNGKey(0),
        wmask=jnp.asarray(mask),
        output_neurons=jnp.asarray(~is_hidden),
        input_neurons=jnp.asarray(is_hidden),
        max_event_steps=int(data["events"]),
        solver_stepsize=step,
        root_finder=None if near is None else optimistix.Newton(near, near, optimistix.rms_norm),
        stepsize_controller=controller,
        solver=solver,
        adjoint=EventPropAdjoint(solver=solver, stepsize_controller=controller),
        dtype=jnp.float64 if near else jnp.float32,
        thresh=1.0,
        tsyn=float(data["tau_syn"]),
        tmem=float(data["tau_mem"]),
        init_weights=jnp.asarray(weights),
        init_bias=0.0,
    )


def loss_with(data: work.Data) -> Callable[[EvNN, jax.Array, jax.Array], jax.Array]:
    trial, tau_0, alpha = (float(data[name]) for name in ("trial", "tau_0", "alpha"))

    def loss_of(net: EvNN, times: jax.Array, labels: jax.Array) -> jax.Array:
        first = jax.vmap(net.ttfs)(times[:, :, None])
        first = jnp.where(jnp.isfinite(first), first, trial + 1.0)
        right = jnp.minimum(jnp.take_along_axis(first, labels[:, None], 1)[:, 0], trial)
        entropy = optax.softmax_cross_entropy_with_integer_labels(-first / tau_0, labels)
        return (entropy + alpha / (1.01 * trial - right)).mean()

    return loss_of


def first_spikes(data: work.Data, way: str = "default") -> Any:
    net = network(data, way)
    times, labels = jnp.asarray(data["times"], jnp.float32), jnp.asarray(data["labels"])
    adam, loss_of = optax.adam(work.RATE), loss_with(data)
    state = adam.init(eqx.filter(net, eqx.is_inexact_array))

    @eqx.filter_jit
    def train(net: EvNN, state: Any, times: jax.Array, labels: jax.Array) -> tuple[EvNN, Any, jax.Array]:
        loss, gradient = eqx.filter_value_and_grad(loss_of)(net, times, labels)
        updates, state = adam.update(gradient, state)
        return eqx.apply_updates(net, updates), state, loss

    def step() -> tuple[jax.Array, float]:
        nonlocal net, state
        net, state, loss = train(net, state, times, labels)
        return loss, float("nan")

    return step


def gradients(data: work.Data) -> dict[str, np.ndarray]:
    net, hidden = network(data, "tight"), len(data["hid_to_out"])
    times, labels = jnp.asarray(data["times"]), jnp.asarray(data["labels"])
    loss, gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss_with(data)))(net, times, labels)
    found = np.asarray(gradient.neuron_model.weights)
    n = found.shape[1]
    every = {
        "in_to_hid": found[n:, :hidden],
        "hid_to_hid0": found[:hidden, :hidden],
        "hid_to_out": found[:hidden, hidden:],
    }
    return {"loss": np.asarray(loss), **{name: array for name, array in every.items() if name in data}}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", '"gradients"' in sys.argv[1])
    precise = partial(first_spikes, way="precise")
    tasks = {"first spikes": first_spikes, "first spikes, precise": precise, "gradients": gradients}
    work.main(version("eventax"), **tasks)
