/* Put between a program and the C library (LD_PRELOAD): a disk whose sync fails once, and a wall clock that jumps.

   FAULT_SYNC names a file. When it is there, the next sync removes it and fails with EIO; later ones succeed again, as
   they do on Linux after a failed writeback, which is why a sync must never be tried again.
   FAULT_CLOCK names a file with one number in text: seconds by which the wall clock is off. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int sync_fails(void)
{
    const char *name = getenv("FAULT_SYNC");
    if (name == NULL || unlink(name) != 0)
        return 0;
    errno = EIO;
    return 1;
}

int fsync(int fd)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return sync_fails() ? -1 : next(fd);
}

int fdatasync(int fd)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return sync_fails() ? -1 : next(fd);
}

int clock_gettime(clockid_t id, struct timespec *at)
{
    static int (*next)(clockid_t, struct timespec *);
    if (next == NULL)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = next(id, at);
    const char *name = id == CLOCK_REALTIME ? getenv("FAULT_CLOCK") : NULL;
    int fd = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        char text[32] = {0};
        if (read(fd, text, sizeof text - 1) > 0)
            at->tv_sec += atol(text);
        close(fd);
    }
    return status;
}
