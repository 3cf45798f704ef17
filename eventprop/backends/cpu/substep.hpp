// Crossings within a step: a neuron that ends a step above its threshold is taken to where it crossed, reset there, and taken
// through the rest of the step; its spike leaves at the end of the step. Backwards the same with the transposes. Only
// neurons that spike are touched: those of a step lie side by side in panels of their own, and go together, a vector at a time.
//
// Linear neurons move by the Taylor series of their flow, others by their step map over a shorter time.
#pragma once
#include "flow.hpp"

namespace eventprop {

template <int ROWS> void clear_rows(real *y) {
    for (int i = 0; i < ROWS; ++i) *reinterpret_cast<vec *>(y + i * P) = vec{};
}

// Forwards: neurons that have reached their threshold in a step.
template <class Model> class Crossings {
public:
    Crossings(const Layer &l, LayerTrace &out, const Draws &draws) : l(l), out(out), draws(draws) {}

    // Those of panel p that have reached it; `start` is its state at the start of step k, `state` that of all at its end.
    void add(int p, int k, const real *start, real *state) {
        const real *h = l.lanes_of<Model>(p);
        alignas(64) uint8_t fired[P];
        Model::fires(l.constants.data(), h, state + size_t(p) * N * P, fired);
        each_marked(fired, l.n - p * P, [&](int lane) {
            if (n == P) take(k, state);
            if (n % LANES == 0) {             // of a vector that is not full, the rest are neurons at rest
                clear_rows<N>(from + n);
                clear_rows<Model::n_lanes>(own + n);
            }
            id[n] = uint16_t(p * P + lane);
            for (int i = 0; i < N; ++i) from[i * P + n] = start[i * P + lane];
            for (int i = 0; i < Model::n_lanes; ++i) own[i * P + n] = h[i * P + lane];
            ++n;
        });
    }
    // Resets them where they crossed, takes them to the end of the step, and records their spikes.
    void take(int k, real *state) {
        if (!n) return;
        for (int b = 0; b < n; b += LANES) l.terms <= usual_terms<Model> ? move<usual_terms<Model>>(b, state) : move<0>(b, state);
        for (int j = 0; j < n; ++j) {
            for (int i = 0; i < N; ++i)
                state[(size_t(id[j] / P) * N + i) * P + id[j] % P] = (i < Model::lazy_inputs ? from : at)[i * P + j];
            const bool dropped = draws.drops(k, id[j]);
            (dropped ? out.dropped : out.spikes).id.push_back(id[j]);
            auto &recorded = dropped ? out.dropped_recorded : out.recorded;
            recorded.resize(recorded.size() + Model::n_recorded);
            real *to = recorded.data() + recorded.size() - Model::n_recorded;
            for (int i = 0; i < Model::n_before; ++i) to[i] = value[i * P + j];
            to[Model::n_before] = u[j];
            if constexpr (Model::keeps_start)
                for (int i = 0; i < N; ++i) to[Model::n_before + 1 + i] = from[i * P + j];
        }
        n = 0;
    }

private:
    static constexpr int N = Model::n_state;
    const Layer &l;
    LayerTrace &out;
    const Draws &draws;
    int n = 0;
    uint16_t id[P];
    alignas(64) real from[N * P], at[N * P], u[P], value[Model::n_before * P], own[(Model::n_lanes ? Model::n_lanes : 1) * P];

    template <int TERMS> void move(int b, const real *state) {
        const Flow<Model, TERMS> f(l, own + b);
        f.crossing(from + b, at + b, u + b);
        for (int j = b; j < std::min(n, b + LANES); ++j)
            if (u[j] == 1)                // by noise or rounding alone: as it was at the end, with inputs decayed
                for (int i = Model::lazy_inputs; i < N; ++i) at[i * P + j] = state[(size_t(id[j] / P) * N + i) * P + id[j] % P];
        Model::spike_each(f.c, f.h, at + b, value + b);
        f.advance(at + b, real(1) - *reinterpret_cast<const vec *>(u + b), at + b);
    }
};

// Backwards: the same neurons. They are held before all are taken back through the step as if without a spike.
template <class Model> class Recrossings {
public:
    static constexpr int N = Model::n_state, M = Model::n_adjoint, C = Model::n_collect, L = Model::n_lanes;
    struct Spike { uint16_t neuron; bool dropped; uint32_t number; };

    explicit Recrossings(const Layer &l) : l(l) {}
    void clear() { spikes.clear(); }
    // `x` are the adjoints of its panel at the end of the step, `sum` what its parameters have collected.
    void hold(Spike spike, const real *x, const real *sum, const real *recorded, real error) {
        const int n = int(spikes.size()), j = n % P, lane = spike.neuron % P;
        if (j == 0) panels.grow(size_t(n / P + 1) * ROWS * P);
        spikes.push_back(spike);
        real *to = panel(n / P) + j;
        if (j % LANES == 0) clear_rows<ROWS>(to);
        const real *h = l.lanes_of<Model>(spike.neuron / P);
        for (int i = 0; i < M; ++i) to[(B + i) * P] = x[i * P + lane];
        for (int i = 0; i < C; ++i) to[(SUM + i) * P] = sum[i * P + lane];
        for (int i = 0; i < L; ++i) to[(OWN + i) * P] = h[i * P + lane];
        for (int i = 0; i < VALUES; ++i) to[(VALUE + i) * P] = recorded[i];
        to[ERROR * P] = error;
        to[U * P] = recorded[Model::n_before];
        if constexpr (Model::keeps_start)
            for (int i = 0; i < N; ++i) to[(FROM + i) * P] = recorded[Model::n_before + 1 + i];
    }
    // Takes all back: jumped(spike, constants of the slots, adjoints, slot, adjoints before, sums) after each one's jump, and
    // then done(spike, adjoints, slot, sums).
    template <class Jumped, class Done> void take(Jumped &&jumped, Done &&done) {
        const int n = int(spikes.size());
        for (int q = 0; q * P < n; ++q) {
            real *x = panel(q);
            const int m = std::min(P, n - q * P);
            const Spike *first = spikes.data() + q * P;
            l.terms <= usual_terms<Model> ? move<usual_terms<Model>>(x, m, first, jumped) : move<0>(x, m, first, jumped);
            for (int j = 0; j < m; ++j) done(first[j], x + B * P, j, x + SUM * P);
        }
    }

private:
    // rows of a panel
    static constexpr int KEPT = Model::keeps_start ? N : 0, VALUES = Model::n_before, HELD = Model::collects_jumps ? M : 0;
    static constexpr int B = 0, SUM = B + M, OWN = SUM + C, U = OWN + L, ERROR = U + 1, VALUE = ERROR + 1, LATER = VALUE + VALUES,
                         FROM = LATER + HELD, AFTER = FROM + KEPT, ROWS = AFTER + KEPT;
    const Layer &l;
    std::vector<Spike> spikes;
    Buffer panels;
    real *panel(int q) const { return panels.data + size_t(q) * ROWS * P; }

    template <int TERMS, class Jumped> void move(real *x, int m, const Spike *spike, Jumped &&jumped) const {
        for (int first = 0; first < m; first += LANES) {
            real *b = x + first;
            const Flow<Model, TERMS> f(l, b + OWN * P);
            const vec u = *reinterpret_cast<const vec *>(b + U * P);
            alignas(64) real value[VALUES * P];
            if constexpr (Model::keeps_start) {   // the state after the reset
                f.advance(b + FROM * P, u, b + AFTER * P);
                Model::spike_each(f.c, f.h, b + AFTER * P, value);
            }
            f.retreat(b + B * P, b + AFTER * P, real(1) - u, b + SUM * P);
            for (int i = 0; i < HELD; ++i) f.row(b, LATER + i) = f.row(b, B + i);
            Model::jump_each(f.c, f.h, b + B * P, b + ERROR * P, b + VALUE * P);
            for (int j = first; j < std::min(m, first + LANES); ++j)
                jumped(spike[j], x + OWN * P, x + B * P, j, x + LATER * P, x + SUM * P);
            f.retreat(b + B * P, b + FROM * P, u, b + SUM * P);
        }
    }
};

}  // namespace eventprop
