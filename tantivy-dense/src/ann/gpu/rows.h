// The exact search over rows that lie on a device: see rows.cu.
#pragma once

#include <faiss/Index.h>
#include <faiss/gpu/GpuResources.h>

#include <cstdint>

struct AdgRows {
    const float* values;
    // Squared lengths, where distances are computed; otherwise null.
    const float* norms;
    faiss::idx_t count;
    int dimension;
};

// Whether the code of rows.cu, and so faiss's, was compiled for the current device; what CUDA says where it was not.
cudaError_t adg_runs_here();

// The k nearest of all rows to each query, nearest first, to memory of the processor: inner products, or squared distances
// where there are norms; places without a row have label -1. Waits until they are there. `staging` is memory of the processor
// that CUDA has pinned, of adg_staging_bytes().
void adg_nearest_rows(
        faiss::gpu::GpuResources* resources,
        const AdgRows& rows,
        faiss::idx_t count,
        const float* queries,
        int k,
        void* staging,
        float* distances,
        int64_t* labels);

// Bytes of staging for so many queries.
size_t adg_staging_bytes(faiss::idx_t count, int dimension, int k);
