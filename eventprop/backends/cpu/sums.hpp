// Sums over a batch, whose additions have one order however many threads and processes share the batch.
//
// Samples are summed one after the other within a block of BLOCK_SAMPLES. Blocks are the leaves of a binary tree: node
// (level, index) is the sum of the 2^level blocks from index * 2^level on, those beyond the end of the batch being nothing.
// Whoever has only some of the blocks gets the largest nodes that lie within these; from them the others get the rest.
#pragma once
#include "panels.hpp"

namespace eventprop {

constexpr int BLOCK_SAMPLES = 4;

class Sums {
public:
    // A stretch of gradients that is summed where it lies, and its place in what is kept of a node.
    struct Part { real *at; size_t size, offset; };
    // How many nodes there are before a block is added, and with how many of them it becomes one.
    struct Step { int depth, merges; };

    std::vector<Part> parts;

    void add_part(real *at, size_t size) {
        parts.push_back({at, size, total});
        total += size;
    }
    size_t size() const { return total; }
    int count() const { return int(nodes.size()); }
    const real *node(int i) const { return kept[i].data; }

    // The next block, which begins with sample `first` of its batch, is the first one here.
    void begin(int64_t first) {
        nodes.clear();
        sample = first;
    }
    // Whether the block is not complete that the last sample was in.
    bool open() const { return sample % BLOCK_SAMPLES; }
    // Whether a block ends with the i-th of the next samples.
    bool ends_with(int i) const { return (sample + i + 1) % BLOCK_SAMPLES == 0; }
    // What is to be done, once `n` more samples have been gathered, after each block that they complete.
    [[gnu::cold]] std::vector<Step> plan(int n) {
        std::vector<Step> steps;
        size_t most = 0;
        for (int64_t block = sample / BLOCK_SAMPLES; (block + 1) * BLOCK_SAMPLES <= sample + n; ++block) {
            Step step{count(), 0};
            Node node{0, block};
            while (!nodes.empty() && nodes.back().level == node.level && nodes.back().index == node.index - 1 && node.index % 2) {
                node = {node.level + 1, node.index / 2};
                nodes.pop_back();
                ++step.merges;
            }
            nodes.push_back(node);
            most = std::max(most, nodes.size());
            steps.push_back(step);
        }
        if (kept.size() < most) kept.resize(most);
        for (size_t i = 0; i < most; ++i) kept[i].reserve(std::max(size_t(1), total));
        return steps;
    }
    void pass(int n) { sample += n; }
    // A part's gradients, which are those of one block, go into the nodes, and are 0 for the next one.
    void keep(const Part &part, Step step) {
        for (int k = 1; k < step.merges; ++k) add(part, step.depth - k);
        real *__restrict to = kept[step.depth - step.merges].data + part.offset, *__restrict from = part.at;
        for (size_t j = 0; j < part.size; ++j) {
            to[j] = step.merges ? to[j] + from[j] : from[j];
            from[j] = 0;
        }
    }
    // A part's gradients are the sum of all nodes and of a block that is not complete.
    void finish(const Part &part) {
        for (int i = count(); i-- > 0;) add(part, i);
    }

private:
    struct Node { int level; int64_t index; };
    size_t total = 0;
    int64_t sample = 0;
    std::vector<Node> nodes;              // in order of blocks
    std::vector<Buffer> kept;             // of each node, the parts one after the other

    void add(const Part &part, int i) {
        const real *__restrict from = kept[i].data + part.offset;
        real *__restrict to = part.at;
        for (size_t j = 0; j < part.size; ++j) to[j] += from[j];
    }
};

}  // namespace eventprop
