// Branches, calls and sorting.

#include "runtime.h"

/// Branches nobody predicts, and some that are easy.
static u32 branches(u32 rounds) {
  u32 seed = 1, a = 0, b = 0, c = 0;
  for (u32 i = 0; i < rounds; i++) {
    u32 x = next_random(&seed);
    OPAQUE(x);
    if (x & 1 << 27) {
      a += x;
      OPAQUE(a);
    } else {
      b ^= x;
      OPAQUE(b);
    }
    if ((int)x < 0 && a > b) {
      c += 3;
      OPAQUE(c);
    }
    if (i % 8 == 7) {
      c ^= a;
      OPAQUE(c);
    }
  }
  return a ^ b ^ c;
}

static u32 collatz(u32 rounds) {
  u32 steps = 0;
  for (u32 i = 1; i <= rounds; i++) {
    u32 n = i;
    while (n != 1) {
      if (n & 1) n = n * 3 + 1;
      else n >>= 1;
      OPAQUE(n);
      steps++;
    }
  }
  return steps;
}

static const char text[] =
    "int main(void) { long count = 0x1f; for (i = 0; i < 42; i++) { count += \"a string\" [i]; } return count * 3; } ";

/// A lexer: a switch on each character.
static u32 lexer(u32 rounds) {
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    u32 word = 0, number = 0, words = 0, depth = 0;
    for (const char *p = text; *p; p++) {
      switch (*p) {
        case 'a': case 'c': case 'e': case 'g': case 'i': case 'l': case 'm': case 'n': case 'o': case 'r': case 's':
        case 't': case 'u': case 'v': case 'd': case 'f':
          word = word * 31 + (u32)*p;
          break;
        case '0': number = number * 10; break;
        case '1': case '2': case '3': case '4': number = number * 10 + (u32)(*p - '0'); break;
        case ' ': words++, sum = mix(sum, word), word = 0; break;
        case '{': case '(': case '[': depth++; break;
        case '}': case ')': case ']': depth--, sum += depth; break;
        case ';': sum ^= number, number = 0; break;
        case '"': words += 2; break;
        case '+': sum += 7; break;
        case '<': sum -= words; break;
        default: sum = rotate(sum, 3); break;
      }
    }
    sum += words + r;
  }
  return sum;
}

static NOINLINE u32 fibonacci(u32 n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
static u32 recursion(u32 rounds) {
  u32 sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    u32 n = 18 + (i & 1);
    OPAQUE(n);
    sum = mix(sum, fibonacci(n));
  }
  return sum;
}

static NOINLINE int takeuchi(int x, int y, int z) {
  return y >= x ? z : takeuchi(takeuchi(x - 1, y, z), takeuchi(y - 1, z, x), takeuchi(z - 1, x, y));
}
static u32 tak(u32 rounds) {
  u32 sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    int x = 12;
    OPAQUE(x);
    sum = mix(sum, (u32)takeuchi(x, 8, 4 - (int)(i & 1)));
  }
  return sum;
}

static NOINLINE u32 place_queens(u32 all, u32 columns, u32 left, u32 right) {
  if (columns == all) return 1;
  u32 count = 0;
  for (u32 free = all & ~(columns | left | right); free;) {
    u32 one = free & -free;
    free ^= one;
    count += place_queens(all, columns | one, (left | one) << 1, (right | one) >> 1);
  }
  return count;
}
static u32 queens(u32 rounds) {
  u32 sum = 0;
  for (u32 i = 0; i < rounds; i++) sum = mix(sum, place_queens(0x7f + (i & 1) * 0x80, 0, 0, 0));
  return sum;
}

#define OPERATION(name, expression) \
  static NOINLINE u32 name(u32 x, u32 y) { return expression; }
OPERATION(add, x + y)
OPERATION(subtract, x - y)
OPERATION(multiply, x *(y | 1))
OPERATION(either, x | y)
OPERATION(both, x & (y | 0xffff))
OPERATION(differ, x ^ y)
OPERATION(left, x << (y & 7))
OPERATION(spin, rotate(x, (y & 15) + 1))
typedef u32 (*operation)(u32, u32);
static operation volatile const operations[8] = {add, subtract, multiply, either, both, differ, left, spin};

static u32 indirect(u32 rounds) {
  u32 seed = 1, x = 1;
  for (u32 i = 0; i < rounds; i++) {
    u32 r = next_random(&seed);
    x = operations[r >> 29](x, r) + i;
  }
  return x;
}

/// Methods, most sites with one target, some with two.
struct shape {
  const struct methods *methods;
  u32 a, b;
};
struct methods {
  u32 (*area)(struct shape *);
  void (*grow)(struct shape *, u32);
};
static NOINLINE u32 square_area(struct shape *s) { return s->a * s->a; }
static NOINLINE void square_grow(struct shape *s, u32 by) { s->a += by; }
static NOINLINE u32 oblong_area(struct shape *s) { return s->a * s->b; }
static NOINLINE void oblong_grow(struct shape *s, u32 by) { s->a += by, s->b ^= s->a; }
static const struct methods square_methods = {square_area, square_grow}, oblong_methods = {oblong_area, oblong_grow};

static u32 methods(u32 rounds) {
  struct shape shapes[16];
  for (u32 i = 0; i < 16; i++) shapes[i] = (struct shape){i < 14 ? &square_methods : &oblong_methods, i, i + 1};
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    struct shape *s = shapes;
    __asm__ volatile("" : "+r"(s) : : "memory");
    for (u32 i = 0; i < 16; i++) {
      s[i].methods->grow(s + i, r);
      sum += s[i].methods->area(s + i);
    }
  }
  return sum;
}

/// A bytecode interpreter with threaded dispatch: an indirect jump per instruction.
static u32 bytecode(u32 rounds) {
  enum { ADD, XOR, SHIFT, LOAD, STORE, DROP, LOOP, END };
  static const uint8_t program[] = {LOAD, ADD, STORE, XOR, LOAD, SHIFT, ADD, STORE, DROP, XOR, ADD, LOAD, XOR, STORE, LOOP};
  static void *const labels[] = {&&add, &&exclusive, &&shift, &&load, &&store, &&drop, &&loop};
  u32 memory[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, x = 1, y = 2, left = rounds, sum = 0;
  const uint8_t *p = program;
#define NEXT goto *labels[*p++]
  NEXT;
add: x += y; NEXT;
exclusive: y ^= x; NEXT;
shift: x = rotate(x, 5); NEXT;
load: y += memory[x & 15]; NEXT;
store: memory[y & 15] ^= x; NEXT;
drop: y = y >> 3 | 1u << 31; NEXT;
loop:
  if (--left) {
    p = program;
    NEXT;
  }
  for (u32 i = 0; i < 16; i++) sum = mix(sum, memory[i]);
  return sum ^ x ^ y;
}

enum { NUMBERS = 4096 };
static u32 numbers[NUMBERS];
static void fill(u32 seed) {
  for (u32 i = 0; i < NUMBERS; i++) numbers[i] = next_random(&seed);
}

static void shell_sort(void) {
  for (u32 gap = NUMBERS / 2; gap; gap /= 2)
    for (u32 i = gap; i < NUMBERS; i++) {
      u32 value = numbers[i], j = i;
      for (; j >= gap && numbers[j - gap] > value; j -= gap) numbers[j] = numbers[j - gap];
      numbers[j] = value;
    }
}

static NOINLINE int compare(const void *a, const void *b) {
  u32 x = *(const u32 *)a, y = *(const u32 *)b;
  return x < y ? -1 : x > y;
}
/// Quicksort as a library has it: the order is a function.
static NOINLINE void quick_sort(u32 *first, u32 *last, int (*order)(const void *, const void *)) {
  while (first < last) {
    u32 pivot = first[(last - first) / 2], *i = first - 1, *j = last + 1;
    for (;;) {
      do i++;
      while (order(i, &pivot) < 0);
      do j--;
      while (order(j, &pivot) > 0);
      if (i >= j) break;
      u32 t = *i;
      *i = *j, *j = t;
    }
    quick_sort(first, j, order);
    first = j + 1;
  }
}

static void heap_sort(void) {
  for (u32 end = NUMBERS, start = NUMBERS / 2; end > 1;) {
    u32 value;
    if (start) value = numbers[--start];
    else value = numbers[--end], numbers[end] = numbers[0];
    u32 at = start;
    for (u32 child; (child = at * 2 + 1) < end; at = child) {
      if (child + 1 < end && numbers[child + 1] > numbers[child]) child++;
      if (numbers[child] <= value) break;
      numbers[at] = numbers[child];
    }
    numbers[at] = value;
  }
}

static void quick_sort_numbers(void) {
  int (*volatile order)(const void *, const void *) = compare;
  quick_sort(numbers, numbers + NUMBERS - 1, order);
}

static inline u32 sort(u32 rounds, void (*how)(void)) {
  u32 sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    fill(i);
    how();
    sum = mix(sum, numbers[NUMBERS / 3] ^ numbers[0] ^ numbers[NUMBERS - 1]);
  }
  return sum;
}
static u32 shellsort(u32 rounds) { return sort(rounds, shell_sort); }
static u32 quicksort(u32 rounds) { return sort(rounds, quick_sort_numbers); }
static u32 heapsort(u32 rounds) { return sort(rounds, heap_sort); }

const struct program control_programs[] = {
    {"branches", "branches", 30000, branches, 0}, {"collatz", "branches", 2500, collatz, 0},
    {"lexer", "branches", 2000, lexer, 0},         {"recursion", "calls", 30, recursion, 0},
    {"tak", "calls", 50, tak, 0},                 {"queens", "calls", 80, queens, 0},
    {"indirect", "indirect", 50000, indirect, 0}, {"methods", "indirect", 7000, methods, 0},
    {"bytecode", "indirect", 15000, bytecode, 0}, {"shellsort", "sorting", 1, shellsort, 0},
    {"quicksort", "sorting", 1, quicksort, 0},    {"heapsort", "sorting", 1, heapsort, 0},
    {0, 0, 0, 0, 0}};
