/* A library to be loaded before libc (LD_PRELOAD): counts the calls that change files below a folder, and at one of them ends the
 * process or fails the call.
 *
 *   FAULT_FOLDER   counted are calls on paths that contain this text
 *   FAULT_AT       number of the call, from 1; without it, calls are only counted
 *   FAULT_ERRNO    the call fails with this error; without it, the process is killed before the call
 *   FAULT_FROM_ON  if set, every later call fails, too
 *   FAULT_COUNT    a file that gets the number of calls at the end
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long calls;

static int concerns(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    return folder != NULL && path != NULL && strstr(path, folder) != NULL;
}

static int concerns_file(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return concerns(path);
}

/* Whether this call fails; errno says how. */
static int fails(void) {
    long now = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    const char *at = getenv("FAULT_AT"), *error = getenv("FAULT_ERRNO");
    if (at == NULL) return 0;
    long wanted = atol(at);
    if (now != wanted && !(getenv("FAULT_FROM_ON") != NULL && now > wanted)) return 0;
    if (error == NULL) kill(getpid(), SIGKILL);
    errno = atoi(error);
    return 1;
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_COUNT");
    if (path == NULL) return;
    FILE *file = fopen(path, "w");
    if (file != NULL) {
        fprintf(file, "%ld\n", calls);
        fclose(file);
    }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP_OPEN(name)                                                                    \
    int name(const char *path, int flags, ...) {                                           \
        va_list rest;                                                                      \
        va_start(rest, flags);                                                             \
        mode_t mode = va_arg(rest, mode_t);                                                \
        va_end(rest);                                                                      \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && concerns(path) && fails()) return -1; \
        return REAL(name)(path, flags, mode);                                              \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)

ssize_t write(int file, const void *bytes, size_t length) {
    if (concerns_file(file) && fails()) return -1;
    return REAL(write)(file, bytes, length);
}

int fsync(int file) {
    if (concerns_file(file) && fails()) return -1;
    return REAL(fsync)(file);
}

int fdatasync(int file) {
    if (concerns_file(file) && fails()) return -1;
    return REAL(fdatasync)(file);
}

int rename(const char *from, const char *to) {
    if (concerns(to) && fails()) return -1;
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (concerns(path) && fails()) return -1;
    return REAL(unlink)(path);
}

int mkdir(const char *path, mode_t mode) {
    if (concerns(path) && fails()) return -1;
    return REAL(mkdir)(path, mode);
}
