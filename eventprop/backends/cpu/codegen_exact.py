"""C++ from the declarations in :mod:`models` where spikes have their exact times: what ``exact.hpp`` needs besides."""

from __future__ import annotations

from collections.abc import Sequence

from eventprop.backends.cpu.codegen_flow import FlowStruct
from eventprop.backends.cpu.codegen_text import cpp
from eventprop.snippets import names_in

__all__ = ["ExactStruct"]


def _lines(lines: Sequence[str], indent: int) -> str:
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


class ExactStruct(FlowStruct):
    """A population's struct with flows over any time, crossings, and integrals of the read-out."""

    def further(self) -> str:
        m = self.model
        self.flow = f"{m.update} {m.arrive}"
        return (
            f"    static constexpr int n_carried = {self._carried()};\n"
            + self.linear_flow()
            + self.function(
                "void travel(const real *c, const real *h, real *__restrict x)", self.loop(self.state, self.flow)
            )
            + self._seen("collected_before", m.gradient[0])
            + self._seen("error_before", m.transport[0])
            + (self.levels() + self._probe() if m.threshold else self._integrals())
        )

    def _seen(self, name: str, expression: str) -> str:
        """What a synapse collects, or what goes back through it, a time before the adjoints that are given."""
        m, code = self.model, f"{self.model.adjoint_update} {expression}"
        used = names_in(code)
        lanes = [f"const real {n} = {a}[l];" for n, a in self.per_lane().items() if n in used]
        lanes += [f"real {v} = {a}[l]; (void){v};" for v, a in self.adjoint.items()]
        lanes += [cpp(m.adjoint_update), f"out[l] = {cpp(expression)};"]
        loop = f"        for (int l = 0; l < P; ++l) {{\n{_lines(lanes, 12)}        }}\n"
        return self.function(
            f"void {name}(const real *c, const real *h, const real *__restrict a, real *__restrict out)",
            self.scalars(code) + loop,
        )

    def _carried(self) -> int:
        """How many adjoint variables, the first ones, hold all that reach a synapse directly or after some time."""
        m, used = self.model, names_in(self.model.gradient[0] + self.model.transport[0])
        for statement in m.adjoint_update.split(";") * len(m.adjoint):
            target = statement.split("=")[0].replace("const real", "").strip()
            if target in used:
                used |= names_in(statement)
        return max(i + 1 for i, v in enumerate(m.adjoint) if v in used)

    def _probe(self) -> str:
        """The step of all neurons, and how far each may rise above its threshold in it."""
        m = self.model
        code = f"{self.flow} {m.level} {m.climb}"
        lanes = [f"const real {n} = {a}[l];" for n, a in self.per_lane().items() if n in names_in(code)]
        lanes += [f"real {v} = {a}[l];" for v, a in self.state.items()]
        lanes += [cpp(self.flow), *(f"(next + {i} * P)[l] = {v};" for i, v in enumerate(self.state))]
        lanes += [f"const real fall = -({cpp(m.climb)});"]
        lanes += [f"const real top = {cpp(m.level)} + dt * (fall > 0 ? fall : real(0));", "gap[l] = top;"]
        lanes += [
            "any |= top >= 0;",
            "const int flag = top + margin >= 0;",
            "fired[l] = uint8_t(flag);",
            "some |= flag;",
        ]
        loop = f"        for (int l = 0; l < P; ++l) {{\n{_lines(lanes, 12)}        }}\n"
        return self.function(
            "int probe(const real *c, const real *h, const real *__restrict x, real *__restrict next, real dt, "
            "real margin, real *__restrict gap, uint8_t *__restrict fired)",
            f"{self.scalars(code)}        int any = 0, some = 0;\n{loop}        return 2 * any + some;\n",
        )

    def _integrals(self) -> str:
        """The integral of V with a weight that is linear in time, its adjoint and its derivatives."""
        m = self.model
        first, second = m.integrals
        zeroth = f"real Isyn_start = Isyn; real V_start = V; {self.flow}"
        code = (
            f"{zeroth} real integral = {first}; real moment = {second}; "
            "sum += weight * integral + weight_slope * moment;"
        )
        driven = self._driven()
        return (
            self.function(
                "void integrate(const real *c, const real *h, real *__restrict x, real weight, real weight_slope, "
                "real dt, real *__restrict sums)",
                self.loop({**self.state, "sum": "sums"}, code),
            )
            + self._collect_integral()
            + self.function(
                "void back_driven(const real *c, const real *h, real *__restrict a, const real *__restrict error, "
                "real end, real slope, real dt)",
                self.loop({**self.adjoint, "e": "error"}, driven),
            )
        )

    def _driven(self) -> str:
        m = self.model
        shift = " ".join(f"{v} {{}}= {e};" for v, e in m.driven.items())
        return (
            "real A = end * e; const real A_slope = slope * e; "
            f"{shift.replace('{}', '-')} {m.adjoint_update} A += A_slope * dt; {shift.replace('{}', '+')}"
        )

    def _collect_integral(self) -> str:
        """What the time constants collect of the integral itself, from the state at the first cut."""
        m, flow = self.model, self.flow
        kept = {v: f"(keep + {i} * P)" for i, v in enumerate(self.state)}
        lanes = [f"real {v} = {a}[l];" for v, a in {**self.per_lane(), **kept}.items()]
        lanes += ["real Isyn_start = Isyn, V_start = V;", cpp(flow), f"const real integral = {cpp(m.integrals[0])};"]
        slopes = {i: m.integral_slopes[n] for i, n in enumerate(self.trained) if n in m.integral_slopes}
        for i, (a, b) in slopes.items():
            value = f"weight * slope + weight_slope * ({cpp(b)})"
            lanes += [f"{{ const real slope = {cpp(a)}; (sum + {i} * P)[l] -= error[l] * ({value}); }}"]
        used = flow + m.integrals[0] + " ".join(" ".join(pair) for pair in slopes.values())
        loop = f"        for (int l = 0; l < P; ++l) {{\n{_lines(lanes, 12)}        }}\n"
        body = self.scalars(used) + loop if slopes else ""
        return self.function(
            "void collect_integral(const real *c, const real *h, const real *__restrict keep, "
            "const real *__restrict error, real weight, real weight_slope, real dt, real *__restrict sum)",
            f"{body}        (void)keep, (void)error, (void)weight, (void)weight_slope, (void)dt, (void)sum;\n",
        )
