// What faiss's reader believes of a file, looked at before anything follows it: a damaged or hostile index is refused.
#pragma once

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFastScan.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/CodePacker.h>
#include <faiss/invlists/BlockInvertedLists.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>

namespace adf {

inline void require(bool holds, const char* what) {
    if (!holds) {
        throw std::runtime_error(what);
    }
}

// faiss follows the numbers in a graph without looking; a damaged one would be read out of bounds at search time.
inline void check_graph(const faiss::HNSW& graph, size_t rows) {
    const auto& cumulative = graph.cum_nneighbor_per_level;
    require(graph.levels.size() == rows, "graph: one level per row expected");
    require(graph.offsets.size() == rows + 1 && graph.offsets[0] == 0, "graph: wrong table of offsets");
    require(cumulative.size() >= 2 && cumulative[0] == 0, "graph: wrong table of levels");
    for (size_t level = 1; level < cumulative.size(); level++) {
        require(cumulative[level] >= cumulative[level - 1], "graph: wrong table of levels");
    }
    require(graph.offsets[rows] == graph.neighbors.size(), "graph: wrong number of neighbours");
    if (rows == 0) {
        require(graph.entry_point == -1, "graph: an entry point without rows");
        return;
    }
    require(graph.entry_point >= 0 && size_t(graph.entry_point) < rows, "graph: entry point beyond the rows");
    // Offsets and levels of every row first: the neighbours' levels are looked up afterwards.
    for (size_t row = 0; row < rows; row++) {
        int levels = graph.levels[row];
        require(levels >= 1 && size_t(levels) < cumulative.size(), "graph: level of a row out of range");
        require(graph.offsets[row + 1] - graph.offsets[row] == size_t(cumulative[levels]), "graph: wrong offset of a row");
        require(graph.offsets[row + 1] >= graph.offsets[row], "graph: offsets not ascending");
    }
    require(graph.max_level == graph.levels[graph.entry_point] - 1, "graph: entry point not on the top level");
    const int32_t* neighbors = graph.neighbors.data();
    for (size_t row = 0; row < rows; row++) {
        size_t at = graph.offsets[row];
        for (int level = 0; level < graph.levels[row]; level++) {
            size_t end = graph.offsets[row] + size_t(cumulative[level + 1]);
            for (; at < end; at++) {
                int32_t neighbor = neighbors[at];
                require(
                        neighbor == -1 ||
                                (neighbor >= 0 && size_t(neighbor) < rows && graph.levels[neighbor] > level),
                        "graph: neighbour out of range");
            }
        }
    }
}

// Ranges of the values are read by position, and a range that is no number would make every similarity none.
inline void check_scalar(const faiss::ScalarQuantizer& quantizer, int d, size_t code_size) {
    using Kind = faiss::ScalarQuantizer;
    require(d > 0 && quantizer.d == size_t(d), "scalar quantizer: wrong dimension");
    size_t ranges = 0;
    switch (quantizer.qtype) {
        case Kind::QT_8bit:
        case Kind::QT_6bit:
        case Kind::QT_4bit:
            ranges = quantizer.d;
            break;
        case Kind::QT_8bit_uniform:
        case Kind::QT_4bit_uniform:
            ranges = 1;
            break;
        case Kind::QT_fp16:
        case Kind::QT_bf16:
        case Kind::QT_8bit_direct:
        case Kind::QT_8bit_direct_signed:
            break;
        default:
            // faiss's reader makes a size for the kinds above only, and believes the file for others.
            require(false, "scalar quantizer: unknown kind");
    }
    require(quantizer.code_size == code_size, "scalar quantizer: wrong size of a code");
    require(quantizer.trained.size() == 2 * ranges, "scalar quantizer: wrong number of ranges");
    bool numbers = std::all_of(quantizer.trained.begin(), quantizer.trained.end(), [](float value) { return std::isfinite(value); });
    require(numbers, "scalar quantizer: a range that is no number");
}

// faiss's reader lets any inverted file have lists in blocks, and looks at no block.
inline void check_lists(const faiss::IndexIVF* lists) {
    const auto* blocks = dynamic_cast<const faiss::BlockInvertedLists*>(lists->invlists);
    const auto* fast = dynamic_cast<const faiss::IndexIVFFastScan*>(lists);
    if (fast == nullptr) {
        require(blocks == nullptr && lists->invlists->code_size == lists->code_size, "lists: wrong size of a code");
        return;
    }
    require(blocks != nullptr && blocks->packer != nullptr, "lists: not in blocks");
    require(fast->bbs > 0 && fast->bbs % 32 == 0 && blocks->n_per_block == size_t(fast->bbs), "lists: wrong number of rows in a block");
    require(fast->M2 == (fast->M + 1) / 2 * 2, "lists: wrong number of parts of a code");
    require(blocks->block_size == blocks->packer->block_size, "lists: wrong size of a block");
    for (size_t list = 0; list < lists->nlist; list++) {
        size_t whole = (blocks->ids[list].size() + blocks->n_per_block - 1) / blocks->n_per_block;
        require(blocks->codes[list].size() >= whole * blocks->block_size, "lists: too few blocks");
    }
}

inline void check_codes(const faiss::IndexFlatCodes* codes) {
    require(codes->code_size > 0 || codes->ntotal == 0, "codes of no size");
    require(codes->codes.size() == size_t(codes->ntotal) * codes->code_size, "wrong number of codes");
    if (dynamic_cast<const faiss::IndexFlat*>(codes)) {
        require(codes->code_size == size_t(codes->d) * sizeof(float), "wrong size of a row");
    } else if (auto* scalar = dynamic_cast<const faiss::IndexScalarQuantizer*>(codes)) {
        check_scalar(scalar->sq, codes->d, codes->code_size);
    }
}

inline void check(const faiss::Index* index, size_t rows, bool has_vectors) {
    require(index != nullptr, "an index is missing");
    require(index->ntotal >= 0 && size_t(index->ntotal) == rows, "wrong number of rows");
    require(index->is_trained, "not trained");
    if (auto* chain = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
        int d = index->d;
        for (const auto* step : chain->chain) {
            require(step != nullptr && step->is_trained && step->d_in == d, "wrong dimension in a transform");
            d = step->d_out;
        }
        require(chain->index != nullptr && chain->index->d == d, "wrong dimension after the transforms");
        check(chain->index, rows, true);
    } else if (auto* refine = dynamic_cast<const faiss::IndexRefine*>(index)) {
        check(refine->base_index, rows, true);
        check(refine->refine_index, rows, true);
        require(refine->base_index->d == index->d && refine->refine_index->d == index->d, "wrong dimension inside");
    } else if (auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index)) {
        check_graph(graph->hnsw, rows);
        if (has_vectors) {
            check(graph->storage, rows, true);
            require(graph->storage->d == index->d, "wrong dimension inside");
        }
    } else if (auto* lists = dynamic_cast<const faiss::IndexIVF*>(index)) {
        require(lists->nlist > 0 && lists->invlists != nullptr, "no lists");
        check(lists->quantizer, lists->nlist, true);
        require(lists->quantizer->d == index->d, "wrong dimension inside");
        require(lists->invlists->nlist == lists->nlist, "wrong number of lists");
        require(lists->invlists->compute_ntotal() == rows, "wrong number of rows in the lists");
        check_lists(lists);
        if (dynamic_cast<const faiss::IndexIVFFlat*>(lists)) {
            require(lists->code_size == size_t(index->d) * sizeof(float), "wrong size of a row");
        } else if (auto* scalar = dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(lists)) {
            check_scalar(scalar->sq, index->d, lists->code_size);
        }
    } else if (auto* codes = dynamic_cast<const faiss::IndexFlatCodes*>(index)) {
        check_codes(codes);
    }
}

} // namespace adf
