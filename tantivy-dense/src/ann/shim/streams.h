// An index as bytes: how it is written and read, what can stay where it lies, and what it holds in memory.
#pragma once

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <vector>

namespace adf {

using faiss::idx_t;

struct CountingWriter : faiss::IOWriter {
    const void* watched = nullptr;
    uint64_t count = 0;
    uint64_t watched_at = 0;
    size_t operator()(const void* data, size_t size, size_t items) override {
        if (watched != nullptr && data == watched && size * items > 0) {
            watched_at = count;
        }
        count += size * items;
        return items;
    }
};

using Sink = int (*)(void* user, const uint8_t* bytes, size_t length);

struct SinkWriter : faiss::IOWriter {
    Sink sink = nullptr;
    void* user = nullptr;
    size_t operator()(const void* data, size_t size, size_t items) override {
        size_t bytes = size * items;
        if (bytes > 0 && sink(user, static_cast<const uint8_t*>(data), bytes) != 0) {
            return 0;
        }
        return items;
    }
};

// Copies out of memory, never past its end.
struct BytesReader : faiss::IOReader {
    const uint8_t* data;
    size_t left;
    BytesReader(const uint8_t* data, size_t length) : data(data), left(length) {}
    size_t operator()(void* to, size_t size, size_t items) override {
        if (size == 0) {
            return items;
        }
        size_t whole = std::min(items, left / size);
        if (whole > 0) {
            std::memcpy(to, data, whole * size);
            data += whole * size;
            left -= whole * size;
        }
        return whole;
    }
};

// The large array of an index that can be used where it lies, so that its place in the file can be aligned.
inline const void* mappable(const faiss::Index* index) {
    if (auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index)) {
        return graph->hnsw.neighbors.data();
    }
    if (auto* flat = dynamic_cast<const faiss::IndexFlatCodes*>(index)) {
        return flat->codes.data();
    }
    return nullptr;
}

inline bool starts_mappable(const uint8_t* data, size_t length) {
    static const char* kinds[] = {"IHNf", "IHNs", "IHNp", "IxF2", "IxFI", "IxSQ"};
    if (length < 4) {
        return false;
    }
    return std::any_of(std::begin(kinds), std::end(kinds), [&](const char* kind) { return std::memcmp(data, kind, 4) == 0; });
}

template <class T>
void own_if_misaligned(faiss::MaybeOwnedVector<T>& values, size_t alignment) {
    if (values.is_owned || reinterpret_cast<uintptr_t>(values.data()) % alignment == 0) {
        return;
    }
    std::vector<T> copy(values.size());
    std::memcpy(copy.data(), values.data(), values.byte_size());
    values = faiss::MaybeOwnedVector<T>(std::move(copy));
}

inline void align_codes(faiss::IndexFlatCodes* codes) {
    own_if_misaligned(codes->codes, dynamic_cast<faiss::IndexFlat*>(codes) ? 4 : 2);
}

inline uint64_t owned_bytes(const faiss::Index* index);

template <class T>
uint64_t owned_bytes(const faiss::MaybeOwnedVector<T>& values) {
    return values.is_owned ? values.owned_data.capacity() * sizeof(T) : 0;
}

inline uint64_t owned_bytes(const faiss::Index* index) {
    if (index == nullptr) {
        return 0;
    }
    if (auto* chain = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
        uint64_t total = owned_bytes(chain->index);
        for (const auto* step : chain->chain) {
            if (auto* linear = dynamic_cast<const faiss::LinearTransform*>(step)) {
                total += (linear->A.capacity() + linear->b.capacity()) * sizeof(float);
            }
        }
        return total;
    }
    if (auto* refine = dynamic_cast<const faiss::IndexRefine*>(index)) {
        return owned_bytes(refine->base_index) + owned_bytes(refine->refine_index);
    }
    if (auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index)) {
        const faiss::HNSW& hnsw = graph->hnsw;
        return hnsw.levels.capacity() * sizeof(int) + hnsw.offsets.capacity() * sizeof(size_t) +
                owned_bytes(hnsw.neighbors) + owned_bytes(graph->storage);
    }
    if (auto* lists = dynamic_cast<const faiss::IndexIVF*>(index)) {
        uint64_t total = owned_bytes(lists->quantizer);
        if (lists->invlists != nullptr) {
            for (size_t list = 0; list < lists->nlist; list++) {
                total += lists->invlists->list_size(list) * (lists->code_size + sizeof(idx_t));
            }
        }
        if (auto* pq = dynamic_cast<const faiss::IndexIVFPQ*>(lists)) {
            total += pq->pq.centroids.capacity() * sizeof(float) + pq->precomputed_table.size() * sizeof(float);
        }
        return total;
    }
    if (auto* codes = dynamic_cast<const faiss::IndexFlatCodes*>(index)) {
        return owned_bytes(codes->codes);
    }
    // Kinds not known here: what it would take written out.
    CountingWriter writer;
    faiss::write_index(index, &writer);
    return writer.count;
}

inline int write_flags(bool graph_only) {
    return graph_only ? faiss::IO_FLAG_SKIP_STORAGE : 0;
}

} // namespace adf
