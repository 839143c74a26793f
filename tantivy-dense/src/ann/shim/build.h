// What an index is told before rows go in.
#pragma once

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>

#include <cstddef>

namespace adf {

// Everything below a handle whose training prints warnings or whose defaults we set.
inline void configure(faiss::Index* index, int ef_construction) {
    if (auto* chain = dynamic_cast<faiss::IndexPreTransform*>(index)) {
        configure(chain->index, ef_construction);
    } else if (auto* refine = dynamic_cast<faiss::IndexRefine*>(index)) {
        configure(refine->base_index, ef_construction);
        configure(refine->refine_index, ef_construction);
    } else if (auto* graph = dynamic_cast<faiss::IndexHNSW*>(index)) {
        if (ef_construction > 0) {
            graph->hnsw.efConstruction = ef_construction;
        }
        configure(graph->storage, ef_construction);
    } else if (auto* lists = dynamic_cast<faiss::IndexIVF*>(index)) {
        // The sample is chosen by the caller; faiss would write a warning to standard error for a small one.
        lists->cp.min_points_per_centroid = 1;
        if (auto* pq = dynamic_cast<faiss::IndexIVFPQ*>(lists)) {
            pq->pq.cp.min_points_per_centroid = 1;
        } else if (auto* fast = dynamic_cast<faiss::IndexIVFPQFastScan*>(lists)) {
            fast->pq.cp.min_points_per_centroid = 1;
        }
        configure(lists->quantizer, ef_construction);
    } else if (auto* pq = dynamic_cast<faiss::IndexPQ*>(index)) {
        pq->pq.cp.min_points_per_centroid = 1;
    } else if (auto* fast = dynamic_cast<faiss::IndexPQFastScan*>(index)) {
        fast->pq.cp.min_points_per_centroid = 1;
    }
}

template <class T>
void reserve(faiss::MaybeOwnedVector<T>& values, size_t count) {
    if (values.is_owned) {
        values.owned_data.reserve(count);
        values.resize(values.size()); // lets it see the moved memory
    }
}

// Room for all rows at once: growing by doubling would leave up to half of it unused.
inline void reserve_rows(faiss::Index* index, size_t rows) {
    if (auto* chain = dynamic_cast<faiss::IndexPreTransform*>(index)) {
        reserve_rows(chain->index, rows);
    } else if (auto* refine = dynamic_cast<faiss::IndexRefine*>(index)) {
        reserve_rows(refine->base_index, rows);
        reserve_rows(refine->refine_index, rows);
    } else if (auto* graph = dynamic_cast<faiss::IndexHNSW*>(index)) {
        reserve_rows(graph->storage, rows);
    } else if (auto* flat = dynamic_cast<faiss::IndexFlatCodes*>(index)) {
        reserve(flat->codes, rows * flat->code_size);
    }
}

} // namespace adf
