// The read-out that does not spike, where spikes have their exact times: integrals of V with the loss's weight, taken as linear
// in time within a step.
#pragma once
#include "exact_back.hpp"

namespace eventprop {

// The weight of the loss in each step: at its start, and how it changes until its end (per ms); and how long the steps last
// that count.
struct StepWeights {
    const real *start, *slope;
    real duration;
};

template <class Model> class ExactReadOut {
public:
    ExactReadOut(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot, Scratch &t)
        : l(l), K(K), n(l.nodes.n), below(below), w(w), trace(slot.output), error(slot.error.data()), t(t), c(l.constants.data()),
          h(real(l.dt)), counted(w.duration) {
        slot.readout.reserve(size_t(l.n_panels) * Readout::n_state * P);
        readout = slot.readout.data;
    }

    void forward(bool kept) {
        const size_t width = size_t(l.n_panels) * ROWS * P;
        t.state.reserve(width);
        std::fill(t.state.data, t.state.data + width, real(0));
        t.moments.reserve(size_t(l.n_panels) * MOST_NODES * P);
        if (kept) {
            trace.kept.reserve(size_t(K) * l.n_panels * N * P);
            trace.moment_row.assign(K, -1);
        }
        for (int p = 0; p < l.n_panels; ++p) Model::start(c, l.lanes_of<Model>(p), x(p));
        Arrivals arrivals;
        size_t rows = 0;
        for (int k = 0; k < K; ++k) {
            const real start = w.start[k] / counted, slope = w.slope[k] / counted;
            arrivals.clear();
            for (uint32_t s = below.step_start[k]; s < below.step_start[k + 1]; ++s) {
                real *own = arrivals.template add<Model>(l, l.forward, below.id[s], h - below.at[s]);
                if (shared<Model>) own[N] = (start + slope * below.at[s]) * own[N] + slope * own[N + 1];
            }
            real *moments = t.moments.data;
            if (kept && arrivals.size()) {
                trace.moment_row[k] = int32_t(rows);
                trace.moments.grow((rows + 1) * l.n_panels * n * P);
                moments = trace.moments.data + rows++ * l.n_panels * n * P;
            }
            for (int p = 0; p < l.n_panels; ++p) {
                if (kept) std::memcpy(keep(p, k), x(p), N * P * sizeof(real));
                Model::integrate(c, l.lanes_of<Model>(p), x(p), start, slope, h, x(p) + N * P);
                if (arrivals.size()) arrive(arrivals, p, moments + size_t(p) * n * P, start, slope);
            }
        }
        for (int p = 0; p < l.n_panels; ++p)
            std::memcpy(readout + size_t(p) * Readout::n_state * P, x(p) + N * P, P * sizeof(real));
    }

    // Event s of the trace belongs to spike s from below.
    void back(std::vector<real> &below_error) {
        rows_n = rows_back<Model>(l);
        rows = {nullptr, Panels::stride_of(size_t(K) * rows_n)};
        trace.step_adjoint.reserve(rows.stride * l.n_panels);
        rows.data = trace.step_adjoint.data;
        trace.seen.resize(below.id.size() * rows_n);
        trace.events.resize(below.id.size());
        clear_adjoint(l, M, t);
        t.seen.reserve(size_t(l.n_panels) * MOST_NODES * P);
        for (int k = K - 1; k >= 0; --k) {
            const real start = w.start[k] / counted, slope = w.slope[k] / counted, end = start + slope * h;
            const uint32_t from = below.step_start[k], to = below.step_start[k + 1];
            for (int p = 0; from < to && p < l.n_panels; ++p) rows_of(k, p, end, slope);
            for (uint32_t s = from; s < to; ++s) event(k, s, end, slope, below_error);
            for (int p = 0; p < l.n_panels; ++p) {
                if constexpr (Model::n_collect > 0) collect(k, p, start, slope);
                Model::back_driven(c, l.lanes_of<Model>(p), a(p), error + p * P, end, -slope, h);
            }
        }
        if constexpr (Model::n_collect > 0)
            for (int p = 0; p < l.n_panels; ++p) Model::collect_start(c, l.lanes_of<Model>(p), a(p), sum(p));
    }

private:
    static constexpr int N = Model::n_state, M = Model::n_adjoint, ROWS = N + 1;
    const Layer &l;
    const int K, n;
    const SpikeLists &below;
    const StepWeights w;
    LayerTrace &trace;
    const real *error;
    Scratch &t;
    const real *c;
    const real h, counted;
    real *readout;
    int rows_n = 0;
    Panels rows{};

    real *x(int p) const { return t.state.data + size_t(p) * ROWS * P; }  // state and integral
    real *a(int p) const { return t.adjoint.data + size_t(p) * M * P; }
    real *keep(int p, int k) const { return trace.kept.data + (size_t(k) * l.n_panels + p) * N * P; }
    real *sum(int p) const { return trace.collected.data + size_t(p) * Model::n_collect * P; }
    const real *constants(int q) const { return l.nodes.constants_of<Model>(q); }
    const real *lanes(int q, int p) const { return l.nodes.lanes_of<Model>(q, p, l.n_panels); }

    void arrive(const Arrivals &arrivals, int p, real *moments, real start, real slope) {
        if constexpr (shared<Model>) {
            arrivals.template deliver_rows<Model>(p, ROWS, x(p), nullptr);
        } else {
            alignas(64) real y[N * P];
            std::fill(moments, moments + n * P, real(0));
            arrivals.template deliver_rows<Model>(p, n, moments, nullptr);
            for (int q = 0; q < n; ++q) {
                const real left = l.nodes.at[q];
                of_moment<Model>(moments, q, y);
                Model::integrate(constants(q), lanes(q, p), y, start + slope * (h - left), slope, left, x(p) + N * P);
                for (int i = 0; i < N * P; ++i) x(p)[i] += y[i];
            }
        }
    }
    // What spikes of step k see in panel p.
    void rows_of(int k, int p, real end, real slope) {
        real *to = rows.at(p, size_t(k) * rows_n);
        if constexpr (shared<Model>) {
            std::memcpy(to, a(p), Model::n_carried * P * sizeof(real));
            std::memcpy(to + Model::n_carried * P, error + p * P, P * sizeof(real));
        } else {
            alignas(64) real b[M * P];
            for (int q = 0; q < n; ++q) {
                std::copy(a(p), a(p) + M * P, b);
                Model::back_driven(constants(q), lanes(q, p), b, error + p * P, end, -slope, l.nodes.at[q]);
                Model::gradient(constants(q), lanes(q, p), b, to + q * P);
                Model::transport(constants(q), lanes(q, p), b, t.seen.data + (size_t(p) * n + q) * P);
            }
        }
    }
    void event(int k, uint32_t s, real end, real slope, std::vector<real> &below_error) {
        const double z = NodeConstants::z_of(h - below.at[s], l.dt);
        real *seen = &trace.seen[size_t(s) * rows_n];
        trace.events[s] = {0, h - below.at[s], BELOW, s, uint32_t(k)};
        if constexpr (shared<Model>) {
            constexpr int E = Model::n_carried;
            real own[MOST_NODES];
            l.nodes.collected.at(E + 2, z, own);
            std::copy(own, own + E, seen);
            seen[E] = end * own[E] - slope * own[E + 1];
            l.nodes.back.at(E + 2, z, own);
            own[E] = end * own[E] - slope * own[E + 1];
            below_error[s] += error_of_rows<Model>(l.forward.w, below.id[s], own, rows.at(0, size_t(k) * rows_n), rows_n, rows.stride, l.n_panels);
        } else {
            l.nodes.collected.at(n, z, seen);
            below_error[s] += error_of_rows<Model>(l.forward.w, below.id[s], seen, t.seen.data, n, size_t(n) * P, l.n_panels);
        }
    }
    void collect(int k, int p, real start, real slope) {
        alignas(64) real y[N * P];
        const real *hp = l.lanes_of<Model>(p);
        Model::collect(c, hp, a(p), keep(p, k), sum(p));
        Model::collect_integral(c, hp, keep(p, k), error + p * P, start, slope, h, sum(p));
        const int32_t row = trace.moment_row[k];
        for (int q = 0; row >= 0 && q < n; ++q) {
            const real left = l.nodes.at[q];
            of_moment<Model>(trace.moments.data + (size_t(row) * l.n_panels + p) * n * P, q, y);
            Model::collect(constants(q), lanes(q, p), a(p), y, sum(p));
            Model::collect_integral(constants(q), lanes(q, p), y, error + p * P, start + slope * (h - left), slope, left, sum(p));
        }
    }
};

}  // namespace eventprop
