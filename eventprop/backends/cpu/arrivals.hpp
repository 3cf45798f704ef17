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
        vec x[M], d[M] = {}, push[M] = {};
        for (int v = 0; v < M; ++v) x[v] = vec{} + 1;
        Model::flow_back(f.c, f.h, x, push);
        for (int way = 0; way < 2; ++way) {
            auto &t = back[M + way];
            for (int v = 0; v < M; ++v) t[0][v] = vec{};
            for (int k = 1; k < to.powers; ++k) {
                for (int v = 0; v < M; ++v) x[v] = t[k - 1][v];
                Model::flow_back(f.c, f.h, x, d);
                for (int v = 0; v < M; ++v) {
                    vec rate = d[v];
                    if (k == 1 + way) rate -= push[v] * (way ? f.dt : real(1));
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
// Delays onto panel p, by target.
inline void sort_by_target(Weights &w, int p) {
    real *to = w.by_target.data() + size_t(p) * P * w.n_pre;
    for (int pre = 0; pre < w.n_pre; ++pre)
        for (int lane = 0; lane < P; ++lane) to[size_t(lane) * w.n_pre + pre] = w.d.at(p, pre)[lane];
}
inline const real *delay_of(const Weights &w, int p, int row, int first) { return w.delayed ? w.d.at(p, row) + first : nullptr; }

// Spikes in order of time, with their times since the start of the trial (rounded) and their steps.
struct Heard {
    const SpikeLists &spikes;
    std::vector<real> time;
    std::vector<uint16_t> step;
    void hear(int k, real at, real h) {
        time.push_back(k * h + at);
        step.push_back(uint16_t(k));
    }
};

// Sums of what arrives in each step, [panel][step][row][P], with a step K for what comes later. With `moments` rows are sums of
// w u^power, else of what comes to each state variable. Of neurons that spike a row more says how far what arrives may lift
// them at the most.
template <class Model> class Landing {
public:
    const int rows, all;
    int until = -1;                       // the last step in which something arrives

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

    // All spikes of a source.
    void land(const SpikeLists &source, const Weights &w) {
        each_block([&](int p, int first) {
            each_spike(source, K, w, [&](int row, int k, real at, uint32_t) { put(w, row, p, first, k, at); });
        });
        if (!source.id.empty()) until = std::min(K - 1, source.last() + w.longest + 2);
    }
    // A spike of the layer's own.
    void send(const Weights &w, int neuron, int k, real time) {
        each_block([&](int p, int first) { put(w, neuron, p, first, k, time); });
        until = std::max(until, std::min(K - 1, k + w.longest + 2));
    }
    template <class F> void each_block(F &&act) const {
        for (int p = 0; p < l.n_panels; ++p)
            for (int first = 0; first < P && p * P + first < l.n; first += LANES) act(p, first);
    }
    // act(how much of step k is over, weight) for each of the spikes before number `to` that arrives in it at a neuron.
    template <class F> void each_arrival(const Heard &source, const Weights &w, int neuron, int k, uint32_t to, F &&act) const {
        const real *delay = w.delayed ? w.by_target.data() + size_t(neuron) * w.n_pre : nullptr;
        const uint16_t *id = source.spikes.id.data();
        const real *time = source.time.data();
        // near enough to be looked at
        const real slack = h * real(0.01) + real(1e-6) * k * h, low = k * h - slack, high = (k + 1) * h + slack;
        for (uint32_t s = source.spikes.step_start[std::max(0, k - w.longest - 2)]; s < to; s += LANES) {
            vec t{};
            const int n = int(std::min(to - s, uint32_t(LANES)));
            std::memcpy(&t, time + s, n == LANES ? sizeof(vec) : n * sizeof(real));
            alignas(64) real d[LANES] = {};
            if (delay && n == LANES)
                for (int j = 0; j < LANES; ++j) d[j] = delay[id[s + j]];
            else if (delay)
                for (int j = 0; j < n; ++j) d[j] = delay[id[s + j]];
            t += vec_at(d);
            const auto near = (t >= low) & (t < high);
            if (eventprop::all(~near)) continue;
            for (int j = 0; j < n; ++j)
                if (near[j]) arrival(source, w, neuron, d[j], k, s + j, act);
        }
    }

private:
    const Layer &l;
    const int K;
    const bool moments;
    const real h, per;
    real *data;

    // To the last bit as put() has it, lest an arrival be in no step or in two.
    template <class F>
    void arrival(const Heard &source, const Weights &w, int neuron, real delay, int k, uint32_t s, F &&act) const {
        const vec delays = vec{} + delay;
        const When when(source.step[s], source.spikes.at[s], w.delayed ? reinterpret_cast<const real *>(&delays) : nullptr, h, per);
        if (when.step[0] == k) act(1 - when.left[0], w.w.at(neuron / P, source.spikes.id[s])[neuron % P]);
    }
    // One spike at a vector of neurons.
    void put(const Weights &w, int row, int p, int first, int k, real time) {
        const real *delay = delay_of(w, p, row, first);
        When when(k, time, delay, h, per);
        limit(when.step, K);
        vec share[MOST_TERMS + 2];
        shares(p, first, when.left, vec_at(w.w.at(p, row) + first), share);
        if (!delay) {
            real *to = at(p, int(when.step[0])) + first;
            for (int r = 0; r < all; ++r) *reinterpret_cast<vec *>(to + r * P) += share[r];
            return;
        }
        alignas(64) whole step[LANES];
        *reinterpret_cast<ivec *>(step) = when.step * (ivec{} + all * P);
        real *to = at(p, 0) + first;
        moments ? scatter<0>(step, share, to) : scatter<Model::n_state + Model::spiking>(step, share, to);
    }
    template <int ROWS> void scatter(const whole *step, const vec *share, real *base) const {
        const real *part = reinterpret_cast<const real *>(share);
        for (int lane = 0; lane < LANES; ++lane) {
            real *to = base + step[lane] + lane;
            for (int r = 0; r < (ROWS ? ROWS : all); ++r) to[r * P] += part[r * LANES + lane];
        }
    }
    void shares(int p, int first, vec u, vec w, vec *to) const {
        const int powers = l.arrivals.powers;
        const real *table = l.arrivals.ahead.data + size_t(p) * Model::n_state * powers * P + first;
        if (moments) {
            to[0] = w;
            for (int r = 1; r < rows; ++r) to[r] = to[r - 1] * u;
        } else {
            for (int r = 0; r < Model::n_state; ++r) to[r] = w * polynomial(table + size_t(r) * powers * P, powers, u);
        }
        if constexpr (Model::spiking) {
            const vec none{}, up = u * l.steep, down = u * l.steep_drop;
            const vec lift = up < l.lift ? up : none + l.lift, drop = down < l.drop ? down : none + l.drop;
            to[rows] = w > none ? w * lift : w * -drop;
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
