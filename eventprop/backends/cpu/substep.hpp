// Crossings within a step: a neuron that ends a step above its threshold is taken to where it crossed, reset there, and taken
// through the rest of the step; its spike leaves at the end of the step. Backwards the same with the transposes. Only
// neurons that spike are touched, one by one.
//
// Linear neurons move by the Taylor series of their flow, others by their step map over a shorter time.
#pragma once
#include "layers.hpp"

namespace eventprop {

template <class Model> struct LaneFlow {
    static constexpr int N = Model::n_state, M = Model::n_adjoint, MOST = 40;
    const real *c, *h;
    int lane, terms;
    real dt;

    // Terms of the Taylor series of a movement by s from y, and of one backwards.
    void series(const real *y, real s, real (*t)[N]) const {
        Model::flow(c, h, lane, y, t[0]);
        Model::drift(c, h, lane, y, t[0]);
        for (int i = 0; i < N; ++i) t[0][i] *= s;
        for (int k = 1; k < terms; ++k) {
            Model::flow(c, h, lane, t[k - 1], t[k]);
            const real f = s / real(k + 1);
            for (int i = 0; i < N; ++i) t[k][i] *= f;
        }
    }
    void series_back(const real *b, real s, real (*t)[M]) const {
        Model::flow_back(c, h, lane, b, t[0]);
        for (int i = 0; i < M; ++i) t[0][i] *= s;
        for (int k = 1; k < terms; ++k) {
            Model::flow_back(c, h, lane, t[k - 1], t[k]);
            const real f = s / real(k + 1);
            for (int i = 0; i < M; ++i) t[k][i] *= f;
        }
    }
    template <int W> void at(const real *from, real (*t)[W], real u, real *to) const {
        for (int i = 0; i < W; ++i) {
            real v = 0;
            for (int k = terms - 1; k >= 0; --k) v = (v + t[k][i]) * u;
            to[i] = from[i] + v;
        }
    }

    // Where in the step from `start`, in parts of it, the neuron crosses, with its state there; 1 where it does not.
    real crossing(const real *start, real *there) const {
        if constexpr (Model::linear) {
            real t[MOST][N];
            series(start, dt, t);
            return root(start, there, [&](real u, real *y) { at<N>(start, t, u, y); });
        } else return root(start, there, [&](real u, real *y) { Model::advance(c, h, lane, start, u * dt, y); });
    }
    template <class Path> real root(const real *start, real *there, Path &&path) const {
        const real first = Model::level(c, h, lane, start);
        if (!(first < 0)) {
            std::copy(start, start + N, there);
            return 0;
        }
        path(real(1), there);
        const real last = Model::level(c, h, lane, there);
        if (!(last > 0)) return 1;
        real low = 0, high = 1, u = first / (first - last);
        constexpr real close = sizeof(real) == 4 ? real(2e-7) : real(1e-15);
        for (int i = 0; i < 40; ++i) {
            path(u, there);
            const real g = Model::level(c, h, lane, there);
            (g < 0 ? low : high) = u;
            real next = u - g / (Model::climb(c, h, lane, there) * dt);
            if (!(next > low && next < high)) next = real(0.5) * (low + high);
            const real moved = std::fabs(next - u);
            u = next;
            if (moved <= close || high - low <= close) break;
        }
        path(u, there);
        return u;
    }

    // Through a time s forwards.
    void advance(const real *y, real s, real *to) const {
        if constexpr (Model::linear) {
            real t[MOST][N];
            series(y, s, t);
            at<N>(y, t, real(1), to);
        } else Model::advance(c, h, lane, y, s, to);
    }
    // The transpose, of adjoints b at the end, where y is the state at the start. What parameters collect over the time is
    // an integral of state and adjoints, taken by Gauss's formula with three points.
    void retreat(real *b, const real *y, real s, real *sum) const {
        if constexpr (Model::linear) {
            real t[MOST][M], end[M];
            series_back(b, s, t);
            std::copy(b, b + M, end);
            at<M>(end, t, real(1), b);
            if constexpr (Model::n_collect > 0) {
                constexpr real where[3] = {real(0.11270166537925831), real(0.5), real(0.8872983346207417)};
                constexpr real weight[3] = {real(5) / 18, real(8) / 18, real(5) / 18};
                real f[MOST][N], state[N], adjoint[M];
                series(y, s, f);
                for (int q = 0; q < 3; ++q) {
                    at<N>(y, f, where[q], state);
                    at<M>(end, t, 1 - where[q], adjoint);
                    Model::flow_collect(c, h, lane, adjoint, state, weight[q] * s, sum);
                }
            }
        } else Model::retreat(c, h, lane, b, y, s, sum);
    }
};

// How many terms of its Taylor series a step of the layer's neurons takes; 0 where they have none.
template <class Model> int taylor_terms(const Layer &l) {
    if constexpr (Model::linear) {
        constexpr int N = Model::n_state;
        double largest = 0;
        for (int j = 0; j < (Model::n_lanes ? l.n : 1); ++j) {
            double rows[N] = {};
            for (int k = 0; k < N; ++k) {
                real unit[N] = {}, d[N];
                unit[k] = 1;
                Model::flow(l.constants.data(), l.template lanes_of<Model>(j / P), j % P, unit, d);
                for (int i = 0; i < N; ++i) rows[i] += std::fabs(double(d[i]));
            }
            for (double r : rows) largest = std::max(largest, r * l.dt);
        }
        double term = 1;
        int terms = 0;
        while (terms < LaneFlow<Model>::MOST && (term > (sizeof(real) == 4 ? 2e-8 : 1e-16) || terms < 3)) term *= largest / ++terms;
        return terms;
    } else return 0;
}

// Resets a neuron that ended step `k` above its threshold at where it crossed; `start` is the panel's state at the start of the
// step. Fills `recorded`; returns where in the step.
template <class Model> real cross(const Layer &l, int p, int lane, const real *start, real *x, real *recorded) {
    constexpr int N = Model::n_state;
    const LaneFlow<Model> f{l.constants.data(), l.lanes_of<Model>(p), lane, l.terms, real(l.dt)};
    real from[N], there[N], end[N];
    for (int i = 0; i < N; ++i) {
        from[i] = start[i * P + lane];
        end[i] = x[i * P + lane];
    }
    const real u = f.crossing(from, there);
    if (u == 1) {                         // by noise or rounding alone: as it was at the end, with inputs decayed
        f.advance(from, f.dt, there);
        for (int i = Model::lazy_inputs; i < N; ++i) there[i] = end[i];
    }
    for (int i = 0; i < N; ++i) x[i * P + lane] = there[i];
    Model::spike(f.c, f.h, x, lane, recorded);
    for (int i = 0; i < N; ++i) there[i] = x[i * P + lane];
    f.advance(there, (1 - u) * f.dt, end);
    for (int i = 0; i < N; ++i) x[i * P + lane] = i < Model::lazy_inputs ? from[i] : end[i];
    recorded[Model::n_before] = u;
    for (int i = 0; i < N; ++i) recorded[Model::n_before + 1 + i] = from[i];
    return u;
}

// The reverse: `b` are the adjoints of the lane at the end of the step, and then at its start. `jump` works on the panel's
// adjoints x.
template <class Model, class Jump>
void uncross(const Layer &l, int p, int lane, const real *recorded, real *b, real *x, real *sum, Jump &&jump) {
    constexpr int N = Model::n_state, M = Model::n_adjoint;
    const LaneFlow<Model> f{l.constants.data(), l.lanes_of<Model>(p), lane, l.terms, real(l.dt)};
    const real u = recorded[Model::n_before], *from = recorded + Model::n_before + 1;
    real after[N] = {};
    if (Model::n_collect || !Model::linear) {  // the state after the reset
        real column[N * P], value[Model::n_recorded], there[N];
        f.advance(from, u * f.dt, there);
        for (int i = 0; i < N; ++i) column[i * P + lane] = there[i];
        Model::spike(f.c, f.h, column, lane, value);
        for (int i = 0; i < N; ++i) after[i] = column[i * P + lane];
    }
    f.retreat(b, after, (1 - u) * f.dt, sum);
    for (int i = 0; i < M; ++i) x[i * P + lane] = b[i];
    jump();
    for (int i = 0; i < M; ++i) b[i] = x[i * P + lane];
    f.retreat(b, from, u * f.dt, sum);
    for (int i = 0; i < M; ++i) x[i * P + lane] = b[i];
}

}  // namespace eventprop
