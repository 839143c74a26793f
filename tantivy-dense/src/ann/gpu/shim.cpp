// A narrow C interface over faiss on NVIDIA GPUs for src/ann/gpu/mod.rs. faiss's own C interface has neither a search over
// rows that lie on the device already (here: rows.cu) nor the breadth of one search of an inverted file.
//
// Rules of this file: no exception leaves it; every pointer it is handed is used during the call only; a device and
// its blocks are used by one thread at a time.
//
// faiss itself ends the process where a CUDA call fails that it thinks cannot (FAISS_ASSERT). So what can fail is asked
// of CUDA here first: whether there is a device, whether its memory can be had, whether an earlier call left an
// error behind.

#include "rows.h"

#include <cuda_runtime.h>
#include <faiss/IndexIVF.h>
#include <faiss/gpu/GpuCloner.h>
#include <faiss/gpu/GpuClonerOptions.h>
#include <faiss/gpu/GpuIndexIVF.h>
#include <faiss/gpu/StandardGpuResources.h>
#include <faiss/impl/FaissException.h>
#include <faiss/utils/distances.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using faiss::idx_t;

// Queries that are searched for at once: more gain nothing and need more scratch memory.
constexpr idx_t MOST_QUERIES = 1024;
// Places for hits that a search has at once; each part of a long segment has as many once more.
constexpr idx_t MOST_PLACES = idx_t(1) << 18;
// What CUDA's libraries take when a device is opened, and some to spare.
constexpr size_t OPENING_BYTES = size_t(512) << 20;

// The first four are those of ../shim/shim.cpp.
enum Status : int { OK = 0, FAILED = 1, NO_MEMORY = 3, LOST = 4 };

// The device cannot be used any more in this process.
struct Lost : std::runtime_error {
    using std::runtime_error::runtime_error;
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
int guarded(char* message, size_t capacity, Body body) {
    try {
        body();
        return OK;
    } catch (const std::bad_alloc&) {
        say(message, capacity, "out of memory");
        return NO_MEMORY;
    } catch (const Lost& error) {
        say(message, capacity, error.what());
        return LOST;
    } catch (const faiss::FaissException& error) {
        say(message, capacity, error.msg.c_str());
        // The one exception that faiss throws for want of memory, which has no type of its own.
        bool memory = error.msg.find("alloc fail") != std::string::npos;
        return memory ? NO_MEMORY : FAILED;
    } catch (const std::exception& error) {
        say(message, capacity, error.what());
        return FAILED;
    } catch (...) {
        say(message, capacity, "an exception of unknown type");
        return FAILED;
    }
}

void check(cudaError_t error, const char* doing) {
    if (error == cudaSuccess) {
        return;
    }
    // An error that is not for ever is forgotten once it was asked for; faiss would stumble over it.
    cudaGetLastError();
    if (error == cudaErrorMemoryAllocation) {
        throw std::bad_alloc();
    }
    throw Lost(std::string(doing) + ": " + cudaGetErrorString(error));
}

// Whether everything asked of the device so far has gone well.
void settle(const char* doing) {
    check(cudaDeviceSynchronize(), doing);
    cudaGetLastError();
}

// Memory of the processor that the device reads and writes directly.
struct Staging {
    void* memory = nullptr;
    size_t size = 0;

    void* of(size_t bytes) {
        if (bytes > size) {
            free();
            check(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), "allocating memory");
            size = bytes;
        }
        return memory;
    }
    void free() {
        cudaFreeHost(memory);
        memory = nullptr;
        size = 0;
    }
    ~Staging() {
        free();
    }
};

// The thread that opens a device uses no other, so the device stays current in it. To go back to the one that was current
// before, device 0 in a new thread, would open that one as well, with some hundred megabytes of its memory, for nothing.
void make_current(int device) {
    check(cudaSetDevice(device), "choosing the device");
}

struct CudaFree {
    void operator()(float* memory) const {
        cudaFree(memory);
    }
};
using DeviceFloats = std::unique_ptr<float, CudaFree>;

DeviceFloats device_floats(size_t count) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, std::max<size_t>(count, 1) * sizeof(float)), "allocating memory");
    return DeviceFloats(static_cast<float*>(memory));
}

} // namespace

struct AdgDevice {
    int number;
    faiss::gpu::StandardGpuResources resources;
    Staging staging;
};

// Either rows, with their squared lengths where distances are computed, or an inverted file.
struct AdgBlock {
    AdgDevice* device;
    int dimension = 0;
    uint64_t count = 0;
    bool inner_product = false;
    DeviceFloats rows;
    DeviceFloats norms;
    std::unique_ptr<faiss::Index> lists;
};

extern "C" {

// How many devices there are. No driver is an error with CUDA's words, and not the end of the process.
int adg_count(int* count, char* message, size_t capacity) {
    *count = 0;
    return guarded(message, capacity, [&] {
        cudaError_t error = cudaGetDeviceCount(count);
        if (error == cudaErrorNoDevice) {
            cudaGetLastError();
            *count = 0;
            return;
        }
        check(error, "looking for devices");
    });
}

int adg_open(int number, uint64_t scratch_bytes, AdgDevice** out, uint64_t* free_bytes, char* message, size_t capacity) {
    *out = nullptr;
    return guarded(message, capacity, [&] {
        make_current(number);
        settle("opening the device");
        // faiss would end the process over either of these two.
        cudaError_t runs = adg_runs_here();
        if (runs != cudaSuccess) {
            cudaGetLastError();
            throw std::runtime_error(std::string("this program was not built for such a GPU (CUDAARCHS): ") + cudaGetErrorString(runs));
        }
        size_t free_now = 0;
        size_t total = 0;
        check(cudaMemGetInfo(&free_now, &total), "asking for free memory");
        if (free_now < size_t(scratch_bytes) + OPENING_BYTES) {
            throw std::runtime_error(
                    "its free memory, " + std::to_string(free_now >> 20) + " MiB, is less than the " +
                    std::to_string((size_t(scratch_bytes) + OPENING_BYTES) >> 20) + " MiB that searches need");
        }
        auto device = std::make_unique<AdgDevice>();
        device->number = number;
        device->resources.setTempMemory(size_t(scratch_bytes));
        // For copies of more values at once than are ever made here.
        device->resources.setPinnedMemory(0);
        // Makes streams and the BLAS handle, and takes the scratch memory.
        device->resources.getResources()->initializeForDevice(number);
        settle("opening the device");
        check(cudaMemGetInfo(&free_now, &total), "asking for free memory");
        *free_bytes = free_now;
        *out = device.release();
    });
}

void adg_close(AdgDevice* device) {
    delete device;
}

// Room for `rows` rows, to be filled by adg_put.
int adg_rows(AdgDevice* device, uint64_t rows, int dimension, int inner_product, AdgBlock** out, char* message, size_t capacity) {
    *out = nullptr;
    return guarded(message, capacity, [&] {
        make_current(device->number);
        auto block = std::make_unique<AdgBlock>();
        block->device = device;
        block->dimension = dimension;
        block->count = rows;
        block->inner_product = inner_product != 0;
        block->rows = device_floats(size_t(rows) * size_t(dimension));
        if (!block->inner_product) {
            block->norms = device_floats(size_t(rows));
        }
        *out = block.release();
    });
}

// Rows from `first` on. Lengths are computed here, once, which spares each search a pass over all rows.
int adg_put(AdgBlock* block, uint64_t first, uint64_t rows, const float* values, char* message, size_t capacity) {
    return guarded(message, capacity, [&] {
        if (!block->rows || first > block->count || rows > block->count - first) {
            throw std::runtime_error("rows beyond those announced");
        }
        make_current(block->device->number);
        size_t width = size_t(block->dimension);
        check(cudaMemcpy(block->rows.get() + size_t(first) * width, values, size_t(rows) * width * sizeof(float), cudaMemcpyHostToDevice),
              "copying rows");
        if (block->norms) {
            std::vector<float> norms(rows);
            faiss::fvec_norms_L2sqr(norms.data(), values, width, size_t(rows));
            check(cudaMemcpy(block->norms.get() + first, norms.data(), size_t(rows) * sizeof(float), cudaMemcpyHostToDevice),
                  "copying lengths");
        }
        // faiss works on streams of its own, which do not wait for a copy.
        settle("copying rows");
    });
}

// Copies an inverted file that lives on the processor: a faiss::Index.
int adg_lists(AdgDevice* device, const void* index, AdgBlock** out, char* message, size_t capacity) {
    *out = nullptr;
    return guarded(message, capacity, [&] {
        make_current(device->number);
        settle("copying lists");
        const auto* lists = dynamic_cast<const faiss::IndexIVF*>(static_cast<const faiss::Index*>(index));
        if (lists == nullptr) {
            throw std::runtime_error("only inverted files are copied");
        }
        auto block = std::make_unique<AdgBlock>();
        block->device = device;
        block->dimension = lists->d;
        block->count = uint64_t(lists->ntotal);
        block->inner_product = lists->metric_type == faiss::METRIC_INNER_PRODUCT;
        faiss::gpu::GpuClonerOptions options;
        block->lists.reset(faiss::gpu::index_cpu_to_gpu(&device->resources, device->number, lists, &options));
        if (dynamic_cast<faiss::gpu::GpuIndexIVF*>(block->lists.get()) == nullptr) {
            throw std::runtime_error("faiss has no such inverted file on a GPU");
        }
        settle("copying lists");
        *out = block.release();
    });
}

// The k nearest rows to each query, distances as faiss has them; unused places hold label -1. `nprobe` counts for lists.
int adg_search(
        AdgBlock* block,
        uint64_t count,
        const float* queries,
        uint64_t k,
        uint64_t nprobe,
        float* distances,
        int64_t* labels,
        char* message,
        size_t capacity) {
    return guarded(message, capacity, [&] {
        make_current(block->device->number);
        settle("searching");
        if (block->lists) {
            faiss::SearchParametersIVF breadth;
            breadth.nprobe = size_t(nprobe);
            block->lists->search(idx_t(count), queries, idx_t(k), distances, labels, &breadth);
        } else {
            AdgRows rows{block->rows.get(), block->norms.get(), idx_t(block->count), block->dimension};
            if (rows.count == 0 || k == 0) {
                throw std::runtime_error("there are no rows to search, or none are wanted");
            }
            idx_t most = std::max<idx_t>(std::min(MOST_QUERIES, MOST_PLACES / idx_t(k)), 1);
            size_t bytes = adg_staging_bytes(std::min(idx_t(count), most), rows.dimension, int(k));
            void* staging = block->device->staging.of(bytes);
            for (idx_t first = 0; first < idx_t(count); first += most) {
                adg_nearest_rows(
                        block->device->resources.getResources().get(), rows, std::min(idx_t(count) - first, most),
                        queries + size_t(first) * size_t(rows.dimension), int(k), staging, distances + size_t(first) * k,
                        labels + size_t(first) * k);
            }
        }
        settle("searching");
    });
}

void adg_free(AdgBlock* block) {
    delete block;
}

} // extern "C"
