// Spikes that arrive at times of their own: each synapse has a delay, which is not rounded to steps.
//
// A step is a window in which things are looked for together. Neurons are linear, so that what arrives adds up: a weight w
// that arrives when the part u of the step is left changes the state at its end by w times a polynomial of u, a Taylor
// series (flow.hpp). So all that arrives in a step is summed, and only neurons that may reach their threshold in it are
// followed from arrival to arrival (arrival_sweep.hpp). Adjoints do not change at arrivals: those at the end of each step
// say what any arrival in it sees (arrival_back.hpp).
#pragma once
#include <numeric>

#include "flow.hpp"

namespace eventprop {

typedef std::conditional_t<sizeof(real) == 4, int32_t, int64_t> whole;
typedef whole ivec __attribute__((vector_size(VECTOR_BYTES)));
inline const vec &vec_at(const real *p) { return *reinterpret_cast<const vec *>(p); }

// Rows of the table of what parameters collect: by adjoint; and of a read-out by its drive and the drive's slope.
template <class Model> constexpr int ways = Model::n_adjoint + (Model::spiking ? 0 : 2);
// Rows of `collected` and `back`: likewise, by the adjoints that reach synapses.
template <class Model> constexpr int sights = Model::n_carried + (Model::spiking ? 0 : 2);

// Fills a layer's tables, after its series has been tabulated.
template <class Model> class ArrivalMaker {
public:
    explicit ArrivalMaker(Layer &l) : l(l), to(l.arrivals) {}

    void make() {
        const int n = to.powers = l.terms + 1;
        for (auto [b, rows] : {std::pair(&to.ahead, N), {&to.collected, sights<Model>}, {&to.back, sights<Model>}, {&to.parameters, C * ways<Model>}})
            b->reserve(std::max(size_t(1), size_t(l.n_panels) * rows * n * P));
        for (int p = 0; p < l.n_panels; ++p)
            for (int first = 0; first < P; first += LANES)
                with_flow<Model>(l, l.lanes_of<Model>(p) + first, l.terms, [&](auto &&f) { lanes(f, p, first); });
    }

private:
    static constexpr int N = Model::n_state, M = Model::n_adjoint, C = Model::n_collect, MOST = MOST_TERMS + 1;
    Layer &l;
    ArrivalTables &to;
    vec state[MOST][N];                   // series of the state after a unit weight
    vec back[M + 2][MOST][M];             // of each adjoint backwards; of what a drive of 1, and one that grows by 1 per ms, bring

    vec &entry(Buffer &b, int rows, int p, int first, int row, int power) const {
        return *reinterpret_cast<vec *>(b.data + ((size_t(p) * rows + row) * to.powers + power) * P + first);
    }
    template <class F> void lanes(const F &f, int p, int first) {
        alignas(64) real y[N * P] = {}, b[M * P], out[P];
        const int n = to.powers - 1;
        f.row(y, 0) = vec{} + 1;
        for (int v = 0; v < N; ++v) state[0][v] = f.row(y, v);
        f.series(y, state + 1);
        for (int w = 0; w < M; ++w) {
            for (int v = 0; v < M; ++v) back[w][0][v] = f.row(b, v) = vec{} + real(v == w);
            f.series_back(b, back[w] + 1);
        }
        if constexpr (!Model::spiking) driven(f);
        for (int k = 0; k <= n; ++k) {
            for (int v = 0; v < N; ++v) entry(to.ahead, N, p, first, v, k) = state[k][v];
            for (int w = 0; w < sights<Model>; ++w) {
                const int of = w < Model::n_carried ? w : M + w - Model::n_carried;
                for (int v = 0; v < M; ++v) f.row(b, v) = back[of][k][v];
                seen(f, b, out, false);
                entry(to.collected, sights<Model>, p, first, w, k) = f.row(out, 0);
                seen(f, b, out, true);
                entry(to.back, sights<Model>, p, first, w, k) = f.row(out, 0);
            }
        }
        if constexpr (C > 0)
            for (int w = 0; w < ways<Model>; ++w) collect(f, p, first, w);
    }
    // Of one vector of adjoints, whose lanes have the constants of f.
    template <class F> void seen(const F &f, const real *b, real *out, bool errors) const {
        alignas(64) real a[M * P], h[(Model::n_lanes ? Model::n_lanes : 1) * P], to[P];
        for (int v = 0; v < M; ++v)
            for (int lane = 0; lane < P; ++lane) a[v * P + lane] = b[v * P + lane % LANES];
        for (int r = 0; r < Model::n_lanes; ++r)
            for (int lane = 0; lane < P; ++lane) h[r * P + lane] = f.h[r * P + lane % LANES];
        errors ? Model::transport(f.c, h, a, to) : Model::gradient(f.c, h, a, to);
        std::copy(to, to + LANES, out);
    }
    // The adjoints of a leaky read-out tend to what drives them.
    template <class F> void driven(const F &f) {
        alignas(64) real x[M * P], d[M * P], push[M * P];
        for (int v = 0; v < M; ++v) f.row(x, v) = vec{} + 1;
        Model::flow_back(f.c, f.h, x, push);
        for (int way = 0; way < 2; ++way) {
            auto &t = back[M + way];
            for (int v = 0; v < M; ++v) t[0][v] = vec{};
            for (int k = 1; k < to.powers; ++k) {
                for (int v = 0; v < M; ++v) f.row(x, v) = t[k - 1][v];
                Model::flow_back(f.c, f.h, x, d);
                for (int v = 0; v < M; ++v) {
                    vec rate = f.row(d, v);
                    if (k == 1 + way) rate -= f.row(push, v) * (way ? f.dt : real(1));
                    t[k][v] = rate * (f.dt / real(k));
                }
            }
        }
    }
    // The integral of what parameters collect from the arrival to the end of the step: a product of two series.
    template <class F> void collect(const F &f, int p, int first, int way) {
        alignas(64) real b[M * P], y[N * P], factor[P], sum[(C ? C : 1) * P];
        for (int i = 0; i < C; ++i)
            for (int k = 0; k < to.powers; ++k) entry(to.parameters, C * ways<Model>, p, first, i * ways<Model> + way, k) = vec{};
        for (int i = 0; i < to.powers; ++i) {
            double beta = double(f.dt) / (i + 1);  // dt i! j! / (i + j + 1)!
            for (int j = 0; i + j + 1 < to.powers; ++j) {
                for (int v = 0; v < M; ++v) f.row(b, v) = back[way][i][v];
                for (int v = 0; v < N; ++v) f.row(y, v) = state[j][v];
                f.row(factor, 0) = vec{} + real(beta);
                for (int q = 0; q < C; ++q) f.row(sum, q) = vec{};
                Model::flow_collect(f.c, f.h, b, y, factor, sum);
                for (int q = 0; q < C; ++q)
                    entry(to.parameters, C * ways<Model>, p, first, q * ways<Model> + way, i + j + 1) += f.row(sum, q);
                beta *= double(j + 1) / (i + j + 2);
            }
        }
    }
};

// When spikes sent at `at` (ms) of step k arrive at a vector of synapses: in which step, and how much of it is left then.
struct When {
    ivec step;
    vec left;
    When(int k, real at, const real *delay, real h, real per) {
        const vec none{}, one = none + 1;
        const vec time = delay ? vec_at(delay) + at : none + at;
        const ivec steps = __builtin_convertvector(time * per, ivec);
        left = one - (time - __builtin_convertvector(steps, vec) * h) * per;
        left = left < none ? none : left;
        left = left > one ? one : left;
        step = steps + (ivec{} + k);
    }
};
// At step `most` at the latest.
inline void limit(ivec &step, int most) { step = step < ivec{} + most ? step : ivec{} + most; }

// A polynomial of a table's row.
inline vec polynomial(const real *table, int powers, vec u) {
    vec sum = vec_at(table + (powers - 1) * P);
    for (int k = powers - 2; k >= 0; --k) sum = sum * u + vec_at(table + k * P);
    return sum;
}

// act(row of weights, step, time in it, row of delays or null, number of the spike) for each spike of `source` in order.
template <class F> void each_spike(const SpikeLists &source, int K, const Weights &w, F &&act) {
    for (int k = 0; k < K; ++k)
        for (uint32_t s = source.step_start[k]; s < source.step_start[k + 1]; ++s) act(int(source.id[s]), k, source.at[s], s);
}
inline const real *delay_of(const Weights &w, int p, int row, int first) { return w.delayed ? w.d.at(p, row) + first : nullptr; }

// Sums of what arrives in each step, [panel][step][row][P], with a step K for what comes later; and lists of it for each neuron
// and step. With `moments` rows are sums of w u^power, else of what comes to each state variable. Of neurons that spike a row
// more says how far what arrives may lift them at the most.
template <class Model> class Landing {
public:
    const int rows, all;
    Landing(const Layer &l, int K, bool moments, Buffer &landed)
        : rows(moments ? l.arrivals.powers : Model::n_state), all(rows + Model::spiking), l(l), K(K), moments(moments), h(real(l.dt)),
          per(1 / h) {
        const size_t size = size_t(l.n_panels) * (K + 1) * all * P;
        landed.reserve(size);
        data = landed.data;
        std::fill(data, data + size, real(0));
    }
    real *at(int p, int k) const { return data + (size_t(p) * (K + 1) + k) * all * P; }
    const real *bound(int p, int k) const { return at(p, k) + rows * P; }

    // All of a source's spikes, with lists of them.
    void land(const SpikeLists &source, const Weights &w, ArrivalScratch &t) {
        if constexpr (Model::spiking) count(source, w, t);
        each_block([&](int p, int first, int lanes) {
            uint32_t *cells = Model::spiking ? cells_of(t, p) + first : nullptr;
            each_spike(source, K, w, [&](int row, int k, real at, uint32_t) {
                put(w, row, p, first, lanes, k, at, [&](int lane, int step, real left, real weight) {
                    if (!Model::spiking || step >= K) return;
                    t.listed[cells[size_t(step) * P + lane]++] = {1 - left, weight};
                });
            });
        });
    }
    // One spike at a vector of neurons; also(lane, step, what is left of it, weight).
    template <class F> void put(const Weights &w, int row, int p, int first, int lanes, int k, real time, F &&also) {
        When when(k, time, delay_of(w, p, row, first), h, per);
        limit(when.step, K);
        until = std::max(until, k);
        alignas(64) real share[(MOST_TERMS + 2) * LANES];
        const vec weight = vec_at(w.w.at(p, row) + first);
        shares(p, first, when.left, weight, share);
        for (int lane = 0; lane < lanes; ++lane) {
            const int step = int(when.step[lane]);
            real *to = at(p, step) + first + lane;
            for (int r = 0; r < all; ++r) to[r * P] += share[r * LANES + lane];
            until = step < K && step > until ? step : until;
            also(lane, step, when.left[lane], weight[lane]);
        }
    }
    template <class F> void each_block(F &&act) const {
        for (int p = 0; p < l.n_panels; ++p)
            for (int first = 0; first < P && p * P + first < l.n; first += LANES) act(p, first, std::min(LANES, l.n - p * P - first));
    }
    // A neuron's list in a step.
    std::pair<const Arrival *, const Arrival *> list(const ArrivalScratch &t, int neuron, int k) const {
        const size_t cell = (size_t(neuron / P) * (K + 1) + k) * P + neuron % P;
        const Arrival *all = t.listed.data();
        return {all + (cell ? t.cells[cell - 1] : 0), all + t.cells[cell]};
    }
    int until = -1;                       // the last step in which something arrives

private:
    const Layer &l;
    const int K;
    const bool moments;
    const real h, per;
    real *data;

    uint32_t *cells_of(ArrivalScratch &t, int p) const { return t.cells.data() + size_t(p) * (K + 1) * P; }
    // Cells become the beginnings of lists.
    void count(const SpikeLists &source, const Weights &w, ArrivalScratch &t) {
        t.cells.assign(size_t(l.n_panels) * (K + 1) * P, 0);
        each_block([&](int p, int first, int lanes) {
            uint32_t *cells = cells_of(t, p) + first;
            each_spike(source, K, w, [&](int row, int k, real time, uint32_t) {
                const When when(k, time, delay_of(w, p, row, first), h, per);
                for (int lane = 0; lane < lanes; ++lane)
                    if (when.step[lane] < K) ++cells[size_t(when.step[lane]) * P + lane];
            });
        });
        uint32_t sum = 0;
        for (uint32_t &cell : t.cells) { const uint32_t n = cell; cell = sum; sum += n; }
        t.listed.resize(sum);
    }
    void shares(int p, int first, vec u, vec w, real *to) const {
        const int powers = l.arrivals.powers;
        const real *table = l.arrivals.ahead.data + size_t(p) * Model::n_state * powers * P + first;
        vec power = w;
        for (int r = 0; r < rows; ++r) {
            *reinterpret_cast<vec *>(to + r * LANES) = moments ? power : w * polynomial(table + size_t(r) * powers * P, powers, u);
            power *= u;
        }
        if constexpr (Model::spiking) {
            const vec none{}, up = u * l.steep, down = u * l.steep_drop;
            const vec lift = up < l.lift ? up : none + l.lift, drop = down < l.drop ? down : none + l.drop;
            *reinterpret_cast<vec *>(to + rows * LANES) = w > none ? w * lift : w * -drop;
        }
    }
};

// Adds what arrives in a step to the states of a panel at its end.
template <class Model> void bring_landed(const Layer &l, int p, const real *landed, bool moments, real *x) {
    const int powers = l.arrivals.powers;
    for (int v = 0; v < Model::n_state; ++v) {
        real *to = x + v * P;
        if (!moments) {
            for (int lane = 0; lane < P; ++lane) to[lane] += landed[v * P + lane];
            continue;
        }
        const real *table = l.arrivals.ahead.data + (size_t(p) * Model::n_state + v) * powers * P;
        for (int k = 0; k < powers; ++k)
            for (int lane = 0; lane < P; ++lane) to[lane] += table[k * P + lane] * landed[k * P + lane];
    }
}

}  // namespace eventprop
