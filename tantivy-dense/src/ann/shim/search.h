// One query over an index of any nesting, written so that it adds to none of faiss's global counters where that can be.
#pragma once

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFRaBitQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/impl/ResultHandler.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

namespace adf {

using faiss::idx_t;

// A visited table costs one byte per row to allocate and clear. One is kept per concurrent search, and used again.
struct VisitedPool {
    std::mutex lock;
    std::vector<std::unique_ptr<faiss::VisitedTable>> free;

    std::unique_ptr<faiss::VisitedTable> take(size_t rows) {
        {
            std::lock_guard<std::mutex> guard(lock);
            if (!free.empty()) {
                auto table = std::move(free.back());
                free.pop_back();
                return table;
            }
        }
        return std::make_unique<faiss::VisitedTable>(int(rows));
    }

    void give(std::unique_ptr<faiss::VisitedTable> table) {
        std::lock_guard<std::mutex> guard(lock);
        free.push_back(std::move(table));
    }
};

// The innermost index behind transforms; refinement is not looked through.
inline faiss::Index* behind_transforms(faiss::Index* index) {
    while (auto* chain = dynamic_cast<faiss::IndexPreTransform*>(index)) {
        index = chain->index;
    }
    return index;
}

// Kinds whose search, as written below, writes to nothing shared. The others add to faiss's global counters without
// any lock, so they take turns.
inline bool searches_concurrently(const faiss::Index* index) {
    if (auto* chain = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
        return searches_concurrently(chain->index);
    }
    if (auto* refine = dynamic_cast<const faiss::IndexRefine*>(index)) {
        return searches_concurrently(refine->base_index);
    }
    if (dynamic_cast<const faiss::IndexHNSW2Level*>(index) || dynamic_cast<const faiss::IndexHNSWCagra*>(index)) {
        return false;
    }
    if (auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index)) {
        return dynamic_cast<const faiss::IndexFlatCodes*>(graph->storage) != nullptr;
    }
    if (auto* lists = dynamic_cast<const faiss::IndexIVF*>(index)) {
        const auto* pq = dynamic_cast<const faiss::IndexIVFPQ*>(lists);
        bool known = dynamic_cast<const faiss::IndexIVFFlat*>(lists) ||
                dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(lists) ||
                dynamic_cast<const faiss::IndexIVFRaBitQ*>(lists) || (pq && pq->polysemous_ht == 0);
        return known && searches_concurrently(lists->quantizer);
    }
    return dynamic_cast<const faiss::IndexFlat*>(index) || dynamic_cast<const faiss::IndexScalarQuantizer*>(index);
}

// Taken by every search that adds to those counters, whichever index it is in.
inline std::mutex shared_counters;

struct Counters {
    uint64_t distances;
    uint64_t hops;
};

} // namespace adf

struct AdfIndex {
    std::unique_ptr<faiss::Index> index;
    bool concurrent = false;
    // Pools by depth: the graph itself, and the graph that serves as coarse quantiser of lists.
    adf::VisitedPool visited;
    adf::VisitedPool visited_coarse;

    void settle() {
        concurrent = adf::searches_concurrently(index.get());
    }
};

struct AdfQuery {
    const float* vector;
    uint64_t k;
    uint64_t ef;
    uint64_t nprobe;
    float k_factor;
    const uint8_t* bitmap;
    uint64_t bitmap_bytes;
};

namespace adf {

struct Breadth {
    size_t ef;
    size_t nprobe;
    float k_factor;
};

inline faiss::DistanceComputer* graph_distance(const faiss::Index* storage) {
    faiss::DistanceComputer* inner = storage->get_distance_computer();
    if (faiss::is_similarity_metric(storage->metric_type)) {
        try {
            return new faiss::NegativeDistanceComputer(inner);
        } catch (...) {
            delete inner;
            throw;
        }
    }
    return inner;
}

inline void set_graph(faiss::SearchParametersHNSW& params, const faiss::HNSW& graph, const Breadth& breadth) {
    params.efSearch = int(breadth.ef > 0 ? breadth.ef : size_t(graph.efSearch));
    params.check_relative_distance = graph.check_relative_distance;
    params.bounded_queue = graph.search_bounded_queue;
}

// One query, all levels of nesting. `distances` and `labels` have room for k; unused places hold label -1.
inline void search_one(
        AdfIndex& handle,
        const faiss::Index* index,
        VisitedPool& pool,
        const float* x,
        size_t k,
        const Breadth& breadth,
        faiss::IDSelector* selector,
        float* distances,
        idx_t* labels,
        Counters& counters) {
    if (auto* chain = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
        const float* moved = chain->apply_chain(1, x);
        std::unique_ptr<const float[]> owned(moved == x ? nullptr : moved);
        search_one(handle, chain->index, pool, moved, k, breadth, selector, distances, labels, counters);
        return;
    }
    if (auto* refine = dynamic_cast<const faiss::IndexRefine*>(index)) {
        float factor = std::max(1.0f, breadth.k_factor > 0 ? breadth.k_factor : refine->k_factor);
        size_t wide = std::min(size_t(double(k) * factor), std::max(size_t(index->ntotal), k));
        wide = std::max(wide, k);
        std::vector<float> near(wide);
        std::vector<idx_t> rows(wide);
        search_one(handle, refine->base_index, pool, x, wide, breadth, selector, near.data(), rows.data(), counters);
        std::unique_ptr<faiss::DistanceComputer> exact(refine->refine_index->get_distance_computer());
        exact->set_query(x);
        bool similarity = faiss::is_similarity_metric(index->metric_type);
        std::vector<std::pair<float, idx_t>> found;
        found.reserve(wide);
        for (idx_t row : rows) {
            if (row < 0) {
                continue;
            }
            if (row >= refine->refine_index->ntotal) {
                throw std::runtime_error("a row number beyond the index");
            }
            float distance = (*exact)(row);
            counters.distances++;
            found.emplace_back(similarity ? -distance : distance, row);
        }
        std::sort(found.begin(), found.end());
        for (size_t i = 0; i < k; i++) {
            bool there = i < found.size();
            labels[i] = there ? found[i].second : -1;
            distances[i] = there ? (similarity ? -found[i].first : found[i].first) : 0;
        }
        return;
    }
    if (auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index)) {
        if (handle.concurrent) {
            // IndexHNSW::search would add to a global counter without a lock, and make a new visited table.
            faiss::SearchParametersHNSW params;
            set_graph(params, graph->hnsw, breadth);
            params.sel = selector;
            std::unique_ptr<faiss::DistanceComputer> distance(graph_distance(graph->storage));
            distance->set_query(x);
            auto visited = pool.take(size_t(graph->ntotal));
            using Handler = faiss::HeapBlockResultHandler<faiss::HNSW::C>;
            Handler block(1, distances, labels, k);
            Handler::SingleResultHandler results(block);
            results.begin(0);
            faiss::HNSWStats stats = graph->hnsw.search(*distance, results, *visited, &params);
            results.end();
            pool.give(std::move(visited));
            counters.distances += stats.ndis;
            counters.hops += stats.nhops;
            if (faiss::is_similarity_metric(index->metric_type)) {
                for (size_t i = 0; i < k; i++) {
                    distances[i] = -distances[i];
                }
            }
            return;
        }
        faiss::SearchParametersHNSW params;
        set_graph(params, graph->hnsw, breadth);
        params.sel = selector;
        index->search(1, x, idx_t(k), distances, labels, &params);
        return;
    }
    if (auto* lists = dynamic_cast<const faiss::IndexIVF*>(index)) {
        size_t probes = std::min(breadth.nprobe > 0 ? breadth.nprobe : lists->nprobe, lists->nlist);
        faiss::IVFPQSearchParameters for_pq;
        faiss::SearchParametersIVF for_lists;
        faiss::SearchParametersIVF* params = &for_lists;
        if (auto* pq = dynamic_cast<const faiss::IndexIVFPQ*>(lists)) {
            for_pq.scan_table_threshold = pq->scan_table_threshold;
            for_pq.polysemous_ht = pq->polysemous_ht;
            params = &for_pq;
        }
        params->sel = selector;
        params->nprobe = probes;
        params->max_codes = lists->max_codes;
        if (handle.concurrent) {
            std::vector<float> coarse(probes);
            std::vector<idx_t> keys(probes);
            // The breadth of a coarse graph follows the number of lists wanted from it.
            Breadth inner{std::max<size_t>(2 * probes, 32), 0, 0};
            search_one(handle, lists->quantizer, handle.visited_coarse, x, probes, inner, nullptr, coarse.data(), keys.data(), counters);
            faiss::IndexIVFStats stats;
            lists->search_preassigned(1, x, idx_t(k), keys.data(), coarse.data(), distances, labels, false, params, &stats);
            counters.distances += stats.ndis;
            counters.hops += stats.nlist;
            return;
        }
        index->search(1, x, idx_t(k), distances, labels, params);
        return;
    }
    faiss::SearchParameters params;
    params.sel = selector;
    index->search(1, x, idx_t(k), distances, labels, selector ? &params : nullptr);
    counters.distances += uint64_t(index->ntotal);
}

} // namespace adf
