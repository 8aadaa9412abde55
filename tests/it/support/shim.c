/* Stands between a program and its unnamed temporary files, as a disk that fails does: from SHIM_BYTES bytes on,
   each SHIM_CALLS ("write" or "read") fails with EIO. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

static long passed;

static int fails(int file, const char *call, size_t count) {
    const char *calls = getenv("SHIM_CALLS"), *bytes = getenv("SHIM_BYTES");
    struct stat what;
    if (!calls || !bytes || strcmp(calls, call) || fstat(file, &what) || !S_ISREG(what.st_mode) || what.st_nlink)
        return 0;
    if (__sync_add_and_fetch(&passed, (long)count) <= atol(bytes))
        return 0;
    errno = EIO;
    return 1;
}

ssize_t write(int file, const void *from, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return fails(file, "write", count) ? -1 : real(file, from, count);
}

ssize_t read(int file, void *into, size_t count) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "read");
    return fails(file, "read", count) ? -1 : real(file, into, count);
}

ssize_t pread64(int file, void *into, size_t count, off64_t at) {
    static ssize_t (*real)(int, void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pread64");
    return fails(file, "read", count) ? -1 : real(file, into, count, at);
}
