/// Memory that other processes may look at and none may change (memfd_create(2), fcntl(2)).
#ifndef VMCTL_SHARED_PICTURE_H
#define VMCTL_SHARED_PICTURE_H
#include <stddef.h>

/// Makes it and maps it for writing, the only such mapping that there will ever be. It keeps its size.
/// - Returns: its descriptor, or -1 with errno.
int vm_shared_picture_create(size_t size, void **memory);
#endif
