// The exact search over rows that lie on a device: a product of matrices by cuBLAS, then faiss's selection of the k best.
//
// faiss's own search of this kind (bfKnn) selects with one block of threads for a query: few queries leave nearly all of a
// GPU idle. Here each query's products are cut into slices, each with a block of its own, and the k best of every slice are
// selected from once more.

#include "rows.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <faiss/gpu/impl/BroadcastSum.cuh>
#include <faiss/gpu/utils/BlockSelectKernel.cuh>
#include <faiss/gpu/utils/DeviceTensor.cuh>
#include <faiss/utils/distances.h>

#include <algorithm>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using faiss::idx_t;
using faiss::gpu::AllocType;
using faiss::gpu::DeviceTensor;
using faiss::gpu::makeTempAlloc;
using faiss::gpu::Tensor;

using Scores = DeviceTensor<float, 2, true>;
using Numbers = DeviceTensor<idx_t, 2, true>;

// Products that are held at a time, at most: 1 GiB.
constexpr idx_t MOST_PRODUCTS = idx_t(1) << 28;
// Rows at a time, at most: faiss adds lengths in a grid of bounded height.
constexpr idx_t MOST_WIDTH = idx_t(1) << 25;
// Values of rows that one product reads, at most: what an int counts to.
constexpr idx_t MOST_VALUES = INT_MAX;
// faiss reads four values at a time where everything begins at a multiple of four.
constexpr idx_t ALIGNED = 4;
// Blocks of threads that keep every multiprocessor of a large GPU busy.
constexpr idx_t BUSY_BLOCKS = 4096;
// A slice of fewer products is not worth a block.
constexpr idx_t LEAST_SLICE = 1024;

constexpr idx_t divided(idx_t value, idx_t by) {
    return (value + by - 1) / by;
}

constexpr idx_t aligned(idx_t value) {
    return divided(value, ALIGNED) * ALIGNED;
}

// numbers[q][part * k + place] += part * step, as the numbers of a part are counted from its beginning.
__global__ void count_through(idx_t* numbers, idx_t queries, idx_t parts, int k, idx_t step) {
    idx_t at = idx_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at < queries * parts * k && numbers[at] >= 0) {
        numbers[at] += at / k % parts * step;
    }
}

void run_count_through(Numbers& numbers, idx_t parts, int k, idx_t step, cudaStream_t stream) {
    idx_t all = numbers.numElements();
    count_through<<<unsigned(divided(all, 256)), 256, 0, stream>>>(numbers.data(), all / (parts * k), parts, k, step);
}

void check(cudaError_t error, const char* doing) {
    if (error != cudaSuccess) {
        throw std::runtime_error(std::string(doing) + ": " + cudaGetErrorString(error));
    }
}

void check(cublasStatus_t status) {
    if (status == CUBLAS_STATUS_ALLOC_FAILED) {
        throw std::bad_alloc();
    }
    if (status != CUBLAS_STATUS_SUCCESS) {
        throw std::runtime_error(std::string("multiplying matrices: ") + cublasGetStatusString(status));
    }
}

// How a query's products over `rows` rows are cut.
idx_t slices_of(idx_t queries, idx_t rows, int k) {
    // Beyond so many, the second selection has more to do than each block of the first.
    idx_t balanced = idx_t(std::sqrt(double(rows) / k));
    idx_t wide = rows / std::max<idx_t>(LEAST_SLICE, 2 * idx_t(k));
    return std::max<idx_t>(1, std::min({divided(BUSY_BLOCKS, queries), balanced, wide}));
}

struct Search {
    faiss::gpu::GpuResources* resources;
    cudaStream_t stream;
    cublasHandle_t blas;
    const AdgRows& rows;
    idx_t count;
    const float* queries;
    int k;
    // Largest first.
    bool descending;

    template <class T>
    DeviceTensor<T, 2, true> room(idx_t height, idx_t width) const {
        return DeviceTensor<T, 2, true>(resources, makeTempAlloc(AllocType::Other, stream), {height, width});
    }

    // Products of all queries with `width` rows from `first` on, in `scores`, whose rows may be longer.
    void multiply(idx_t first, idx_t width, Scores& scores) const {
        idx_t stride = scores.getSize(1);
        int d = rows.dimension;
        float alpha = descending ? 1.0f : -2.0f;
        float beta = 0.0f;
        const float* these = rows.values + size_t(first) * size_t(d);
        check(cublasSgemm(
                blas, CUBLAS_OP_T, CUBLAS_OP_N, int(width), int(count), d, &alpha, these, d, queries, d, &beta, scores.data(), int(stride)));
        if (rows.norms != nullptr) {
            idx_t sizes[2] = {count, width};
            idx_t strides[2] = {stride, 1};
            Tensor<float, 2, true> view(scores.data(), sizes, strides);
            Tensor<float, 1, true> norms(const_cast<float*>(rows.norms) + first, {width});
            faiss::gpu::runSumAlongColumns(norms, view, stream);
        }
        if (width < stride) {
            // Numbers that are none: no comparison chooses them.
            check(cudaMemset2DAsync(
                          scores.data() + width, size_t(stride) * sizeof(float), 0xff, size_t(stride - width) * sizeof(float), size_t(count), stream),
                  "filling a slice");
        }
    }

    // The best of each row of `scores`, which is cut into slices.
    void select(Scores& scores, idx_t slices, Tensor<float, 2, true>& best, Tensor<idx_t, 2, true>& numbers) const {
        if (slices == 1) {
            faiss::gpu::runBlockSelect(scores, best, numbers, descending, k, stream);
            return;
        }
        idx_t width = scores.getSize(1) / slices;
        Scores some = room<float>(count, slices * k);
        Numbers of = room<idx_t>(count, slices * k);
        Tensor<float, 2, true> cut(scores.data(), {count * slices, width});
        Tensor<float, 2, true> cut_best(some.data(), {count * slices, idx_t(k)});
        Tensor<idx_t, 2, true> cut_numbers(of.data(), {count * slices, idx_t(k)});
        faiss::gpu::runBlockSelect(cut, cut_best, cut_numbers, descending, k, stream);
        run_count_through(of, slices, k, width, stream);
        faiss::gpu::runBlockSelectPair(some, of, best, numbers, descending, k, stream);
    }

    void run(Scores& best, Numbers& numbers) const {
        idx_t free = idx_t(resources->getTempMemoryAvailableCurrentDevice() / sizeof(float) / 3 * 2);
        idx_t width = std::min(MOST_WIDTH, MOST_VALUES / rows.dimension / ALIGNED * ALIGNED);
        idx_t most = std::min(std::max(std::min(MOST_PRODUCTS, free) / count, LEAST_SLICE), width);
        idx_t chunk = aligned(divided(rows.count, divided(rows.count, most)));
        idx_t chunks = divided(rows.count, chunk);
        idx_t slices = slices_of(count, chunk, k);
        Scores scores = room<float>(count, aligned(divided(chunk, slices)) * slices);
        if (chunks == 1) {
            multiply(0, rows.count, scores);
            select(scores, slices, best, numbers);
            return;
        }
        Scores some = room<float>(count, chunks * k);
        Numbers of = room<idx_t>(count, chunks * k);
        for (idx_t at = 0; at < chunks; at++) {
            multiply(at * chunk, std::min(chunk, rows.count - at * chunk), scores);
            Tensor<float, 2, true> chunk_best = some.narrow(1, at * k, k);
            Tensor<idx_t, 2, true> chunk_numbers = of.narrow(1, at * k, k);
            select(scores, slices, chunk_best, chunk_numbers);
        }
        run_count_through(of, chunks, k, chunk, stream);
        faiss::gpu::runBlockSelectPair(some, of, best, numbers, descending, k, stream);
    }
};

} // namespace

cudaError_t adg_runs_here() {
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, count_through);
}

size_t adg_staging_bytes(idx_t count, int dimension, int k) {
    return size_t(count) * (size_t(dimension) * sizeof(float) + size_t(k) * (sizeof(idx_t) + sizeof(float)));
}

void adg_nearest_rows(
        faiss::gpu::GpuResources* resources,
        const AdgRows& rows,
        idx_t count,
        const float* queries,
        int k,
        void* staging,
        float* distances,
        int64_t* labels) {
    cudaStream_t stream = resources->getDefaultStreamCurrentDevice();
    cublasHandle_t blas = resources->getBlasHandleCurrentDevice();
    check(cublasSetStream(blas, stream));
    size_t places = size_t(count) * size_t(k);
    size_t values = size_t(count) * size_t(rows.dimension);
    auto* found_numbers = static_cast<idx_t*>(staging);
    auto* found = reinterpret_cast<float*>(found_numbers + places);
    float* given = found + places;
    std::memcpy(given, queries, values * sizeof(float));

    Scores there(resources, makeTempAlloc(AllocType::Other, stream), {count, idx_t(rows.dimension)});
    check(cudaMemcpyAsync(there.data(), given, values * sizeof(float), cudaMemcpyHostToDevice, stream), "copying queries");
    bool descending = rows.norms == nullptr;
    Search search{resources, stream, blas, rows, count, there.data(), k, descending};
    Scores best = search.room<float>(count, k);
    Numbers numbers = search.room<idx_t>(count, k);
    search.run(best, numbers);
    check(cudaMemcpyAsync(found_numbers, numbers.data(), places * sizeof(idx_t), cudaMemcpyDeviceToHost, stream), "copying hits");
    check(cudaMemcpyAsync(found, best.data(), places * sizeof(float), cudaMemcpyDeviceToHost, stream), "copying hits");
    check(cudaStreamSynchronize(stream), "searching");

    std::vector<float> lengths(descending ? 0 : size_t(count));
    if (!descending) {
        faiss::fvec_norms_L2sqr(lengths.data(), queries, size_t(rows.dimension), size_t(count));
    }
    for (size_t place = 0; place < places; place++) {
        // What faiss begins its selections with: nothing was better.
        bool none = std::fabs(found[place]) >= FLT_MAX || found_numbers[place] < 0;
        labels[place] = none ? -1 : found_numbers[place];
        distances[place] = descending ? found[place] : std::max(found[place] + lengths[place / size_t(k)], 0.0f);
    }
}
