"""C++ from the declarations in :mod:`models` where crossings are solved within a step: what ``substep.hpp`` needs.

All functions are of a vector of neurons: their variables and constants lie in rows that are P apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventprop.backends.cpu.codegen_neuron import Struct
from eventprop.backends.cpu.codegen_text import cpp, fast, rows_of
from eventprop.backends.snippets import names_in
from eventprop.network import Population

__all__ = ["SubstepStruct"]


class SubstepStruct(Struct):
    """A population's struct with the flow of some neurons over part of a step."""

    def __init__(self, struct: str, population: Population) -> None:
        super().__init__(struct, population)
        self.keeps_start = bool(self.trained) or not self.model.flow
        if self.model.threshold:  # where in the step, and the state at its start
            self.recorded_besides = 1 + (len(self.model.state) if self.keeps_start else 0)

    def further(self) -> str:
        m = self.model
        if not m.threshold:
            return ""
        linear = bool(m.flow)
        lazy = m.inputs if m.arrive else 0
        return (
            f"    static constexpr bool linear = {_bool(linear)}, keeps_start = {_bool(self.keeps_start)}, "
            f"drifts = {_bool(bool(m.drift))};\n"
            "    static constexpr int LANES = VECTOR_BYTES / int(sizeof(real));\n"
            f"    static constexpr int lazy_inputs = {lazy}, n_before = {max(1, len(m.recorded))};\n"
            + self.levels()
            + self.spikes()
            + self.lane_gradient()
            + (self.linear_flow() if linear else self.step_over_a_time())
        )

    def vector(self, head: str, code: str, arrays: Mapping[str, str], lines: Sequence[str]) -> str:
        """A function of each neuron of a vector: ``lines`` of C++, with what ``code`` uses of constants and arrays."""
        used = names_in(code)
        loads = [f"const real {n} = {a}[l];" for n, a in {**self.per_lane(), **arrays}.items() if n in used]
        body = "".join(f"            {line}\n" for line in (*loads, *lines))
        loop = f"        for (int l = 0; l < LANES; ++l) {{\n{body}        }}\n"
        return self.function(head, self.scalars(code) + loop)

    def levels(self) -> str:
        m = self.model
        return self.vector(
            "void level(const real *c, const real *h, const real *__restrict y, real *__restrict above, "
            "real *__restrict rate)",
            f"{m.level} {m.climb}",
            rows_of(m.state, "y"),
            [f"above[l] = {fast(m.level)};", f"rate[l] = {fast(m.climb)};"],
        )

    def spikes(self) -> str:
        """Spike and jump of each neuron of a vector."""
        m, state, adjoint = self.model, rows_of(self.model.state, "y"), rows_of(self.model.adjoint, "b")
        recorded = rows_of(m.recorded, "value")
        spike = [f"real {n} = {a}[l]; (void){n};" for n, a in state.items()]
        spike += [f"{a}[l] = {cpp(e)};" for a, e in zip(recorded.values(), m.recorded.values(), strict=True)]
        spike += [cpp(m.reset), *(f"{a}[l] = {n};" for n, a in state.items())]
        jump = [f"real {n} = {a}[l]; (void){n};" for n, a in adjoint.items()]
        jump += [f"const real {n} = {a}[l]; (void){n};" for n, a in {**recorded, "R": "error"}.items()]
        jump += [cpp(m.jump), *(f"{a}[l] = {n};" for n, a in adjoint.items())]
        return self.vector(
            "void spike_each(const real *c, const real *h, real *__restrict y, real *__restrict value)",
            f"{m.reset} {' '.join(m.recorded.values())}",
            {},
            spike,
        ) + self.vector(
            "void jump_each(const real *c, const real *h, real *__restrict b, const real *__restrict error, "
            "const real *__restrict value)",
            m.jump,
            {},
            jump,
        )

    def lane_gradient(self) -> str:
        """What a synapse collects of one neuron, of adjoints and state in panels."""
        m, code = self.model, " ".join(self.model.gradient)
        rows = {**self.adjoint, **self.kept}
        loads = "".join(f"        const real {n} = {a}[lane];\n" for n, a in rows.items() if n in names_in(code))
        outs = "".join(f"        out[{i} * P + lane] = {cpp(e)};\n" for i, e in enumerate(m.gradient))
        return self.function(
            "void gradient_of(const real *c, const real *h, const real *a, int lane, const real *keep, real *out)",
            f"        (void)keep;\n{self.scalars(code)}{self.of_lane(code)}{loads}{outs}",
        )

    def linear_flow(self) -> str:
        m = self.model
        return (
            _pattern("follows", list(m.state), m.flow)
            + _pattern("follows_back", list(m.adjoint), m.flow_back)
            + self.rates("flow", "y", list(m.state), m.flow)
            + self.rates("drift", "y", list(m.state), m.drift, "+=")
            + self.rates("flow_back", "b", list(m.adjoint), m.flow_back)
            + self.flow_collect()
        )

    def rates(self, name: str, source: str, names: list[str], of: Mapping[str, str], sign: str = "=") -> str:
        return self.vector(
            f"void {name}(const real *c, const real *h, const real *__restrict {source}, real *__restrict d)",
            " ".join(of.values()),
            rows_of(names, source),
            [f"(d + {i} * P)[l] {sign} {cpp(of[n])};" for i, n in enumerate(names) if n in of] + ["(void)l;"],
        )

    def flow_collect(self) -> str:
        m = self.model
        found = [(i, m.flow_collect[n]) for i, n in enumerate(self.trained) if n in m.flow_collect]
        return self.vector(
            "void flow_collect(const real *c, const real *h, const real *__restrict b, const real *__restrict y, "
            "const real *__restrict factor, real *__restrict sum)",
            " ".join(e for _, e in found),
            {**rows_of(m.adjoint, "b"), **rows_of(m.state, "y")},
            [f"(sum + {i} * P)[l] += factor[l] * ({cpp(e)});" for i, e in found] + ["(void)l;"],
        )

    def step_over_a_time(self) -> str:
        """The step map over a time of each neuron's own, and its transpose."""
        m = self.model
        state, adjoint = rows_of(m.state, "y"), rows_of(m.adjoint, "b")
        collected = [(i, m.collect[n]) for i, n in enumerate(self.trained) if n in m.collect]
        back = f"{m.back_program} {m.adjoint_update} " + " ".join(e for _, e in collected)
        ahead_timed, ahead_inputs = self.closure(m.update)
        back_timed, back_inputs = self.closure(back)
        variables = [f"real {n} = {a}[l];" for n, a in state.items()]
        ahead = ["const real dt = dts[l];", "(void)dt;", *self.computed(ahead_timed), *variables, fast(m.update)]
        ahead += [f"(out + {i} * P)[l] = {n};" for i, n in enumerate(m.state)]
        lines = ["const real dt = dts[l];", "(void)dt, (void)sum;", *self.computed(back_timed)]
        lines += [f"real {n} = {a}[l];" for n, a in adjoint.items()]
        lines += [f"const real {n}_then = {a}[l]; (void){n}_then;" for n, a in state.items()]
        lines += [fast(m.back_program), *(f"(sum + {i} * P)[l] += {fast(e)};" for i, e in collected)]
        lines += [cpp(m.adjoint_update), *(f"{a}[l] = {n};" for n, a in adjoint.items())]
        return self.vector(
            "void advance(const real *c, const real *h, const real *__restrict y, const real *__restrict dts, "
            "real *__restrict out)",
            " ".join(ahead_inputs),
            {},
            ahead,
        ) + self.vector(
            "void retreat(const real *c, const real *h, real *__restrict b, const real *__restrict y, "
            "const real *__restrict dts, real *__restrict sum)",
            " ".join(back_inputs),
            {},
            lines,
        )


def _pattern(name: str, variables: list[str], rates: Mapping[str, str]) -> str:
    """Which variables each one follows, directly or not, as a table."""
    follows = {x: {x, *(names_in(rates.get(x, "")) & set(variables))} for x in variables}
    for _ in variables:
        follows = {x: set().union(*(follows[y] for y in found)) for x, found in follows.items()}
    rows = ", ".join("{" + ", ".join(_bool(y in follows[x]) for y in variables) + "}" for x in variables)
    n = len(variables)
    return f"    static constexpr bool {name}[{n}][{n}] = {{{rows}}};\n"


def _bool(value: bool) -> str:
    return "true" if value else "false"
