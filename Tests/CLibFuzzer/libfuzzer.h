// libFuzzer as a library (LLVM, "libFuzzer: Using libFuzzer as a library"); scripts/fuzz links its archive.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Feeds `callback` with inputs until the options in `arguments` end it.
int LLVMFuzzerRunDriver(int *count, char ***arguments, int (*callback)(const uint8_t *data, size_t size));
