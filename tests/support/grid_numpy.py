"""Plain NumPy version of Eventprop on a time grid, for one sample, independent of the package.

With alpha = exp(-h/tau_mem), beta = exp(-h/tau_syn), gamma = exp(-h/tau_b), kappa = tau_syn (alpha - beta)/(tau_mem -
tau_syn) and kappa_back = kappa tau_mem/tau_syn, forward step k = 0, ..., K-1 of every layer:

    I_k = beta I_{k-1} + sum of w over the source spikes stamped k-1 (feed-forward and recurrent alike), I_{-1} = 0
    read-out of V_k
    V_{k+1} = alpha V_k + kappa I_k (+ noise),    B_{k+1} = gamma B_k
    spike stamped k if V_{k+1} >= v_thresh + B_{k+1} and k < K-1: record D = I_k - V_{k+1} + B_{k+1} tau_mem/tau_b and
    B_spike = B_{k+1}, then V_{k+1} := v_reset, B_{k+1} += b_incr

LIF neurons have B = 0 throughout. Spikes stamped K-1, inputs included, are suppressed. A spike stamped k happens at
physical time (k+1) h. A dropped spike resets its neuron, but is neither delivered nor counted.

The adjoints are 0 at index K (but for the phantom); for m = K-1, ..., 0, with m the index of physical time m h:

    time constants collect, by the chain rule through step m, with the adjoints at its end (dL/dV = -tau_mem lambda_v)
    lambda_i <- beta lambda_i + kappa_back lambda_v;    lambda_v <- alpha lambda_v;    lambda_b <- gamma lambda_b
    non-spiking outputs:  lambda_v += impulse_m, the derivative of minus the loss by V_m, over tau_mem
    spikes stamped m:     Q = (v_thresh + B_spike - v_reset - B_spike tau_mem/tau_b) lambda_v - b_incr lambda_b + R
                          lambda_v += Q / max(D, min_denominator);    lambda_b -= tau_mem/tau_b lambda_v
                          lambda_v -= regularisation
    sources stamped m-1:  dw -= tau_syn lambda_i,    their R = sum over targets of w (lambda_v - lambda_i)

A synapse with a delay of d steps brings a spike stamped k to its target in step m = k + 1 + d: R and dw take the
adjoints there, and dL/dd += w (lambda_v - lambda_i), per ms. What would arrive in step K or later is lost.

No layer acts on an earlier one within a trial, so each is simulated, and taken back, for the whole trial at a time.
The impulse is the discrete transpose of the forward score, so read-out gradients are exact derivatives. The jump of a
spike comes one step after its error R was sampled, which is the order of the reference implementation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.support.grid_forward import (
    SPIKING_LOSSES,
    Delays,
    Dropped,
    Gradients,
    GridForward,
    GridResult,
    Regularisation,
    Spikes,
    Told,
    Trace,
    _coefficients,
    _penalty,
    forward,
    kappa_slopes,
    sample_loss,
    wanted,
)
from tests.support.oracle import Array, Layer, Network, softmax


def _error(scores: Array, label: int) -> Array:
    """(output,) one-hot label minus softmax: minus the derivative of the cross-entropy by the scores."""
    return np.eye(len(scores))[label] - softmax(scores)


def _impulses(record: GridForward, told: Told, loss: str, tau_mem: Array) -> Array:
    """(step, output) what lambda_v of a non-spiking output gains at the start of each step, unscaled."""
    v = record.layers["output"].v.astype(np.float64)
    targets, outputs, counted = wanted(told, loss, *v.shape), v.shape[1], record.counted
    impulses, n = np.zeros_like(v), len(v[counted])
    if loss == "max":
        impulses[_at_maximum(record), np.arange(outputs)] = _error(record.scores, int(told))
        return impulses / tau_mem
    if loss == "avg_xentropy":
        impulses[counted] = (targets - softmax(v))[counted]
    elif loss == "mse_steps":
        impulses[counted] = (targets - v)[counted] * 2 / outputs
    else:
        error = 2 / outputs * (targets[0] - record.scores) if loss == "mse" else targets[0] - softmax(record.scores)
        impulses[counted] = np.outer(record.weights, error)[counted]
    return impulses / (n * tau_mem)


def _at_maximum(record: GridForward) -> NDArray[np.int64]:
    """(output,) step of the largest V of those that count."""
    counted = record.counted
    return counted.start + record.layers["output"].v[counted].argmax(axis=0)


def _cusp_errors(
    c: SimpleNamespace, record: GridForward, fired: NDArray[np.bool_], error: Array, delay: NDArray[Any] | None
) -> tuple[Array, Array]:
    """(step, hidden) derivative of the loss "max" by the times of the hidden spikes that end a rise of an output's V,
    and (hidden, output) that by the delays of the synapses that they come through.

    Where such a spike arrives at the maximum, the maximum moves with it. Spikes that arrive together share the term in
    proportion to their (negative) weights. What they got of the impulse at this maximum is taken back: it comes before
    them and so is none of their business.
    """
    errors, by_delay, output = np.zeros(fired.shape), np.zeros(c.w.shape), record.layers["output"]
    for j, m in enumerate(_at_maximum(record)):
        left = np.full(len(c.w), m - 1) - (0 if delay is None else delay[:, j])  # when what arrives in step m was sent
        came = (left >= 0) & fired[left, np.arange(len(c.w))]
        if m == 0 or not came.any():
            continue
        rise = (c.beta[j] * output.i[m - 1, j] - output.v[m, j]) / c.tau_mem[j]
        inhibition = np.where(came, np.minimum(c.w[:, j], 0.0), 0.0)
        if rise > 0 and output.i[m, j] < output.v[m, j] and inhibition.any():
            by_delay[:, j] -= error[j] * rise * inhibition / inhibition.sum()
            by_delay[:, j] -= np.where(came, c.w[:, j], 0.0) * error[j] / c.tau_mem[j]
            errors[left[came], came] += by_delay[came, j]
    return errors, by_delay


def _first_spike_errors(
    record: GridForward, label: int, loss: str, parameters: Mapping[str, float], trial_ms: float, scale: float
) -> Array:
    """(step, output) R of the first spike of each output; `scale` multiplies the cross-entropy's part."""
    fired = record.fired["output"]
    errors = np.zeros(fired.shape)
    slope = scale * _error(record.scores, label) / parameters["tau_0"]
    if fired[:, label].any():
        slope[label] += _penalty(loss, parameters, record.first_ms[label], trial_ms)[1]
    for j in np.flatnonzero(fired.any(axis=0)):
        errors[fired[:, j].argmax(), j] = slope[j]
    return errors


@dataclass(frozen=True)
class _Drive:
    """What enters the adjoints of one layer, all divided by the batch; shapes (step, neuron), last two (neuron,).

    Attributes:
        impulses: added to lambda_v at each step.
        errors: R of the spike stamped with the step.
        phantom: lambda_v at the end of the trial.
        regularisation: what lambda_v loses at each emitted spike.
    """

    impulses: Array
    errors: Array
    phantom: Array
    regularisation: Array


def _at_arrival(values: Array, k: int, delay: NDArray[Any]) -> Array:
    """(source, neuron) rows of `values` (step + 1, neuron) in which spikes stamped k arrive; 0 where these are lost."""
    late = k + 1 + delay
    return np.where(late < len(values) - 1, values[np.minimum(late, len(values) - 1), np.arange(delay.shape[1])], 0.0)


def _adjoints(
    c: SimpleNamespace, trace: Trace, drive: _Drive, min_denominator: float | None, delay: NDArray[Any] | None
) -> tuple[Array, Array, Array]:
    """(step + 1, neuron) lambda_v, lambda_i and lambda_b of a layer, at index m after the jumps there."""
    steps, dtype = len(trace.v), c.zeros.dtype
    divisor = trace.denominator if min_denominator is None else np.maximum(trace.denominator, min_denominator)
    divisor = divisor.astype(dtype)
    errors, impulses = drive.errors.astype(dtype), drive.impulses.astype(dtype)
    regularisation = drive.regularisation.astype(dtype)
    lambda_v, lambda_i, lambda_b = (np.zeros((steps + 1, len(c.zeros)), dtype) for _ in range(3))
    lambda_v[steps] = drive.phantom
    height = c.v_thresh + trace.b_spike - c.v_reset - trace.b_spike * c.mem_to_b
    spikes = [np.flatnonzero(row) if row.any() else [] for row in trace.fired | trace.dropped]
    for m in range(steps - 1, -1, -1):
        lambda_i[m] = c.beta * lambda_i[m + 1] + c.kappa_back * lambda_v[m + 1]
        lambda_v[m] = c.alpha * lambda_v[m + 1] + impulses[m]
        lambda_b[m] = c.gamma * lambda_b[m + 1]
        if delay is not None and trace.fired[m].any():  # of recurrent synapses
            errors[m] += (c.w_rec * _at_arrival(lambda_v - lambda_i, m, delay)).sum(axis=1)
        for n in spikes[m]:
            q = height[m, n] * lambda_v[m, n] - c.b_incr * lambda_b[m, n]
            if trace.fired[m, n]:
                q += errors[m, n]
            lambda_v[m, n] += q / divisor[m, n]
            lambda_b[m, n] -= c.mem_to_b[n] * lambda_v[m, n]
            if trace.fired[m, n]:
                lambda_v[m, n] -= regularisation[n]
        if delay is None and c.w_rec is not None and m > 0:
            errors[m - 1] += c.w_rec @ (lambda_v[m] - lambda_i[m])
    return lambda_v, lambda_i, lambda_b


def _weight_gradient(
    c: SimpleNamespace, source: NDArray[Any], lambda_i: Array, delay: NDArray[Any] | None = None
) -> Array:
    """(source, neuron) minus tau_syn lambda_i at the arrivals, one step after the stamps where there is no delay."""
    steps = len(source)
    if delay is not None:
        return -_collected(source, c.tau_syn * lambda_i, delay)
    return -source[:-1].T.astype(np.float64) @ (c.tau_syn * lambda_i[1:steps]).astype(np.float64)


def _collected(source: NDArray[Any], values: Array, delay: NDArray[Any]) -> Array:
    """(source, neuron) sum of `values` (step + 1, neuron) over the arrivals of (step, source) spikes."""
    collected = np.zeros(delay.shape)
    for k in np.flatnonzero(source.any(axis=1)):
        collected += source[k][:, None] * _at_arrival(values, k, delay)
    return collected


def _synapses(
    c: SimpleNamespace, source: NDArray[Any], fired: NDArray[Any], adjoints: tuple[Array, ...], delay: Mapping[str, Any]
) -> dict[str, Array]:
    """(source, neuron) derivative by the weights into a layer that fired, "w" and "w_rec", and by those that are there
    of its delays, "delay of w" and "delay of w_rec" (1 / ms)."""
    lambda_v, lambda_i, _ = adjoints
    sources, gradients = {"w": source} | ({} if c.w_rec is None else {"w_rec": fired}), {}
    for name, spikes in sources.items():
        gradients[name] = _weight_gradient(c, spikes, lambda_i, delay.get(name))
        if name in delay:
            sent = _collected(spikes, lambda_v - lambda_i, delay[name])
            gradients[f"delay of {name}"] = getattr(c, name) * sent
    return gradients


def _errors(c: SimpleNamespace, fired: NDArray[Any], adjoints: tuple[Array, ...], delay: NDArray[Any] | None) -> Array:
    """(step, source) what a layer sends back to the spikes of the one below, by their stamps."""
    lambda_v, lambda_i, _ = adjoints
    errors = np.zeros(fired.shape)
    if delay is None:
        errors[:-1] = (lambda_v - lambda_i)[1:-1] @ c.w.T
        return errors
    for k in np.flatnonzero(fired.any(axis=1)):
        errors[k] = (c.w * _at_arrival(lambda_v - lambda_i, k, delay)).sum(axis=1)
    return errors


def _tau_gradients(layer: Layer, trace: Trace, dt_ms: float, adjoints: tuple[Array, Array, Array]) -> dict[str, Array]:
    """(neuron,) derivative by each time constant: that of each step's map, times dL/dstate at the end of the step."""
    tau_mem, tau_syn, tau_b = layer.tau_mem, layer.tau_syn, layer.tau_b
    by_v, by_i, lambda_b = (values[1:].astype(np.float64) for values in adjoints)
    by_v, by_i = -tau_mem * by_v, -tau_syn * by_i  # (step, neuron)
    kappa_by_tau_mem, kappa_by_tau_syn = kappa_slopes(dt_ms, tau_mem, tau_syn)
    alpha_by_tau_mem = np.exp(-dt_ms / tau_mem) * dt_ms / tau_mem**2
    beta_by_tau_syn = np.exp(-dt_ms / tau_syn) * dt_ms / tau_syn**2
    gradients = {
        "tau_mem": (by_v * (alpha_by_tau_mem * trace.v + kappa_by_tau_mem * trace.i)).sum(axis=0),
        "tau_syn": ((by_v * kappa_by_tau_syn + by_i * beta_by_tau_syn) * trace.i).sum(axis=0),
    }
    if tau_b is not None:
        gamma_by_tau_b = np.exp(-dt_ms / tau_b) * dt_ms / tau_b**2
        gradients["tau_b"] = (-tau_b * lambda_b * gamma_by_tau_b * trace.b).sum(axis=0)
    return gradients


def _output_drive(
    network: Network,
    record: GridForward,
    label: Told,
    loss: str,
    parameters: Mapping[str, float],
    batch: int,
    scale: float,
) -> _Drive:
    """What the loss gives to the adjoints of the outputs; `scale` multiplies the error."""
    output = record.layers["output"]
    impulses, errors, phantom = np.zeros(output.v.shape), np.zeros(output.v.shape), np.zeros(output.v.shape[1])
    if loss in SPIKING_LOSSES:
        label = int(label)
        errors = _first_spike_errors(record, label, loss, parameters, network.trial_ms, scale)
        if not output.fired[:, label].any():
            phantom[label] = _penalty(loss, parameters, network.trial_ms, network.trial_ms)[1]
    else:
        impulses = scale * _impulses(record, label, loss, network.output.tau_mem)
    return _Drive(impulses / batch, errors / batch, phantom / batch, np.zeros(len(phantom)))


def _hidden_drive(
    number: int, record: GridForward, errors: Array, regularisation: Regularisation | None, batch: int
) -> _Drive:
    """What enters the adjoints of a hidden layer, given the errors that its targets sent."""
    reg = regularisation or Regularisation()
    counts = record.counts[f"hidden{number}"] if reg.counts is None else np.asarray(reg.counts[number], np.float64)
    return _Drive(np.zeros(errors.shape), errors, np.zeros(errors.shape[1]), reg.jump(counts, number) / batch)


def backward(
    network: Network,
    record: GridForward,
    label: Told,
    dt_ms: float,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
    *,
    batch: int = 1,
    drive_scale: float = 1.0,
    min_denominator: float | None = None,
    regularisation: Regularisation | None = None,
    dtype: DTypeLike = np.float64,
) -> Gradients:
    """Run the backward pass of one sample.

    Args:
        network, dt_ms, loss, parameters, dtype: as in `forward`.
        record: what `forward` returned.
        label: class of the sample, or what else its outputs are compared with.
        batch: number of samples over which the loss is averaged.
        drive_scale: factor on the error (one-hot label minus softmax), penalty and regularisation excepted.
        min_denominator: lower bound of the recorded denominator in the jump, None for no bound.
        regularisation: spike count regularisation of the hidden layers, None for none.

    Returns:
        By population, this sample's part of dL/dw, and of that by delays that are there, of shape (source, neuron), and
        of dL/dtau, of shape (neuron,).
    """
    parameters = parameters or {}
    drive = _output_drive(network, record, label, loss, parameters, batch, drive_scale)
    gradients: Gradients = {}
    for number in range(len(network.hidden), -1, -1):
        hidden = number < len(network.hidden)
        name, layer = (f"hidden{number}", network.hidden[number]) if hidden else ("output", network.output)
        source = record.inputs if number == 0 else record.fired[f"hidden{number - 1}"]
        c, trace = _coefficients(layer, dt_ms, dtype), record.layers[name]
        delay = record.delays.get(name, {})
        adjoints = _adjoints(c, trace, drive, min_denominator, delay.get("w_rec"))
        gradients[name] = _synapses(c, source, trace.fired, adjoints, delay)
        gradients[name] |= _tau_gradients(layer, trace, dt_ms, adjoints)
        if number == 0:
            break
        errors = _errors(c, source, adjoints, delay.get("w"))
        if name == "output" and loss == "max":
            error = drive_scale / batch * _error(record.scores, int(label))
            at_cusps, by_delay = _cusp_errors(c, record, source, error, delay.get("w"))
            errors += at_cusps
            if "w" in delay:
                gradients[name]["delay of w"] += by_delay
        drive = _hidden_drive(number - 1, record, errors, regularisation, batch)
    return gradients


def run(
    network: Network,
    stamps: Spikes,
    label: Told,
    dt_ms: float,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
    *,
    noise: Sequence[Array] | None = None,
    dropped: Dropped | None = None,
    delay_steps: int = 0,
    copies: int = 1,
    delays: Delays | None = None,
    dtype: DTypeLike = np.float64,
    **options: Any,
) -> GridResult:
    """Forward and backward pass of one sample; arguments as in `forward`, options as in `backward`."""
    line: dict[str, Any] = {"delay_steps": delay_steps, "copies": copies, "delays": delays}
    record = forward(network, stamps, dt_ms, loss, parameters, noise=noise, dropped=dropped, dtype=dtype, **line)
    gradients = backward(network, record, label, dt_ms, loss, parameters, dtype=dtype, **options)
    return GridResult(sample_loss(record, label, network.trial_ms, loss, parameters), gradients, record)
