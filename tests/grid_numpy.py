"""Plain NumPy version of Eventprop on a time grid, for one sample, independent of the package.

With a = exp(-h/tau_mem), c = exp(-h/tau_syn), kappa = tau_syn (a - c)/(tau_mem - tau_syn), forward step k:

    I_k = c I_{k-1} + sum of w over the spikes stamped k-1 (inputs and recurrent alike), I_{-1} = 0
    S  += w(k/K) V_k h/T                         (outputs, before the update)
    V_{k+1} = a V_k + kappa I_k
    spike stamped k if V_{k+1} >= v_thresh and k < K-1: record I_k - V_{k+1}, then V_{k+1} := v_reset

Spikes stamped K-1, inputs included, are suppressed. A spike stamped k happens at physical time (k+1) h.
The adjoints start from 0 at index K; for m = K-1, ..., 0, with m the index of physical time m h:

    lambda_i <- c lambda_i + tau_mem (a - c)/(tau_mem - tau_syn) lambda_v;    lambda_v <- a lambda_v
    outputs:              lambda_v += g_j w(m/K) h/(T tau_mem),   g_j = delta_jy - softmax(S)_j
    hidden, stamped m:    lambda_v += ((v_thresh - v_reset) lambda_v + R) / max(I - V, min_denominator)
                          lambda_v -= lbd (n - nu)                              ("simple" regularisation)
    all, stamped m-1:     dw -= tau_syn lambda_i;   hidden: R = sum over targets of w (lambda_v - lambda_i)

The impulse is the discrete transpose of the forward score, so read-out gradients are exact derivatives. The jump of a
spike comes one step after its error R was sampled, which is the order of the reference implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from oracle import LOSS_WEIGHTS, Array, Network, cross_entropy, decay_difference, softmax

Spikes = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Regularisation:
    """Strengths and target of the "simple" spike count regularisation; all zero means none.

    Args:
        lbd_upper, lbd_lower: strength for counts above the target, and for all others.
        nu: target count of each hidden neuron.
        counts: (hidden,) counts to use in place of the sample's own, such as a mean over the batch.
    """

    lbd_upper: float = 0.0
    lbd_lower: float = 0.0
    nu: float = 0.0
    counts: Array | None = None


@dataclass(frozen=True)
class GridForward:
    """Forward pass of one sample.

    Attributes:
        scores: (output,).
        inputs: (step, input) number of spikes per stamp, the last step emptied.
        fired: (step, hidden) bool.
        denominator: (step, hidden) recorded I_k - V_{k+1}, NaN where there is no spike.
    """

    scores: Array
    inputs: NDArray[np.int64]
    fired: NDArray[np.bool_]
    denominator: Array

    @property
    def spikes(self) -> list[tuple[int, int]]:
        """(stamp, hidden neuron) pairs in order of time."""
        return [(int(k), int(n)) for k, n in np.argwhere(self.fired)]

    @property
    def counts(self) -> Array:
        """(hidden,) spikes per neuron."""
        return self.fired.sum(axis=0).astype(np.float64)

    @property
    def min_denominator(self) -> float:
        """Smallest recorded |I_k - V_{k+1}|, inf without spikes."""
        return float(np.min(np.abs(self.denominator[self.fired]), initial=np.inf))


@dataclass(frozen=True)
class GridResult:
    """Loss, gradients (w_in, w_out and, if recurrent, w_rec) and forward pass of one sample."""

    loss: float
    gradients: dict[str, Array]
    forward: GridForward


class _Layer:
    """Coefficients of one layer at step h, rounded to the working precision."""

    def __init__(self, tau_mem: Array, tau_syn: Array, dt_ms: float, dtype: DTypeLike) -> None:
        slope = decay_difference(dt_ms, tau_mem, tau_syn)
        self.a = np.exp(-dt_ms / tau_mem).astype(dtype)
        self.c = np.exp(-dt_ms / tau_syn).astype(dtype)
        self.kappa = (tau_syn * slope).astype(dtype)
        self.kappa_adjoint = (tau_mem * slope).astype(dtype)
        self.tau_mem, self.tau_syn = tau_mem.astype(dtype), tau_syn.astype(dtype)
        self.zeros = np.zeros(len(tau_mem), dtype=dtype)


def _layers(network: Network, dt_ms: float, dtype: DTypeLike) -> tuple[_Layer, _Layer]:
    hidden = _Layer(network.tau_mem, network.tau_syn, dt_ms, dtype)
    return hidden, _Layer(network.tau_mem_out, network.tau_syn_out, dt_ms, dtype)


def _step_weights(loss: str, steps: int, dt_ms: float, trial_ms: float, dtype: DTypeLike) -> NDArray[np.floating]:
    """(step,) w(k/K) h/T."""
    return (LOSS_WEIGHTS[loss](np.arange(steps) / steps) * dt_ms / trial_ms).astype(dtype)


def forward(
    network: Network, stamps: Spikes, dt_ms: float, loss: str = "sum", dtype: DTypeLike = np.float64
) -> GridForward:
    """Run the forward pass of one sample.

    Args:
        network: the network; its trial lasts K = round(trial_ms/dt_ms) steps.
        stamps: (step, input index) pairs with 0 <= step < K; repeated pairs count twice.
        dt_ms: step h in ms.
        loss: key of `LOSS_WEIGHTS`.
        dtype: precision of state and coefficients.
    """
    steps = round(network.trial_ms / dt_ms)
    hid, out = _layers(network, dt_ms, dtype)
    w_in, w_out = network.w_in.astype(dtype), network.w_out.astype(dtype)
    w_rec = None if network.w_rec is None else network.w_rec.astype(dtype)
    readout = _step_weights(loss, steps, dt_ms, network.trial_ms, dtype)
    theta, reset = np.asarray(network.v_thresh, dtype), np.asarray(network.v_reset, dtype)

    inputs = np.zeros((steps, w_in.shape[0]), dtype=np.int64)
    for step, index in stamps:
        if not 0 <= step < steps:
            raise ValueError(f"input stamp {step} outside 0..{steps - 1}")
        inputs[step, index] += step < steps - 1
    fired = np.zeros((steps, w_in.shape[1]), dtype=np.bool_)
    denominator = np.full(fired.shape, np.nan)

    i_hid, v_hid = hid.zeros.copy(), hid.zeros + np.asarray(network.v_hidden_start, dtype)
    i_out, v_out = out.zeros.copy(), out.zeros + np.asarray(network.v_start_out, dtype)
    score = out.zeros.copy()
    for k in range(steps):
        i_hid, i_out = hid.c * i_hid, out.c * i_out
        if k > 0:
            i_hid = i_hid + inputs[k - 1].astype(dtype) @ w_in
            i_out = i_out + fired[k - 1].astype(dtype) @ w_out
            if w_rec is not None:
                i_hid = i_hid + fired[k - 1].astype(dtype) @ w_rec
        score = score + readout[k] * v_out
        v_out = out.a * v_out + out.kappa * i_out
        v_hid = hid.a * v_hid + hid.kappa * i_hid
        if k < steps - 1:
            fired[k] = v_hid >= theta
            denominator[k, fired[k]] = (i_hid - v_hid)[fired[k]]
            v_hid = np.where(fired[k], reset, v_hid)
    return GridForward(score.astype(np.float64), inputs, fired, denominator)


def backward(
    network: Network,
    record: GridForward,
    label: int,
    dt_ms: float,
    loss: str = "sum",
    *,
    drive_scale: float = 1.0,
    min_denominator: float = 0.0,
    regularisation: Regularisation | None = None,
    dtype: DTypeLike = np.float64,
) -> dict[str, Array]:
    """Run the backward pass of one sample.

    Args:
        network, dt_ms, loss, dtype: as in `forward`.
        record: what `forward` returned.
        label: class of the sample.
        drive_scale: factor on the drive g_j, and so on all gradients (regularisation excepted).
        min_denominator: lower bound of the recorded denominator in the jump.
        regularisation: spike count regularisation, None for none.

    Returns:
        w_in, w_out and, if recurrent, w_rec: dL/dw of this sample, accumulated in float64.
    """
    steps, hidden = record.fired.shape
    hid, out = _layers(network, dt_ms, dtype)
    w_out = network.w_out.astype(dtype)
    w_rec = None if network.w_rec is None else network.w_rec.astype(dtype)
    readout = _step_weights(loss, steps, dt_ms, network.trial_ms, dtype)
    reg = regularisation or Regularisation()
    counts = record.counts if reg.counts is None else np.asarray(reg.counts, dtype=np.float64)
    excess = np.where(counts > reg.nu, reg.lbd_upper, reg.lbd_lower) * (counts - reg.nu)
    excess = excess.astype(dtype)  # (hidden,)
    height = np.asarray(network.v_thresh - network.v_reset, dtype)
    divisor = np.maximum(record.denominator, min_denominator).astype(dtype)  # (step, hidden)
    g = -softmax(record.scores)
    g[label] += 1.0
    impulse = (drive_scale * g).astype(dtype) / out.tau_mem  # (output,)

    grad = {"w_in": np.zeros_like(network.w_in), "w_out": np.zeros_like(network.w_out)}
    if w_rec is not None:
        grad["w_rec"] = np.zeros_like(network.w_rec)
    v_h, i_h = hid.zeros.copy(), hid.zeros.copy()  # lambda_v, lambda_i of the hidden layer
    v_o, i_o = out.zeros.copy(), out.zeros.copy()
    error = np.zeros(hidden, dtype)  # R of the spikes sampled in the previous pass of the loop
    for m in range(steps - 1, -1, -1):
        i_h, v_h = hid.c * i_h + hid.kappa_adjoint * v_h, hid.a * v_h
        i_o, v_o = out.c * i_o + out.kappa_adjoint * v_o, out.a * v_o
        v_o = v_o + impulse * readout[m]
        for n in np.flatnonzero(record.fired[m]):
            v_h[n] += (height * v_h[n] + error[n]) / divisor[m, n]
            v_h[n] -= excess[n]
        if m == 0:
            break
        grad["w_in"] -= np.outer(record.inputs[m - 1], hid.tau_syn * i_h)
        grad["w_out"] -= np.outer(record.fired[m - 1], out.tau_syn * i_o)
        error = w_out @ (v_o - i_o)
        if w_rec is not None:
            grad["w_rec"] -= np.outer(record.fired[m - 1], hid.tau_syn * i_h)
            error = error + w_rec @ (v_h - i_h)
    return grad


def run(
    network: Network,
    stamps: Spikes,
    label: int,
    dt_ms: float,
    loss: str = "sum",
    *,
    drive_scale: float = 1.0,
    min_denominator: float = 0.0,
    regularisation: Regularisation | None = None,
    dtype: DTypeLike = np.float64,
) -> GridResult:
    """Forward and backward pass of one sample; arguments as in `forward` and `backward`."""
    record = forward(network, stamps, dt_ms, loss, dtype)
    gradients = backward(
        network,
        record,
        label,
        dt_ms,
        loss,
        drive_scale=drive_scale,
        min_denominator=min_denominator,
        regularisation=regularisation,
        dtype=dtype,
    )
    return GridResult(cross_entropy(record.scores, label), gradients, record)
