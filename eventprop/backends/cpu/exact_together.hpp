// Candidates of a step where neurons share their constants: their crossings, and what spikes bring to all neurons.
//
// Flows are linear, so that the state of each candidate is kept as what it would have been at the start of the step had
// the spikes since then arrived there: a spike changes it by its weight times the same few numbers for all. Beside the state
// is a cubic in time through V and its slope at the start and end of the step, which shifts likewise. It tells to a known
// accuracy when a candidate reaches its threshold; only for the one that is first, or may be, the exact time is computed.
#pragma once
#include "exact_in_order.hpp"

namespace eventprop {

// What arrives of a unit of current after different times: for each of a step's spikes, by how much it changes each state
// variable at the end of the step.
template <int ROWS> struct Arrivals {
    typedef std::conditional_t<sizeof(real) == 4, int32_t, int64_t> integer;
    typedef integer bits __attribute__((vector_size(VECTOR_BYTES), may_alias));
    static constexpr integer sign = std::numeric_limits<integer>::min();
    std::vector<const real *> row;        // weights of the first panel
    std::vector<size_t> stride;           // to the next panel's
    std::vector<real> share;              // [spike][ROWS]
    real least = 1, most = 0;             // share of current at the least, of V at the most
    void clear() {
        row.clear();
        stride.clear();
        share.clear();
        least = 1;
        most = 0;
    }
    void add(const Weights &w, int source) { row.push_back(w.w.at(0, source)); stride.push_back(w.w.stride); }
    size_t size() const { return row.size(); }

    // x[v] += sum of share[v] * w; with `bounds`, before = x[0], and sum = sum of |w|
    template <bool bounds> void deliver(int p, real *x, real *before, real *sum) const {
        constexpr int N = VECTORS * (ROWS + bounds) <= 12 ? VECTORS : VECTORS % 2 ? 1 : 2;  // as registers allow
        for (int j = 0; j < VECTORS; j += N) {
            vec a[ROWS][N], s[N] = {};
            for (int v = 0; v < ROWS; ++v)
                for (int i = 0; i < N; ++i) a[v][i] = reinterpret_cast<const vec *>(x + v * P)[j + i];
            if (bounds)
                for (int i = 0; i < N; ++i) reinterpret_cast<vec *>(before)[j + i] = a[0][i];
            for (size_t e = 0; e < size(); ++e) {
                const vec *w = reinterpret_cast<const vec *>(row[e] + p * stride[e]) + j;
                for (int i = 0; i < N; ++i) {
                    const vec wi = w[i];
                    for (int v = 0; v < ROWS; ++v) a[v][i] += share[e * ROWS + v] * wi;
                    if (bounds) s[i] += vec(reinterpret_cast<const bits &>(wi) & ~sign);
                }
            }
            for (int v = 0; v < ROWS; ++v)
                for (int i = 0; i < N; ++i) reinterpret_cast<vec *>(x + v * P)[j + i] = a[v][i];
            if (bounds)
                for (int i = 0; i < N; ++i) reinterpret_cast<vec *>(sum)[j + i] = s[i];
        }
    }
};

template <class Model> class Together : public Listed {
public:
    static constexpr int VARS = Model::n_state;
    Arrivals<VARS> arrivals;              // the spikes of the step
    // Neurons that stay less than this below their threshold without spikes are candidates from the first, since spikes may
    // bring them there: as much as was missing of late.
    real margin = 0;

    explicit Together(const Layer &l) : Listed(l.n), l(l), h(real(l.dt)) {
        for (int v = 0; v < VARS; ++v) units[v * P + v] = units[v * P + VARS + v] = 1;
        tabulate(h);
        evaluate(h);
        for (int v = 0; v < VARS; ++v)
            for (int u = 0; u < VARS; ++u) growth = std::max(growth, std::fabs(back(v, u)));
    }

    // Start of a step, from the states of all neurons there.
    void gather(const real *all) {
        arrivals.clear();
        cuts.clear();
        fired.clear();
        now = start = 0;
        if (y != h) tabulate(h);
        const int n = panels(size());
        lanes.reserve(size_t(n) * ROWS * P);
        for (int j = 0; j < n * P && j < (size() + LANES - 1) / LANES * LANES; ++j) {
            const int i = neuron[j < size() ? j : 0];
            for (int v = 0; v < VARS; ++v) lane(j)[v * P] = all[(size_t(i / P) * VARS + v) * P + i % P];
        }
        when.resize(size_t(n) * P);
        least.resize(size_t(n) * P);
        fit();
    }
    // The next crossing: which candidate, and when.
    int next(real &time) {
        if (stale) estimate();
        stale = false;
        for (;;) {
            int first = -1;
            time = never;
            for (int j = 0; j < size(); ++j)
                if (least[j] < time) { time = least[j]; first = j; }
            if (first < 0 || when[first] == least[first]) return first;
            when[first] = least[first] = solve(first);
        }
    }
    // Time goes on to the next cut. States at the start must not grow too much on the way back there from a cut.
    void move_to(real time) {
        now = time;
        evaluate(now - start);
        if (growth < 8 || now == start) return;
        for (int v = 0; v < VARS; ++v)
            for (int u = 0; u < VARS; ++u)
                if (std::fabs(back(v, u)) > 8) return start_from_here();
    }
    // A spike of `source` arrives.
    void arrive(const Weights &w, int source) {
        Shift unit;
        shift([&](int v) { return back(v, 0); }, unit);
        arrivals.add(w, source);
        for (int v = 0; v < VARS; ++v) {
            real end = 0;
            for (int u = 0; u < VARS; ++u) end += whole[v][u] * unit.by[u];
            arrivals.share.push_back(end);
            if (v == 0) arrivals.least = smaller(arrivals.least, end);
            if (v == Model::v_row) arrivals.most = larger(arrivals.most, end);
        }
        unit.at = now;
        cuts.push_back(unit);
        const real *row = arrivals.row.back();
        const size_t stride = w.w.stride;
        alignas(64) real wj[P];
        for (int q = 0; q < size(); q += P) {
            const int n = std::min(P, size() - q);
            for (int j = 0; j < n; ++j) wj[j] = row[(neuron[q + j] / P) * stride + neuron[q + j] % P];
            for (int j = n; j % LANES; ++j) wj[j] = 0;
            real *x = lane(q);
            for (int i = 0; i < n; i += LANES)
                for (int v = 0; v < ROWS; ++v) at<vec>(x + v * P + i) += unit.by[v] * at<vec>(wj + i);
        }
        stale = true;
    }
    // Candidate j spikes.
    void spike(int j, real *recorded) {
        alignas(64) real x[VARS * P];
        real change[VARS];
        state(j, x);
        for (int v = 0; v < VARS; ++v) change[v] = -x[v * P];
        Model::spike(l.constants.data(), nullptr, x, 0, recorded);
        for (int v = 0; v < VARS; ++v) change[v] += x[v * P];
        Shift own;
        shift([&](int v) {
            real sum = 0;
            for (int u = 0; u < VARS; ++u) sum += back(v, u) * change[u];
            return sum;
        }, own);
        for (int v = 0; v < ROWS; ++v) lane(j)[v * P] += own.by[v];
        fired.push_back(j);
        stale = true;
    }
    // States at the end of the step of those that have spiked.
    void store_to(real *all) {
        for (int j : fired)
            for (int v = 0; v < VARS; ++v) {
                real end = 0;
                for (int u = 0; u < VARS; ++u) end += whole[v][u] * lane(j)[u * P];
                all[(size_t(neuron[j] / P) * VARS + v) * P + neuron[j] % P] = end;
            }
    }
    // Whether a neuron that is no candidate, with states `all` at the start, may cross its threshold with these spikes.
    bool may_cross(int i, const real *all) {
        if (start > 0 || listed[i]) return !listed[i];
        real x[VARS], c[4];
        for (int v = 0; v < VARS; ++v) x[v] = all[(size_t(i / P) * VARS + v) * P + i % P];
        for (int r = 0; r < 4; ++r) {
            c[r] = level[r];
            for (int v = 0; v < VARS; ++v) c[r] += basis[v][r] * x[v];
        }
        const real missing = -(c[0] + c[1] + c[2] + c[3]);
        real from = 0, e0 = c[0], slope = c[1];
        for (size_t n = 0;; ++n) {
            const bool last = n == cuts.size();
            const real u = last ? real(1) : cuts[n].at / y;
            const real e1 = c[0] + u * (c[1] + u * (c[2] + u * c[3])), r1 = c[1] + u * (2 * c[2] + u * 3 * c[3]);
            real top = larger(e0, e1), doubt = rounding;
            if (slope > 0 && r1 < 0)      // where tangents meet
                top = larger(top, e0 + slope * (e1 - e0 - r1 * (u - from)) / (slope - r1));
            for (int v = 0; v < VARS; ++v) doubt += error[v] * std::fabs(x[v]);
            if (!(top < -doubt)) {
                margin = larger(margin, missing);
                return true;
            }
            if (last) return false;
            const real w = arrivals.row[n][(i / P) * arrivals.stride[n] + i % P];
            for (int v = 0; v < VARS; ++v) x[v] += w * cuts[n].by[v];
            for (int r = 0; r < 4; ++r) c[r] += w * cuts[n].by[VARS + r];
            from = u;
            e0 = e1;
            slope = c[1] + u * (2 * c[2] + u * 3 * c[3]);
        }
    }

private:
    static constexpr int ROWS = VARS + 4; // of a candidate: its state at the start, coefficients of its cubic
    struct Shift { real at, by[ROWS]; };
    template <class T> static T &at(real *p) { return *reinterpret_cast<T *>(p); }
    real *lane(int j) { return lanes.data + size_t(j / P) * ROWS * P + j % P; }
    real ahead(int v, int u) const { return flowed[v * P + u]; }          // variable v at `now` of a unit of u at the start
    real back(int v, int u) const { return flowed[v * P + VARS + u]; }    // and the reverse
    void evaluate(real s) {
        if (s == evaluated) return;
        evaluated = s;
        for (int v = 0; v < VARS; ++v) {
            dts[v] = s;
            dts[VARS + v] = -s;
        }
        Model::flow_each(l.constants.data(), nullptr, 2 * VARS, units, dts, flowed);
    }
    // State of candidate j at the time that was evaluated.
    void state(int j, real *x) {
        for (int v = 0; v < VARS; ++v) {
            x[v * P] = 0;
            for (int u = 0; u < VARS; ++u) x[v * P] += ahead(v, u) * lane(j)[u * P];
        }
    }
    template <class F> void shift(F &&by, Shift &s) const {
        for (int v = 0; v < VARS; ++v) s.by[v] = by(v);
        for (int r = 0; r < 4; ++r) {
            s.by[VARS + r] = 0;
            for (int v = 0; v < VARS; ++v) s.by[VARS + r] += basis[v][r] * s.by[v];
        }
    }
    // Cubics of a unit of each variable for a step of length `length`, and how far they may be off in between.
    void tabulate(real length) {
        y = length;
        alignas(64) real x[VARS * P] = {}, e[P], r[P], at[P];
        const real *c = l.constants.data();
        constexpr int POINTS = 8;
        Model::levels(c, nullptr, 1, x, e, r);
        level[0] = e[0];
        level[1] = r[0] * y;
        level[2] = level[3] = 0;
        const real e_none = e[0], r_none = r[0];
        rounding = 32 * std::numeric_limits<real>::epsilon() * std::fabs(e_none);
        for (int v = 0; v < VARS; ++v) {
            alignas(64) real out[VARS * P];
            std::fill(x, x + VARS * P, real(0));
            std::fill(x + v * P, x + v * P + POINTS + 1, real(1));
            for (int i = 0; i <= POINTS; ++i) at[i] = y * i / POINTS;
            Model::flow_each(c, nullptr, POINTS + 1, x, at, out);
            Model::levels(c, nullptr, POINTS + 1, out, e, r);
            for (int i = 0; i <= POINTS; ++i) {
                e[i] -= e_none;
                r[i] = (r[i] - r_none) * y;
            }
            for (int u = 0; u < VARS; ++u) whole[u][v] = out[u * P + POINTS];
            basis[v][0] = e[0];
            basis[v][1] = r[0];
            basis[v][2] = 3 * (e[POINTS] - e[0]) - 2 * r[0] - r[POINTS];
            basis[v][3] = 2 * (e[0] - e[POINTS]) + r[0] + r[POINTS];
            error[v] = 32 * std::numeric_limits<real>::epsilon();
            for (int i = 1; i < POINTS; ++i) {
                const real u = real(i) / POINTS;
                error[v] = std::max(error[v], 2 * std::fabs(basis[v][0] + u * (basis[v][1] + u * (basis[v][2] + u * basis[v][3])) - e[i]));
            }
        }
    }
    void fit() {
        for (int q = 0; q < size(); q += P) {
            real *x = lane(q);
            for (int i = 0; i < std::min(P, size() - q); i += LANES)
                for (int r = 0; r < 4; ++r) {
                    vec sum = level[r] + vec{};
                    for (int v = 0; v < VARS; ++v) sum += basis[v][r] * at<vec>(x + v * P + i);
                    at<vec>(x + (VARS + r) * P + i) = sum;
                }
        }
        stale = true;
    }
    void start_from_here() {
        for (int j = 0; j < (size() + LANES - 1) / LANES * LANES; ++j) {
            alignas(64) real x[VARS * P];
            state(j, x);
            for (int v = 0; v < VARS; ++v) lane(j)[v * P] = x[v * P];
        }
        start = now;
        tabulate(h - now);
        evaluate(0);
        fit();
    }
    // When each candidate crosses its threshold after `now`, by its cubic, and when it does at the earliest; the first is `never`
    // where the cubic cannot tell, the second where it does not cross.
    void estimate() {
        const real u = (now - start) / y, left = 1 - u;
        for (int q = 0; q < size(); q += P)
            for (int i = 0; i < std::min(P, size() - q); i += LANES) {
                const real *x = lane(q) + i, *k = x + VARS * P;
                real *time = when.data() + q + i, *earliest = least.data() + q + i;
                for (int l = 0; l < LANES; ++l) {
                    const real a = k[3 * P + l], b = k[2 * P + l] + 3 * a * u;
                    const real e = k[l] + u * (k[P + l] + u * (k[2 * P + l] + u * a)), g = k[P + l] + u * (2 * k[2 * P + l] + 3 * a * u);
                    real doubt = rounding;
                    for (int v = 0; v < VARS; ++v) doubt += error[v] * std::fabs(x[v * P + l]);
                    const real e_end = e + left * (g + left * (b + left * a)), g_end = g + left * (2 * b + 3 * a * left);
                    const real peak = g / (std::sqrt(larger(b * b - 3 * a * g, real(0))) - b);
                    const real turned = e + peak * (g + peak * (b + peak * a));
                    const bool turns = (g > 0) & (g_end < 0);
                    const real top = turns ? turned : larger(e, e_end), last = turns ? peak : left;
                    real s = smaller(-2 * e / (g + std::sqrt(larger(g * g - 4 * b * e, real(0)))), last);
                    s -= (e + s * (g + s * (b + s * a))) / (g + s * (2 * b + 3 * a * s));
                    const real rest = e + s * (g + s * (b + s * a)), slope = g + s * (2 * b + 3 * a * s);
                    const real margin = 2 * (doubt + std::fabs(rest)) / slope;
                    const bool clear = (g > 0) & (e < -doubt) & (top > doubt) & (slope > 0) & (s > margin);
                    time[l] = clear ? now + y * s : never;
                    earliest[l] = top < -doubt ? never : clear ? now + y * (s - margin) : now;
                }
            }
    }
    // The exact time of candidate j's crossing, or `never`.
    real solve(int j) {
        alignas(64) real x[VARS * P];
        real e, r, s = when[j];
        const real *c = l.constants.data(), *k = lane(j) + VARS * P;
        for (int n = 0; n < 3 && s > now && s < h; ++n) {
            evaluate(s - start);
            state(j, x);
            Model::levels(c, nullptr, 1, x, &e, &r);
            const real change = e / r, bend = (2 * k[2 * P] + 6 * k[3 * P] * (s - start) / y) / (y * y);
            s -= change;
            // what a Newton step leaves, change^2 V'' / 2 V', is down to rounding
            if (r > 0 && change * change * std::fabs(bend) < 8 * std::numeric_limits<real>::epsilon() * y * r && s > now && s <= h) return s;
        }
        evaluate(now - start);
        state(j, x);
        s = crossing<Model>(c, nullptr, 0, x, h - now, r);
        return s == never ? never : smaller(now + s, h);
    }

    const Layer &l;
    const real h;
    std::vector<real> when, least;        // the time of each crossing since the start of the step, and its lower bound
    std::vector<int> fired;
    std::vector<Shift> cuts;              // what a unit of current that arrives there adds to a candidate
    Buffer lanes;
    bool stale = false;
    real now = 0, start = 0, y = 0;       // states are those at `start`; y is left of the step there
    real growth = 0, evaluated = -1;
    real level[4], basis[VARS][4], error[VARS], rounding, whole[VARS][VARS];
    alignas(64) real units[VARS * P] = {}, dts[P], flowed[VARS * P];
};

}  // namespace eventprop
