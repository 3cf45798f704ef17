"""C++ of the losses: one struct for all that share a library, in which a loss is named by its number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from eventprop import models
from eventprop.backends.cpu.codegen_neuron import Struct
from eventprop.backends.cpu.codegen_text import changes, cpp, rows_of, switch, values_of
from eventprop.network import Network
from eventprop.snippets import names_in, renamed

__all__ = ["losses_of", "readout"]


def losses_of(network: Network) -> list[models.Loss]:
    """The losses that share a library with the network's, in the order of their numbers there: those on board that such
    outputs can have; a loss of one's own has a library for itself."""
    model = network.output.model
    there = {*model.parameters, *model.constants, *model.state}
    own = names_in(" ".join([models.LI.dynamics["V"], models.LI.dynamics["Isyn"]])) | {"decay_Isyn"}
    on_board = [models.LOSSES[name] for name in models.LOSSES_ON_BOARD]
    found = [
        other
        for other in on_board
        if other.spiking == network.loss.spiking and (names_in(other.read + other.finish) & own) <= there
    ]
    return found if network.loss in found else [network.loss]


def readout(losses: Sequence[models.Loss], output: Struct) -> str:
    """The struct of the losses; their parameters are in ``q``."""
    impulses = "".join(loss.impulse for loss in losses)
    return (
        "struct Readout {\n"
        f"    static constexpr int n_state = {max(1, *(len(loss.state) for loss in losses))};\n"
        f"    static constexpr bool impulse_changes_gradient = {changes(impulses, output.model.gradient[0])};\n"
        + _flags("uses_traffic", ("traffic" in names_in(loss.weight) for loss in losses))
        + _flags("per_step", (loss.per_step for loss in losses))
        + _flags("has_cusps", (bool(loss.cusp) for loss in losses))
        + _flags("compares", (bool(loss.compare) for loss in losses))
        + switch("void start(int which, real *r)", [_start(loss) for loss in losses])
        + _in_steps(losses, output)
        + _value("real weight(int which, const real *q, real x, real traffic)", losses, lambda o: o.weight)
        + _value("real score(int which, const real *r, int lane)", losses, lambda o: "" if o.spiking else o.score)
        + _value("real compared(int which, const real *q, real y, real target)", losses, lambda o: o.compare)
        + _value("real slope(int which, const real *q, real y, real target)", losses, lambda o: o.slope)
        + _value("real cusp(int which, const real *r, int lane, real error)", losses, lambda o: o.cusp)
        + _value("int cusp_step(int which, const real *r, int lane)", losses, lambda o: "max_step" if o.cusp else "")
        + _value("real traffic_tau(int which, const real *q)", losses, _traffic_tau)
        + _of_spikes(losses, output)
        + "};\n"
    )


def _in_steps(losses: Sequence[models.Loss], output: Struct) -> str:
    """What is read at each step, what is left to do after the last, and the impulse of each step backwards."""
    arguments = "const real *c, const real *h, const real *q"

    def loop(arrays: Callable[[models.Loss], dict[str, str]], code: Callable[[models.Loss], str]) -> list[str]:
        return [output.loop(arrays(o), code(o)) if code(o) else "" for o in losses]

    def read(o: models.Loss) -> dict[str, str]:
        return {**output.state, **_rows(o)}

    def back(o: models.Loss) -> dict[str, str]:
        return {**output.adjoint, **_rows(o), "error": "e"}

    return (
        switch(
            f"void read(int which, {arguments}, const real *x, real *__restrict r, real weight, real step, real steps)",
            loop(read, lambda o: o.read),
            "        (void)c, (void)h, (void)q, (void)x, (void)r, (void)weight, (void)step, (void)steps;\n",
        )
        + switch(
            f"void finish(int which, {arguments}, const real *x, real *__restrict r, real step)",
            loop(read, lambda o: o.finish),
            "        (void)c, (void)h, (void)q, (void)x, (void)r, (void)step;\n",
        )
        + switch(
            f"void impulse(int which, {arguments}, real *__restrict a, const real *e, const real *r, real weight, "
            "real step, real steps)",
            loop(back, lambda o: renamed(o.impulse, {"scale_V": output.model.scale_v})),
            "        (void)c, (void)h, (void)q, (void)a, (void)e, (void)r, (void)weight, (void)step, (void)steps;\n",
        )
    )


def _of_spikes(losses: Sequence[models.Loss], output: Struct) -> str:
    """Scores, derivatives and penalties by the times of first spikes."""

    def phantom(o: models.Loss) -> str:
        used = names_in(o.phantom)
        adjoints = "".join(f"        real &{v} = {a}[lane];\n" for v, a in output.adjoint.items() if v in used)
        return f"{adjoints}{_parameters(o, o.phantom)}        {cpp(o.phantom)}\n" if o.phantom else ""

    return (
        _value("real spike_score(int which, const real *q, real t)", losses, lambda o: o.score if o.spiking else "")
        + _value(
            "real first_spike(int which, const real *q, real t, real error, real label, real batch, real trial)",
            losses,
            lambda o: o.first_spike,
        )
        + _value("real penalty(int which, const real *q, real t, real trial)", losses, lambda o: o.penalty)
        + switch(
            "void phantom(int which, const real *q, real *a, int lane, real batch, real trial)",
            [phantom(o) for o in losses],
            "        (void)q, (void)a, (void)lane, (void)batch, (void)trial;\n",
        )
    )


def _traffic_tau(loss: models.Loss) -> str:
    return "tau_accumulator" if "traffic" in names_in(loss.weight) else ""


def _parameters(loss: models.Loss, code: str) -> str:
    return values_of(loss.parameters, "q", code)


def _rows(loss: models.Loss) -> dict[str, str]:
    return rows_of(loss.state, "r")


def _of_lane(loss: models.Loss, code: str) -> str:
    used = names_in(code)
    return "".join(f"        const real {v} = {a}[lane];\n" for v, a in _rows(loss).items() if v in used)


def _flags(name: str, values: Iterable[bool]) -> str:
    bodies = ["        return true;\n" if v else "" for v in values]
    return switch(f"bool {name}(int which)", bodies, "        return false;\n")


def _value(head: str, losses: Sequence[models.Loss], expression: Callable[[models.Loss], str]) -> str:
    found = [(o, expression(o)) for o in losses]
    bodies = [f"{_parameters(o, e)}{_of_lane(o, e)}        return {cpp(e)};\n" if e else "" for o, e in found]
    return switch(head, bodies, "        return real(0);\n")


def _start(loss: models.Loss) -> str:
    rows = _rows(loss).items()
    return "".join(f"        for (int l = 0; l < P; ++l) {a}[l] = {cpp(loss.state[v])};\n" for v, a in rows)
