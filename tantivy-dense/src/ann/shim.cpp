// A narrow C interface over faiss for src/ann/native.rs. It exists for what faiss's own C interface lacks: search
// parameters per query without a leak, reading from memory without a copy, writing to a sink with a user pointer, a
// graph whose vectors lie elsewhere, interruption of a build, and searches that touch no global counter.
//
// Rules of this file: no exception leaves it; every pointer it is handed is used during the call only, except the
// bytes and rows given to adf_open, which the caller keeps alive and unmoved until adf_free.

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexIVFRaBitQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/CodePacker.h>
#include <faiss/impl/FaissException.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/impl/ResultHandler.h>
#include <faiss/impl/io.h>
#include <faiss/impl/zerocopy_io.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>
#include <faiss/invlists/BlockInvertedLists.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using faiss::idx_t;

enum Status : int { OK = 0, FAILED = 1, CANCELLED = 2, NO_MEMORY = 3 };

struct Cancelled : std::exception {};

// The cancel flag of the build that runs on this thread, if any. faiss asks its one process-wide callback from time to
// time while it trains and adds; the callback looks here, so that a build can be stopped without stopping another.
thread_local const uint8_t* current_cancel = nullptr;

bool is_set(const uint8_t* flag) {
    return flag != nullptr && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0;
}

struct CancelCallback : faiss::InterruptCallback {
    bool want_interrupt() override {
        return is_set(current_cancel);
    }
};

// Runs before the first index exists, so no search can be reading the pointer meanwhile. A callback that the program
// set for itself is left in place; builds are then cancelled between batches only.
void install_callback() {
    static std::once_flag once;
    std::call_once(once, [] {
        if (!faiss::InterruptCallback::instance) {
            faiss::InterruptCallback::instance.reset(new CancelCallback());
        }
    });
}

struct CancelScope {
    const uint8_t* before;
    explicit CancelScope(const uint8_t* flag) : before(current_cancel) {
        current_cancel = flag;
    }
    ~CancelScope() {
        current_cancel = before;
    }
};

// OpenMP keeps the number of threads per calling thread; what it was comes back afterwards.
struct ThreadScope {
    int before;
    explicit ThreadScope(int threads) : before(omp_get_max_threads()) {
        if (threads != before) {
            omp_set_num_threads(threads);
        }
    }
    ~ThreadScope() {
        if (omp_get_max_threads() != before) {
            omp_set_num_threads(before);
        }
    }
};

void say(char* message, size_t capacity, const char* text) {
    if (message == nullptr || capacity == 0) {
        return;
    }
    size_t length = std::min(std::strlen(text), capacity - 1);
    std::memcpy(message, text, length);
    message[length] = 0;
}

template <class Body>
int guarded(char* message, size_t capacity, const uint8_t* cancel, Body body) {
    try {
        body();
        return OK;
    } catch (const Cancelled&) {
        say(message, capacity, "cancelled");
        return CANCELLED;
    } catch (const std::bad_alloc&) {
        say(message, capacity, "out of memory");
        return NO_MEMORY;
    } catch (const faiss::FaissException& error) {
        say(message, capacity, error.msg.c_str());
        return is_set(cancel) ? CANCELLED : FAILED;
    } catch (const std::exception& error) {
        say(message, capacity, error.what());
        return FAILED;
    } catch (...) {
        say(message, capacity, "an exception of unknown type");
        return FAILED;
    }
}

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
faiss::Index* behind_transforms(faiss::Index* index) {
    while (auto* chain = dynamic_cast<faiss::IndexPreTransform*>(index)) {
        index = chain->index;
    }
    return index;
}

// Kinds whose search, as written below, writes to nothing shared. The others add to faiss's global counters without
// any lock, so they take turns.
bool searches_concurrently(const faiss::Index* index) {
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
std::mutex shared_counters;

struct Counters {
    uint64_t distances;
    uint64_t hops;
};

} // namespace

struct AdfIndex {
    std::unique_ptr<faiss::Index> index;
    bool concurrent = false;
    // Pools by depth: the graph itself, and the graph that serves as coarse quantiser of lists.
    VisitedPool visited;
    VisitedPool visited_coarse;

    void settle() {
        concurrent = searches_concurrently(index.get());
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

namespace {

struct Breadth {
    size_t ef;
    size_t nprobe;
    float k_factor;
};

faiss::DistanceComputer* graph_distance(const faiss::Index* storage) {
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

void set_graph(faiss::SearchParametersHNSW& params, const faiss::HNSW& graph, const Breadth& breadth) {
    params.efSearch = int(breadth.ef > 0 ? breadth.ef : size_t(graph.efSearch));
    params.check_relative_distance = graph.check_relative_distance;
    params.bounded_queue = graph.search_bounded_queue;
}

// One query, all levels of nesting. `distances` and `labels` have room for k; unused places hold label -1.
void search_one(
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

// Everything below a handle whose training prints warnings or whose defaults we set.
void configure(faiss::Index* index, int ef_construction) {
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
void reserve_rows(faiss::Index* index, size_t rows) {
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
const void* mappable(const faiss::Index* index) {
    if (auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index)) {
        return graph->hnsw.neighbors.data();
    }
    if (auto* flat = dynamic_cast<const faiss::IndexFlatCodes*>(index)) {
        return flat->codes.data();
    }
    return nullptr;
}

bool starts_mappable(const uint8_t* data, size_t length) {
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

void align_codes(faiss::IndexFlatCodes* codes) {
    own_if_misaligned(codes->codes, dynamic_cast<faiss::IndexFlat*>(codes) ? 4 : 2);
}

void require(bool holds, const char* what) {
    if (!holds) {
        throw std::runtime_error(what);
    }
}

// faiss follows the numbers in a graph without looking; a damaged one would be read out of bounds at search time.
void check_graph(const faiss::HNSW& graph, size_t rows) {
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
void check_scalar(const faiss::ScalarQuantizer& quantizer, int d, size_t code_size) {
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
void check_lists(const faiss::IndexIVF* lists) {
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

void check_codes(const faiss::IndexFlatCodes* codes) {
    require(codes->code_size > 0 || codes->ntotal == 0, "codes of no size");
    require(codes->codes.size() == size_t(codes->ntotal) * codes->code_size, "wrong number of codes");
    if (dynamic_cast<const faiss::IndexFlat*>(codes)) {
        require(codes->code_size == size_t(codes->d) * sizeof(float), "wrong size of a row");
    } else if (auto* scalar = dynamic_cast<const faiss::IndexScalarQuantizer*>(codes)) {
        check_scalar(scalar->sq, codes->d, codes->code_size);
    }
}

void check(const faiss::Index* index, size_t rows, bool has_vectors) {
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

uint64_t owned_bytes(const faiss::Index* index);

template <class T>
uint64_t owned_bytes(const faiss::MaybeOwnedVector<T>& values) {
    return values.is_owned ? values.owned_data.capacity() * sizeof(T) : 0;
}

uint64_t owned_bytes(const faiss::Index* index) {
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

int write_flags(bool graph_only) {
    return graph_only ? faiss::IO_FLAG_SKIP_STORAGE : 0;
}

} // namespace

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
