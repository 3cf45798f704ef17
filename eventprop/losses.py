"""The words in which :mod:`models` declares losses.

A loss of voltages is an average over time, a loss of first spikes a function of their times. What follows from that for
the adjoints is written beside the declarations on board, and derived for those of one's own
(:mod:`eventprop.derivation.losses`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from eventprop.declarations import Parameter
from eventprop.grammar import check_name, parsed
from eventprop.snippets import names_in

__all__ = ["DECLARED", "KEYS_OF_OLD", "TARGETS", "Loss"]

TARGETS = ("class", "value")
"""What a loss compares with: the class of a sample or of a step, or a value for each output."""

KEYS_OF_OLD = ("tau_accumulator", "tau_0", "tau_1", "alpha")
"""Parameters that losses on board have, whose keys are declared by themselves; others may take them by name."""

_TAKEN = ("V", "error", "mean", "step", "sum_V", "target", "traffic", "which", "x", "y")


@dataclass(frozen=True)
class Loss:
    """A loss: how outputs are read during the trial, with what that is compared, and what it gives to their adjoints.

    Without ``compare`` the loss of a sample is ``-log softmax(score)[label]``. Of voltages the score is the average of
    ``weight * V`` over the steps that count (all, or those of ``LOSS_WINDOW``). With ``compare`` the loss is its mean
    over the outputs. With ``per_step`` either is taken at each step, of the voltages there, and the loss is the average
    over the steps, each times ``weight``. Expressions are as in :class:`eventprop.declarations.Neuron`.

    Attributes:
        name: what ``LOSS_TYPE`` calls it.
        parameters: by name, each a key, its name in capitals; or names of :data:`KEYS_OF_OLD`.
        weight: factor by the time ``x`` (0 to 1 in a trial), the smoothed input ``traffic`` and parameters.
        target: "class" for labels, "value" for numbers, one for each output.
        compare: the loss of an output by ``y``, its score or voltage, and ``target``; of classes that is 1 or 0.
        per_step: whether each step is compared, or only the score at the end.
        score: of spiking outputs, by the time ``t`` (ms) of the first spike, ``trial + 1`` where there is none.
        penalty: of spiking outputs, what is added for the label's, by ``t``, which is ``trial`` if it never spiked.
        sentence: what it is, for people.

    What follows from these, in GeNNCode; losses of one's own leave it out. The impulse at a step is the derivative of
    the score by V at that step, so for given spikes the gradient of the read-out is exact.

    Attributes:
        state: read-out variables and their value at the start of a trial.
        read: reads V at the start of a step that counts; ``weight`` is given, ``Isyn`` is what was left by the step
            before.
        finish: what is left to do after the last of these, by names as in ``read``.
        impulse: change of the output's adjoints at the start of each step, in the backward pass.
        slope: derivative of ``compare`` by ``y``.
        cusp: derivative of the loss by the time of a hidden spike that arrives at step ``max_step`` and turns the rise
            of this output's V into a fall; where there is one, the maximum moves with that spike.
        first_spike: derivative of the loss by the time of the output's first spike; it enters R of that spike.
        phantom: change of the adjoints, at the end of the trial, of the label's output if it never spiked.
        reference_scale: what published gradients of this loss are divided by: "tau_mem", "trial" or nothing.

    Raises:
        ValueError: something is wrong with it; names the loss, the field and what would be right.
    """

    name: str
    parameters: tuple[str, ...] | Mapping[str, Parameter] = ()
    weight: str = "1.0"
    target: str = "class"
    compare: str = ""
    per_step: bool = False
    score: str = ""
    penalty: str = "0.0"
    sentence: str = ""
    state: Mapping[str, str] = field(default_factory=dict)
    read: str = ""
    finish: str = ""
    impulse: str = ""
    slope: str = ""
    cusp: str = ""
    first_spike: str = ""
    phantom: str = ""
    reference_scale: str = ""

    @property
    def spiking(self) -> bool:
        """Whether the outputs spike."""
        return bool(self.first_spike) or "t" in names_in(self.score)

    @property
    def of_values(self) -> bool:
        """Whether it compares with values, and not with classes."""
        return self.target == "value"

    @property
    def within_steps(self) -> bool:
        """Whether it goes by integrals of voltages or by spikes, which have closed forms within a step."""
        return self.spiking or not (self.per_step or self.cusp)

    @property
    def complete(self) -> bool:
        """Whether it has what follows from it."""
        return bool(self.read or self.first_spike)

    @property
    def given(self) -> dict[str, object]:
        """The fields in which it is declared, by name, without those that are as they are by default."""
        return {n: value for n in DECLARED if (value := getattr(self, n)) != _DEFAULT[n]}

    def __post_init__(self) -> None:
        for name in ("weight", "compare", "score", "penalty"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                object.__setattr__(self, name, repr(value))
            elif not isinstance(value, str):
                raise ValueError(f"loss {self.name}: {name} must be an expression in quotes, got {value!r}")
        if not self.complete:
            _check(self, f"loss {self.name}")


DECLARED = ("parameters", "weight", "target", "compare", "per_step", "score", "penalty", "sentence")
"""What losses of one's own are declared by."""

_DEFAULT = {f.name: f.default for f in fields(Loss)}


def _check(loss: Loss, who: str) -> None:
    """See that a declaration can be what it says."""
    if not isinstance(loss.name, str) or not loss.name:
        raise ValueError(f"a loss's name must be text, got {loss.name!r}")
    for name in ("state", "finish", "impulse", "slope", "cusp", "phantom"):
        if getattr(loss, name):
            raise ValueError(f"{who}: {name} follows from the others ({', '.join(DECLARED)}) and is left out")
    if loss.target not in TARGETS:
        raise ValueError(f"{who}: target must be one of {', '.join(TARGETS)}, got {loss.target!r}")
    if not isinstance(loss.per_step, bool):
        raise ValueError(f"{who}: per_step must be True or False, got {loss.per_step!r}")
    own = _parameters(loss, who)
    if loss.score:
        _check_of_spikes(loss, own, who)
        return
    parsed(loss.weight, {"x", "traffic", *own}, f"{who}: weight")
    if "traffic" in names_in(loss.weight) and "tau_accumulator" not in own:
        raise ValueError(f'{who}: weight has traffic, which needs the parameter "tau_accumulator"')
    if loss.penalty != "0.0":
        raise ValueError(f"{who}: penalty is for late first spikes, and goes with score, a function of t")
    if loss.compare:
        parsed(loss.compare, {"y", "target", *own}, f"{who}: compare")
        if "y" not in names_in(loss.compare):
            raise ValueError(f"{who}: compare must have y, the output that is compared, got {loss.compare!r}")
    elif loss.of_values:
        raise ValueError(f'{who}: target="value" needs compare, a function of y and target: "(y - target)**2"')


def _check_of_spikes(loss: Loss, own: set[str], who: str) -> None:
    parsed(loss.score, {"t", *own}, f"{who}: score")
    parsed(loss.penalty, {"t", "trial", *own}, f"{who}: penalty")
    if "t" not in names_in(loss.score):
        raise ValueError(
            f"{who}: score must have t, the time of an output's first spike, got {loss.score!r}; losses of voltages "
            "have none"
        )
    for name in ("weight", "target", "compare", "per_step"):
        if getattr(loss, name) != _DEFAULT[name]:
            raise ValueError(f"{who}: {name} is for losses of voltages, and score makes it one of first spikes")


def _parameters(loss: Loss, who: str) -> set[str]:
    """Names of its parameters."""
    if isinstance(loss.parameters, Mapping):
        for name, parameter in loss.parameters.items():
            if name in KEYS_OF_OLD:
                continue
            check_name(name, f"{who}: parameter")
            if name in _TAKEN or len(name) == 1:
                raise ValueError(f"{who}: parameter {name!r} has a name that is taken; another one would be right")
            if not isinstance(parameter, Parameter):
                raise ValueError(f"{who}: parameter {name} must be a Parameter, got {parameter!r}")
            parameter.check(parameter.default, f"{who}: default of parameter {name}")
        if len({name.upper() for name in loss.parameters}) < len(loss.parameters):
            raise ValueError(f"{who}: two of its parameters have one key, their name in capitals; rename one of them")
    elif not isinstance(loss.parameters, tuple) or not set(loss.parameters) <= set(KEYS_OF_OLD):
        raise ValueError(
            f"{who}: parameters must be a dictionary of Parameter by name, or a tuple of names of "
            f"{', '.join(KEYS_OF_OLD)}, got {loss.parameters!r}"
        )
    return set(loss.parameters)
