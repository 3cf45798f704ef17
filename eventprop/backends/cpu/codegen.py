"""C++ from the declarations in :mod:`models`: one small struct per model, around the fixed ``engine.hpp``.

A snippet of GeNNCode becomes the body of a loop over the lanes of a panel: its variables are loaded, the snippet
runs, changed variables are stored. The compiler turns such loops into vector code. What depends on parameters
and ``dt`` alone is computed once, in double precision; where a parameter differs between neurons, so do the
constants that follow from it, and these are loaded lane by lane.

One library serves every loss and regulariser, any number of layers, and noise and dropout of any size; neuron types
and which of their parameters differ between neurons or are trained are built in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from eventprop import models
from eventprop.backends.snippets import assigned, names_in
from eventprop.network import Network, Population

__all__ = ["Struct", "cpp", "generate", "losses_of", "rows_of"]

_NUMBER = re.compile(r"(?<![\w.])(\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\w.])")
_FUNCTIONS = ("exp", "expm1", "sqrt", "fabs", "log")


def losses_of(loss: models.Loss) -> list[models.Loss]:
    """The losses that share a library with ``loss``, in the order of their numbers there."""
    return [other for other in models.LOSSES.values() if other.spiking == loss.spiking]


def cpp(code: str, kind: str = "real") -> str:
    """GeNNCode with literals of type ``kind``, the standard library's overloads and branch-free extrema."""
    code = _NUMBER.sub(rf"{kind}(\1)", code)
    code = re.sub(r"\bfmax\(", "eventprop::larger(", re.sub(r"\bfmin\(", "eventprop::smaller(", code))
    return re.sub(rf"\b({'|'.join(_FUNCTIONS)})\(", r"std::\1(", code)


def _changes(code: str, expression: str) -> str:
    """Whether ``code`` assigns to a variable of ``expression``, in C++."""
    return "true" if assigned(code) & names_in(expression) else "false"


def _values(names: Iterable[str], source: str, code: str, indent: int = 8) -> str:
    """Declarations of those of ``names`` that ``code`` uses, from the array ``source``."""
    used = names_in(code)
    return "".join(f"{' ' * indent}const real {n} = {source}[{i}];\n" for i, n in enumerate(names) if n in used)


def _lane_loop(arrays: Mapping[str, str], code: str, head: str = "", tail: str = "") -> str:
    """A loop over lanes: load the variables of ``arrays`` that are used, run ``code``, store what it changed."""
    used, changed = names_in(head + code + tail), assigned(code)
    loads = "".join(f"            real {n} = {a}[l];\n" for n, a in arrays.items() if n in used)
    stores = "".join(f"            {a}[l] = {n};\n" for n, a in arrays.items() if n in changed)
    body = f"{head}            {cpp(code)}\n" if code else head
    return f"        for (int l = 0; l < P; ++l) {{\n{loads}{body}{stores}{tail}        }}\n"


def rows_of(names: Iterable[str], base: str, first: int = 0) -> dict[str, str]:
    """Rows of P lanes: where each of ``names`` is, from ``base`` on."""
    return {n: f"({base} + {first + i} * P)" for i, n in enumerate(names)}


class Struct:
    """The struct of a population: constants, forward step, spike, quiet test and, backwards, step and jump.

    Args:
        struct: its name in C++.
        population: whose model, per-neuron and trained parameters it is made for.
    """

    def __init__(self, struct: str, population: Population, synapse: models.SynapseModel) -> None:
        self.struct, self.model, self.synapse = struct, population.model, synapse
        self.trained = [n for n in self.model.parameters if n in population.trained]
        self.constants = {**self.model.constants, **synapse.constants}
        self.names = (*self.model.parameters, *self.constants)
        varying = set(population.per_neuron)
        for name, expression in self.constants.items():
            if names_in(expression) & varying:
                varying.add(name)
        self.lanes = [n for n in self.names if n in varying]
        self.state = {"Isyn": "x", **rows_of(self.model.state, "x", 1)}
        self.adjoint = rows_of(self.model.adjoint, "a")

    def scalars(self, code: str) -> str:
        """Declarations of the constants in ``code`` that are the same for all neurons."""
        used = names_in(code) - set(self.lanes)
        return "".join(f"        const real {n} = c[{i}];\n" for i, n in enumerate(self.names) if n in used)

    def per_lane(self) -> dict[str, str]:
        """Constants that differ between neurons, as rows of the panel's array ``h``."""
        return rows_of(self.lanes, "h")

    def of_lane(self, code: str) -> str:
        """Declarations of the constants in ``code`` that differ between neurons, for one ``lane``."""
        used = names_in(code)
        return "".join(f"        const real {n} = {a}[lane];\n" for n, a in self.per_lane().items() if n in used)

    def loop(self, arrays: Mapping[str, str], code: str, head: str = "", tail: str = "") -> str:
        """The loop over lanes, with the constants that it uses."""
        return self.scalars(head + code + tail) + _lane_loop({**self.per_lane(), **arrays}, code, head, tail)

    @staticmethod
    def function(head: str, body: str, template: str = "") -> str:
        return f"    {template}static {head} {{\n        (void)c, (void)h;\n{body}    }}\n"

    def text(self) -> str:
        m = self.model
        indices = ", ".join(str(self.names.index(n)) for n in self.lanes) or "0"
        trained = ", ".join(str(self.names.index(n)) for n in self.trained) or "0"
        return (
            f"struct {self.struct} {{  // {m.name}\n"
            f"    static constexpr int n_parameters = {len(m.parameters)}, n_constants = {len(self.names)}, "
            f"n_lanes = {len(self.lanes)};\n"
            f"    static constexpr int lane_index[] = {{{indices}}}, trained_index[] = {{{trained}}};\n"
            f"    static constexpr int v_row = {list(self.state).index('V')};\n"
            f"    static constexpr int n_state = {len(m.state)}, n_adjoint = {len(m.adjoint)}, "
            f"n_recorded = {max(1, len(m.recorded))}, n_collect = {len(self.trained)};\n"
            f"    static constexpr bool spiking = {'true' if m.threshold else 'false'}, "
            f"jump_changes_gradient = {_changes(m.jump, self.synapse.gradient)};\n"
            + self.compute_constants()
            + self.forward()
            + self.backward()
            + self.further()
            + "};\n"
        )

    def further(self) -> str:
        """What a struct for another kind of sweep has besides."""
        return ""

    def compute_constants(self) -> str:
        lines = "".join(f"        const double {n} = p[{i}];\n" for i, n in enumerate(self.model.parameters))
        lines += "".join(f"        const double {n} = {cpp(e, 'double')};\n" for n, e in self.constants.items())
        lines += "".join(f"        c[{i}] = real({n});\n" for i, n in enumerate(self.names))
        return f"    static void constants(const double *p, double dt, real *c) {{\n{lines}        (void)dt;\n    }}\n"

    def forward(self) -> str:
        """Start of a trial, step, quiet test and spike."""
        m, state = self.model, self.state
        start = "".join(f"            {a}[l] = {cpp(m.state.get(v, '0.0'))};\n" for v, a in state.items())
        keep = "".join(f"                keep[{i} * P + l] = {v};\n" for i, v in enumerate(state))
        arrive = f"            {cpp(self.synapse.decay)}\n            Isyn += current[l];\n"
        arrive += f"            if constexpr (kept) {{\n{keep}            }}\n"
        fires = f"            fired[l] = {cpp(m.threshold)};\n            any |= fired[l];\n" if m.threshold else ""
        if m.perturb:
            noise = f"            if constexpr (noisy) {{ const real noise = normal[l]; {cpp(m.perturb)} }}\n"
        else:
            noise = ""
        stores = "".join(f"            {a}[l] = {v};\n" for v, a in state.items())
        code = self.synapse.decay + m.update + m.perturb + m.threshold
        used = names_in(code) | set(state)
        rows = {**self.per_lane(), **state}
        loads = "".join(f"            real {v} = {a}[l];\n" for v, a in rows.items() if v in used)
        recorded = " ".join(m.recorded.values()) + m.reset
        one_lane = "".join(f"        real &{v} = {a}[lane];\n        (void){v};\n" for v, a in state.items())
        record = "".join(f"        recorded[{i}] = {cpp(e)};\n" for i, e in enumerate(m.recorded.values()))
        return (
            self.function("void start(const real *c, const real *h, real *x)", self.loop({}, "", "", start))
            + self.function(
                "int step(const real *c, const real *h, real *__restrict x, const real *__restrict current, "
                "int *__restrict fired, const real *__restrict normal, real *__restrict keep)",
                "        int any = 0;\n        (void)fired, (void)normal, (void)keep;\n"
                + self.scalars(code)
                + f"        for (int l = 0; l < P; ++l) {{\n{loads}{arrive}            {cpp(m.update)}\n{noise}"
                + f"{stores}{fires}        }}\n        return any;\n",
                "template <bool noisy, bool kept> ",
            )
            + self.function(
                "int quiet(const real *c, const real *h, const real *x)",
                "        int still = 1;\n"
                + self.loop(state, "", "", f"            still &= {cpp(m.quiet)};\n")
                + "        return still;\n",
            )
            + self.function(
                "void spike(const real *c, const real *h, real *x, int lane, real *recorded)",
                f"{self.scalars(recorded)}{self.of_lane(recorded)}{one_lane}"
                f"        (void)recorded;\n{record}        {cpp(m.reset)}\n",
            )
        )

    def backward(self) -> str:
        """Step back in time with what synapses collect, jump at a spike, what goes back through synapses."""
        m, synapse, adjoint = self.model, self.synapse, self.adjoint
        replay = "".join(f"        const real {v} = recorded[{i}];\n" for i, v in enumerate(m.recorded))
        one_lane = "".join(f"        real &{v} = {a}[lane];\n" for v, a in adjoint.items() if v in names_in(m.jump))
        collect = f"            out[l] = {cpp(synapse.gradient)};\n"
        carry = f"            out[l] = {cpp(synapse.transport)};\n"
        kept = {v: f"(keep + {i} * P)" for i, v in enumerate(self.state)}
        sums = "".join(f"            sum[{i} * P + l] += {cpp(m.collect[n])};\n" for i, n in enumerate(self.trained))
        return (
            self.function(
                "void back(const real *c, const real *h, real *__restrict a, real *__restrict out)",
                self.loop(adjoint, m.adjoint_update, "", collect),
            )
            + self.function(
                "void jump(const real *c, const real *h, real *a, int lane, real R, const real *recorded)",
                f"{self.scalars(m.jump)}{self.of_lane(m.jump)}{one_lane}{replay}"
                f"        (void)a, (void)lane, (void)R, (void)recorded;\n        {cpp(m.jump)}\n",
            )
            + self.function(
                "void gradient(const real *c, const real *h, const real *__restrict a, real *__restrict out)",
                self.loop(adjoint, "", "", collect),
            )
            + self.function(
                "void transport(const real *c, const real *h, const real *__restrict a, real *__restrict out)",
                self.loop(adjoint, "", "", carry),
            )
            + self.function(
                "void collect(const real *c, const real *h, const real *__restrict a, const real *__restrict keep, "
                "real *__restrict sum)",
                "        (void)a, (void)keep, (void)sum;\n" + self.loop({**adjoint, **kept}, "", "", sums),
            )
        )


def _switch(head: str, bodies: Sequence[str], default: str = "") -> str:
    """A function of ``which`` with one body for each."""
    cases = "".join(f"        case {i}: {{\n{b}            break;\n        }}\n" for i, b in enumerate(bodies) if b)
    switch = f"        switch (which) {{\n{cases}        default: break;\n        }}\n"
    return f"    static {head} {{\n{switch}{default}    }}\n"


def _traffic_tau(loss: models.Loss) -> str:
    return "tau_accumulator" if "traffic" in names_in(loss.weight) else ""


def _readout(losses: Sequence[models.Loss], output: Struct) -> str:
    """The struct of the losses; a loss is named by its number, its parameters are in ``q``."""

    def parameters(loss: models.Loss, code: str) -> str:
        return _values(loss.parameters, "q", code)

    def rows(loss: models.Loss) -> dict[str, str]:
        return rows_of(loss.state, "r")

    def of_lane(loss: models.Loss, code: str) -> str:
        used = names_in(code)
        return "".join(f"        const real {v} = {a}[lane];\n" for v, a in rows(loss).items() if v in used)

    def flags(name: str, values: Iterable[bool]) -> str:
        return _switch(
            f"bool {name}(int which)",
            ["        return true;\n" if v else "" for v in values],
            "        return false;\n",
        )

    def value(head: str, expressions: Iterable[tuple[models.Loss, str]]) -> str:
        bodies = [f"{parameters(o, e)}{of_lane(o, e)}        return {cpp(e)};\n" if e else "" for o, e in expressions]
        return _switch(head, bodies, "        return real(0);\n")

    def start(loss: models.Loss) -> str:
        return "".join(
            f"        for (int l = 0; l < P; ++l) {a}[l] = {cpp(loss.state[v])};\n" for v, a in rows(loss).items()
        )

    arguments = "const real *c, const real *h, const real *q"
    impulses = "".join(loss.impulse for loss in losses)
    return (
        "struct Readout {\n"
        f"    static constexpr int n_state = {max(1, *(len(loss.state) for loss in losses))};\n"
        f"    static constexpr bool impulse_changes_gradient = {_changes(impulses, output.synapse.gradient)};\n"
        + flags("uses_traffic", ("traffic" in names_in(loss.weight) for loss in losses))
        + flags("per_step", (loss.per_step for loss in losses))
        + flags("has_cusps", (bool(loss.cusp) for loss in losses))
        + value("real weight(int which, const real *q, real x, real traffic)", ((o, o.weight) for o in losses))
        + _switch("void start(int which, real *r)", [start(loss) for loss in losses])
        + _switch(
            f"void read(int which, {arguments}, const real *x, real *__restrict r, real weight, real step, real steps)",
            [output.loop({**output.state, **rows(o)}, o.read) if o.read else "" for o in losses],
            "        (void)c, (void)h, (void)q, (void)x, (void)r, (void)weight, (void)step, (void)steps;\n",
        )
        + _switch(
            f"void finish(int which, {arguments}, const real *x, real *__restrict r, real step)",
            [output.loop({**output.state, **rows(o)}, o.finish) if o.finish else "" for o in losses],
            "        (void)c, (void)h, (void)q, (void)x, (void)r, (void)step;\n",
        )
        + value("real score(int which, const real *r, int lane)", ((o, "" if o.spiking else o.score) for o in losses))
        + _switch(
            f"void impulse(int which, {arguments}, real *__restrict a, const real *e, const real *r, real weight, "
            "real step, real steps)",
            [output.loop({**output.adjoint, **rows(o), "error": "e"}, o.impulse) if o.impulse else "" for o in losses],
            "        (void)c, (void)h, (void)q, (void)a, (void)e, (void)r, (void)weight, (void)step, (void)steps;\n",
        )
        + value("real cusp(int which, const real *r, int lane, real error)", ((o, o.cusp) for o in losses))
        + value(
            "int cusp_step(int which, const real *r, int lane)", ((o, "max_step" if o.cusp else "") for o in losses)
        )
        + value("real traffic_tau(int which, const real *q)", ((o, _traffic_tau(o)) for o in losses))
        + value(
            "real spike_score(int which, const real *q, real t)", ((o, o.score if o.spiking else "") for o in losses)
        )
        + value(
            "real first_spike(int which, const real *q, real t, real error, real label, real batch, real trial)",
            ((o, o.first_spike) for o in losses),
        )
        + value("real penalty(int which, const real *q, real t, real trial)", ((o, o.penalty) for o in losses))
        + _switch(
            "void phantom(int which, const real *q, real *a, int lane, real batch, real trial)",
            [
                "".join(
                    f"        real &{v} = {a}[lane];\n" for v, a in output.adjoint.items() if v in names_in(o.phantom)
                )
                + f"{parameters(o, o.phantom)}        {cpp(o.phantom)}\n"
                if o.phantom
                else ""
                for o in losses
            ],
            "        (void)q, (void)a, (void)lane, (void)batch, (void)trial;\n",
        )
        + "};\n"
    )


def _regulariser(hidden: Struct) -> str:
    bodies = []
    for regulariser in models.REGULARISERS.values():
        code = regulariser.jump
        adjoint = "".join(f"        real &{v} = {a}[lane];\n" for v, a in hidden.adjoint.items() if v in names_in(code))
        bodies.append(f"{_values(regulariser.parameters, 'q', code)}{adjoint}        {cpp(code)}\n" if code else "")
    return (
        "struct Regulariser {\n"
        + _switch(
            "void jump(int which, const real *q, real *a, int lane, real spike_count, real layer_count, "
            "real num_neurons, real batch)",
            bodies,
            "        (void)q, (void)a, (void)lane, (void)spike_count, (void)layer_count, (void)num_neurons;\n"
            "        (void)batch;\n",
        )
        + "};\n"
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


def generate(network: Network, real: str = "float") -> str:
    """The C++ source of an engine for networks of this kind; sizes and parameters are not part of it.

    Args:
        real: "float", or "double" for checking.
    """
    from eventprop.backends.cpu import codegen_exact

    synapse = models.EXPONENTIAL_SYNAPSE
    exact = network.spike_timing == "exact"
    kind = codegen_exact.ExactStruct if exact else Struct
    hidden = kind("Hidden", network.hidden[0], synapse)
    output = kind("Output", network.output, synapse)
    return (
        "#include <cmath>\n"
        f"typedef {real} real;\n"
        f"#define EXACT_TIMES {int(exact)}\n"
        '#include "functions.hpp"\n'
        "#if defined(__AVX512F__)\n#define VECTOR_BYTES 64\n#elif defined(__AVX__)\n#define VECTOR_BYTES 32\n"
        "#else\n#define VECTOR_BYTES 16\n#endif\n"
        "namespace eventprop { constexpr int P = VECTOR_BYTES == 64 ? 64 : 32; }  // lanes of a panel\n"
        "using eventprop::P;\n\n"
        + hidden.text()
        + output.text()
        + _readout(losses_of(network.loss), output)
        + _regulariser(hidden)
        + _optimiser(models.ADAM)
        + '#include "api.hpp"\n'
    )
