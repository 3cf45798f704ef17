// Sums over a batch, whose additions have one order however many threads and processes share the batch.
//
// Samples are summed one after the other within a block of BLOCK_SAMPLES. Blocks are the leaves of a binary tree: node
// (level, index) is the sum of the 2^level blocks from index * 2^level on, those beyond the end of the batch being nothing.
// Whoever has only some of the blocks gets the largest nodes that lie within these; from them the others get the rest.
#pragma once
#include "panels.hpp"

namespace eventprop {

constexpr int BLOCK_SAMPLES = 4;
constexpr size_t PIECE = 64 * P;

class Sums {
public:
    // A stretch of gradients, and its place in what is kept of a node.
    struct Part { real *at; size_t size, offset; };
    // What is to be added to make nodes of blocks: to one place what is in another.
    struct Addition { int to, from; };

    std::vector<Part> parts;
    int rest = 0;                         // samples of a block that is not complete, whose sums are where the parts are

    // Numbers of a part, as many as one of several threads works on at a time.
    struct Piece { real *at; size_t size, offset; };
    std::vector<Piece> pieces;

    void add_part(real *at, size_t size) {
        parts.push_back({at, size, total});
        for (size_t i = 0; i < size; i += PIECE) pieces.push_back({at + i, std::min(PIECE, size - i), total + i});
        total += size;
    }
    size_t size() const { return total; }
    int count() const { return int(nodes.size()); }
    const real *node(int i) const { return places[nodes[i].place].data; }

    // The next block, which begins with sample `first` of its batch, is the first one here.
    [[gnu::cold]] void begin(int64_t first) {
        nodes.clear();
        blocks.clear();
        rest = 0;
        next = first / BLOCK_SAMPLES;
        spare.resize(places.size());
        for (size_t i = 0; i < places.size(); ++i) spare[i] = int(i);
    }
    // Places for the sums of the next `n` blocks, the parts one after the other; there may be anything in them.
    [[gnu::cold]] void open(int n) {
        for (int i = 0; i < n; ++i) {
            if (spare.empty()) {
                places.emplace_back();
                spare.push_back(int(places.size()) - 1);
            }
            places[spare.back()].reserve(std::max(size_t(1), total));
            blocks.push_back(spare.back());
            spare.pop_back();
        }
    }
    real *block(int i) const { return places[blocks[i]].data; }
    // The block that is not complete yet goes on in the first of these places.
    [[gnu::cold]] void move_rest() {
        for (const Part &part : parts) {
            std::copy_n(part.at, part.size, block(0) + part.offset);
            std::fill_n(part.at, part.size, real(0));
        }
        rest = 0;
    }
    // The blocks become nodes, once all that is returned has been added, in this order.
    [[gnu::cold]] std::vector<Addition> close() {
        std::vector<Addition> additions;
        for (int place : blocks) {
            Node node{0, next++, place};
            while (!nodes.empty() && nodes.back().level == node.level && nodes.back().index == node.index - 1 && node.index % 2) {
                additions.push_back({place, nodes.back().place});
                spare.push_back(nodes.back().place);
                node = {node.level + 1, node.index / 2, place};
                nodes.pop_back();
            }
            nodes.push_back(node);
        }
        blocks.clear();
        return additions;
    }
    // A piece of what is kept of a node.
    void add(Addition a, const Piece &piece) { add(places[a.to].data + piece.offset, places[a.from].data + piece.offset, piece.size); }
    // A piece's gradients are the sum of all nodes and of a block that is not complete.
    void finish(const Piece &piece) {
        for (int i = count(); i-- > 0;) add(piece.at, node(i) + piece.offset, piece.size);
    }

private:
    struct Node { int level; int64_t index; int place; };
    size_t total = 0;
    int64_t next = 0;                     // number of the next block in its batch
    std::vector<Node> nodes;              // in order of blocks
    std::vector<Buffer> places;
    std::vector<int> spare, blocks;       // places that are free, and those of blocks that are not nodes yet

    static void add(real *__restrict to, const real *__restrict from, size_t size) {
        for (size_t j = 0; j < size; ++j) to[j] += from[j];
    }
};

}  // namespace eventprop
