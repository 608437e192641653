#define _GNU_SOURCE
#include "include/shared_picture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

int vm_shared_picture_create(size_t size, void **memory) {
  int file = memfd_create("vmctl-screen", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return -1;
  void *mapped = MAP_FAILED;
  if (ftruncate(file, (off_t)size) == 0) mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  // The last seal: whoever else maps it reads only (Linux 5.1).
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
  if (mapped == MAP_FAILED || fcntl(file, F_ADD_SEALS, seals) != 0) {
    int reason = errno;
    if (mapped != MAP_FAILED) munmap(mapped, size);
    close(file);
    errno = reason;
    return -1;
  }
  *memory = mapped;
  return file;
}
