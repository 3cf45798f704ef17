"""C++ from the declarations in :mod:`models`: one small struct per model, around the fixed ``engine.hpp``.

A snippet of GeNNCode becomes the body of a loop over the lanes of a panel: its variables are loaded, the snippet
runs, changed variables are stored. The compiler turns such loops into vector code. What depends on parameters
and ``dt`` alone is computed once, in double precision; where a parameter differs between neurons, so do the
constants that follow from it, and these are loaded lane by lane.

One library serves every loss and regulariser, any number of layers, and noise and dropout of any size; neuron types,
which of their parameters differ between neurons or are trained, and whether synapses have delays are built in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eventprop import models
from eventprop.backends.cpu.codegen_exact import ExactStruct
from eventprop.backends.cpu.codegen_loss import losses_of, readout
from eventprop.backends.cpu.codegen_names import apart
from eventprop.backends.cpu.codegen_neuron import Struct
from eventprop.backends.cpu.codegen_substep import SubstepStruct
from eventprop.backends.cpu.codegen_text import cpp, lane_loop, switch, values_of
from eventprop.network import Network, Population
from eventprop.snippets import names_in

__all__ = ["generate", "kind_of", "trained_in_any"]


def _regulariser(hidden: Struct) -> str:
    """What regularisers do to neurons of one kind of hidden layer."""
    bodies = []
    for regulariser in models.REGULARISERS.values():
        code = regulariser.jump
        adjoint = "".join(f"        real &{v} = {a}[lane];\n" for v, a in hidden.adjoint.items() if v in names_in(code))
        bodies.append(f"{values_of(regulariser.parameters, 'q', code)}{adjoint}        {cpp(code)}\n" if code else "")
    return (
        f"template <> struct Regulariser<{hidden.struct}> {{\n"
        + switch(
            "void jump(int which, const real *q, real *a, int lane, real spike_count, real layer_count, "
            "real num_neurons, real batch)",
            bodies,
            "        (void)q, (void)a, (void)lane, (void)spike_count, (void)layer_count, (void)num_neurons;\n"
            "        (void)batch;\n",
        )
        + "};\n"
    )


def _optimiser(optimiser: models.Optimiser) -> str:
    m, v = optimiser.state
    arrays = {"value": "w", m: "m0", v: "v0"}
    loop = lane_loop(arrays, optimiser.update).replace("P; ++l", "n; ++l")
    loop = loop.replace("{\n", "{\n            const real gradient = g[l] * factor;\n", 1)
    return (
        f"struct Optimiser {{  // {optimiser.name}\n"
        f"    static constexpr int n_parameters = {len(optimiser.parameters)};\n"
        "    __attribute__((noinline)) static void update(const real *p, real factor, int n, real *__restrict w,\n"
        "                       const real *__restrict g, real *__restrict m0, real *__restrict v0) {\n"
        f"{values_of(optimiser.parameters, 'p', optimiser.update)}{loop}    }}\n}};\n"
    )


def kinds_of(layers: Sequence[Population]) -> list[list[Population]]:
    """Hidden layers by the model of their neurons, in the order of their first ones: those of one model share code."""
    kinds: list[list[Population]] = []
    for layer in layers:
        own = next((kind for kind in kinds if kind[0].model == layer.model), None)
        if own is None:
            kinds.append(own := [])
        own.append(layer)
    return kinds


def kind_of(network: Network, population: Population) -> tuple[int, list[Population]]:
    """Number of a population's kind, and all layers of that kind; outputs are one of their own."""
    found = (kind for kind in enumerate(kinds_of(network.hidden)) if any(q is population for q in kind[1]))
    return next(found, (0, [population]))


def _choice(kinds: Sequence[Struct]) -> str:
    """The function that calls another with the struct of a hidden layer, which is of kind number ``kind``."""
    cases = "".join(f"        case {i}: return f({kind.struct}());\n" for i, kind in enumerate(kinds[1:], 1))
    return (
        "template <class F> inline decltype(auto) of_kind(int kind, F &&f) {\n"
        f"    switch (kind) {{\n{cases}        default: return f({kinds[0].struct}());\n    }}\n}}\n"
    )


def _of_all(layers: Sequence[Population]) -> Population:
    """A population that has for each neuron, and trains, what any of these layers does: they share their code."""
    first = layers[0]
    own = {n: next((q.parameters[n] for q in layers if n in q.per_neuron), v) for n, v in first.parameters.items()}
    return replace(first, parameters=own, trained=trained_in_any(layers))


def trained_in_any(layers: Sequence[Population]) -> tuple[str, ...]:
    """Parameters that any of these layers trains, in the order of their model."""
    return tuple(n for n in layers[0].model.parameters if any(n in q.trained for q in layers))


def generate(network: Network, real: str = "float") -> str:
    """The C++ source of an engine for networks of this kind; sizes and parameters are not part of it.

    Args:
        real: "float" or "double".
    """
    kind = {"grid": Struct, "exact": ExactStruct, "substep": SubstepStruct}[network.spike_timing]
    kinds = kinds_of(network.hidden)
    hidden = [kind(f"Hidden{i or ''}", apart(_of_all(layers))) for i, layers in enumerate(kinds)]
    output = kind("Output", apart(network.output))
    return (
        "#include <cmath>\n"
        f"typedef {real} real;\n"
        f"#define EXACT_TIMES {int(kind is ExactStruct)}\n"
        f"#define DELAYS {int(bool(network.delays))}\n"
        f"#define ARRIVALS {int(kind is ExactStruct and bool(network.delays))}\n"
        f"#define SUBSTEPS {int(kind is SubstepStruct)}\n"
        '#include "functions.hpp"\n'
        "#if defined(__AVX512F__)\n#define VECTOR_BYTES 64\n#elif defined(__AVX__)\n#define VECTOR_BYTES 32\n"
        "#else\n#define VECTOR_BYTES 16\n#endif\n"
        "namespace eventprop { constexpr int P = VECTOR_BYTES == 64 ? 64 : 32; }  // lanes of a panel\n"
        "using eventprop::P;\n\n"
        + "".join(struct.text() for struct in hidden)
        + output.text()
        + readout(losses_of(network), output)
        + "template <class Model> struct Regulariser;\n"
        + "".join(map(_regulariser, hidden))
        + _choice(hidden)
        + _optimiser(models.ADAM)
        + '#include "api.hpp"\n'
    )
