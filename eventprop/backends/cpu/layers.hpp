// What a network consists of in memory: layers with their weights and time constants, and what a sample leaves behind
// between its forward sweep and the gathering of gradients.
#pragma once
#include <cstring>
#include <memory>

#include "arrival_data.hpp"
#include "random.hpp"

namespace eventprop {

// More spikes than a trial of a network that works can have.
struct RunawayActivity {};

constexpr int SPAN = 8;                   // steps whose spikes are sent together, see pending.hpp
struct Near { uint32_t at; real w; };     // a synapse of less: where it leads, from a spike's row of a trial on

// Weights and their gradients are [panel][pre][P], and so are delays (ms) where synapses have them; see delays.hpp.
struct Weights {
    enum Shared { SYNAPSE, SOURCE, TARGET };
    Panels w{}, g{}, m{}, v{};
    int n_pre = 0;
    bool trained = false, present = false;
    const uint8_t *there = nullptr;       // which synapses are there, as weights lie; null for all

    Panels d{}, dg{}, dm{}, dv{};
#if DELAYS
    bool delayed = false, delays_trained = false;
#else
    static constexpr bool delayed = false, delays_trained = false;  // so that what they need is not compiled
#endif
    int shared = SYNAPSE, alike = 1;      // which synapses have one delay, and how many
    real most = 0;                        // bound of trained delays (ms)
    std::vector<uint16_t> steps;          // delays in steps, as the delays lie
    std::vector<uint8_t> narrow;          // the same, see pending.hpp
    std::vector<int> longest_of;          // of each panel (steps), and of all
    int longest = 0;
    std::vector<real> by_target;          // delays as they are, [target][pre]; see arrivals.hpp
    std::vector<real> group_w;            // weights and steps as delays.hpp reads them, [group of targets][pre][GROUP]
    std::vector<uint16_t> group_steps;
    std::vector<std::vector<Near>> near;  // those of little delay, [pre]; see pending.hpp
    std::vector<uint32_t> near_start;     // [pre][SPAN + 1]

    const uint16_t *steps_at(int p, size_t row) const { return steps.data() + p * d.stride + row * P; }
    bool learns() const { return present && (trained || delays_trained); }
};
// The rows of all panels that a spike of source i brings, or looks at, soon.
inline void fetch_rows(const Weights &w, int i, int n_panels) {
    for (int p = 0; p < n_panels; ++p) fetch_row(w.w.at(p, i), P);
}

// A parameter that is trained, with its gradient and moments, [panel][P]; none where only other hidden layers train it.
struct Trained {
    real *w = nullptr, *g = nullptr, *m = nullptr, *v = nullptr;
    real least = 0, most = 0;
};

constexpr int MOST_NODES = 16;

// Polynomials of z: table[power][row].
struct Coefficients {
    alignas(64) double table[MOST_NODES][MOST_NODES] = {};
    int terms = 0;
    // Of all rows at z.
    void at(int rows, double z, real *value) const {
        rows <= 8 ? evaluate<8>(rows, z, value) : evaluate<MOST_NODES>(rows, z, value);
    }

private:
    template <int ROWS> __attribute__((noinline)) void evaluate(int rows, double z, real *value) const {
        double v[ROWS] = {};
        for (int k = terms - 1; k >= 0; --k)
            for (int r = 0; r < ROWS; ++r) v[r] = v[r] * z + table[k][r];
        for (int r = 0; r < rows; ++r) value[r] = real(v[r]);
    }
};

// Times left of a step, with the constants of the model for a step of that length, and the polynomials of what spikes bring
// and see; see nodes.hpp.
struct NodeConstants {
    int n = 0;
    real at[MOST_NODES];
    std::vector<real> constants;          // [node][constant]
    Buffer lanes;                         // [node][panel][lane row][P]
    Coefficients ahead, collected, back;  // of what arrives, what its synapse collects and what goes back through it
    // Where neurons differ, by panel and node: the state that a unit weight brings, what its synapse collects of unit adjoints
    // and what goes back through it, [variable][P].
    Buffer brought, gathered, returned;
    struct Pair { int parameter, adjoint; };
    std::vector<Pair> pairs;              // what each parameter collects of what arrives, by adjoint variable
    Buffer slopes;                        // likewise, for a unit weight, [panel][pair][node][P]
    template <class Model> const real *constants_of(int q) const { return constants.data() + size_t(q) * Model::n_constants; }
    template <class Model> const real *lanes_of(int q, int p, int n_panels) const {
        return lanes.data + (size_t(q) * n_panels + p) * Model::n_lanes * P;
    }
    static double z_of(real y, double dt) { return 2 * double(y) / dt - 1; }
};

// A population and the synapses into it.
struct Layer {
    [[gnu::cold, gnu::noinline]] ~Layer() {}  // not wherever one may go; likewise below
    int n = 0, n_panels = 0, kind = 0;    // which model its neurons have, of those of hidden layers
    double dt = 0;
    std::vector<double> parameters;       // [parameter][n]
    std::vector<real> regulariser;        // parameters of the regulariser
    std::vector<real> constants;          // of the model, [constant]; those of the first neuron where they differ
    Buffer lanes;                         // constants that differ between neurons, [panel][lane row][P]
    Weights forward, recurrent;
    std::vector<Trained> trained;
    int terms = 0;                        // of a step's Taylor series, see flow.hpp, and its matrices
    std::vector<real> series, series_back;

    double stiffness = 0;                 // the largest sum of rates of a variable, times dt
    std::vector<double> stiff;            // of each neuron, where they differ
    NodeConstants nodes;                  // with exact times
    ArrivalTables arrivals;               // where spikes arrive at times of their own
    real lift = 0, drop = 0;              // how far a unit weight takes a neuron to its threshold in a step, a negative one
    real steep = 0, steep_drop = 0;       // likewise at the most, by the part of a step that it has for it

    // Constants from parameters; lanes beyond the last neuron are like the first.
    template <class Model> [[gnu::cold]] void compute() {
        constants.resize(Model::n_constants);
        lanes.reserve(std::max(size_t(1), size_t(n_panels) * Model::n_lanes * P));
        constants_at<Model>(dt, constants.data(), lanes.data);
    }
    template <class Model> [[gnu::cold]] void constants_at(double dt, real *shared, real *own) const {
        double p[Model::n_parameters];
        real c[Model::n_constants];
        for (int j = 0; j < (Model::n_lanes ? n_panels * P : 1); ++j) {
            for (int i = 0; i < Model::n_parameters; ++i) p[i] = parameters[size_t(i) * n + (j < n ? j : 0)];
            Model::constants(p, dt, c);
            if (j == 0) std::copy(c, c + Model::n_constants, shared);
            for (int i = 0; i < Model::n_lanes; ++i)
                own[(size_t(j / P) * Model::n_lanes + i) * P + j % P] = c[Model::lane_index[i]];
        }
    }
    template <class Model> const real *lanes_of(int panel) const { return lanes.data + size_t(panel) * Model::n_lanes * P; }
    bool trains_delays() const { return forward.delays_trained || recurrent.delays_trained; }
};

// What cuts a step where spikes have their exact times: a spike from below, one of the layer's own, or a reset without
// a spike; `before` is the time since the cut before (or the start of the step), `after` that to the end of the step, `index`
// the spike's number in its list.
enum Cut : uint32_t { BELOW, OWN, DROPPED };
struct Event {
    real before, after;
    Cut kind;
    uint32_t index, step;
};

struct LayerTrace {
    [[gnu::cold, gnu::noinline]] ~LayerTrace() {}
    SpikeLists spikes;
    std::vector<real> recorded;           // [spike][n_recorded], in order of time
    std::vector<real> error;              // R of each spike
    SpikeLists dropped;                   // resets without a spike
    std::vector<real> dropped_recorded;
    Buffer gradient;                      // [panel][row][P]: what a synapse collects, by step
    Buffer transport;                     // likewise: what goes back through one, where delays are trained
    Buffer kept;                          // [panel][row][variable][P]: forward state that time constants need; in exact.hpp
                                          // [step][panel][variable][P]
    Buffer collected;                     // [panel][trained parameter][P]
    int rows = 0;                         // rows of `gradient` that are not zero
    Buffer states, adjoints;              // if recorded, [panel][step][variable][P]: after each step; of the backward
                                          // pass, at the same times

    // With exact times only:
    std::vector<Event> events;
    std::vector<uint32_t> event_start;    // [K + 1]
    std::vector<real> tail;               // [K]: from the last cut of a step to its end
    Buffer moments;                       // [step with arrivals][panel][node][P], where parameters are trained
    std::vector<int32_t> moment_row;      // [K]: which of these, or -1
    Buffer step_adjoint;                  // [panel][step][row][P]: what spikes see, at the ends of steps with events
    std::vector<real> seen, jumped;       // [event][row]: coefficients of what is collected, and by how much rows jump there
    ArrivalTrace arrivals;                // where spikes arrive at times of their own
};

// As many objects as were asked for, made anew where there are to be more: then they need not be movable, which is much to
// compile.
template <class T> class Objects {
public:
    void reserve(size_t wanted) {
        if (wanted <= n) return;
        items.reset(new T[wanted]);
        n = wanted;
    }
    size_t size() const { return n; }
    T *data() const { return items.get(); }
    T &operator[](size_t i) const { return items[i]; }
    T &back() const { return items[n - 1]; }

private:
    std::unique_ptr<T[]> items;
    size_t n = 0;
};

struct Slot {
    [[gnu::cold, gnu::noinline]] ~Slot() {}
    SpikeLists input, arriving;           // arriving: with delayed copies, where spikes arrive at times of their own
    std::vector<real> weight, weight_slope;  // of the loss at each step, where it depends on the sample
    Objects<LayerTrace> layers;
    LayerTrace output;
    std::vector<real, Aligned<real>> error;  // of each output, [panel][P], or of each step, [step][panel][P]
    Buffer readout;                       // state of the loss at the end of the trial, [panel][variable][P]
};

struct Scratch {                          // one per thread
    [[gnu::cold, gnu::noinline]] ~Scratch() {}
    Buffer drive, state, next, gap, moments, seen, adjoint, transport_row, transport, voltages, narrow, sums;
    std::vector<uint8_t> keep;
    ArrivalScratch arrivals;
    struct Kept { Buffer states, moments, gradient, step_adjoint; };
    Objects<Kept> kept;                   // of each layer, see lend()
};

// What is read of a sample by its own backward sweep alone, or by the one thread that gathers its gradients at once, lies in
// buffers of the thread meanwhile, which are in its caches yet from the sample before. To be called before and after.
enum Lent { SWEEPS = 1, GRADIENTS = 2 };
inline void lend(Slot &slot, Scratch &t, int what) {
    t.kept.reserve(slot.layers.size() + 1);
    for (size_t l = 0; l < t.kept.size(); ++l) {
        LayerTrace &trace = l < slot.layers.size() ? slot.layers[l] : slot.output;
        if (what & SWEEPS) {
            trace.kept.swap(t.kept[l].states);
            trace.moments.swap(t.kept[l].moments);
        }
        if (what & GRADIENTS) {
            trace.gradient.swap(t.kept[l].gradient);
            trace.step_adjoint.swap(t.kept[l].step_adjoint);
        }
    }
}

// Where a layer's transport rows are.
inline Buffer &transport_of(const Layer &l, LayerTrace &trace, Scratch &t) { return l.trains_delays() ? trace.transport : t.transport; }

inline void clear_adjoint(const Layer &l, int n_adjoint, Scratch &t) {
    t.adjoint.reserve(size_t(l.n_panels) * n_adjoint * P);
    std::fill(t.adjoint.data, t.adjoint.data + size_t(l.n_panels) * n_adjoint * P, real(0));
}

struct BatchView {                        // the spike set and the samples of it to present
    const int64_t *offsets;
    const uint16_t *steps, *channels;
    const int64_t *samples;               // [n]
    const int32_t *labels;                // [n]
    enum Stage { WHOLE, FORWARD, BACKWARD };
    int32_t n, learn, stage, record;      // stage: which of the two sweeps are made
    uint32_t input_seed, hidden_seed, noise_seed;
    double input_dropout;
    const double *hidden_dropout, *noise; // [hidden layer]
    double batch, loss_scale, label_smoothing;
    float *scores;                        // [n][outputs]
    double *loss;                         // [n]
    float *counts;                        // [n][sum of hidden sizes]: spikes in the trial
    int32_t *silent;                      // [n]: whether no output spiked
    const float *at;                      // true times of spikes, as parts of their steps, or null
    int64_t first;                        // position of samples[0] in the epoch, for the random streams
    const float *mean_counts;             // [sum of hidden sizes]: spikes that the regulariser goes by; null for each sample's own
    const double *targets;                // [n][target_steps][outputs]: values in the place of labels, or null
    int32_t target_steps;                 // 1, or those of the trial, of which each has then labels or values of its own
    double *measured;                     // [n]: share of steps whose label is right, or mean square error; null for neither
};

// The steps of a trial that count for the loss.
struct Window {
    int first = 0, last = 0;
    bool has(int k) const { return k >= first && k < last; }
    int size() const { return last - first; }
};

// What is random in one layer for one sample.
struct Draws {
    uint32_t dropout_key = 0, noise_key = 0, dropout_limit = 0;
    bool dropout = false;
    real noise = 0;                       // standard deviation per step; 0 for none
    const Normal *normal = nullptr;

    bool drops(int step, int neuron) const { return dropout && draw(dropout_key, step, neuron) < dropout_limit; }
    // A neuron may reach its threshold more than once in a step that is cut: `cut` is the number of the cut in it.
    bool drops_at(int step, int neuron, uint32_t cut) const {
        return dropout && draw(mix(dropout_key ^ cut), step, neuron) < dropout_limit;
    }
};

}  // namespace eventprop
