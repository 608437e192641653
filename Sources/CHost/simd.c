#include "simd.h"
#include <xmmintrin.h>
#include <emmintrin.h>

// A stub is a function in the System V calling convention: operands in xmm0 and xmm1, result in xmm0. Those with an
// immediate are 256 functions at a fixed distance.
typedef __m128i (*binary)(__m128i, __m128i);
typedef __m128i (*ternary)(__m128i, __m128i, __m128i);
typedef vm_simd_string_result (*string_compare)(__m128i, __m128i, int32_t, int32_t, vm_xmm *);

__attribute__((used, visibility("hidden"))) const float vm_simd_ones[4] __attribute__((aligned(16))) = {1, 1, 1, 1};

#define LABEL(label) extern const char vmstub_##label[] __attribute__((visibility("hidden")));
#define ONE(label, text) \
  asm(".pushsection .text\n.balign 16\nvmstub_" #label ":\n" text "\nret\n.popsection"); LABEL(label)
#define MANY(label, stride, text) \
  asm(".pushsection .text\n.balign 32\nvmstub_" #label ":\n.set vmi,0\n.rept 256\n.balign " #stride ",0xcc\n" text \
      "\nret\n.set vmi,vmi+1\n.endr\n.popsection"); LABEL(label)
#define MMX(text) "movdq2q %xmm0,%mm0\nmovdq2q %xmm1,%mm1\n" text "\nmovq2dq %mm0,%xmm0\nemms"

// Stubs
#define X(map, op, prefix, name, size, flags) ONE(x_##name, #name " %xmm1,%xmm0")
#define XF(map, op, prefix, name, size, flags, lanes) ONE(x_##name, #name " %xmm1,%xmm0")
#define XI(map, op, prefix, name, size, flags) MANY(x_##name, 8, #name " $vmi,%xmm1,%xmm0")
#define P(map, op, name, size) ONE(p_##name, MMX(#name " %mm1,%mm0"))
#define PI(map, op, name, size) MANY(p_##name, 32, MMX(#name " $vmi,%mm1,%mm0"))
#define BS(map, op, name, size) P(map, op, name, size) X(map, op, P66, name, 16, AL)
#define B(map, op, name) BS(map, op, name, 8)
#define F4(op, name) \
  ONE(x_##name##ps, #name "ps %xmm1,%xmm0") ONE(x_##name##pd, #name "pd %xmm1,%xmm0") \
  ONE(x_##name##ss, #name "ss %xmm1,%xmm0") ONE(x_##name##sd, #name "sd %xmm1,%xmm0")
#define G(map, op, prefix, name, label, shape, size, flags, text) ONE(g_##label, text)
#define W0(map, op, prefix, name, label, shape, size, flags, text) ONE(g_##label, text)
#define W1(map, op, prefix, name, label, shape, size, flags, text) ONE(g_##label, text)
#define APPROX(map, op, prefix, name, size, flags, text) ONE(g_##name, text)
#define GI(map, op, prefix, name, label, shape, size, flags, text) MANY(g_##label, 32, text)
#define WI0(map, op, prefix, name, label, shape, size, flags, text) MANY(g_##label, 32, text)
#define WI1(map, op, prefix, name, label, shape, size, flags, text) MANY(g_##label, 32, text)
#define N(map, op, prefix, name, shape, size, flags)
#define NG(op, group, name, shape, size, flags)
#define SHIFT(op, group, name) MANY(si_##name, 8, #name " $vmi,%xmm0") \
  MANY(pi_##name, 32, "movdq2q %xmm0,%mm0\n" #name " $vmi,%mm0\nmovq2dq %mm0,%xmm0\nemms")
#define SHIFTX(op, group, name) MANY(si_##name, 8, #name " $vmi,%xmm0")
#define BV(op, name) \
  ONE(b_##name, "movaps %xmm0,%xmm3\nmovaps %xmm2,%xmm0\n" #name " %xmm0,%xmm1,%xmm3\nmovaps %xmm3,%xmm0")
#define STR(op, name) \
  MANY(s_##name, 32, "mov %rdx,%r8\nmov %edi,%eax\nmov %esi,%edx\n" #name " $vmi,%xmm1,%xmm0\njmp vm_simd_string_tail")

// The end that the string compares share: flags and index in rdx and rax, mask in memory.
asm(".pushsection .text\n.balign 16\nvm_simd_string_tail:\npushfq\npop %rdx\nmov %ecx,%eax\nmovups %xmm0,(%r8)\nret\n"
    ".popsection");

#include "simd_rows.h"

#undef X
#undef XF
#undef XI
#undef P
#undef PI
#undef BS
#undef F4
#undef G
#undef W0
#undef W1
#undef APPROX
#undef GI
#undef WI0
#undef WI1
#undef N
#undef NG
#undef SHIFT
#undef SHIFTX
#undef BV
#undef STR

// Rows
enum { NP, P66, PF3, PF2 };
enum {
  AL = VM_SIMD_ALIGNED, FP = VM_SIMD_FLOAT, IM = VM_SIMD_IMMEDIATE, MEM = VM_SIMD_MEMORY_ONLY,
  REG = VM_SIMD_REGISTER_ONLY, SGL = VM_SIMD_SINGLE_RESULT, DBL = VM_SIMD_DOUBLE_RESULT,
};
#define ROW(name, label, map, op, prefix, shape, size, flags, group, w, stride, lanes) \
  {#name, label, map, op, prefix, VM_SIMD_##shape, size, (uint8_t)(flags), group, w, stride, lanes},
#define X(map, op, prefix, name, size, flags) \
  ROW(name, vmstub_x_##name, map, op, prefix, XX, size, flags, 0xff, 0, 0, 0)
#define XF(map, op, prefix, name, size, flags, lanes) \
  ROW(name, vmstub_x_##name, map, op, prefix, XX, size, flags, 0xff, 0, 0, lanes)
#define XI(map, op, prefix, name, size, flags) \
  ROW(name, vmstub_x_##name, map, op, prefix, XX, size, (flags) | IM, 0xff, 0, 8, 0)
#define P(map, op, name, size) ROW(name, vmstub_p_##name, map, op, NP, PP, size, 0, 0xff, 0, 0, 0)
#define PI(map, op, name, size) ROW(name, vmstub_p_##name, map, op, NP, PP, size, IM, 0xff, 0, 32, 0)
#define BS(map, op, name, size) P(map, op, name, size) X(map, op, P66, name, 16, AL)
#define F4(op, name) \
  XF(1, op, NP, name##ps, 16, AL | FP | SGL, 4) XF(1, op, P66, name##pd, 16, AL | FP | DBL, 2) \
  XF(1, op, PF3, name##ss, 4, FP | SGL, 1) XF(1, op, PF2, name##sd, 8, FP | DBL, 1)
#define G(map, op, prefix, name, label, shape, size, flags, text) \
  ROW(name, vmstub_g_##label, map, op, prefix, shape, size, flags, 0xff, 0, 0, 0)
#define W0(map, op, prefix, name, label, shape, size, flags, text) \
  ROW(name, vmstub_g_##label, map, op, prefix, shape, size, flags, 0xff, 1, 0, 0)
#define W1(map, op, prefix, name, label, shape, size, flags, text) \
  ROW(name, vmstub_g_##label, map, op, prefix, shape, size, flags, 0xff, 2, 0, 0)
#define APPROX(map, op, prefix, name, size, flags, text) \
  ROW(name, vmstub_g_##name, map, op, prefix, XX, size, (flags) | VM_SIMD_APPROXIMATE, 0xff, 0, 0, 0)
#define GI(map, op, prefix, name, label, shape, size, flags, text) \
  ROW(name, vmstub_g_##label, map, op, prefix, shape, size, (flags) | IM, 0xff, 0, 32, 0)
#define WI0(map, op, prefix, name, label, shape, size, flags, text) \
  ROW(name, vmstub_g_##label, map, op, prefix, shape, size, (flags) | IM, 0xff, 1, 32, 0)
#define WI1(map, op, prefix, name, label, shape, size, flags, text) \
  ROW(name, vmstub_g_##label, map, op, prefix, shape, size, (flags) | IM, 0xff, 2, 32, 0)
#define N(map, op, prefix, name, shape, size, flags) ROW(name, 0, map, op, prefix, shape, size, flags, 0xff, 0, 0, 0)
#define NG(op, group, name, shape, size, flags) ROW(name, 0, 1, op, NP, shape, size, flags, group, 0, 0, 0)
#define SHIFT(op, group, name) SHIFTX(op, group, name) \
  ROW(name, vmstub_pi_##name, 1, op, NP, PI, 8, IM | REG, group, 0, 32, 0)
#define SHIFTX(op, group, name) ROW(name, vmstub_si_##name, 1, op, P66, XI, 16, IM | REG, group, 0, 8, 0)
#define BV(op, name) ROW(name, vmstub_b_##name, 2, op, P66, BLENDV, 16, AL, 0xff, 0, 0, 0)
#define STR(op, name) ROW(name, vmstub_s_##name, 3, op, P66, STRINGS, 16, IM, 0xff, 0, 32, 0)

static const vm_simd_row rows[] = {
#include "simd_rows.h"
};

const vm_simd_row *vm_simd_rows(void) { return rows; }
int vm_simd_row_count(void) { return sizeof rows / sizeof rows[0]; }

static inline const void *entry(const vm_simd_row *row, uint8_t immediate) {
  return (const char *)row->code + (uint32_t)row->stride * immediate;
}
static inline __m128i get(const vm_xmm *x) { return _mm_load_si128((const __m128i *)x); }
static inline void put(vm_xmm *x, __m128i v) { _mm_store_si128((__m128i *)x, v); }

void vm_simd_run(const vm_simd_row *row, vm_xmm *dst, const vm_xmm *src, uint8_t immediate) {
  put(dst, ((binary)entry(row, immediate))(get(dst), get(src)));
}

uint32_t vm_simd_run_float(const vm_simd_row *row, vm_xmm *dst, const vm_xmm *src, uint8_t immediate, uint32_t mxcsr) {
  const uint32_t host = _mm_getcsr();
  // The common case: the guest's control bits are the host's. Sticky flags that the guest has already may stay in the
  // host's register, so that loading it, which is dear, is mostly not needed.
  if ((mxcsr & 0xffc0) == 0x1f80 && (host & 0xffc0) == 0x1f80) {
    if (host & 0x3f & ~mxcsr) _mm_setcsr(mxcsr & 0xffff);
    put(dst, ((binary)entry(row, immediate))(get(dst), get(src)));
    return _mm_getcsr() & 0x3f;
  }
  _mm_setcsr((mxcsr & 0xffc0) | 0x1f80);
  __m128i result = ((binary)entry(row, immediate))(get(dst), get(src));
  const uint32_t raised = _mm_getcsr() & 0x3f;
  _mm_setcsr(host);
  put(dst, result);
  return raised;
}

void vm_simd_run_approximate(const vm_simd_row *row, vm_xmm *dst, const vm_xmm *src) {
  // Denormals are zero, tiny results are flushed, as the approximations do; round to nearest.
  vm_simd_run_float(row, dst, src, 0, 0x8040);
}

void vm_simd_run_blend(const vm_simd_row *row, vm_xmm *dst, const vm_xmm *src, const vm_xmm *mask) {
  put(dst, ((ternary)row->code)(get(dst), get(src), get(mask)));
}

vm_simd_string_result vm_simd_run_strings(
  const vm_simd_row *row, const vm_xmm *a, const vm_xmm *b, uint8_t immediate, int32_t length_a, int32_t length_b,
  vm_xmm *mask) {
  return ((string_compare)entry(row, immediate))(get(a), get(b), length_a, length_b, mask);
}
