#define _GNU_SOURCE
#include "include/code_memory.h"

#include <sys/mman.h>
#include <unistd.h>

vm_code_memory vm_code_memory_map(size_t size) {
  vm_code_memory memory = {0, 0, size};
  int file = memfd_create("vmctl-code", MFD_CLOEXEC);
  if (file < 0) return memory;
  if (ftruncate(file, (off_t)size) == 0) {
    void *writable = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void *executable = mmap(0, size, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    if (writable != MAP_FAILED && executable != MAP_FAILED) {
      memory.writable = writable;
      memory.executable = executable;
    } else {
      if (writable != MAP_FAILED) munmap(writable, size);
      if (executable != MAP_FAILED) munmap(executable, size);
    }
  }
  close(file);
  return memory;
}

void vm_code_memory_unmap(vm_code_memory memory) {
  if (!memory.executable) return;
  munmap(memory.writable, memory.size);
  munmap(memory.executable, memory.size);
}
