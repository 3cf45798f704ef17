// What is kept where spikes arrive at times of their own: see arrivals.hpp.
#pragma once
#include "panels.hpp"

namespace eventprop {

// Polynomials of the part of a step that is left after an arrival, by powers 0 .. `powers` - 1, for each neuron: tables are
// [panel][row][power][P].
struct ArrivalTables {
    int powers = 0;
    Buffer ahead;                         // what a unit weight brings to each state variable at the end of the step
    Buffer collected, back;               // what a synapse collects, and what goes back through it, by adjoint at the end
    Buffer parameters;                    // what each trained parameter collects of a unit weight, by adjoint at the end
};

// A weight that arrives at a neuron, when a part `at` of the step is over.
struct Arrival {
    real at, w;
};

// Where a trace's arrivals at a neuron that spikes in a step are kept.
struct Replayed {
    uint32_t step, neuron, first, end;
};

// Of the backward pass, with steps for what arrives.
struct ArrivalTrace {
    Buffer landed;                        // [panel][step][row][P]: what arrives in a step, summed
    Buffer adjoint;                       // [panel][step][adjoint][P]: at the end of each step, the last one 0
    std::vector<int32_t> piece;           // [panel][step][P]: 1 + number of the neuron's first event in the step, or 0
    std::vector<int32_t> later;           // [event]: likewise of its next one in the step
    std::vector<real> pieces;             // [event][adjoint]: adjoints before that event, as they would be at the end of the step
    std::vector<real> left;               // [event]: part of the step that is left
    std::vector<Replayed> replayed;       // in order of step
    std::vector<Arrival> arrivals;
    std::vector<uint32_t> replay_start;   // [step + 1]
    std::vector<real> weight, weight_slope;  // of a read-out's loss, by the end of each step and towards its start (per ms)
};

struct ArrivalScratch {
    Buffer landed;                        // as a trace's
};

}  // namespace eventprop
