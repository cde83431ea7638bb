/* Model files as memory: one read-only, private mapping of the whole file.
 *
 * No advice is given to the system on how the pages will be read. Asking for them all (WILLNEED) makes opening a large
 * file as slow as reading it, and announcing one sequential pass (SEQUENTIAL) lets the pages go that the next token
 * needs again. */
#define _POSIX_C_SOURCE   200809L
#define _FILE_OFFSET_BITS 64
#undef _GNU_SOURCE /* it would give strerror_r another signature */

#include "base/filemap.h"

#include <stdint.h>

#if defined(_WIN32) || defined(__EMSCRIPTEN__) || defined(__wasm__)

pe_status pe_filemap_open(const char *path, pe_filemap *out) {
    *out = (pe_filemap){0};
    return pe_fail(PE_ERR_UNSUPPORTED, "%s: this build cannot map files; open the model from memory instead", path);
}

bool pe_filemap_is_folder(const char *path) {
    (void)path;
    return false;
}

void pe_filemap_close(pe_filemap *map) { *map = (pe_filemap){0}; }

#else

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the system said, and what the reader can do about it. */
static pe_status refused(const char *path, const char *action, int error) {
    char reason[128];
    if (strerror_r(error, reason, sizeof reason) != 0) reason[0] = 0;
    const char *remedy = error == ENOENT || error == ENOTDIR  ? "check the path"
                         : error == EACCES || error == EPERM  ? "give this user permission to read it"
                         : error == EMFILE || error == ENFILE ? "close some of the open files"
                                                              : "check the file system and its device";
    return pe_fail(PE_ERR_IO, "%s: cannot %s the file (%s): %s", path, action, reason, remedy);
}

static pe_status map_descriptor(const char *path, int fd, pe_filemap *out) {
    struct stat info;
    if (fstat(fd, &info) != 0) return refused(path, "examine", errno);
    if (S_ISDIR(info.st_mode)) return pe_fail(PE_ERR_IO, "%s: is a directory; a model file is needed", path);
    if (!S_ISREG(info.st_mode))
        return pe_fail(PE_ERR_IO, "%s: is a device, pipe or socket; a regular file is needed, since it is mapped",
                       path);
    if (info.st_size == 0)
        return pe_fail(PE_ERR_FORMAT, "%s: the file is empty (0 bytes); was its download interrupted?", path);
    if (info.st_size < 0 || (uintmax_t)info.st_size > (uintmax_t)PTRDIFF_MAX)
        return pe_fail(
            PE_ERR_UNSUPPORTED,
            "%s: %jd bytes are more than this %zu-bit process can map (about 2 GB where it is 32-bit): use a "
            "smaller model or type, or a 64-bit system",
            path, (intmax_t)info.st_size, 8 * sizeof(void *));
    size_t size = (size_t)info.st_size;
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED && errno == ENOMEM)
        return pe_fail(PE_ERR_NOMEM,
                       "%s: this %zu-bit process has no %zu bytes of address space in one piece to map the file: close "
                       "other models, raise the limit (ulimit -v), or use a smaller model or type",
                       path, 8 * sizeof(void *), size);
    if (data == MAP_FAILED) return refused(path, "map", errno);
    *out = (pe_filemap){.data = data, .size = size, .mapped = true};
    return PE_OK;
}

pe_status pe_filemap_open(const char *path, pe_filemap *out) {
    *out = (pe_filemap){0};
    if (!path || !*path) return pe_fail(PE_ERR_ARG, "the path of the model file is empty");
    int fd;
    do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer would block here */
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return refused(path, "open", errno);
    pe_status status = map_descriptor(path, fd, out);
    close(fd); /* the mapping holds the file */
    return status;
}

bool pe_filemap_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

void pe_filemap_close(pe_filemap *map) {
    if (map->mapped) munmap((void *)(uintptr_t)map->data, map->size);
    *map = (pe_filemap){0};
}

#endif
