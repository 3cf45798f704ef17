// Crossings within a step: a neuron that ends a step above its threshold is taken to where it crossed, reset there, and taken
// through the rest of the step; its spike leaves at the end of the step. Backwards the same with the transposes. Only
// neurons that spike are touched: those of a step lie side by side in panels of their own, and go together, a vector at a time.
//
// Linear neurons move by the Taylor series of their flow, others by their step map over a shorter time.
#pragma once
#include "flow.hpp"

namespace eventprop {

// Forwards: neurons that have reached their threshold in a step.
template <class Model> class Crossings {
public:
    Crossings(const Layer &l, LayerTrace &out, const Draws &draws) : l(l), out(out), draws(draws) {}

    // Those of panel p that are marked; `start` is its state at the start of step k, `state` that of all at its end.
    void add(int p, int k, const int *fired, const real *start, real *state) {
        const real *h = l.lanes_of<Model>(p);
        for (int lane = 0, lanes = std::min(P, l.n - p * P); lane < lanes; ++lane)
            if (fired[lane]) {
                if (n == P) take(k, state);
                id[n] = uint16_t(p * P + lane);
                for (int i = 0; i < N; ++i) from[i * P + n] = start[i * P + lane];
                for (int i = 0; i < Model::n_lanes; ++i) own[i * P + n] = h[i * P + lane];
                ++n;
            }
    }
    // Resets them where they crossed, takes them to the end of the step, and records their spikes.
    void take(int k, real *state) {
        if (!n) return;
        for (int j = n; j % LANES; ++j) {     // vectors are whole
            for (int i = 0; i < N; ++i) from[i * P + j] = from[i * P + n - 1];
            for (int i = 0; i < Model::n_lanes; ++i) own[i * P + j] = own[i * P + n - 1];
        }
        l.terms <= USUAL_TERMS ? move<USUAL_TERMS>(state) : move<0>(state);
        for (int j = 0; j < n; ++j) {
            const bool dropped = draws.drops(k, id[j]);
            auto &list = dropped ? this->out.dropped : this->out.spikes;
            auto &recorded = dropped ? this->out.dropped_recorded : this->out.recorded;
            list.id.push_back(id[j]);
            recorded.insert(recorded.end(), value[j], value[j] + Model::n_recorded);
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
    real value[P][Model::n_recorded];
    alignas(64) real from[N * P], at[N * P], u[P], own[(Model::n_lanes ? Model::n_lanes : 1) * P];

    template <int TERMS> void move(real *state) {
        for (int b = 0; b < n; b += LANES) {
            const Flow<Model, TERMS> f(l, own + b);
            f.crossing(from + b, at + b, u + b);
        }
        for (int j = 0; j < n; ++j) {
            const real *end = state + size_t(id[j] / P) * N * P + id[j] % P;
            if (u[j] == 1)                // by noise or rounding alone: as it was at the end, with inputs decayed
                for (int i = Model::lazy_inputs; i < N; ++i) at[i * P + j] = end[i * P];
            Model::spike(l.constants.data(), own, at, j, value[j]);
            value[j][Model::n_before] = u[j];
            if constexpr (Model::keeps_start)
                for (int i = 0; i < N; ++i) value[j][Model::n_before + 1 + i] = from[i * P + j];
        }
        for (int b = 0; b < n; b += LANES) {
            const Flow<Model, TERMS> f(l, own + b);
            f.advance(at + b, real(1) - *reinterpret_cast<const vec *>(u + b), at + b);
        }
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < N; ++i)
                state[(size_t(id[j] / P) * N + i) * P + id[j] % P] = (i < Model::lazy_inputs ? from : at)[i * P + j];
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
    void hold(Spike spike, const real *x, const real *sum, const real *recorded) {
        const int n = int(spikes.size()), j = n % P, lane = spike.neuron % P;
        if (j == 0) panels.grow(size_t(n / P + 1) * ROWS * P);
        spikes.push_back(spike);
        real *to = panel(n / P) + j;
        const real *h = l.lanes_of<Model>(spike.neuron / P);
        for (int i = 0; i < M; ++i) to[(B + i) * P] = x[i * P + lane];
        for (int i = 0; i < C; ++i) to[(SUM + i) * P] = sum[i * P + lane];
        for (int i = 0; i < L; ++i) to[(OWN + i) * P] = h[i * P + lane];
        to[U * P] = recorded[Model::n_before];
        if constexpr (Model::keeps_start)
            for (int i = 0; i < N; ++i) to[(FROM + i) * P] = recorded[Model::n_before + 1 + i];
    }
    // Takes all back: jump(spike, constants of the slots, adjoints, slot, sums) at each one's crossing, and then
    // done(spike, adjoints, slot, sums).
    template <class Jump, class Done> void take(Jump &&jump, Done &&done) {
        const int n = int(spikes.size());
        for (int q = 0; q * P < n; ++q) {
            real *x = panel(q);
            const int m = std::min(P, n - q * P);
            for (int j = m; j % LANES; ++j)
                for (int i = 0; i < ROWS; ++i) x[i * P + j] = x[i * P + m - 1];
            const Spike *first = spikes.data() + q * P;
            l.terms <= USUAL_TERMS ? move<USUAL_TERMS>(x, m, first, jump) : move<0>(x, m, first, jump);
            for (int j = 0; j < m; ++j) done(first[j], x + B * P, j, x + SUM * P);
        }
    }

private:
    // rows of a panel
    static constexpr int KEPT = Model::keeps_start ? N : 0;
    static constexpr int B = 0, SUM = B + M, OWN = SUM + C, U = OWN + L, FROM = U + 1, AFTER = FROM + KEPT, ROWS = AFTER + KEPT;
    const Layer &l;
    std::vector<Spike> spikes;
    Buffer panels;
    real *panel(int q) const { return panels.data + size_t(q) * ROWS * P; }

    template <int TERMS, class Jump> void move(real *x, int m, const Spike *spike, Jump &&jump) const {
        real value[Model::n_recorded];
        if constexpr (Model::keeps_start) {   // the state after the reset
            for (int b = 0; b < m; b += LANES) {
                const Flow<Model, TERMS> f(l, x + OWN * P + b);
                f.advance(x + FROM * P + b, *reinterpret_cast<const vec *>(x + U * P + b), x + AFTER * P + b);
            }
            for (int j = 0; j < m; ++j) Model::spike(l.constants.data(), x + OWN * P, x + AFTER * P, j, value);
        }
        for (int b = 0; b < m; b += LANES) {
            const Flow<Model, TERMS> f(l, x + OWN * P + b);
            f.retreat(x + B * P + b, x + AFTER * P + b, real(1) - *reinterpret_cast<const vec *>(x + U * P + b), x + SUM * P + b);
        }
        for (int j = 0; j < m; ++j) jump(spike[j], x + OWN * P, x + B * P, j, x + SUM * P);
        for (int b = 0; b < m; b += LANES) {
            const Flow<Model, TERMS> f(l, x + OWN * P + b);
            f.retreat(x + B * P + b, x + FROM * P + b, *reinterpret_cast<const vec *>(x + U * P + b), x + SUM * P + b);
        }
    }
};

}  // namespace eventprop
