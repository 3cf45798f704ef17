// Arrays in panels of P lanes, spike lists, and the sums over spikes that everything else is made of.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace eventprop {

// P, the lanes of a panel, comes with the generated code
constexpr int LANES = VECTOR_BYTES / sizeof(real);
constexpr int VECTORS = P / LANES;
typedef real vec __attribute__((vector_size(VECTOR_BYTES)));

inline int panels(int n) { return (n + P - 1) / P; }

// Memory that the system hands out page by page, aligned for vectors and not touched until it is used.
struct Buffer {
    real *data = nullptr;
    size_t size = 0;
    void reserve(size_t n) {
        if (n <= size) return;
        std::free(data);
        data = static_cast<real *>(std::aligned_alloc(4096, (n * sizeof(real) + 4095) / 4096 * 4096));
        size = data ? n : 0;
        if (!data) throw std::bad_alloc();
    }
    // As reserve(), keeping what is there.
    void grow(size_t n) {
        if (n <= size) return;
        Buffer larger;
        larger.reserve(std::max(n, 2 * size));
        if (size) std::memcpy(larger.data, data, size * sizeof(real));
        swap(larger);
    }
    void swap(Buffer &o) {
        std::swap(data, o.data);
        std::swap(size, o.size);
    }
    ~Buffer() { std::free(data); }
    Buffer() = default;
    Buffer(Buffer &&o) noexcept : data(o.data), size(o.size) { o.data = nullptr; o.size = 0; }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
};

// A vector whose elements may be loaded as vectors.
template <class T> struct Aligned {
    typedef T value_type;
    T *allocate(size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T *p, size_t) { ::operator delete(p, std::align_val_t(64)); }
    template <class U> bool operator==(const Aligned<U> &) const { return true; }
    template <class U> bool operator!=(const Aligned<U> &) const { return false; }
    Aligned() = default;
    template <class U> Aligned(const Aligned<U> &) {}
};

// An array [panel][row][P]. Three spare rows keep panels from falling into the same cache sets.
struct Panels {
    real *data;
    size_t stride;
    real *at(int panel, size_t row) const { return data + panel * stride + row * P; }
    static size_t stride_of(size_t rows) { return (rows + 3) * P; }
};

// The spikes of one sample in one population, by step and by neuron.
struct SpikeLists {
    std::vector<uint32_t> step_start;     // [K + 1]
    std::vector<uint16_t> id;             // neurons, in order of step
    std::vector<uint32_t> id_start;       // [n + 1]
    std::vector<uint16_t> step;           // steps, in order of neuron
    std::vector<real> at;                 // with exact times: time since the start of the step, in order of time
    std::vector<uint32_t> order;          // with exact times: number of the spike in `id`, in order of neuron

    int last() const { return id.empty() ? -1 : last_step; }
    int last_step = -1;

    void clear(int K) { step_start.assign(K + 1, 0); id.clear(); at.clear(); }

    __attribute__((noinline)) void index_by_id(int n, int K) {
        id_start.assign(n + 1, 0);
        for (uint16_t i : id) ++id_start[i + 1];
        for (int i = 0; i < n; ++i) id_start[i + 1] += id_start[i];
        step.resize(id.size());
        cursor.assign(id_start.begin(), id_start.end() - 1);
        last_step = -1;
        if (!at.empty()) order.resize(id.size());
        for (int k = 0; k < K; ++k)
            for (uint32_t s = step_start[k]; s < step_start[k + 1]; ++s) {
                if (!at.empty()) order[cursor[id[s]]] = s;
                step[cursor[id[s]]++] = static_cast<uint16_t>(k);
                last_step = k;
            }
    }
private:
    std::vector<uint32_t> cursor;
};

// act(lane) for those of the first `n` lanes that are marked: one byte for each, 0 or 1.
template <class F> void each_marked(const uint8_t *marks, int n, F &&act) {
    uint64_t lanes = 0;                   // a bit for each
    for (int first = 0; first < P; first += 8) {
        uint64_t bytes;
        std::memcpy(&bytes, marks + first, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        bytes = __builtin_bswap64(bytes);
#endif
        lanes |= bytes * 0x0102040810204080u >> 56 << first;
    }
    for (; lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctzll(lanes);
        if (lane >= n) return;
        act(lane);
    }
}

struct vec_sum { vec v[VECTORS]; };
inline vec_sum load(const real *p) {
    vec_sum a;
    for (int i = 0; i < VECTORS; ++i) a.v[i] = reinterpret_cast<const vec *>(p)[i];
    return a;
}
inline void store(real *p, const vec_sum &a) {
    for (int i = 0; i < VECTORS; ++i) reinterpret_cast<vec *>(p)[i] = a.v[i];
}
inline void add(vec_sum &a, const real *p) {
    for (int i = 0; i < VECTORS; ++i) a.v[i] += reinterpret_cast<const vec *>(p)[i];
}
// a + sum of base[row[s]] for s in [from, to). Two sums, since one would wait for each of its additions.
template <class Index>
__attribute__((always_inline)) inline vec_sum sum_rows(vec_sum a, const real *base, const Index *row, uint32_t from, uint32_t to) {
    vec_sum b{};
    uint32_t s = from;
    for (; s + 1 < to; s += 2) {
        add(a, base + size_t(row[s]) * P);
        add(b, base + size_t(row[s + 1]) * P);
    }
    if (s < to) add(a, base + size_t(row[s]) * P);
    for (int i = 0; i < VECTORS; ++i) a.v[i] += b.v[i];
    return a;
}
// Sums of the positive and of the sizes of the negative parts.
template <class Index>
void sum_rows_by_sign(real *to, const real *base, const Index *row, uint32_t from, uint32_t to_row) {
    for (uint32_t s = from; s < to_row; ++s) {
        const real *w = base + size_t(row[s]) * P;
        for (int l = 0; l < P; ++l) {
            to[l] += w[l] > 0 ? w[l] : real(0);
            to[P + l] -= w[l] < 0 ? w[l] : real(0);
        }
    }
}
// The sum of a vector's elements: halves are added to halves, since sums one by one would wait for each other.
template <int BYTES> real total_of(const real *elements) {
    if constexpr (BYTES > int(sizeof(real))) {
        typedef real half __attribute__((vector_size(BYTES / 2)));
        half low, high;
        std::memcpy(&low, elements, BYTES / 2);
        std::memcpy(&high, elements + BYTES / 2 / sizeof(real), BYTES / 2);
        low += high;
        return total_of<BYTES / 2>(reinterpret_cast<const real *>(&low));
    } else return *elements;
}
inline real total(const vec_sum &a) {
    vec v = a.v[0];
    for (int i = 1; i < VECTORS; ++i) v += a.v[i];
    return total_of<VECTOR_BYTES>(reinterpret_cast<const real *>(&v));
}
// What will be read soon, or with WRITE written, into a core's second cache.
template <int WRITE = 0> __attribute__((always_inline)) inline void fetch_row(const real *row, int size) {
    for (int i = 0; i < size; i += 64 / int(sizeof(real))) __builtin_prefetch(row + i, WRITE, 2);
}
inline void add_row(real *x, const real *row) {
    for (int l = 0; l < P; ++l) x[l] += row[l];
}

// A source that arrives `copies` times, each `delay` steps after the one before; copy i has the weights of rows i * n on.
struct Delays {
    int n, copies, delay;
};

// drive[p][k] = sum of the weight rows of the spikes stamped k, for k < rows; of two inputs, a row of positive weights and one
// of the sizes of negative ones. Copy by copy, so that a copy's weights stay in the cache while it has its turn.
template <int inputs> void gather_drive(const SpikeLists &spikes, Delays source, int rows, Panels w, int n_panels, Panels drive) {
    const uint16_t *id = spikes.id.data();
    for (int p = 0; p < n_panels; ++p)
        for (int i = 0; i < source.copies; ++i) {
            const real *own = w.at(p, size_t(i) * source.n);
            const int shift = i * source.delay;
            for (int k = shift; k < rows; ++k) {
                const uint32_t from = spikes.step_start[k - shift], to = spikes.step_start[k - shift + 1];
                real *sum = drive.at(p, size_t(inputs) * k);
                if constexpr (inputs == 2) {
                    if (!i) std::fill(sum, sum + 2 * P, real(0));
                    sum_rows_by_sign(sum, own, id, from, to);
                } else if (!i) store(sum, sum_rows(vec_sum{}, own, id, from, to));
                else if (from < to) store(sum, sum_rows(load(sum), own, id, from, to));
            }
        }
}

// gradient[p][pre] += sum over pre's spikes (stamped j) of trace[p][j + 1]; `fresh`: there is nothing in it yet.
inline void gather_gradient(const SpikeLists &spikes, int n_pre, int rows, const real *trace, real *gradient, bool fresh) {
    const uint16_t *step = spikes.step.data();
    for (int pre = 0; pre < n_pre; ++pre) {
        uint32_t s = spikes.id_start[pre], end = spikes.id_start[pre + 1];
        real *g = gradient + size_t(pre) * P;
        while (s < end && step[end - 1] + 1 >= rows) --end;
        if (fresh) store(g, sum_rows(vec_sum{}, trace + P, step, s, end));
        else if (s < end) store(g, sum_rows(load(g), trace + P, step, s, end));
    }
}

// The same for weights of which positive ones go to one input and negative ones to another: rows 2 j and 2 j + 1 of the trace.
inline void gather_gradient_by_sign(const SpikeLists &spikes, int n_pre, int rows, const real *trace, const real *w, real *gradient,
                                    bool fresh) {
    const uint16_t *step = spikes.step.data();
    for (int pre = 0; pre < n_pre; ++pre) {
        real *g = gradient + size_t(pre) * P;
        const real *own = w + size_t(pre) * P;
        if (fresh) std::fill(g, g + P, real(0));
        for (uint32_t s = spikes.id_start[pre]; s < spikes.id_start[pre + 1] && step[s] + 1 < rows; ++s) {
            const real *t = trace + (size_t(step[s]) + 1) * 2 * P;
            for (int l = 0; l < P; ++l) g[l] += own[l] < 0 ? t[P + l] : t[l];
        }
    }
}

// sum over panels and lanes of w[p][row] * t[p]
inline real dot_row(Panels w, size_t row, const real *t, size_t t_stride, int n_panels) {
    vec_sum a{};
    for (int p = 0; p < n_panels; ++p) {
        const vec *x = reinterpret_cast<const vec *>(w.at(p, row)), *y = reinterpret_cast<const vec *>(t + p * t_stride);
        for (int i = 0; i < VECTORS; ++i) a.v[i] += x[i] * y[i];
    }
    return total(a);
}

// The same, where t has a row for positive weights and, behind it, one for negative ones.
inline real dot_row_by_sign(Panels w, size_t row, const real *t, size_t t_stride, int n_panels) {
    vec_sum a{};
    for (int p = 0; p < n_panels; ++p) {
        alignas(64) real product[P];
        const real *x = w.at(p, row), *y = t + p * t_stride;
        for (int l = 0; l < P; ++l) product[l] = x[l] * (x[l] < 0 ? y[P + l] : y[l]);
        add(a, product);
    }
    return total(a);
}
template <int inputs> real dot_of(Panels w, size_t row, const real *t, size_t t_stride, int n_panels) {
    if constexpr (inputs == 2) return dot_row_by_sign(w, row, t, t_stride, n_panels);
    else return dot_row(w, row, t, t_stride, n_panels);
}

}  // namespace eventprop
