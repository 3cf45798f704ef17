// How neurons move over part of a step, a vector of them at a time: rows of arrays are P apart, and constants that differ
// between neurons lie in rows likewise. Times are in parts of a step.
#pragma once
#include <limits>

#include "layers.hpp"

namespace eventprop {

// Terms of the Taylor series that are written out, and the sum of rates times the time for which they are enough: in single
// precision a quarter of the shortest time constant, and where neurons differ, some of which are fast, half of it.
constexpr int MOST_TERMS = 40;
template <class Model> constexpr int usual_terms = Model::n_lanes ? 8 : 6;
template <class Model> constexpr double usual_theta = sizeof(real) == 4 ? (Model::n_lanes ? 0.57 : 0.26) : (Model::n_lanes ? 0.05 : 0.01);

// How many terms a movement takes, where theta is the sum of rates times its time: the first one left out is down to rounding.
inline int terms_for(double theta) {
    double next = theta;
    int terms = 0;
    while (terms < MOST_TERMS && (next > (sizeof(real) == 4 ? 2e-8 : 1e-16) || terms < 3)) next *= theta / (++terms + 1);
    return terms;
}

// Whether a comparison of vectors holds in each lane.
template <class Mask> bool all(const Mask &mask) {
    int64_t words[sizeof(Mask) / 8], both = -1;
    std::memcpy(words, &mask, sizeof words);
    for (int64_t word : words) both &= word;
    return both == -1;
}

// TERMS 0: as many as are asked for, or the layer's.
template <class Model, int TERMS> struct Flow {
    static constexpr int N = Model::n_state, M = Model::n_adjoint, MOST = TERMS ? TERMS : MOST_TERMS;
    const Layer &l;
    const real *c, *h;
    const real dt;
    const int count;

    Flow(const Layer &l, const real *h, int count) : l(l), c(l.constants.data()), h(h), dt(real(l.dt)), count(count) {}
    Flow(const Layer &l, const real *h) : Flow(l, h, l.terms) {}
    int terms() const { return TERMS ? TERMS : count; }
    static vec &row(real *y, int i) { return *reinterpret_cast<vec *>(y + i * P); }
    static const vec &row(const real *y, int i) { return *reinterpret_cast<const vec *>(y + i * P); }

    // The terms of the series of a step from y. Where neurons share their constants the layer has their matrices.
    void series(const real *y, vec (*t)[N]) const {
        if constexpr (Model::n_lanes == 0) {
            const real *f = l.series.data();
            for (int k = 0; k < terms(); ++k, f += N * (N + 1))
                for (int i = 0; i < N; ++i) {
                    vec sum = Model::drifts ? f[i * (N + 1) + N] + vec{} : vec{};
                    for (int j = 0; j < N; ++j)
                        if (Model::follows[i][j]) sum += f[i * (N + 1) + j] * row(y, j);
                    t[k][i] = sum;
                }
        } else {
            vec x[N], d[N] = {};
            for (int i = 0; i < N; ++i) x[i] = row(y, i);
            for (int k = 0; k < terms(); ++k) {
                Model::flow(c, h, x, d);
                if (k == 0) Model::drift(c, h, x, d);
                for (int i = 0; i < N; ++i) x[i] = t[k][i] = d[i] * (dt / real(k + 1));
            }
        }
    }
    void series_back(const real *b, vec (*t)[M]) const {
        if constexpr (Model::n_lanes == 0) {
            const real *f = l.series_back.data();
            for (int k = 0; k < terms(); ++k, f += M * M)
                for (int i = 0; i < M; ++i) {
                    vec sum{};
                    for (int j = 0; j < M; ++j)
                        if (Model::follows_back[i][j]) sum += f[i * M + j] * row(b, j);
                    t[k][i] = sum;
                }
        } else {
            vec x[M], d[M] = {};
            for (int i = 0; i < M; ++i) x[i] = row(b, i);
            for (int k = 0; k < terms(); ++k) {
                Model::flow_back(c, h, x, d);
                for (int i = 0; i < M; ++i) x[i] = t[k][i] = d[i] * (dt / real(k + 1));
            }
        }
    }
    // The sum of a series at u: even and odd terms apart, so that they do not wait for each other.
    template <int W> void at(const real *from, const vec (*t)[W], vec u, real *to) const {
        const vec uu = u * u;
        const int n = terms() & ~1;
        for (int i = 0; i < W; ++i) {
            vec odd = terms() & 1 ? t[terms() - 1][i] : vec{}, even{};
            for (int k = n - 2; k >= 0; k -= 2) {
                odd = odd * uu + t[k][i];
                even = even * uu + t[k + 1][i];
            }
            row(to, i) = row(from, i) + u * (odd + u * even);
        }
    }

    // Where in the step from `start` the neurons cross, with their states there; 1 where they do not.
    void crossing(const real *start, real *there, real *when) const {
        if constexpr (Model::linear) {
            vec t[MOST][N];
            series(start, t);
            crossing_on(start, there, when, [&](vec u, real *y) { at<N>(start, t, u, y); });
        } else crossing_on(start, there, when, [&](vec u, real *y) { advance(start, u, y); });
    }
    template <class Path> void crossing_on(const real *start, real *there, real *when, Path &&path) const {
        alignas(64) real climbs[P];
        const vec one = vec{} + 1;
        path(one, there);
        row(when, 0) = root(ends_of(start, there, one), there, one, path, climbs);
        path(row(when, 0), there);
    }
    // Levels at both ends of a path of length `span`, and their slopes by parts of it.
    struct Ends { vec first, last, r0, r1; };
    Ends ends_of(const real *start, const real *end, vec span) const {
        alignas(64) real levels[P], climbs[P];
        Ends e;
        Model::level(c, h, start, levels, climbs);
        e.first = row(levels, 0);
        e.r0 = row(climbs, 0) * dt * span;
        Model::level(c, h, end, levels, climbs);
        e.last = row(levels, 0);
        e.r1 = row(climbs, 0) * dt * span;
        return e;
    }
    // When, in parts of a step, linear neurons in y first reach their thresholds from below in the `left` of it: `never` where
    // they do not. A crossing that is over before the end has a peak above the threshold. `slope` is the level's there (1 / step),
    // `room` how far from the threshold it stays at least where it does not cross.
    void next_crossing(const real *y, vec left, real *when, real *slope, real *room) const {
        vec t[MOST][N];
        series(y, t);
        alignas(64) real there[N * P];
        at<N>(y, t, left, there);
        Ends e = ends_of(y, there, left);
        const vec none{}, first = e.first, last = e.last, r0 = e.r0, r1 = e.r1;
        vec span = left, top = first > last ? first : last;
        auto reaches = (first < none) & (last >= none);
        const auto turns = (first < none) & (last < none) & (r0 > none) & (r1 < none);
        if (!all(~turns)) {
            const vec bound = first + r0 * (last - first - r1) / (r0 - r1);  // where tangents meet
            const auto hidden = turns & (bound >= none);
            top = turns ? bound : top;
            if (!all(~hidden)) {
                span = hidden ? left * summit(y, t, left, r0, r1) : span;
                at<N>(y, t, span, there);
                e = ends_of(y, there, span);
                reaches = reaches | (hidden & (e.last >= none));
            }
        }
        row(room, 0) = top < none ? -top : none;
        row(when, 0) = ((first >= none) & (r0 > none)) ? none : none + std::numeric_limits<real>::infinity();
        if (all(~reaches)) return;
        e.last = reaches ? e.last : none;     // no search where there is nothing to find
        const vec found = span * root(e, there, span, [&](vec u, real *to) { at<N>(y, t, u * span, to); }, slope);
        row(when, 0) = reaches ? found : row(when, 0);
        row(slope, 0) *= dt;
    }
    // Where, in parts of `left`, the level is highest, or once above 0; its slopes at the ends are r0 > 0 > r1.
    vec summit(const real *y, const vec (*t)[N], vec left, vec r0, vec r1) const {
        alignas(64) real there[N * P], levels[P], climbs[P];
        const vec none{}, &g = row(levels, 0), &rate = row(climbs, 0);
        vec low = none, high = none + 1, at_low = r0, at_high = r1, u = r0 / (r0 - r1);
        for (int n = 0; n < 60; ++n) {
            u = (u > low) & (u < high) ? u : (low + high) / 2;
            at<N>(y, t, u * left, there);
            Model::level(c, h, there, levels, climbs);
            const vec r = rate * dt * left, size = r < none ? -r : r;
            // a concave function rises by no more than this from here
            const auto settled = (g >= none) | (g + size * (high - low) < none) |
                                 (high - low <= 4 * std::numeric_limits<real>::epsilon()) | (r0 <= none) | (r1 >= none);
            if (all(settled)) break;
            const auto up = r > none;
            low = settled ? low : (up ? u : low);
            high = settled ? high : (up ? high : u);
            at_low = settled ? at_low : (up ? r : at_low);
            at_high = settled ? at_high : (up ? at_high : r);
            u = settled ? u : (n % 3 == 2 ? (low + high) / 2 : low + (high - low) * at_low / (at_low - at_high));
        }
        return u;
    }
    // Where the level is 0 on a path of length `span`, in parts of it; 0 where it is not below at the start, 1 where it is not
    // above at the end. `there` is the state there.
    // Newton's method within brackets, from the inverse cubic with the values and slopes of both ends. A step is corrected by
    // g'' / 2 of the cubic, of which it leaves a twentieth at most; until change^2 g'' / 2 g' is down to rounding then. A map
    // over a steep upstroke has any g'': there, until the change is.
    // `climbs` is the level's rise (1/ms) close to it.
    template <class Path> vec root(Ends ends, real *there, vec span, Path &&path, real *climbs) const {
        alignas(64) real levels[P];
        const vec &g = row(levels, 0), &rate = row(climbs, 0);
        const vec none{}, one = none + 1, half = one / 2, scale = span * dt, first = ends.first, r0 = ends.r0, r1 = ends.r1;
        const vec rise = ends.last - first, bend = real(0.05) * (r1 > r0 ? r1 - r0 : r0 - r1);
        const vec c2 = rise * 3 - r0 * 2 - r1, c3 = (r0 + r1 - rise * 2) * 3;
        const auto outside = (first >= none) | (ends.last <= none);
        const vec x = -first / rise, y = one - x;
        const vec m0 = (r0 * 3 > rise) ? rise / r0 : 3 * one, m1 = (r1 * 3 > rise) ? rise / r1 : 3 * one;
        vec u = x * (x * (3 * one - 2 * x) + y * (m0 * y - m1 * x)), low = none, high = one;
        constexpr real close = 16 * std::numeric_limits<real>::epsilon(), steep = sizeof(real) == 4 ? real(1e-13) : real(1e-24);
        u = outside ? (first >= none ? none : one) : u;
        for (int n = 0; n < 60; ++n) {
            path(u, there);
            Model::level(c, h, there, levels, climbs);
            const vec r = rate * scale, per = one / r, change = -g * per, next = u + change * (one - change * (c2 + c3 * u) * per);
            const auto found = Model::linear ? change * change * bend <= close * r : change * change <= none + steep;
            const auto settled = outside | found | (high - low <= std::numeric_limits<real>::epsilon());
            if (all(settled)) {           // which leaves the brackets by rounding at most
                u = outside ? u : (next < low ? low : (next > high ? high : next));
                break;
            }
            low = g < none ? u : low;
            high = g < none ? high : u;
            const auto within = (next > low) & (next < high);
            u = outside ? u : (within ? next : half * (low + high));
        }
        return u;
    }

    // Through a time u forwards; `to` may be `y`.
    void advance(const real *y, vec u, real *to) const {
        if constexpr (Model::linear) {
            vec t[MOST][N];
            series(y, t);
            at<N>(y, t, u, to);
        } else {
            alignas(64) real dts[P];
            row(dts, 0) = u * dt;
            alignas(64) real end[N * P];
            Model::advance(c, h, y, dts, end);
            for (int i = 0; i < N; ++i) row(to, i) = row(end, i);
        }
    }
    // The transpose, of adjoints b at the end, where y is the state at the start. What parameters collect over the time is
    // an integral of state and adjoints, taken by Gauss's formula with three points.
    void retreat(real *b, const real *y, vec u, real *sum) const {
        if constexpr (Model::linear) {
            vec t[MOST][M];
            alignas(64) real end[M * P];
            series_back(b, t);
            for (int i = 0; i < M; ++i) row(end, i) = row(b, i);
            at<M>(end, t, u, b);
            if constexpr (Model::n_collect > 0) {
                constexpr real where[3] = {real(0.11270166537925831), real(0.5), real(0.8872983346207417)};
                constexpr real weight[3] = {real(5) / 18, real(8) / 18, real(5) / 18};
                vec f[MOST][N];
                alignas(64) real state[N * P], adjoint[M * P], factor[P];
                series(y, f);
                for (int q = 0; q < 3; ++q) {
                    at<N>(y, f, u * where[q], state);
                    at<M>(end, t, u * (1 - where[q]), adjoint);
                    row(factor, 0) = weight[q] * dt * u;
                    Model::flow_collect(c, h, adjoint, state, factor, sum);
                }
            }
        } else {
            alignas(64) real dts[P];
            row(dts, 0) = u * dt;
            Model::retreat(c, h, b, y, dts, sum);
        }
    }
};

// act(flow of a vector of neurons whose constants are h) over a time, where theta is the sum of rates times that.
template <class Model, class F> void with_flow_over(const Layer &l, const real *h, double theta, F &&act) {
    if (!Model::linear || theta > usual_theta<Model>) act(Flow<Model, 0>(l, h, std::max(usual_terms<Model>, terms_for(theta))));
    else act(Flow<Model, usual_terms<Model>>(l, h));
}
// The same with as many terms as are given.
template <class Model, class F> void with_flow(const Layer &l, const real *h, int terms, F &&act) {
    if (!Model::linear || terms > usual_terms<Model>) act(Flow<Model, 0>(l, h, terms));
    else act(Flow<Model, usual_terms<Model>>(l, h));
}

// (A dt)^k / k! for k = 1 .. terms; with a column for what is constant.
template <int N, int COLUMNS> [[gnu::cold]] void powers(const double (&a)[N][COLUMNS], double dt, int terms, std::vector<real> &to) {
    double now[N][COLUMNS], next[N][COLUMNS];
    to.clear();
    for (int k = 1; k <= terms; ++k) {
        for (int i = 0; i < N; ++i)
            for (int j = 0; j < COLUMNS; ++j) {
                double sum = 0;
                for (int m = 0; m < N; ++m) sum += a[i][m] * (k > 1 ? now[m][j] : double(m == j));
                next[i][j] = (k > 1 || j < N ? sum : a[i][j]) * dt / k;
                to.push_back(real(next[i][j]));
            }
        std::copy(&next[0][0], &next[0][0] + N * COLUMNS, &now[0][0]);
    }
}

// The Taylor series of a step of the layer's neurons: how many terms it takes, and its matrices where neurons share them.
template <class Model> [[gnu::cold]] void tabulate_series(Layer &l) {
    if constexpr (Model::linear) {
        constexpr int N = Model::n_state, M = Model::n_adjoint, L = Model::n_lanes;
        const real *c = l.constants.data();
        if (L) l.stiff.assign(size_t(l.n), 0);
        double largest = 0, flow[N][N + 1] = {}, back[M][M] = {};
        for (int p = 0; p < (L ? l.n_panels : 1); ++p)
            for (int first = 0; first < (L ? P : 1); first += LANES) {
                const real *h = l.lanes_of<Model>(p) + first;
                double sums[N][LANES] = {};
                vec unit[N > M ? N : M], d[N > M ? N : M] = {};
                for (int j = 0; j < N; ++j) {
                    for (int i = 0; i < N; ++i) unit[i] = vec{} + real(i == j);
                    Model::flow(c, h, unit, d);
                    for (int i = 0; i < N; ++i) {
                        flow[i][j] = d[i][0];
                        for (int lane = 0; lane < LANES; ++lane) sums[i][lane] += std::fabs(double(d[i][lane])) * l.dt;
                    }
                }
                for (auto &row : sums)
                    for (int lane = 0; lane < LANES; ++lane) {
                        largest = std::max(largest, row[lane]);
                        if (L && p * P + first + lane < l.n) {
                            double &own = l.stiff[p * P + first + lane];
                            own = std::max(own, row[lane]);
                        }
                    }
                std::fill(d, d + N, vec{});
                Model::drift(c, h, unit, d);
                for (int i = 0; i < N; ++i) flow[i][N] = d[i][0];
                for (int j = 0; j < M; ++j) {
                    for (int i = 0; i < M; ++i) unit[i] = vec{} + real(i == j);
                    Model::flow_back(c, h, unit, d);
                    for (int i = 0; i < M; ++i) back[i][j] = d[i][0];
                }
            }
        l.stiffness = largest;
        l.terms = terms_for(largest);
        if (L) return;
        const int terms = std::max(l.terms, usual_terms<Model>);
        powers<N, N + 1>(flow, l.dt, terms, l.series);
        powers<M, M>(back, l.dt, terms, l.series_back);
    }
}

}  // namespace eventprop
