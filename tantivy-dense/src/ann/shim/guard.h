// What every call of the shim runs in: no exception leaves it, a build can be stopped, threads are as they were afterwards.
#pragma once

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/FaissException.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>

namespace adf {

enum Status : int { OK = 0, FAILED = 1, CANCELLED = 2, NO_MEMORY = 3 };

struct Cancelled : std::exception {};

// The cancel flag of the build that runs on this thread, if any. faiss asks its one process-wide callback from time to
// time while it trains and adds; the callback looks here, so that a build can be stopped without stopping another.
inline thread_local const uint8_t* current_cancel = nullptr;

inline bool is_set(const uint8_t* flag) {
    return flag != nullptr && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0;
}

struct CancelCallback : faiss::InterruptCallback {
    bool want_interrupt() override {
        return is_set(current_cancel);
    }
};

// Runs before the first index exists, so no search can be reading the pointer meanwhile. A callback that the program
// set for itself is left in place; builds are then cancelled between batches only.
inline void install_callback() {
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

inline void say(char* message, size_t capacity, const char* text) {
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

} // namespace adf
