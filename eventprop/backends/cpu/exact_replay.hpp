// What parameters collect of neurons that spike within a step: these are followed from cut to cut, forwards from where the
// step began and back again.
#pragma once
#include "nodes.hpp"

namespace eventprop {

template <class Model> class Replay {
public:
    static constexpr int M = Model::n_adjoint, N = Model::n_state, C = Model::n_collect, L = Model::n_lanes;

    explicit Replay(const Layer &l) : l(l), slot(l.n, -1) {}

    // Takes down the adjoints of neurons with events of their own, at the end of the step, and what they have collected.
    template <class X, class Sum> __attribute__((noinline)) void hold(const LayerTrace &trace, uint32_t first, uint32_t end, X &&x, Sum &&sum) {
        for (uint16_t i : neuron) slot[i] = -1;
        neuron.clear();
        for (uint32_t e = first; e < end; ++e) {
            if (trace.events[e].kind == BELOW) continue;
            const int i = neuron_of(trace, trace.events[e]), j = int(neuron.size()), p = i / P, lane = i % P;
            if (slot[i] >= 0) continue;
            slot[i] = j;
            neuron.push_back(uint16_t(i));
            panels.grow(size_t(j / P + 1) * ROWS * P);
            if (j % LANES == 0)
                for (int r = 0; r < ROWS; ++r) *reinterpret_cast<vec *>(at(j) + r * P) = vec{};
            for (int v = 0; v < M; ++v) at(j)[(B + v) * P] = x(p)[v * P + lane];
            for (int v = 0; v < C; ++v) at(j)[(SUM + v) * P] = sum(p)[v * P + lane];
            for (int v = 0; v < L; ++v) at(j)[(OWN_ROWS + v) * P] = l.lanes_of<Model>(p)[v * P + lane];
        }
    }
    // Once the errors of their spikes are known; `start` are the states at the start of the step, [panel][variable][P].
    template <class Sum, class Extra>
    __attribute__((noinline)) void back(const LayerTrace &trace, const SpikeLists *below, uint32_t first, uint32_t end, const real *start, real tail, Sum &&sum,
              Extra &&extra) {
        states.reserve(size_t(end - first + 1) * N * P);
        for (int b = 0; b < int(neuron.size()); b += LANES) {
            const int m = std::min(LANES, int(neuron.size()) - b);
            with_flow<Model>(l, at(b) + OWN_ROWS * P, l.terms, [&](auto &&f) {
                forwards(f, trace, below, first, end, start, b, m);
                real *a = at(b) + B * P, *sums = at(b) + SUM * P;
                f.retreat(a, state(end - first), vec{} + tail / real(l.dt), sums);
                for (uint32_t e = end; e-- > first;) {
                    const Event &event = trace.events[e];
                    const int j = event.kind == BELOW ? -1 : slot[neuron_of(trace, event)] - b;
                    if (j >= 0 && j < m) jump(trace, event, b + j, extra);
                    f.retreat(a, state(e - first), vec{} + event.before / real(l.dt), sums);
                }
            });
        }
        for (size_t j = 0; j < neuron.size(); ++j)
            for (int v = 0; v < C; ++v) sum(neuron[j] / P)[v * P + neuron[j] % P] = at(int(j))[(SUM + v) * P];
    }

private:
    static constexpr int B = 0, SUM = M, OWN_ROWS = SUM + C, ROWS = OWN_ROWS + L;
    const Layer &l;
    std::vector<int> slot;
    std::vector<uint16_t> neuron;
    Buffer panels, states;                // states after each cut, [cut][variable][P]
    real *at(int j) const { return panels.data + size_t(j / P) * ROWS * P + j % P; }
    real *state(uint32_t cut) const { return states.data + size_t(cut) * N * P; }
    static int neuron_of(const LayerTrace &trace, const Event &e) { return (e.kind == OWN ? trace.spikes : trace.dropped).id[e.index]; }

    template <class F>
    void forwards(const F &f, const LayerTrace &trace, const SpikeLists *below, uint32_t first, uint32_t end, const real *start, int b, int m) {
        real unused[Model::n_recorded];
        for (int v = 0; v < N; ++v) f.row(state(0), v) = vec{};
        for (int j = 0; j < m; ++j)
            for (int v = 0; v < N; ++v) state(0)[v * P + j] = start[(size_t(neuron[b + j] / P) * N + v) * P + neuron[b + j] % P];
        for (uint32_t e = first; e < end; ++e) {
            const Event &event = trace.events[e];
            real *x = state(e - first + 1);
            f.advance(state(e - first), vec{} + event.before / real(l.dt), x);
            const int own = event.kind == BELOW ? -1 : neuron_of(trace, event);
            if (own >= 0 && slot[own] >= b && slot[own] < b + m) Model::spike(f.c, at(b) + OWN_ROWS * P, x, slot[own] - b, unused);
            const Weights *w = event.kind == BELOW ? &l.forward : event.kind == OWN && l.recurrent.present ? &l.recurrent : nullptr;
            const int source = event.kind == BELOW ? below->id[event.index] : own;
            for (int j = 0; w && j < m; ++j) x[j] += w->w.at(neuron[b + j] / P, source)[neuron[b + j] % P];
        }
    }
    template <class Extra> void jump(const LayerTrace &trace, const Event &e, int j, Extra &&extra) {
        const bool own = e.kind == OWN;
        real *first = at(j - j % P), *a = first + B * P, after[M];
        const int lane = j % P;
        const real *recorded = &(own ? trace.recorded : trace.dropped_recorded)[size_t(e.index) * Model::n_recorded];
        for (int v = 0; v < M; ++v) after[v] = a[v * P + lane];
        Model::jump(l.constants.data(), first + OWN_ROWS * P, a, lane, own ? trace.error[e.index] : real(0), recorded);
        if (own) extra(a, e.index, lane);
        if constexpr (Model::collects_jumps)
            Model::collect_jump(l.constants.data(), first + OWN_ROWS * P, a, after, lane, recorded, first + SUM * P);
    }
};

}  // namespace eventprop
