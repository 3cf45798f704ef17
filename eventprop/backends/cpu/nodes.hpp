// What a spike brings, and sees, at any time within a step, without exponentials.
//
// A spike that arrives when a time y is left of the step changes a neuron's state at its end by w f(y), where f, the
// response to a unit weight, is a smooth function of y. It is interpolated: from f at some nodes (Chebyshev's), with
// polynomials l_q(y) that are 1 at one node and 0 at the others, f(y) = sum_q l_q(y) f(y_q). So all spikes of a step
// together bring sum_q f(y_q) m_q, where the moments m_q = sum w l_q(y) need a few products for each spike and neuron,
// and f at the nodes is computed once, whenever a parameter changes. Backwards what a synapse collects of its target, and
// what goes back through it, are sums of l_q(y) times what they would be at the nodes. Time constants of the neurons of
// a layer are not that different, so that a few of the nodes tell the values at the others (nodes_fewer.hpp).
//
// Where neurons share their constants so they do f: then a spike has coefficients of its own for the state variables.
#pragma once
#include "flow.hpp"
#include "nodes_fewer.hpp"

namespace eventprop {

template <class Model> constexpr bool shared = Model::n_lanes == 0;

// Rows of coefficients that a spike has for what it brings, and for what it sees. The read-out has its integral besides, and
// its error, which drives adjoints.
template <class Model> constexpr int shared_ahead = Model::n_state + !Model::spiking;
template <class Model> constexpr int shared_back = Model::n_carried + !Model::spiking;
template <class Model> int rows_ahead(const Layer &l) { return shared<Model> ? shared_ahead<Model> : l.nodes.n; }
template <class Model> int rows_back(const Layer &l) { return shared<Model> ? shared_back<Model> : l.nodes.n; }

// How many nodes make interpolation good to rounding, or 1e-7 of what arrives in single precision, where |A| h = theta: the
// error is 2 (theta / 4)^n / n!.
inline int nodes_for(double theta) {
    double error = 2;
    int n = 0;
    while (n < MOST_NODES && (n < 3 || error > (sizeof(real) == 4 ? 1e-7 : 1e-16))) error *= theta / 4 / ++n;
    return n;
}

// Lagrange's polynomials of n nodes z in [-1, 1]: basis[power][node].
[[gnu::cold]] inline void lagrange(int n, const double *z, double (*basis)[MOST_NODES]) {
    for (int q = 0; q < n; ++q) {
        double c[MOST_NODES + 1] = {1}, scale = 1;
        int degree = 0;
        for (int j = 0; j < n; ++j) {
            if (j == q) continue;
            scale *= z[q] - z[j];
            for (int k = ++degree; k > 0; --k) c[k] = c[k - 1] - z[j] * c[k];
            c[0] *= -z[j];
        }
        for (int k = 0; k < n; ++k) basis[k][q] = c[k] / scale;
    }
}

template <class Model> class NodeMaker {
public:
    explicit NodeMaker(Layer &l) : l(l) {}

    // After the layer's series has been tabulated.
    [[gnu::cold]] void make() {
        NodeConstants &to = l.nodes;
        const int n = to.n = nodes_for(l.stiffness);
        double z[MOST_NODES];
        for (int q = 0; q < n; ++q) z[q] = std::cos((2 * q + 1) * 3.14159265358979323846 / (2 * n));
        place(z);
        Coefficients basis;
        basis.terms = n;
        lagrange(n, z, basis.table);
        if constexpr (Model::spiking) bounds();
        if constexpr (Model::spiking && !shared<Model>) {
            fewer(z, basis);
            responses();
        }
        to.ahead = to.collected = to.back = basis;
        if constexpr (shared<Model>) {
            to.ahead = of_rows(basis, Model::n_state, [&](int q, int v) { return brought(q, 0)[v * P]; });
            to.collected = of_rows(basis, Model::n_carried, [&](int q, int v) { return seen(q, 0, v, false)[0]; });
            to.back = of_rows(basis, Model::n_carried, [&](int q, int v) { return seen(q, 0, v, true)[0]; });
        }
        if constexpr (Model::spiking && Model::n_collect > 0) slopes();
        if constexpr (!Model::spiking && shared<Model>) driven(basis);
    }

private:
    Layer &l;
    alignas(64) real x[Model::n_state * P], a[Model::n_adjoint * P], out[P], sums[(Model::n_collect ? Model::n_collect : 1) * P];

    [[gnu::cold]] void place(const double *z) {
        NodeConstants &to = l.nodes;
        to.constants.assign(size_t(to.n) * Model::n_constants, real(0));
        to.lanes.reserve(std::max(size_t(1), size_t(to.n) * l.n_panels * Model::n_lanes * P));
        for (int q = 0; q < to.n; ++q) {
            to.at[q] = real(l.dt * (1 + z[q]) / 2);
            l.template constants_at<Model>(l.dt * (1 + z[q]) / 2, to.constants.data() + size_t(q) * Model::n_constants,
                                           to.lanes.data + size_t(q) * l.n_panels * Model::n_lanes * P);
        }
    }
    // Keeps those of the nodes that tell what all neurons of the layer do at any time.
    [[gnu::cold]] void fewer(const double *z, Coefficients &basis) {
        constexpr int M = Model::n_adjoint, C = Model::n_collect;
        const int n = l.nodes.n;
        std::vector<double> values;
        // a function of each neuron of panel p; nothing but rounding may be left of it
        auto add = [&](int p, auto &&value, bool scaled) {
            const size_t first = values.size();
            const int lanes = std::min(P, l.n - p * P);
            values.resize(first + size_t(lanes) * n);
            double largest = 0;
            for (int q = 0; q < n; ++q) {
                const real *at = value(q);
                for (int lane = 0; lane < lanes; ++lane) {
                    values[first + size_t(lane) * n + q] = double(at[lane]);
                    largest = std::max(largest, std::fabs(double(at[lane])));
                }
            }
            for (size_t i = first; scaled && largest > 0 && i < values.size(); ++i) values[i] /= largest;
        };
        for (int p = 0; p < l.n_panels; ++p) {
            for (int v = 0; v < Model::n_state; ++v) add(p, [&](int q) { return brought(q, p) + v * P; }, false);
            for (int v = 0; v < Model::n_carried; ++v)
                for (bool error : {false, true}) add(p, [&](int q) { return seen(q, p, v, error); }, !error);
            if constexpr (C > 0)
                for (int i = 0; i < C; ++i)
                    for (int v = 0; v < M; ++v) add(p, [&](int q) { return collected(q, p, v) + i * P; }, true);
        }
        double from[MOST_NODES][MOST_NODES], kept[MOST_NODES];
        const std::vector<int> chosen = choose_nodes(std::move(values), n, 8 * std::numeric_limits<real>::epsilon(), from);
        Coefficients all = basis;
        for (int k = 0; k < n; ++k)
            for (int q = 0; q < MOST_NODES; ++q) {
                basis.table[k][q] = 0;
                for (int m = 0; q < int(chosen.size()) && m < n; ++m) basis.table[k][q] += all.table[k][m] * from[m][q];
            }
        l.nodes.n = int(chosen.size());
        for (int q = 0; q < l.nodes.n; ++q) kept[q] = z[chosen[q]];
        place(kept);
    }

    [[gnu::cold]] const real *brought(int q, int p) {
        std::fill(x, x + Model::n_state * P, real(0));
        std::fill(x, x + P, real(1));
        Model::travel(l.nodes.constants_of<Model>(q), l.nodes.lanes_of<Model>(q, p, l.n_panels), x);
        return x;
    }
    // What a synapse onto panel p collects a node's time before a unit of adjoint v, or what goes back through it.
    [[gnu::cold]] const real *seen(int q, int p, int v, bool error) {
        std::fill(a, a + Model::n_adjoint * P, real(0));
        std::fill(a + v * P, a + (v + 1) * P, real(1));
        const real *c = l.nodes.constants_of<Model>(q), *h = l.nodes.lanes_of<Model>(q, p, l.n_panels);
        error ? Model::error_before(c, h, a, out) : Model::collected_before(c, h, a, out);
        return out;
    }
    template <class F> [[gnu::cold]] Coefficients of_rows(const Coefficients &basis, int rows, F &&value) const {
        Coefficients c;
        c.terms = basis.terms;
        for (int r = 0; r < rows; ++r)
            for (int q = 0; q < l.nodes.n; ++q) {
                const double f = double(value(q, r));
                for (int k = 0; k < l.nodes.n; ++k) c.table[k][r] += basis.table[k][q] * f;
            }
        return c;
    }
    [[gnu::cold]] void responses() {
        constexpr int N = Model::n_state, E = Model::n_carried;
        NodeConstants &to = l.nodes;
        const size_t rows = size_t(l.n_panels) * to.n * P;
        to.brought.reserve(rows * N);
        for (Buffer *b : {&to.gathered, &to.returned}) b->reserve(rows * E);
        for (int p = 0, i = 0; p < l.n_panels; ++p)
            for (int q = 0; q < to.n; ++q, ++i) {
                std::copy_n(brought(q, p), N * P, to.brought.data + size_t(i) * N * P);
                for (int v = 0; v < E; ++v)
                    for (bool error : {false, true})
                        std::copy_n(seen(q, p, v, error), P, (error ? to.returned : to.gathered).data + (size_t(i) * E + v) * P);
            }
    }
    // What parameters collect of a unit weight that arrives at a node, for a unit of adjoint v: [parameter][P].
    [[gnu::cold]] const real *collected(int q, int p, int v) {
        std::fill(a, a + Model::n_adjoint * P, real(0));
        std::fill(a + v * P, a + (v + 1) * P, real(1));
        std::fill(x, x + Model::n_state * P, real(0));
        std::fill(x, x + P, real(1));
        std::fill(sums, sums + Model::n_collect * P, real(0));
        Model::collect(l.nodes.constants_of<Model>(q), l.nodes.lanes_of<Model>(q, p, l.n_panels), a, x, sums);
        return sums;
    }
    [[gnu::cold]] void slopes() {
        constexpr int M = Model::n_adjoint, C = Model::n_collect;
        NodeConstants &to = l.nodes;
        bool found[C][M] = {};
        for (int p = 0; p < l.n_panels; ++p)
            for (int q = 0; q < to.n; ++q)
                for (int v = 0; v < M; ++v) {
                    const real *sum = collected(q, p, v);
                    for (int i = 0; i < C * P; ++i) found[i / P][v] |= sum[i] != 0;
                }
        to.pairs.clear();
        for (int i = 0; i < C; ++i)
            for (int v = 0; v < M; ++v)
                if (found[i][v]) to.pairs.push_back({i, v});
        const size_t width = to.pairs.size() * size_t(to.n) * P;
        to.slopes.reserve(std::max(size_t(1), width * l.n_panels));
        for (int p = 0; p < l.n_panels; ++p)
            for (size_t j = 0; j < to.pairs.size(); ++j)
                for (int q = 0; q < to.n; ++q)
                    std::copy_n(collected(q, p, to.pairs[j].adjoint) + to.pairs[j].parameter * P, P,
                                to.slopes.data + p * width + (j * to.n + q) * P);
    }
    // Of the read-out: the integral of its response with a weight of 1, and with one that grows by 1 per ms; and what synapses see
    // of a unit error with such weights in reversed time.
    [[gnu::cold]] void driven(const Coefficients &basis) {
        alignas(64) real one[P];
        std::fill(one, one + P, real(1));
        auto integral = [&](int q, int r) {
            std::fill(x, x + Model::n_state * P, real(0));
            std::fill(x, x + P, real(1));
            std::fill(sums, sums + P, real(0));
            Model::integrate(l.nodes.constants_of<Model>(q), nullptr, x, real(r == 0), real(r == 1), l.nodes.at[q], sums);
            return sums[0];
        };
        auto see = [&](int q, int r, bool error) {
            const real *c = l.nodes.constants_of<Model>(q);
            std::fill(a, a + Model::n_adjoint * P, real(0));
            Model::back_driven(c, nullptr, a, one, real(r == 0), real(r == 1), l.nodes.at[q]);
            error ? Model::transport(c, nullptr, a, out) : Model::gradient(c, nullptr, a, out);
            return out[0];
        };
        put(l.nodes.ahead, Model::n_state, of_rows(basis, 2, integral));
        put(l.nodes.collected, Model::n_carried, of_rows(basis, 2, [&](int q, int r) { return see(q, r, false); }));
        put(l.nodes.back, Model::n_carried, of_rows(basis, 2, [&](int q, int r) { return see(q, r, true); }));
    }
    static void put(Coefficients &to, int first, const Coefficients &rows) {
        for (auto &own : to.table) std::copy(rows.table[&own - to.table], rows.table[&own - to.table] + 2, own + first);
    }
    // How much a unit weight lifts a neuron towards its threshold within a step, or takes it away, at the most.
    [[gnu::cold]] void bounds() {
        const real *c = l.constants.data();
        alignas(64) real none[Model::n_state * P] = {}, rest[P], level[P], rate[P];
        l.lift = l.drop = l.steep = l.steep_drop = 0;
        for (int p = 0; p < (Model::n_lanes ? l.n_panels : 1); ++p)
            for (int q = 0; q <= l.nodes.n; ++q) {
                const real *h = l.lanes_of<Model>(p);
                brought(q < l.nodes.n ? q : 0, p);
                if (q == l.nodes.n) {         // a whole step
                    std::fill(x, x + Model::n_state * P, real(0));
                    std::fill(x, x + P, real(1));
                    Model::travel(c, h, x);
                }
                for (int first = 0; first < P; first += LANES) {
                    Model::level(c, h + first, none, rest + first, rate);
                    Model::level(c, h + first, x + first, level + first, rate);
                }
                const real part = q < l.nodes.n ? l.nodes.at[q] / real(l.dt) : real(1);
                for (int lane = 0; lane < P; ++lane) {
                    const real up = real(1.03) * (level[lane] - rest[lane]);
                    l.lift = larger(l.lift, up);
                    l.drop = larger(l.drop, -up);
                    l.steep = larger(l.steep, up / part);
                    l.steep_drop = larger(l.steep_drop, -up / part);
                }
            }
        if (l.drop < real(1e-3) * l.lift) l.drop = l.steep_drop = 0;  // rounding
    }
};

// act(n) with n as a constant from FIRST to LAST, or the constant 0.
template <int FIRST, int LAST, class F> void with_count(int n, F &&act) {
    if constexpr (FIRST > LAST) act(std::integral_constant<int, 0>());
    else if (n == FIRST) act(std::integral_constant<int, FIRST>());
    else with_count<FIRST + 1, LAST>(n, act);
}
// The same of n rows, which are SHARED where neurons share their constants.
template <class Model, int SHARED, class F> void with_rows(int n, F &&act) {
    if constexpr (shared<Model>) act(std::integral_constant<int, SHARED>());
    else with_count<2, 5>(n, act);
}

// The moments of a panel's neurons, or where they share their constants the state variables at the end of the step,
// x[row] += sum over spikes of coefficient * w; and into `bound` how far they may lift each neuron.
struct Arrivals {
    std::vector<const real *> row;        // weights of the first panel
    std::vector<size_t> stride;           // to the next panel's
    std::vector<real> share;              // [spike][MOST_NODES]
    std::vector<real> lift, drop;         // how far a unit weight lifts a neuron at the most, and a negative one
    void clear() {
        row.clear();
        stride.clear();
        lift.clear();
        drop.clear();
    }
    size_t size() const { return row.size(); }
    // A spike of `source` when y is left of the step; the last one's coefficients are returned.
    template <class Model> real *add(const Layer &l, const Weights &w, int source, real y) {
        row.push_back(w.w.at(0, source));
        stride.push_back(w.w.stride);
        lift.push_back(smaller(l.lift, l.steep * y / real(l.dt)));
        drop.push_back(smaller(l.drop, l.steep_drop * y / real(l.dt)));
        if (share.size() < size() * MOST_NODES) share.resize(2 * size() * MOST_NODES);
        real *own = share.data() + (size() - 1) * MOST_NODES;
        l.nodes.ahead.at(rows_ahead<Model>(l) + (shared<Model> && !Model::spiking), l.nodes.z_of(y, l.dt), own);
        return own;
    }
    // ROWS 0: as many as `rows`. As many vectors at a time as registers hold the sums of.
    template <int ROWS> void deliver(int p, int rows, real *x, real *bound) const {
        constexpr int MOST = ROWS ? ROWS : MOST_NODES, TOGETHER = ROWS && ROWS <= 4 ? VECTORS : (ROWS && ROWS <= 8 && VECTORS > 1 ? 2 : 1);
        const int n = ROWS ? ROWS : rows;
        for (int first = 0; first < VECTORS; first += TOGETHER) {
            vec a[MOST][TOGETHER], s[TOGETHER] = {};
            for (int v = 0; v < n; ++v)
                for (int j = 0; j < TOGETHER; ++j) a[v][j] = reinterpret_cast<const vec *>(x + v * P)[first + j];
            for (size_t e = 0; e < size(); ++e) {
                const vec *w = reinterpret_cast<const vec *>(row[e] + p * stride[e]) + first;
                const real *f = share.data() + e * MOST_NODES, up = lift[e], down = -drop[e];
                for (int j = 0; j < TOGETHER; ++j) {
                    for (int v = 0; v < n; ++v) a[v][j] += f[v] * w[j];
                    if (bound) {
                        const vec higher = w[j] * up, lower = w[j] * down;
                        s[j] += higher > lower ? higher : lower;
                    }
                }
            }
            for (int v = 0; v < n; ++v)
                for (int j = 0; j < TOGETHER; ++j) reinterpret_cast<vec *>(x + v * P)[first + j] = a[v][j];
            for (int j = 0; bound && j < TOGETHER; ++j) reinterpret_cast<vec *>(bound)[first + j] = s[j];
        }
    }
    template <class Model> void deliver_rows(int p, int rows, real *x, real *bound) const {
        with_rows<Model, shared_ahead<Model>>(rows, [&](auto n) { deliver<n.value>(p, rows, x, bound); });
    }
};

// The state at node q of a panel whose moments are m, and nothing else.
template <class Model> void of_moment(const real *m, int q, real *x) {
    std::copy(m + q * P, m + (q + 1) * P, x);
    std::fill(x + P, x + Model::n_state * P, real(0));
}
// What parameters collect of a panel's moments m, where `adjoint` are those at the end of the step.
inline void collect_moments(const NodeConstants &nodes, int p, const real *m, const real *adjoint, real *sum) {
    const real *slope = nodes.slopes.data + size_t(p) * nodes.pairs.size() * nodes.n * P;
    for (const NodeConstants::Pair &pair : nodes.pairs) {
        vec_sum all{};
        for (int q = 0; q < nodes.n; ++q, slope += P)
            for (int i = 0; i < VECTORS; ++i) all.v[i] += reinterpret_cast<const vec *>(slope)[i] * reinterpret_cast<const vec *>(m + q * P)[i];
        for (int i = 0; i < VECTORS; ++i)
            reinterpret_cast<vec *>(sum + pair.parameter * P)[i] += all.v[i] * reinterpret_cast<const vec *>(adjoint + pair.adjoint * P)[i];
    }
}
// What the moments of a panel bring to its state x at the end of the step, where neurons differ.
template <class Model> void bring(const Layer &l, int p, const real *m, real *x) {
    constexpr int N = Model::n_state;
    const vec *unit = reinterpret_cast<const vec *>(l.nodes.brought.data + size_t(p) * l.nodes.n * N * P);
    for (int v = 0; v < N; ++v) {
        vec_sum sum = load(x + v * P);
        for (int q = 0; q < l.nodes.n; ++q)
            for (int i = 0; i < VECTORS; ++i) sum.v[i] += unit[(q * N + v) * VECTORS + i] * reinterpret_cast<const vec *>(m + q * P)[i];
        store(x + v * P, sum);
    }
}

}  // namespace eventprop
