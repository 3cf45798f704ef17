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

No layer acts on an earlier one within a trial, so each is simulated, and taken back, for the whole trial at a time.
The impulse is the discrete transpose of the forward score, so read-out gradients are exact derivatives. The jump of a
spike comes one step after its error R was sampled, which is the order of the reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.support.oracle import LOSS_WEIGHTS, Array, Layer, Network, cross_entropy, decay_difference, softmax

Spikes = Sequence[tuple[int, int]]
Dropped = Callable[[int, int, int], bool]
Gradients = dict[str, dict[str, Array]]

SPIKING_LOSSES = ("first_spike", "first_spike_exp")
VOLTAGE_LOSSES = (*LOSS_WEIGHTS, "sum_weigh_input", "avg_xentropy", "max")

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS  # for the interval [0, 1]


@dataclass(frozen=True)
class Regularisation:
    """Strengths and targets of the spike count regularisation, "simple" by default, "Thomas1" with a `glb_upper`.

    Args:
        lbd_upper, lbd_lower: strength for counts above the target, and for all others.
        nu_upper: target count of each hidden neuron.
        rho_upper: target count of a whole layer, above which `glb_upper` acts.
        glb_upper: strength of the term of the layer.
        counts: by hidden layer, (neuron,) counts to use in place of the sample's own, such as a mean over the batch.
    """

    lbd_upper: float = 0.0
    lbd_lower: float = 0.0
    nu_upper: float = 0.0
    rho_upper: float = np.inf
    glb_upper: float = 0.0
    counts: Sequence[Array] | None = None

    def jump(self, counts: Array) -> Array:
        """(neuron,) what lambda_v loses at each spike of a layer with these counts, for a batch of one."""
        excess = counts.sum() - self.rho_upper
        common = self.glb_upper * excess / len(counts) if excess > 0 else 0.0
        strength = np.where(counts > self.nu_upper, self.lbd_upper, self.lbd_lower)
        return common + strength * (counts - self.nu_upper)


@dataclass(frozen=True)
class Trace:
    """Forward pass of one layer; all arrays are (step, neuron).

    Attributes:
        v, i, b: V, I (with what has just arrived) and B at the start of each step.
        fired: emitted spikes, by stamp.
        dropped: spikes that reset their neuron but were not delivered.
        denominator: recorded D, NaN where there is no spike.
        b_spike: recorded B, NaN where there is no spike.
    """

    v: Array
    i: Array
    b: Array
    fired: NDArray[np.bool_]
    dropped: NDArray[np.bool_]
    denominator: Array
    b_spike: Array

    @classmethod
    def empty(cls, steps: int, neurons: int, dtype: DTypeLike) -> Trace:
        """A trace to be filled."""
        shape = (steps, neurons)
        v, i, b = (np.zeros(shape, dtype) for _ in range(3))
        fired, dropped = (np.zeros(shape, np.bool_) for _ in range(2))
        return cls(v, i, b, fired, dropped, np.full(shape, np.nan, dtype), np.full(shape, np.nan, dtype))


@dataclass(frozen=True)
class GridForward:
    """Forward pass of one sample.

    Attributes:
        layers: trace by population, "hidden0", "hidden1", ... and "output".
        inputs: (step, input) number of spikes per stamp, delayed copies included, the last step emptied.
        scores: (output,) whose softmax is the prediction.
        weights: (step,) factor with which the output's V counts.
        first_ms: (output,) time of the first spike of each output, inf for none.
        spiking: whether the outputs can spike.
    """

    layers: dict[str, Trace]
    inputs: NDArray[np.int64]
    scores: Array
    weights: Array
    first_ms: Array
    spiking: bool

    @property
    def fired(self) -> dict[str, NDArray[np.bool_]]:
        """(step, neuron) emitted spikes by population; the outputs' only if they can spike."""
        return {name: trace.fired for name, trace in self.layers.items() if name != "output" or self.spiking}

    @property
    def counts(self) -> dict[str, Array]:
        """(neuron,) emitted spikes by population."""
        return {name: fired.sum(axis=0).astype(np.float64) for name, fired in self.fired.items()}

    def spikes(self, population: str = "hidden0") -> list[tuple[int, int]]:
        """(stamp, neuron) pairs of the emitted spikes in order of time."""
        return [(int(k), int(n)) for k, n in np.argwhere(self.fired[population])]

    @property
    def min_denominator(self) -> float:
        """Smallest recorded |D| of all populations, inf without spikes."""
        recorded = [trace.denominator[trace.fired | trace.dropped] for trace in self.layers.values()]
        return float(np.abs(np.concatenate(recorded)).min(initial=np.inf))


@dataclass(frozen=True)
class GridResult:
    """Loss, gradients (by population and parameter: w, w_rec, tau_mem, tau_syn, tau_b) and forward pass."""

    loss: float
    gradients: Gradients
    forward: GridForward


def _coefficients(layer: Layer, dt_ms: float, dtype: DTypeLike) -> SimpleNamespace:
    """A layer at step h: its parameters and the constants of its map, rounded to the working precision."""
    neurons = np.shape(layer.w)[1]
    adapts = layer.tau_b is not None
    tau_mem, tau_syn = layer.tau_mem, layer.tau_syn
    tau_b = layer.tau_b if adapts else np.full(neurons, np.inf)
    slope = decay_difference(dt_ms, tau_mem, tau_syn)
    values = {"alpha": np.exp(-dt_ms / tau_mem), "beta": np.exp(-dt_ms / tau_syn), "gamma": np.exp(-dt_ms / tau_b)}
    values |= {"kappa": tau_syn * slope, "kappa_back": tau_mem * slope, "mem_to_b": tau_mem / tau_b}
    values |= {"tau_mem": tau_mem, "tau_syn": tau_syn, "w": layer.w, "zeros": np.zeros(neurons)}
    values |= {"v_thresh": layer.v_thresh, "v_reset": layer.v_reset}
    values |= {"b_incr": layer.b_incr if adapts else 0.0, "b_init": layer.b_init if adapts else 0.0}
    rounded = {name: np.asarray(value).astype(dtype) for name, value in values.items()}
    return SimpleNamespace(**rounded, w_rec=None if layer.w_rec is None else np.asarray(layer.w_rec).astype(dtype))


def kappa_slopes(dt_ms: float, tau_mem: Array, tau_syn: Array) -> tuple[Array, Array]:
    """Derivatives of kappa by tau_mem and by tau_syn, for any pair of time constants.

    From kappa = 1/tau_mem integral_0^h exp(-(h - s)/tau_mem) exp(-s/tau_syn) ds, by quadrature of the derivative of
    the integrand.
    """
    s = dt_ms * _NODES[:, None]  # (node, 1)
    rest = dt_ms - s
    weighted = dt_ms * _WEIGHTS[:, None] * np.exp(-rest / tau_mem - s / tau_syn) / tau_mem
    by_tau_mem = (weighted * (rest / tau_mem**2 - 1.0 / tau_mem)).sum(axis=0)
    return by_tau_mem, (weighted * s / tau_syn**2).sum(axis=0)


def input_spikes(stamps: Spikes, rows: int, steps: int, delay_steps: int = 0, copies: int = 1) -> NDArray[np.int64]:
    """(step, row) number of input spikes: copy i of the channels comes i delays later; the last step is silent."""
    channels = rows // copies
    if channels * copies != rows:
        raise ValueError(f"{rows} rows of input weights cannot be {copies} copies of the channels")
    inputs = np.zeros((steps, rows), dtype=np.int64)
    for step, channel in stamps:
        if not 0 <= step < steps:
            raise ValueError(f"input stamp {step} outside 0..{steps - 1}")
        if not 0 <= channel < channels:
            raise ValueError(f"input channel {channel} outside 0..{channels - 1}")
        for copy in range(copies):
            late = step + copy * delay_steps
            if late < steps - 1:
                inputs[late, copy * channels + channel] += 1
    return inputs


def _simulate(
    c: SimpleNamespace, source: NDArray[Any], noise: Array | None = None, drop: Callable[[int, int], bool] | None = None
) -> Trace:
    """Forward pass of one layer that is fed by (step, source) spikes."""
    steps, dtype = len(source), c.zeros.dtype
    trace = Trace.empty(steps, len(c.zeros), dtype)
    i, v, b = c.zeros, c.zeros + c.v_reset, c.zeros + c.b_init
    for k in range(steps):
        i = c.beta * i
        if k > 0:
            i = i + source[k - 1].astype(dtype) @ c.w
            if c.w_rec is not None:
                i = i + trace.fired[k - 1].astype(dtype) @ c.w_rec
        trace.i[k], trace.v[k], trace.b[k] = i, v, b
        v = c.alpha * v + c.kappa * i
        b = c.gamma * b
        if noise is not None:
            v = v + noise[k].astype(dtype)
        if k == steps - 1:
            break
        spikes = v >= c.v_thresh + b
        if not spikes.any():
            continue
        trace.denominator[k, spikes] = (i - v + b * c.mem_to_b)[spikes]
        trace.b_spike[k, spikes] = b[spikes]
        for n in np.flatnonzero(spikes):
            lost = drop is not None and drop(k, int(n))
            trace.dropped[k, n], trace.fired[k, n] = lost, not lost
        v, b = np.where(spikes, c.v_reset, v), np.where(spikes, b + c.b_incr, b)
    return trace


def traffic(inputs: NDArray[np.int64], dt_ms: float, tau_accumulator: float) -> Array:
    """(step,) the input's spikes, smoothed: at step k, with those stamped up to k-1."""
    values = np.zeros(len(inputs))
    for k in range(1, len(inputs)):
        arrived = 0.01 / tau_accumulator * inputs[k - 1].sum()
        values[k] = values[k - 1] * np.exp(-dt_ms / tau_accumulator) + arrived
    return values


def _step_weights(loss: str, parameters: Mapping[str, float], inputs: NDArray[np.int64], dt_ms: float) -> Array:
    """(step,) factor with which the output's V counts."""
    steps = len(inputs)
    if loss == "sum_weigh_input":
        return traffic(inputs, dt_ms, parameters["tau_accumulator"])
    return LOSS_WEIGHTS[loss if loss in LOSS_WEIGHTS else "sum"](np.arange(steps) / steps)


def first_spikes(fired: NDArray[np.bool_], dt_ms: float) -> Array:
    """(neuron,) time in ms of the first spike since the start of the trial, inf for none."""
    return np.where(fired.any(axis=0), (fired.argmax(axis=0) + 1) * dt_ms, np.inf)


def _scores(loss: str, trace: Trace, weights: Array, first_ms: Array, trial_ms: float, tau_0: float) -> Array:
    """(output,) scores."""
    if loss in SPIKING_LOSSES:
        return -np.where(np.isinf(first_ms), trial_ms + 1.0, first_ms) / tau_0
    v = trace.v.astype(np.float64)
    return v.max(axis=0) if loss == "max" else weights @ v / len(v)


def forward(
    network: Network,
    stamps: Spikes,
    dt_ms: float,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
    *,
    noise: Sequence[Array] | None = None,
    dropped: Dropped | None = None,
    delay_steps: int = 0,
    copies: int = 1,
    dtype: DTypeLike = np.float64,
) -> GridForward:
    """Run the forward pass of one sample.

    Args:
        network: the network; its trial lasts K = round(trial_ms/dt_ms) steps.
        stamps: (step, channel) pairs with 0 <= step < K; repeated pairs count twice.
        dt_ms: step h in ms.
        loss: a name of `VOLTAGE_LOSSES`, or of `SPIKING_LOSSES` if the outputs spike.
        parameters: what the loss needs of tau_accumulator, tau_0, tau_1 (ms) and alpha.
        noise: by hidden layer (number), (step, neuron) what is added to V after each update.
        dropped: of layer (number), step and neuron: whether a spike is lost to hidden dropout.
        delay_steps, copies: delay line; rows i*C to i*C + C - 1 of the first layer's w are copy i of the C channels.
        dtype: precision of state and coefficients.

    Raises:
        ValueError: a stamp or channel out of range, a loss unknown or unfit for the outputs.
    """
    spiking = bool(np.isfinite(network.output.v_thresh))
    if loss not in (SPIKING_LOSSES if spiking else VOLTAGE_LOSSES):
        raise ValueError(f"loss {loss} unknown, or not for these outputs")
    parameters = parameters or {}
    steps = round(network.trial_ms / dt_ms)
    inputs = input_spikes(stamps, len(network.hidden[0].w), steps, delay_steps, copies)
    layers: dict[str, Trace] = {}
    source: NDArray[Any] = inputs
    for number, layer in enumerate(network.hidden):
        own_noise, drop = None if noise is None else noise[number], dropped and partial(dropped, number)
        trace = _simulate(_coefficients(layer, dt_ms, dtype), source, own_noise, drop)
        layers[f"hidden{number}"], source = trace, trace.fired
    output = layers["output"] = _simulate(_coefficients(network.output, dt_ms, dtype), source)
    weights, first_ms = _step_weights(loss, parameters, inputs, dt_ms), first_spikes(output.fired, dt_ms)
    scores = _scores(loss, output, weights, first_ms, network.trial_ms, parameters.get("tau_0", np.nan))
    return GridForward(layers, inputs, scores, weights, first_ms, spiking)


def _penalty(loss: str, parameters: Mapping[str, float], t: float, trial_ms: float) -> tuple[float, float]:
    """What a late first spike of the label's output adds to the loss, and its derivative by t."""
    alpha = parameters["alpha"]
    if loss == "first_spike":
        rest = 1.01 * trial_ms - t
        return alpha / rest, alpha / rest**2
    tau_1 = parameters["tau_1"]
    return alpha * (np.exp(t / tau_1) - 1.0), alpha / tau_1 * np.exp(t / tau_1)


def sample_loss(
    record: GridForward, label: int, trial_ms: float, loss: str, parameters: Mapping[str, float] | None = None
) -> float:
    """Loss of one sample, not divided by the batch."""
    if loss == "avg_xentropy":
        return float(np.mean([cross_entropy(v, label) for v in record.layers["output"].v.astype(np.float64)]))
    value = cross_entropy(record.scores, label)
    if loss in SPIKING_LOSSES:
        value += _penalty(loss, parameters or {}, min(record.first_ms[label], trial_ms), trial_ms)[0]
    return float(value)


def _error(scores: Array, label: int) -> Array:
    """(output,) one-hot label minus softmax: minus the derivative of the cross-entropy by the scores."""
    return np.eye(len(scores))[label] - softmax(scores)


def _impulses(record: GridForward, label: int, loss: str, tau_mem: Array) -> Array:
    """(step, output) what lambda_v of a non-spiking output gains at the start of each step, unscaled."""
    v = record.layers["output"].v.astype(np.float64)
    steps, outputs = v.shape
    if loss == "max":
        impulses = np.zeros_like(v)
        impulses[v.argmax(axis=0), np.arange(outputs)] = _error(record.scores, label)
        return impulses / tau_mem
    if loss == "avg_xentropy":
        return np.array([_error(row, label) for row in v]) / (steps * tau_mem)
    return np.outer(record.weights, _error(record.scores, label)) / (steps * tau_mem)


def _cusp_errors(c: SimpleNamespace, output: Trace, fired: NDArray[np.bool_], error: Array) -> Array:
    """(step, hidden) derivative of the loss "max" by the times of the hidden spikes that end a rise of an output's V.

    Where such a spike arrives at the maximum, the maximum moves with it. Spikes that arrive together share the term in
    proportion to their (negative) weights. What they got of the impulse at this maximum is taken back: it comes before
    them and so is none of their business.
    """
    errors = np.zeros(fired.shape)
    for j, m in enumerate(output.v.argmax(axis=0)):
        if m == 0:
            continue
        rise = (c.beta[j] * output.i[m - 1, j] - output.v[m, j]) / c.tau_mem[j]
        inhibition = np.where(fired[m - 1], np.minimum(c.w[:, j], 0.0), 0.0)
        if rise > 0 and output.i[m, j] < output.v[m, j] and inhibition.any():
            errors[m - 1] -= error[j] * rise * inhibition / inhibition.sum()
            errors[m - 1] -= np.where(fired[m - 1], c.w[:, j], 0.0) * error[j] / c.tau_mem[j]
    return errors


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


def _adjoints(
    c: SimpleNamespace, trace: Trace, drive: _Drive, min_denominator: float | None
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
        for n in spikes[m]:
            q = height[m, n] * lambda_v[m, n] - c.b_incr * lambda_b[m, n]
            if trace.fired[m, n]:
                q += errors[m, n]
            lambda_v[m, n] += q / divisor[m, n]
            lambda_b[m, n] -= c.mem_to_b[n] * lambda_v[m, n]
            if trace.fired[m, n]:
                lambda_v[m, n] -= regularisation[n]
        if c.w_rec is not None and m > 0:
            errors[m - 1] += c.w_rec @ (lambda_v[m] - lambda_i[m])
    return lambda_v, lambda_i, lambda_b


def _weight_gradient(c: SimpleNamespace, source: NDArray[Any], lambda_i: Array) -> Array:
    """(source, neuron) minus tau_syn lambda_i at the arrivals, one step after the stamps."""
    steps = len(source)
    return -source[:-1].T.astype(np.float64) @ (c.tau_syn * lambda_i[1:steps]).astype(np.float64)


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
    label: int,
    loss: str,
    parameters: Mapping[str, float],
    batch: int,
    scale: float,
) -> _Drive:
    """What the loss gives to the adjoints of the outputs; `scale` multiplies the error."""
    output = record.layers["output"]
    impulses, errors, phantom = np.zeros(output.v.shape), np.zeros(output.v.shape), np.zeros(output.v.shape[1])
    if loss in SPIKING_LOSSES:
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
    return _Drive(np.zeros(errors.shape), errors, np.zeros(errors.shape[1]), reg.jump(counts) / batch)


def backward(
    network: Network,
    record: GridForward,
    label: int,
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
        label: class of the sample.
        batch: number of samples over which the loss is averaged.
        drive_scale: factor on the error (one-hot label minus softmax), penalty and regularisation excepted.
        min_denominator: lower bound of the recorded denominator in the jump, None for no bound.
        regularisation: spike count regularisation of the hidden layers, None for none.

    Returns:
        By population, this sample's part of dL/dw, of shape (source, neuron), and of dL/dtau, of shape (neuron,).
    """
    parameters = parameters or {}
    drive = _output_drive(network, record, label, loss, parameters, batch, drive_scale)
    gradients: Gradients = {}
    for number in range(len(network.hidden), -1, -1):
        hidden = number < len(network.hidden)
        name, layer = (f"hidden{number}", network.hidden[number]) if hidden else ("output", network.output)
        source = record.inputs if number == 0 else record.fired[f"hidden{number - 1}"]
        c, trace = _coefficients(layer, dt_ms, dtype), record.layers[name]
        adjoints = lambda_v, lambda_i, _ = _adjoints(c, trace, drive, min_denominator)
        gradients[name] = {"w": _weight_gradient(c, source, lambda_i)}
        if c.w_rec is not None:
            gradients[name]["w_rec"] = _weight_gradient(c, trace.fired, lambda_i)
        gradients[name] |= _tau_gradients(layer, trace, dt_ms, adjoints)
        if number == 0:
            break
        errors = np.zeros(source.shape)
        errors[:-1] = (lambda_v - lambda_i)[1:-1] @ c.w.T
        if name == "output" and loss == "max":
            error = drive_scale / batch * _error(record.scores, label)
            errors += _cusp_errors(c, trace, source, error)
        drive = _hidden_drive(number - 1, record, errors, regularisation, batch)
    return gradients


def run(
    network: Network,
    stamps: Spikes,
    label: int,
    dt_ms: float,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
    *,
    noise: Sequence[Array] | None = None,
    dropped: Dropped | None = None,
    delay_steps: int = 0,
    copies: int = 1,
    dtype: DTypeLike = np.float64,
    **options: Any,
) -> GridResult:
    """Forward and backward pass of one sample; arguments as in `forward`, options as in `backward`."""
    line: dict[str, int] = {"delay_steps": delay_steps, "copies": copies}
    record = forward(network, stamps, dt_ms, loss, parameters, noise=noise, dropped=dropped, dtype=dtype, **line)
    gradients = backward(network, record, label, dt_ms, loss, parameters, dtype=dtype, **options)
    return GridResult(sample_loss(record, label, network.trial_ms, loss, parameters), gradients, record)
