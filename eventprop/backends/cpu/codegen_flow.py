"""C++ of how neurons move over part of a step, for ``flow.hpp``.

All functions are of a vector of neurons: their variables and constants lie in rows that are P apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventprop.backends.cpu.codegen_neuron import Struct
from eventprop.backends.cpu.codegen_text import boolean, cpp, fast, rows_of
from eventprop.snippets import names_in

__all__ = ["FlowStruct"]


class FlowStruct(Struct):
    """A population's struct with thresholds, spikes and flows of some neurons."""

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

    def linear_flow(self) -> str:
        m = self.model
        return (
            "    static constexpr int LANES = VECTOR_BYTES / int(sizeof(real));\n"
            f"    static constexpr bool linear = true, drifts = {boolean(bool(m.drift))};\n"
            + _pattern("follows", list(m.state), m.flow)
            + _pattern("follows_back", list(m.adjoint), m.flow_back)
            + self.rates("flow", "y", list(m.state), m.flow)
            + self.rates("drift", "y", list(m.state), m.drift, "+=")
            + self.rates("flow_back", "b", list(m.adjoint), m.flow_back)
            + self.flow_collect()
        )

    def rates(self, name: str, source: str, names: list[str], of: Mapping[str, str], sign: str = "=") -> str:
        """Rates of a vector of neurons, whose variables are in registers."""
        code = " ".join(of.values())
        used = names_in(code)
        own = {n: f"reinterpret_cast<const vec &>(*{a})" for n, a in self.per_lane().items()}
        own |= {n: f"{source}[{i}]" for i, n in enumerate(names)}
        loads = "".join(f"        const vec {n} = {a};\n" for n, a in own.items() if n in used)
        vectors = {n for n in names if n in of and not names_in(of[n]).isdisjoint({*own})}
        lines = "".join(
            f"        d[{i}] {sign} {'' if n in vectors else 'vec{} + '}{cpp(of[n])};\n"
            for i, n in enumerate(names)
            if n in of
        )
        return self.function(
            f"void {name}(const real *c, const real *h, const vec *{source}, vec *d)",
            f"        (void){source}, (void)d;\n{self.scalars(code)}{loads}{lines}",
            "template <class vec> ",
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


def _pattern(name: str, variables: list[str], rates: Mapping[str, str]) -> str:
    """Which variables each one follows, directly or not, as a table."""
    follows = {x: {x, *(names_in(rates.get(x, "")) & set(variables))} for x in variables}
    for _ in variables:
        follows = {x: set().union(*(follows[y] for y in found)) for x, found in follows.items()}
    rows = ", ".join("{" + ", ".join(boolean(y in follows[x]) for y in variables) + "}" for x in variables)
    n = len(variables)
    return f"    static constexpr bool {name}[{n}][{n}] = {{{rows}}};\n"
