"""C++ from the declarations in :mod:`models`: one small struct per model, around the fixed ``engine.hpp``.

A snippet of GeNNCode becomes the body of a loop over the lanes of a panel: its variables are loaded, the snippet
runs, changed variables are stored. The compiler turns such loops into vector code. What depends on parameters
and ``dt`` alone is computed once, in double precision.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import models
from eventprop.network import Network

__all__ = ["generate"]

_NUMBER = re.compile(r"(?<![\w.])(\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\w.])")
_FUNCTIONS = ("exp", "expm1", "fmax", "fmin", "sqrt", "fabs", "log")


def _names(code: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", code))


def _cpp(code: str, kind: str = "real") -> str:
    """GeNNCode with literals of type ``kind`` and the standard library's overloads of the functions."""
    code = _NUMBER.sub(rf"{kind}(\1)", code)
    return re.sub(rf"\b({'|'.join(_FUNCTIONS)})\(", r"std::\1(", code)


def _assigned(code: str) -> set[str]:
    return set(re.findall(r"(?:^|[;{}]|\b)\s*([A-Za-z_]\w*)\s*(?:[-+*/]?=)(?!=)", code))


def _changes(code: str, expression: str) -> str:
    """Whether ``code`` assigns to a variable of ``expression``, in C++."""
    return "true" if _assigned(code) & _names(expression) else "false"


def _values(names: Iterable[str], source: str, code: str) -> str:
    """Declarations of those of ``names`` that ``code`` uses, from the array ``source``."""
    used = _names(code)
    return "".join(f"        const real {n} = {source}[{i}];\n" for i, n in enumerate(names) if n in used)


def _lane_loop(arrays: Mapping[str, str], code: str, tail: str = "") -> str:
    """A loop over lanes: load the variables of ``arrays`` that are used, run ``code``, store what it changed."""
    used, changed = _names(code + tail), _assigned(code)
    loads = "".join(f"            real {n} = {a}[l];\n" for n, a in arrays.items() if n in used)
    stores = "".join(f"            {a}[l] = {n};\n" for n, a in arrays.items() if n in changed)
    body = f"            {_cpp(code)}\n" if code else ""
    return f"        for (int l = 0; l < P; ++l) {{\n{loads}{body}{stores}{tail}        }}\n"


def _constants(names: Mapping[str, str], parameters: tuple[str, ...]) -> str:
    lines = "".join(f"        const double {n} = p[{i}];\n" for i, n in enumerate(parameters))
    lines += "".join(f"        const double {n} = {_cpp(e, 'double')};\n" for n, e in names.items())
    everything = (*parameters, *names)
    lines += "".join(f"        c[{i}] = real({n});\n" for i, n in enumerate(everything))
    return (
        f"    static constexpr int n_constants = {len(everything)};\n"
        f"    static void constants(const double *p, double dt, real *c) {{\n{lines}        (void)dt;\n    }}\n"
    )


def _neuron(struct: str, model: models.NeuronModel, synapse: models.SynapseModel) -> str:
    """The struct of a population: constants, forward step, spike, quiet test and, backwards, step and jump."""
    constants = {**model.constants, **synapse.constants}
    names = (*model.parameters, *constants)

    def function(head: str, code: str, body: str) -> str:
        return f"    static {head} {{\n        (void)c;\n{_values(names, 'c', code)}{body}    }}\n"

    return (
        f"struct {struct} {{  // {model.name}\n"
        f"    static constexpr int n_state = {len(model.state)}, n_adjoint = {len(model.adjoint)}, "
        f"n_recorded = {max(1, len(model.recorded))};\n"
        f"    static constexpr bool jump_changes_gradient = {_changes(model.jump, synapse.gradient)};\n"
        + _constants(constants, model.parameters)
        + _forward(function, model, synapse)
        + _backward(function, model, synapse)
        + "};\n"
    )


def _forward(function: Callable[[str, str, str], str], model: models.NeuronModel, synapse: models.SynapseModel) -> str:
    """Start of a trial, step, quiet test and spike."""
    state = {"Isyn": "x", **{v: f"(x + {i + 1} * P)" for i, v in enumerate(model.state)}}
    one_lane = "".join(f"        real &{v} = {a}[lane];\n        (void){v};\n" for v, a in state.items())
    start = "".join(f"            {a}[l] = {_cpp(model.state.get(v, '0.0'))};\n" for v, a in state.items())
    update = f"{synapse.decay} Isyn += current[l]; {model.update}"
    fires = (
        f"            fired[l] = {_cpp(model.threshold)};\n            any |= fired[l];\n" if model.threshold else ""
    )
    record = "".join(f"        recorded[{i}] = {_cpp(e)};\n" for i, e in enumerate(model.recorded.values()))
    return (
        function(
            "void start(const real *c, real *x)",
            " ".join(model.state.values()),
            f"        for (int l = 0; l < P; ++l) {{\n{start}        }}\n",
        )
        + function(
            "int step(const real *c, real *__restrict x, const real *__restrict current, int *__restrict fired)",
            update + model.threshold,
            "        int any = 0;\n        (void)fired;\n" + _lane_loop(state, update, fires) + "        return any;\n",
        )
        + function(
            "int quiet(const real *c, const real *x)",
            model.quiet,
            "        int still = 1;\n"
            + _lane_loop(state, "", f"            still &= {_cpp(model.quiet)};\n")
            + "        return still;\n",
        )
        + function(
            "void spike(const real *c, real *x, int lane, real *recorded)",
            " ".join(model.recorded.values()) + model.reset,
            f"{one_lane}        (void)recorded;\n{record}        {_cpp(model.reset)}\n",
        )
    )


def _backward(function: Callable[[str, str, str], str], model: models.NeuronModel, synapse: models.SynapseModel) -> str:
    """Step back in time with what synapses collect, jump at a spike, and what goes back through synapses."""
    adjoint = {v: f"(a + {i} * P)" for i, v in enumerate(model.adjoint)}
    replay = "".join(f"        const real {v} = recorded[{i}];\n" for i, v in enumerate(model.recorded))
    one_lane = "".join(f"        real &{v} = {a}[lane];\n" for v, a in adjoint.items() if v in _names(model.jump))
    collect = f"            out[l] = {_cpp(synapse.gradient)};\n"
    carry = f"            out[l] = {_cpp(synapse.transport)};\n"
    return (
        function(
            "void back(const real *c, real *__restrict a, real *__restrict out)",
            model.adjoint_update + synapse.gradient,
            _lane_loop(adjoint, model.adjoint_update, collect),
        )
        + function(
            "void jump(const real *c, real *a, int lane, real R, const real *recorded)",
            model.jump,
            f"{one_lane}{replay}        (void)a, (void)lane, (void)R, (void)recorded;\n        {_cpp(model.jump)}\n",
        )
        + function(
            "void gradient(const real *c, const real *__restrict a, real *__restrict out)",
            synapse.gradient,
            _lane_loop(adjoint, "", collect),
        )
        + function(
            "void transport(const real *c, const real *__restrict a, real *__restrict out)",
            synapse.transport,
            _lane_loop(adjoint, "", carry),
        )
    )


def _readout(loss: models.Loss, model: models.NeuronModel, synapse: models.SynapseModel) -> str:
    names = (*model.parameters, *model.constants, *synapse.constants)
    state = {v: f"(x + {i + 1} * P)" for i, v in enumerate(model.state)}
    reads = {v: f"(r + {i} * P)" for i, v in enumerate(loss.state)}
    adjoint = {v: f"(a + {i} * P)" for i, v in enumerate(model.adjoint)}
    start = "".join(f"            {a}[l] = {_cpp(loss.state[v])};\n" for v, a in reads.items())
    score = "".join(f"        const real {v} = {a}[lane];\n" for v, a in reads.items() if v in _names(loss.score))
    return (
        f"struct Readout {{  // {loss.name}\n"
        f"    static constexpr int n_state = {len(loss.state)};\n"
        f"    static constexpr bool impulse_changes_gradient = {_changes(loss.impulse, synapse.gradient)};\n"
        f"    static real weight(real x) {{ (void)x; return {_cpp(loss.weight)}; }}\n"
        f"    static void start(real *r) {{\n        for (int l = 0; l < P; ++l) {{\n{start}        }}\n    }}\n"
        "    static void read(const real *c, const real *x, real *__restrict r, real weight, real steps) {\n"
        f"        (void)c;\n{_values(names, 'c', loss.read)}{_lane_loop({**state, **reads}, loss.read)}    }}\n"
        f"    static real score(const real *r, int lane) {{\n{score}        return {_cpp(loss.score)};\n    }}\n"
        "    static void impulse(const real *c, real *__restrict a, const real *e, real weight, real steps) {\n"
        f"        (void)c;\n{_values(names, 'c', loss.impulse)}"
        f"{_lane_loop({**adjoint, 'error': 'e'}, loss.impulse)}    }}\n"
        "};\n"
    )


def _regulariser(regulariser: models.Regulariser, model: models.NeuronModel) -> str:
    adjoint = "".join(
        f"        real &{v} = (a + {i} * P)[lane];\n"
        for i, v in enumerate(model.adjoint)
        if v in _names(regulariser.jump)
    )
    return (
        f"struct Regulariser {{  // {regulariser.name}\n"
        "    static void jump(const real *p, real *a, int lane, real spike_count, real batch) {\n"
        "        (void)p, (void)a, (void)lane, (void)spike_count, (void)batch;\n"
        f"{_values(regulariser.parameters, 'p', regulariser.jump)}{adjoint}"
        f"        {_cpp(regulariser.jump)}\n    }}\n}};\n"
    )


def _optimiser(optimiser: models.OptimiserModel) -> str:
    m, v = optimiser.state
    arrays = {"value": "w", m: "m0", v: "v0"}
    loop = _lane_loop(arrays, optimiser.update).replace("P; ++l", "n; ++l")
    loop = loop.replace("{\n", "{\n            const real gradient = g[l] * factor;\n", 1)
    return (
        f"struct Optimiser {{  // {optimiser.name}\n"
        f"    static constexpr int n_parameters = {len(optimiser.parameters)};\n"
        "    static void update(const real *p, real factor, int n, real *__restrict w, const real *__restrict g,\n"
        "                       real *__restrict m0, real *__restrict v0) {\n"
        f"{_values(optimiser.parameters, 'p', optimiser.update)}{loop}    }}\n}};\n"
    )


def generate(network: Network, real: str = "float", panel: int = 64) -> str:
    """The C++ source of an engine for networks of this kind; sizes and parameters are not part of it.

    Args:
        real: "float", or "double" for checking.
        panel: lanes of a panel, a multiple of 16.
    """
    hidden = network.hidden[0].model
    synapse = models.EXPONENTIAL_SYNAPSE
    return (
        "#include <cmath>\n"
        f"typedef {real} real;\n"
        f"namespace eventprop {{ constexpr int P = {panel}; }}\n"
        "using eventprop::P;\n"
        "#if defined(__AVX512F__)\n#define VECTOR_BYTES 64\n#elif defined(__AVX__)\n#define VECTOR_BYTES 32\n"
        "#else\n#define VECTOR_BYTES 16\n#endif\n\n"
        + _neuron("Hidden", hidden, synapse)
        + _neuron("Output", network.output.model, synapse)
        + _readout(network.loss, network.output.model, synapse)
        + _regulariser(network.regulariser, hidden)
        + _optimiser(models.ADAM)
        + '#include "api.hpp"\n'
    )
