#include "fpu.h"
#include <string.h>

enum { IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32, SF = 64, ES = 0x80, BUSY = 0x8000 };
enum { C0 = 0x100, C1 = 0x200, C2 = 0x400, C3 = 0x4000, CC = C0 | C1 | C2 | C3 };
enum { ADD, MUL, COM, COMP, SUB, SUBR, DIV, DIVR };

static const vm_fpr indefinite = {0xc000000000000000ULL, 0xffff, {0, 0, 0}};

// The host's FPU, a step at a time. Between `begin` and `end` nothing else may use it.
// The guest's control word is mostly the host's own, and FNCLEX is dear: both are left out where they change nothing.
static const uint16_t host_control = 0x37f;
static inline void begin(uint16_t cw) {
  uint16_t sw;
  asm volatile("fnstsw %0" : "=a"(sw) : : "memory");
  if (sw & 0xff) asm volatile("fnclex" : : : "memory");
  if (cw != host_control) asm volatile("fldcw %0" : : "m"(cw) : "memory");
}
static inline void end(uint16_t cw) {
  if (cw != host_control) asm volatile("fldcw %0" : : "m"(host_control) : "memory");
}
static inline void push(const vm_fpr *r) { asm volatile("fldt %0" : : "m"(*r) : "memory"); }
static inline void pop_to(vm_fpr *r) { asm volatile("fstpt %0" : "=m"(*r) : : "memory"); }
static inline void drop(void) { asm volatile("fstp %%st(0)" : : : "memory"); }
static inline uint16_t status(void) {
  uint16_t sw;
  asm volatile("fnstsw %0" : "=a"(sw) : : "memory");
  if (sw & 0xff) asm volatile("fnclex" : : : "memory");
  return sw;
}

static inline int top(const vm_cpu_state *s) { return (s->fpu_status >> 11) & 7; }
static inline void set_top(vm_cpu_state *s, int t) { s->fpu_status = (s->fpu_status & ~0x3800) | ((t & 7) << 11); }
static inline int slot(const vm_cpu_state *s, int i) { return (top(s) + i) & 7; }
static inline vm_fpr *st(vm_cpu_state *s, int i) { return &s->fpr[slot(s, i)]; }
static inline int empty(const vm_cpu_state *s, int i) { return (s->fpu_empty >> slot(s, i)) & 1; }
static inline void write(vm_cpu_state *s, int i, const vm_fpr *v) {
  vm_fpr *r = st(s, i);
  r->significand = v->significand;
  r->exponent = v->exponent;
  s->fpu_empty &= ~(1 << slot(s, i));
}
static inline void pop(vm_cpu_state *s) {
  s->fpu_empty |= 1 << top(s);
  set_top(s, top(s) + 1);
}
static inline void push_guest(vm_cpu_state *s, const vm_fpr *v) {
  set_top(s, top(s) - 1);
  write(s, 0, v);
}

void vm_x87_summarize(vm_cpu_state *s) {
  if (s->fpu_status & ~s->fpu_control & 0x3f) s->fpu_status |= ES | BUSY;
  else s->fpu_status &= ~(ES | BUSY);
}

/// Merges exception flags and C1 of `sw`; 0 when an unmasked IE, DE or ZE keeps the destination as it is.
static int merge(vm_cpu_state *s, uint16_t sw) {
  s->fpu_status = (s->fpu_status & ~C1) | (sw & (0x7f | C1));
  vm_x87_summarize(s);
  return (sw & ~s->fpu_control & (IE | DE | ZE)) == 0;
}
static inline void set_cc(vm_cpu_state *s, uint16_t sw) { s->fpu_status = (s->fpu_status & ~CC) | (sw & CC); }
/// Stack underflow or overflow: non-zero when it is masked.
static int underflow(vm_cpu_state *s) { return merge(s, IE | SF); }
static int overflow(vm_cpu_state *s) { return merge(s, IE | SF | C1); }

static void push_or_fault(vm_cpu_state *s, const vm_fpr *v) {
  if (!empty(s, 7)) {
    if (overflow(s)) push_guest(s, &indefinite);
    return;
  }
  s->fpu_status &= ~C1;
  push_guest(s, v);
}

// Arithmetic

#define EIGHT(n, add, mul, com, sub, subr, div, divr) \
  switch (n) { \
    case ADD: add; break; case MUL: mul; break; case COM: case COMP: com; break; case SUB: sub; break; \
    case SUBR: subr; break; case DIV: div; break; default: divr; break; \
  }
#define REGISTER(text) asm volatile(text " %%st(1),%%st" : : : "memory")
#define MEMORY(text) asm volatile(text " %0" : : "m"(*(const char(*)[8])b) : "memory")

static uint16_t arithmetic(uint16_t cw, int n, vm_fpr *a, const vm_fpr *b) {
  begin(cw);
  push(b);
  push(a);
  EIGHT(n, REGISTER("fadd"), REGISTER("fmul"), asm volatile("fcom %%st(1)" : : : "memory"), REGISTER("fsub"),
        REGISTER("fsubr"), REGISTER("fdiv"), REGISTER("fdivr"))
  uint16_t sw = status();
  pop_to(a);
  drop();
  end(cw);
  return sw;
}

/// `type`: 0 m32, 1 m32int, 2 m64, 3 m16int, the order of D8, DA, DC, DE.
static uint16_t arithmetic_memory(uint16_t cw, int n, int type, vm_fpr *a, const void *b) {
  begin(cw);
  push(a);
  switch (type) {
    case 0:
      EIGHT(n, MEMORY("fadds"), MEMORY("fmuls"), MEMORY("fcoms"), MEMORY("fsubs"), MEMORY("fsubrs"), MEMORY("fdivs"),
            MEMORY("fdivrs"))
      break;
    case 1:
      EIGHT(n, MEMORY("fiaddl"), MEMORY("fimull"), MEMORY("ficoml"), MEMORY("fisubl"), MEMORY("fisubrl"),
            MEMORY("fidivl"), MEMORY("fidivrl"))
      break;
    case 2:
      EIGHT(n, MEMORY("faddl"), MEMORY("fmull"), MEMORY("fcoml"), MEMORY("fsubl"), MEMORY("fsubrl"), MEMORY("fdivl"),
            MEMORY("fdivrl"))
      break;
    default:
      EIGHT(n, MEMORY("fiadds"), MEMORY("fimuls"), MEMORY("ficoms"), MEMORY("fisubs"), MEMORY("fisubrs"),
            MEMORY("fidivs"), MEMORY("fidivrs"))
      break;
  }
  uint16_t sw = status();
  pop_to(a);
  end(cw);
  return sw;
}

/// A comparison's outcome: condition codes, then pops.
static void compared(vm_cpu_state *s, uint16_t sw, int pops) {
  if (!merge(s, sw & ~C1)) return;
  set_cc(s, sw & ~C1);
  while (pops-- > 0) pop(s);
}

static void compare(vm_cpu_state *s, int i, int unordered, int pops) {
  if (empty(s, 0) || empty(s, i)) {
    if (!underflow(s)) return;
    set_cc(s, C0 | C2 | C3);
    while (pops-- > 0) pop(s);
    return;
  }
  begin(s->fpu_control);
  push(st(s, i));
  push(st(s, 0));
  if (unordered) asm volatile("fucom %%st(1)" : : : "memory");
  else asm volatile("fcom %%st(1)" : : : "memory");
  uint16_t sw = status();
  drop();
  drop();
  end(s->fpu_control);
  compared(s, sw, pops);
}

/// FCOMI and FUCOMI: EFLAGS instead of condition codes. Non-zero when `flags` has changed.
static int compare_to_flags(vm_cpu_state *s, int i, int unordered, int pops, uint64_t *flags) {
  const uint16_t before = s->fpu_status & (C0 | C2 | C3);
  const uint16_t masked = s->fpu_control & IE;
  const int faulted = empty(s, 0) || empty(s, i);
  uint16_t sw = C0 | C2 | C3;
  int goes_on = 1;
  if (faulted) {
    underflow(s);
    goes_on = masked != 0;
  } else {
    begin(s->fpu_control);
    push(st(s, i));
    push(st(s, 0));
    if (unordered) asm volatile("fucom %%st(1)" : : : "memory");
    else asm volatile("fcom %%st(1)" : : : "memory");
    sw = status();
    drop();
    drop();
    end(s->fpu_control);
    goes_on = merge(s, sw & ~C1);
  }
  s->fpu_status = (s->fpu_status & ~(C0 | C2 | C3)) | before;
  if (!goes_on) return 0;
  *flags = (sw & C0 ? 1 : 0) | (sw & C2 ? 4 : 0) | (sw & C3 ? 0x40 : 0);
  while (pops-- > 0) pop(s);
  return 1;
}

/// ST(destination) = ST(destination) op ST(source), then pops.
static void arithmetic_registers(vm_cpu_state *s, int n, int destination, int source, int pops) {
  if (empty(s, destination) || empty(s, source)) {
    if (!underflow(s)) return;
    write(s, destination, &indefinite);
  } else {
    vm_fpr a = *st(s, destination);
    if (!merge(s, arithmetic(s->fpu_control, n, &a, st(s, source)))) return;
    write(s, destination, &a);
  }
  if (pops) pop(s);
}

// Memory operands

vm_x87_access vm_x87_memory(uint32_t sub) {
  const int group = (sub >> 3) & 7;
#define A(kind, size) {VM_X87_##kind, size}
  static const vm_x87_access table[8][8] = {
    {A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4)},
    {A(LOAD, 4), A(UNDEFINED, 0), A(STORE, 4), A(STORE, 4), A(LDENV, 0), A(LDCW, 2), A(STENV, 0), A(STCW, 2)},
    {A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4), A(LOAD, 4)},
    {A(LOAD, 4), A(STORE, 4), A(STORE, 4), A(STORE, 4), A(UNDEFINED, 0), A(LOAD, 10), A(UNDEFINED, 0), A(STORE, 10)},
    {A(LOAD, 8), A(LOAD, 8), A(LOAD, 8), A(LOAD, 8), A(LOAD, 8), A(LOAD, 8), A(LOAD, 8), A(LOAD, 8)},
    {A(LOAD, 8), A(STORE, 8), A(STORE, 8), A(STORE, 8), A(RSTOR, 0), A(UNDEFINED, 0), A(SAVE, 0), A(STSW, 2)},
    {A(LOAD, 2), A(LOAD, 2), A(LOAD, 2), A(LOAD, 2), A(LOAD, 2), A(LOAD, 2), A(LOAD, 2), A(LOAD, 2)},
    {A(LOAD, 2), A(STORE, 2), A(STORE, 2), A(STORE, 2), A(LOAD, 10), A(LOAD, 8), A(STORE, 10), A(STORE, 8)},
  };
#undef A
  return table[(sub >> 8) & 7][group];
}

void vm_x87_run_load(vm_cpu_state *s, uint32_t sub, const void *b) {
  const int opcode = (sub >> 8) & 7, n = (sub >> 3) & 7;
  if ((opcode & 1) == 0) {
    const int is_compare = n == COM || n == COMP;
    if (empty(s, 0)) {
      if (!underflow(s)) return;
      if (is_compare) set_cc(s, C0 | C2 | C3);
      else write(s, 0, &indefinite);
      if (n == COMP) pop(s);
      return;
    }
    vm_fpr a = *st(s, 0);
    uint16_t sw = arithmetic_memory(s->fpu_control, n, opcode >> 1, &a, b);
    if (is_compare) compared(s, sw, n == COMP);
    else if (merge(s, sw)) write(s, 0, &a);
    return;
  }
  if (!empty(s, 7)) {
    if (overflow(s)) push_guest(s, &indefinite);
    return;
  }
  vm_fpr value = {0, 0, {0, 0, 0}};
  // A denormal is loaded, and reported, whether or not that is masked.
  begin(s->fpu_control | DE);
  switch (opcode << 3 | n) {
    case 1 << 3: MEMORY("flds"); break;
    case 5 << 3: MEMORY("fldl"); break;
    case 3 << 3: MEMORY("fildl"); break;
    case 7 << 3: MEMORY("filds"); break;
    case 7 << 3 | 5: MEMORY("fildq"); break;
    case 7 << 3 | 4: asm volatile("fbld %0" : : "m"(*(const char(*)[10])b) : "memory"); break;
    default: asm volatile("fldt %0" : : "m"(*(const char(*)[10])b) : "memory"); break;
  }
  uint16_t sw = status();
  // An unmasked invalid operand is not pushed.
  if (sw & ~s->fpu_control & IE) {
    end(s->fpu_control | DE);
    merge(s, sw & ~C1);
    return;
  }
  pop_to(&value);
  end(s->fpu_control | DE);
  merge(s, sw & ~C1);
  push_guest(s, &value);
}

vm_x87_store vm_x87_prepare_store(vm_cpu_state *s, uint32_t sub) {
  const int opcode = (sub >> 8) & 7, n = (sub >> 3) & 7;
  vm_x87_store out;
  memset(&out, 0, sizeof out);
  out.writes = 1;
  out.pops = n != 2;
  const int where = opcode << 3 | n;
  vm_fpr value = indefinite;
  if (empty(s, 0)) {
    out.raised = IE | SF;
    if (!(s->fpu_control & IE)) {
      out.writes = out.pops = 0;
      return out;
    }
  } else {
    value = *st(s, 0);
  }
  if (where == (3 << 3 | 7)) {
    memcpy(out.bytes, &value.significand, 8);
    memcpy(out.bytes + 8, &value.exponent, 2);
    return out;
  }
#define TO(text, size) asm volatile(text " %0" : "=m"(*(char(*)[size])out.bytes) : : "memory")
  begin(s->fpu_control);
  push(&value);
  // The popping forms are used throughout: with an unmasked exception they leave the value on the stack.
  switch (where) {
    case 1 << 3 | 2: case 1 << 3 | 3: TO("fsts", 4); break;
    case 5 << 3 | 2: case 5 << 3 | 3: TO("fstl", 8); break;
    case 3 << 3 | 2: case 3 << 3 | 3: TO("fistl", 4); break;
    case 7 << 3 | 2: case 7 << 3 | 3: TO("fists", 2); break;
    case 3 << 3 | 1: push(&value); TO("fisttpl", 4); break;
    case 5 << 3 | 1: push(&value); TO("fisttpq", 8); break;
    case 7 << 3 | 1: push(&value); TO("fisttps", 2); break;
    case 7 << 3 | 6: push(&value); TO("fbstp", 10); break;
    default: push(&value); TO("fistpq", 8); break;
  }
#undef TO
  uint16_t sw = status();
  const int kept = (sw & ~s->fpu_control & (IE | OE | UE)) != 0;
  const int doubled = where == (3 << 3 | 1) || where == (5 << 3 | 1) || n == 6 || where == (7 << 3 | 1)
    || where == (7 << 3 | 7);
  drop();
  if (kept && doubled) drop();
  end(s->fpu_control);
  out.raised |= sw & (0x3f | C1);
  // The default value of an empty register is not a NaN that was found in one: only the stack fault is reported.
  if (out.raised & SF) out.raised = IE | SF;
  if (kept) out.writes = out.pops = 0;
  return out;
}

void vm_x87_finish_store(vm_cpu_state *s, const vm_x87_store *store) {
  merge(s, store->raised);
  if (store->pops) pop(s);
}

// Register operands

#define HOST(text) asm volatile(text : : : "memory")

/// ST(0) = f(ST(0)); `codes`: condition codes other than C1 that the instruction defines.
#define UNARY(text, codes) \
  do { \
    s->fpu_status &= ~((codes) & C2); \
    if (empty(s, 0)) { if (underflow(s)) write(s, 0, &indefinite); return 1; } \
    vm_fpr a = *st(s, 0); \
    begin(s->fpu_control); push(&a); HOST(text); \
    uint16_t sw = status(); pop_to(&a); end(s->fpu_control); \
    if (merge(s, sw)) { s->fpu_status = (s->fpu_status & ~(codes)) | (sw & (codes)); write(s, 0, &a); } \
    return 1; \
  } while (0)

/// FPREM, FPREM1, FSCALE: ST(0) = f(ST(0), ST(1)). Of the condition codes an invalid operation only clears C2.
#define BINARY(text, codes) \
  do { \
    s->fpu_status &= ~((codes) & C2); \
    if (empty(s, 0) || empty(s, 1)) { if (underflow(s)) write(s, 0, &indefinite); return 1; } \
    vm_fpr a = *st(s, 0); \
    begin(s->fpu_control); push(st(s, 1)); push(&a); HOST(text); \
    uint16_t sw = status(); pop_to(&a); drop(); end(s->fpu_control); \
    if (merge(s, sw)) { \
      if (!(sw & IE)) s->fpu_status = (s->fpu_status & ~(codes)) | (sw & (codes)); \
      write(s, 0, &a); \
    } \
    return 1; \
  } while (0)

/// FYL2X, FYL2XP1, FPATAN: ST(1) = f(ST(0), ST(1)), then a pop.
#define BINARY_POP(text) \
  do { \
    if (empty(s, 0) || empty(s, 1)) { \
      if (underflow(s)) { write(s, 1, &indefinite); pop(s); } \
      return 1; \
    } \
    vm_fpr a; \
    begin(s->fpu_control); push(st(s, 1)); push(st(s, 0)); HOST(text); \
    uint16_t sw = status(); pop_to(&a); \
    if (sw & ~s->fpu_control & (IE | DE | ZE)) drop(); \
    end(s->fpu_control); \
    if (merge(s, sw)) { write(s, 1, &a); pop(s); } \
    return 1; \
  } while (0)

/// FPTAN, FSINCOS, FXTRACT: ST(0) is replaced and a second result is pushed. `range`: C2 says that nothing was done.
#define PUSHING(text, range) \
  do { \
    if (range) s->fpu_status &= ~C2; \
    if (empty(s, 0)) { \
      if (underflow(s)) { write(s, 0, &indefinite); push_guest(s, &indefinite); } \
      return 1; \
    } \
    if (!empty(s, 7)) { \
      if (overflow(s)) { write(s, 0, &indefinite); push_guest(s, &indefinite); } \
      return 1; \
    } \
    vm_fpr a, b; \
    begin(s->fpu_control); push(st(s, 0)); HOST(text); \
    uint16_t sw = status(); pop_to(&b); \
    int done = !(sw & ~s->fpu_control & (IE | DE | ZE)) && !(range && (sw & C2)); \
    if (done) pop_to(&a); \
    end(s->fpu_control); \
    if (!merge(s, sw)) return 1; \
    if (range) s->fpu_status = (s->fpu_status & ~C2) | (sw & C2); \
    if (done) { write(s, 0, &a); push_guest(s, &b); } \
    return 1; \
  } while (0)

#define CONSTANT(text) \
  do { \
    vm_fpr v; \
    begin(s->fpu_control); HOST(text); pop_to(&v); end(s->fpu_control); \
    push_or_fault(s, &v); \
    return 1; \
  } while (0)

static void exchange(vm_cpu_state *s, int i) {
  if (empty(s, 0) || empty(s, i)) {
    if (!underflow(s)) return;
    if (empty(s, 0)) write(s, 0, &indefinite);
    if (empty(s, i)) write(s, i, &indefinite);
  }
  s->fpu_status &= ~C1;
  vm_fpr a = *st(s, 0), b = *st(s, i);
  write(s, 0, &b);
  write(s, i, &a);
}

static void store_register(vm_cpu_state *s, int i, int pops) {
  if (empty(s, 0)) {
    if (!underflow(s)) return;
    write(s, i, &indefinite);
  } else {
    s->fpu_status &= ~C1;
    vm_fpr a = *st(s, 0);
    write(s, i, &a);
  }
  if (pops) pop(s);
}

static void examine(vm_cpu_state *s) {
  const uint16_t sign = st(s, 0)->exponent & 0x8000 ? C1 : 0;
  if (empty(s, 0)) {
    set_cc(s, C3 | C0 | sign);
    return;
  }
  begin(s->fpu_control);
  push(st(s, 0));
  HOST("fxam");
  uint16_t sw = status();
  drop();
  end(s->fpu_control);
  set_cc(s, sw);
}

/// D9 E0-FF.
static int run_d9(vm_cpu_state *s, int low) {
  switch (low) {
    case 0xe0: case 0xe1:
      if (empty(s, 0)) {
        if (underflow(s)) write(s, 0, &indefinite);
        return 1;
      }
      s->fpu_status &= ~C1;
      if (low == 0xe0) st(s, 0)->exponent ^= 0x8000;
      else st(s, 0)->exponent &= 0x7fff;
      return 1;
    case 0xe4: {
      if (empty(s, 0)) {
        if (underflow(s)) set_cc(s, C0 | C2 | C3);
        return 1;
      }
      begin(s->fpu_control);
      push(st(s, 0));
      HOST("ftst");
      uint16_t sw = status();
      drop();
      end(s->fpu_control);
      compared(s, sw, 0);
      return 1;
    }
    case 0xe5: examine(s); return 1;
    case 0xe8: CONSTANT("fld1");
    case 0xe9: CONSTANT("fldl2t");
    case 0xea: CONSTANT("fldl2e");
    case 0xeb: CONSTANT("fldpi");
    case 0xec: CONSTANT("fldlg2");
    case 0xed: CONSTANT("fldln2");
    case 0xee: CONSTANT("fldz");
    case 0xf0: UNARY("f2xm1", 0);
    case 0xf1: BINARY_POP("fyl2x");
    case 0xf2: PUSHING("fptan", 1);
    case 0xf3: BINARY_POP("fpatan");
    case 0xf4: PUSHING("fxtract", 0);
    case 0xf5: BINARY("fprem1", C0 | C2 | C3);
    case 0xf6: set_top(s, top(s) - 1); s->fpu_status &= ~C1; return 1;
    case 0xf7: set_top(s, top(s) + 1); s->fpu_status &= ~C1; return 1;
    case 0xf8: BINARY("fprem", C0 | C2 | C3);
    case 0xf9: BINARY_POP("fyl2xp1");
    case 0xfa: UNARY("fsqrt", 0);
    case 0xfb: PUSHING("fsincos", 1);
    case 0xfc: UNARY("frndint", 0);
    case 0xfd: BINARY("fscale", 0);
    case 0xfe: UNARY("fsin", C2);
    case 0xff: UNARY("fcos", C2);
    default: return 0;
  }
}

static int conditional_move(vm_cpu_state *s, int i, int condition) {
  if (empty(s, 0) || empty(s, i)) {
    if (underflow(s)) write(s, 0, &indefinite);
    return 1;
  }
  s->fpu_status &= ~C1;
  if (condition) {
    vm_fpr a = *st(s, i);
    write(s, 0, &a);
  }
  return 1;
}

int vm_x87_run_register(vm_cpu_state *s, uint32_t sub, uint64_t *flags) {
  const int opcode = (sub >> 8) & 7, low = sub & 0xff, n = (sub >> 3) & 7, i = sub & 7;
  const int cf = *flags & 1, pf = (*flags >> 2) & 1, zf = (*flags >> 6) & 1;
  switch (opcode) {
    case 0:
      if (n == COM || n == COMP) compare(s, i, 0, n == COMP);
      else arithmetic_registers(s, n, 0, i, 0);
      return 1;
    case 1:
      if (n == 0) {
        if (empty(s, i)) {
          // The stack may be full and the source empty only where both faults meet: underflow is reported.
          if (underflow(s)) push_guest(s, &indefinite);
        } else {
          vm_fpr v = *st(s, i);
          push_or_fault(s, &v);
        }
        return 1;
      }
      if (n == 1) { exchange(s, i); return 1; }
      if (n == 2) return i == 0;
      if (n == 3) { store_register(s, i, 1); return 1; }
      return run_d9(s, low);
    case 2:
      switch (n) {
        case 0: return conditional_move(s, i, cf);
        case 1: return conditional_move(s, i, zf);
        case 2: return conditional_move(s, i, cf | zf);
        case 3: return conditional_move(s, i, pf);
        case 5: if (i == 1) { compare(s, 1, 1, 2); return 1; } return 0;
        default: return 0;
      }
    case 3:
      switch (n) {
        case 0: return conditional_move(s, i, !cf);
        case 1: return conditional_move(s, i, !zf);
        case 2: return conditional_move(s, i, !(cf | zf));
        case 3: return conditional_move(s, i, !pf);
        case 5: return compare_to_flags(s, i, 1, 0, flags) ? 2 : 1;
        case 6: return compare_to_flags(s, i, 0, 0, flags) ? 2 : 1;
        default: return 0;
      }
    case 4: case 6:
      if (opcode == 6 && low == 0xd9) { compare(s, 1, 0, 2); return 1; }
      if (opcode == 6 && n == 3) return 0;
      if (n == COM || n == COMP) {
        compare(s, i, 0, n == COMP || opcode == 6);
        return 1;
      }
      // ST(i) is the destination: the encodings of SUB and SUBR, DIV and DIVR are exchanged.
      arithmetic_registers(s, n >= SUB ? n ^ 1 : n, i, 0, opcode == 6);
      return 1;
    case 5:
      switch (n) {
        case 0: s->fpu_empty |= 1 << slot(s, i); s->fpu_status &= ~C1; return 1;
        case 1: exchange(s, i); return 1;
        case 2: store_register(s, i, 0); return 1;
        case 3: store_register(s, i, 1); return 1;
        case 4: compare(s, i, 1, 0); return 1;
        case 5: compare(s, i, 1, 1); return 1;
        default: return 0;
      }
    default:
      switch (n) {
        case 0: s->fpu_empty |= 1 << slot(s, i); s->fpu_status &= ~C1; pop(s); return 1;
        case 1: exchange(s, i); return 1;
        case 2: case 3: store_register(s, i, 1); return 1;
        case 5: return compare_to_flags(s, i, 1, 1, flags) ? 2 : 1;
        case 6: return compare_to_flags(s, i, 0, 1, flags) ? 2 : 1;
        default: return 0;
      }
  }
}

// State

void vm_x87_init(vm_cpu_state *s) {
  s->fpu_control = 0x37f;
  s->fpu_status = 0;
  s->fpu_empty = 0xff;
  s->fpu_opcode = 0;
  s->fpu_ip = s->fpu_dp = 0;
  s->fpu_cs = s->fpu_ds = 0;
}

uint16_t vm_x87_tag_word(const vm_cpu_state *s) {
  uint16_t tags = 0;
  for (int r = 0; r < 8; r++) {
    const uint16_t exponent = s->fpr[r].exponent & 0x7fff;
    const uint64_t significand = s->fpr[r].significand;
    int tag = 0;
    if (s->fpu_empty >> r & 1) tag = 3;
    else if (exponent == 0 && significand == 0) tag = 1;
    else if (exponent == 0 || exponent == 0x7fff || !(significand >> 63)) tag = 2;
    tags |= tag << (2 * r);
  }
  return tags;
}

void vm_x87_set_tag_word(vm_cpu_state *s, uint16_t tags) {
  s->fpu_empty = 0;
  for (int r = 0; r < 8; r++)
    if ((tags >> (2 * r) & 3) == 3) s->fpu_empty |= 1 << r;
}

void vm_x87_get(const vm_cpu_state *s, int i, uint8_t *bytes) {
  const vm_fpr *r = &s->fpr[slot(s, i)];
  memcpy(bytes, &r->significand, 8);
  memcpy(bytes + 8, &r->exponent, 2);
}

void vm_x87_put(vm_cpu_state *s, int i, const uint8_t *bytes) {
  vm_fpr *r = &s->fpr[slot(s, i)];
  memcpy(&r->significand, bytes, 8);
  memcpy(&r->exponent, bytes + 8, 2);
}
