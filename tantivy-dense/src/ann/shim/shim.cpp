// A narrow C interface over faiss for src/ann/native.rs. It exists for what faiss's own C interface lacks: search
// parameters per query without a leak, reading from memory without a copy, writing to a sink with a user pointer, a
// graph whose vectors lie elsewhere, interruption of a build, and searches that touch no global counter.
//
// Rules of this file: no exception leaves it; every pointer it is handed is used during the call only, except the
// bytes and rows given to adf_open, which the caller keeps alive and unmoved until adf_free.
//
// Its parts, one subject each, are in the headers beside it.

#include "build.h"
#include "check.h"
#include "guard.h"
#include "search.h"
#include "streams.h"

#include <faiss/impl/zerocopy_io.h>
#include <faiss/index_factory.h>

using namespace adf;

extern "C" {

enum AdfKind : int { KIND_OTHER = 0, KIND_FLAT = 1, KIND_GRAPH = 2, KIND_LISTS = 3 };

struct AdfInfo {
    uint64_t rows;
    uint64_t dimension;
    uint64_t owned_bytes;
    uint64_t lists;
    int inner_product;
    int kind;
    int trained;
    int concurrent;
    // The vectors are plain 32-bit floats beside a graph, so the graph can be written without them.
    int graph_over_rows;
};

const char* adf_version() {
    return VERSION_STRING;
}

int adf_create(
        const char* factory,
        int dimension,
        int inner_product,
        uint64_t rows,
        int ef_construction,
        AdfIndex** out,
        char* message,
        size_t capacity) {
    *out = nullptr;
    return guarded(message, capacity, nullptr, [&] {
        install_callback();
        auto handle = std::make_unique<AdfIndex>();
        auto metric = inner_product ? faiss::METRIC_INNER_PRODUCT : faiss::METRIC_L2;
        handle->index.reset(faiss::index_factory(dimension, factory, metric));
        configure(handle->index.get(), ef_construction);
        reserve_rows(handle->index.get(), size_t(rows));
        handle->settle();
        *out = handle.release();
    });
}

int adf_train(AdfIndex* handle, uint64_t rows, const float* values, int threads, const uint8_t* cancel, char* message, size_t capacity) {
    return guarded(message, capacity, cancel, [&] {
        CancelScope scope(cancel);
        ThreadScope limit(threads);
        handle->index->train(idx_t(rows), values);
        if (is_set(cancel)) {
            throw Cancelled();
        }
    });
}

int adf_add(AdfIndex* handle, uint64_t rows, const float* values, int threads, const uint8_t* cancel, char* message, size_t capacity) {
    return guarded(message, capacity, cancel, [&] {
        if (is_set(cancel)) {
            throw Cancelled();
        }
        CancelScope scope(cancel);
        ThreadScope limit(threads);
        handle->index->add(idx_t(rows), values);
    });
}

int adf_size(const AdfIndex* handle, int graph_only, uint64_t* bytes, uint64_t* mappable_at, char* message, size_t capacity) {
    return guarded(message, capacity, nullptr, [&] {
        CountingWriter writer;
        writer.watched = mappable(handle->index.get());
        faiss::write_index(handle->index.get(), &writer, write_flags(graph_only != 0));
        *bytes = writer.count;
        *mappable_at = writer.watched_at;
    });
}

int adf_write(const AdfIndex* handle, int graph_only, Sink sink, void* user, char* message, size_t capacity) {
    return guarded(message, capacity, nullptr, [&] {
        SinkWriter writer;
        writer.name = "the sink";
        writer.sink = sink;
        writer.user = user;
        faiss::write_index(handle->index.get(), &writer, write_flags(graph_only != 0));
    });
}

// `rows` is null, or the vectors of a graph written without them: count x dimension floats, aligned to four bytes.
int adf_open(
        const uint8_t* bytes,
        uint64_t length,
        const float* rows,
        uint64_t row_values,
        uint64_t expected_rows,
        AdfIndex** out,
        char* message,
        size_t capacity) {
    *out = nullptr;
    return guarded(message, capacity, nullptr, [&] {
        install_callback();
        auto handle = std::make_unique<AdfIndex>();
        if (starts_mappable(bytes, size_t(length))) {
            faiss::ZeroCopyIOReader reader(bytes, size_t(length));
            reader.name = "the blob";
            handle->index.reset(faiss::read_index(&reader));
        } else {
            BytesReader reader(bytes, size_t(length));
            reader.name = "the blob";
            handle->index.reset(faiss::read_index(&reader));
        }
        faiss::Index* index = handle->index.get();
        require(index != nullptr, "no index in the blob");
        if (auto* graph = dynamic_cast<faiss::IndexHNSW*>(index)) {
            own_if_misaligned(graph->hnsw.neighbors, alignof(int32_t));
            if (rows != nullptr) {
                require(graph->storage == nullptr, "the graph carries its own vectors");
                require(
                        graph->ntotal >= 0 && graph->d > 0 &&
                                uint64_t(graph->ntotal) * uint64_t(graph->d) == row_values,
                        "the rows given do not fit the graph");
                auto flat = std::make_unique<faiss::IndexFlat>(graph->d, graph->metric_type);
                flat->ntotal = graph->ntotal;
                // Never written through: an opened index is only searched.
                flat->codes = faiss::MaybeOwnedVector<uint8_t>::create_view(
                        const_cast<float*>(rows), size_t(row_values) * sizeof(float), nullptr);
                graph->storage = flat.release();
                graph->own_fields = true;
            } else if (auto* codes = dynamic_cast<faiss::IndexFlatCodes*>(graph->storage)) {
                align_codes(codes);
            }
        } else if (auto* codes = dynamic_cast<faiss::IndexFlatCodes*>(index)) {
            align_codes(codes);
        }
        check(index, size_t(expected_rows), true);
        handle->settle();
        *out = handle.release();
    });
}

int adf_info(const AdfIndex* handle, AdfInfo* info, char* message, size_t capacity) {
    return guarded(message, capacity, nullptr, [&] {
        faiss::Index* index = handle->index.get();
        faiss::Index* inner = behind_transforms(index);
        if (auto* refine = dynamic_cast<faiss::IndexRefine*>(inner)) {
            inner = behind_transforms(refine->base_index);
        }
        auto* lists = dynamic_cast<faiss::IndexIVF*>(inner);
        info->rows = uint64_t(index->ntotal);
        info->dimension = uint64_t(index->d);
        info->owned_bytes = owned_bytes(index);
        info->lists = lists ? lists->nlist : 0;
        info->inner_product = index->metric_type == faiss::METRIC_INNER_PRODUCT;
        info->kind = dynamic_cast<faiss::IndexHNSW*>(inner) ? KIND_GRAPH
                : lists                                     ? KIND_LISTS
                : dynamic_cast<faiss::IndexFlatCodes*>(inner) ? KIND_FLAT
                                                              : KIND_OTHER;
        info->trained = index->is_trained;
        info->concurrent = handle->concurrent;
        auto* graph = dynamic_cast<faiss::IndexHNSWFlat*>(index);
        info->graph_over_rows = graph && dynamic_cast<faiss::IndexFlat*>(graph->storage);
    });
}

int adf_search(
        AdfIndex* handle,
        const AdfQuery* query,
        float* distances,
        int64_t* labels,
        uint64_t* distances_computed,
        uint64_t* places_visited,
        char* message,
        size_t capacity) {
    return guarded(message, capacity, nullptr, [&] {
        ThreadScope limit(1);
        faiss::IDSelectorBitmap bitmap(size_t(query->bitmap_bytes), query->bitmap);
        faiss::IDSelector* selector = query->bitmap ? &bitmap : nullptr;
        Breadth breadth{size_t(query->ef), size_t(query->nprobe), query->k_factor};
        Counters counters{0, 0};
        std::unique_lock<std::mutex> turn(shared_counters, std::defer_lock);
        if (!handle->concurrent) {
            turn.lock();
        }
        search_one(*handle, handle->index.get(), handle->visited, query->vector, size_t(query->k), breadth, selector, distances, labels, counters);
        *distances_computed = counters.distances;
        *places_visited = counters.hops;
    });
}

// Many queries over a flat index in one call: matrix products instead of one reading of the rows per query. With one
// OpenMP thread, because BLAS has threads of its own, and the two kinds get in each other's
// way (about 40 times as slow on two cores). Only for IndexFlat, whose search writes to nothing shared. Unused places hold label -1.
int adf_search_flat(
        const AdfIndex* handle,
        uint64_t count,
        const float* queries,
        uint64_t k,
        float* distances,
        int64_t* labels,
        char* message,
        size_t capacity) {
    return guarded(message, capacity, nullptr, [&] {
        ThreadScope limit(1);
        const faiss::Index* index = handle->index.get();
        require(dynamic_cast<const faiss::IndexFlat*>(index) != nullptr, "only a flat index takes many queries at once");
        index->search(idx_t(count), queries, idx_t(k), distances, labels);
    });
}

// The faiss::Index behind a handle, for the other shim; valid until adf_free.
const void* adf_inner(const AdfIndex* handle) {
    return handle->index.get();
}

void adf_free(AdfIndex* handle) {
    delete handle;
}

} // extern "C"
