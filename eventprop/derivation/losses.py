"""What follows from a loss of one's own for its read-out and its adjoints: derivatives of its expressions, as code."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from eventprop.losses import Loss

if TYPE_CHECKING:
    import sympy

__all__ = ["complete"]

_MADE: dict[str, Loss] = {}


def complete(loss: Loss) -> Loss:
    """The loss with everything that engines need of it."""
    if loss.complete:
        return loss
    key = repr(loss)
    if key not in _MADE:
        _MADE[key] = _of_spikes(loss) if loss.spiking else _of_voltages(loss)
    return _MADE[key]


def _of_voltages(loss: Loss) -> Loss:
    own = set(loss.parameters)
    slope = _written(loss.compare, {"y", "target", *own}, loss, "compare", "y") if loss.compare else ""
    return replace(
        loss,
        weight=_written(loss.weight, {"x", "traffic", *own}, loss, "weight"),
        compare=_written(loss.compare, {"y", "target", *own}, loss, "compare") if loss.compare else "",
        slope=slope,
        state={"sum_V": "0.0"},
        read="sum_V += weight / steps * V;",
        score="sum_V",
        impulse="lambda_V += weight / (steps * scale_V) * error;",
        reference_scale="tau_mem",
    )


def _of_spikes(loss: Loss) -> Loss:
    """-dL/dscore is ``error``; where the label's output never spiked, a phantom spikes at the end of the trial."""
    own = {"t", "trial", *loss.parameters}
    late = _written(loss.penalty, own, loss, "penalty", "t")
    return replace(
        loss,
        score=_written(loss.score, own, loss, "score"),
        penalty=_written(loss.penalty, own, loss, "penalty"),
        first_spike=f"-error * ({_written(loss.score, own, loss, 'score', 't')}) + label * ({late}) / batch",
        phantom=f"lambda_V += ({_written(loss.penalty, own, loss, 'penalty', 't', at_end=True)}) / batch;",
    )


def _written(text: str, names: set[str], loss: Loss, field: str, by: str = "", *, at_end: bool = False) -> str:
    """An expression, or its derivative, as code.

    Args:
        by: the variable that it is derived by.
        at_end: whether t is the end of the trial.
    """
    from eventprop.derivation.expressions import code, read, symbol

    found = read(text, names, f"loss {loss.name}: {field}")
    found = found.diff(symbol(by)) if by else found
    if at_end:
        found = found.subs(symbol("t"), symbol("trial"))
    return code(_without_signs(found))


def _without_signs(expression: sympy.Expr) -> sympy.Expr:
    """Signs as bounded slopes, which have no conditions: code for hosts and engines has none."""
    import sympy

    return expression.replace(sympy.sign, _sign()) if expression.has(sympy.sign) else expression


@cache
def _sign() -> type:
    import sympy

    class bounded_sign(sympy.Function):
        nargs = 1

        def _ccode(self, printer: sympy.printing.c.C99CodePrinter) -> str:
            return f"fmax(-1.0, fmin(1.0, 1e30 * ({printer._print(self.args[0])})))"

    return bounded_sign
