#ifndef VMCTL_CHOST_H
#define VMCTL_CHOST_H
#include "cpu_state.h"
#include "atomics.h"
#include "threads.h"
#include "simd.h"
#include "fpu.h"
#include "code_memory.h"
#include "runs.h"
#include "sandbox.h"
#endif
