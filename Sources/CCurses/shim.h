// What Swift cannot use of ncurses as it is: macros, variadic functions and the variable stdscr.
#ifndef VMCTL_CURSES_SHIM_H
#define VMCTL_CURSES_SHIM_H

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <wchar.h>

extern int setupterm(const char *, int, int *);
extern int wcwidth(wchar_t);

/// Keys that are no characters.
enum {
  VM_KEY_NONE,
  VM_KEY_CHARACTER,
  VM_KEY_UP,
  VM_KEY_DOWN,
  VM_KEY_LEFT,
  VM_KEY_RIGHT,
  VM_KEY_PAGE_UP,
  VM_KEY_PAGE_DOWN,
  VM_KEY_HOME,
  VM_KEY_END,
  VM_KEY_BACKSPACE,
  VM_KEY_ENTER,
  VM_KEY_RESIZE,
};

enum { VM_STYLE_PLAIN, VM_STYLE_BOLD, VM_STYLE_REVERSE };

/// Takes the terminal of standard input and output. 0, or -1: it is not known, -2: it cannot move its cursor.
static inline int vm_curses_open(void) {
  int known = 0;
  setlocale(LC_CTYPE, "");
  if (setupterm(NULL, 1, &known) != OK || known != 1) return -1;
  if (!tigetstr("cup")) return -2;
  if (!newterm(NULL, stdout, stdin)) return -1;
  raw();
  noecho();
  nonl();
  set_escdelay(100);
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  curs_set(0);
  return 0;
}

static inline void vm_curses_close(void) { endwin(); }
/// The terminal as it was, for another program, until `vm_curses_resume`.
static inline void vm_curses_pause(void) {
  def_prog_mode();
  endwin();
}
static inline void vm_curses_resume(void) {
  reset_prog_mode();
  clearok(stdscr, TRUE);
  refresh();
}

static inline int vm_curses_columns(void) { return getmaxx(stdscr); }
static inline int vm_curses_rows(void) { return getmaxy(stdscr); }

/// One of the keys above; `character` is the character's code point. Does not wait.
static inline int vm_curses_key(uint32_t *character) {
  wint_t code = 0;
  int kind = get_wch(&code);
  if (kind == OK) {
    *character = (uint32_t)code;
    return VM_KEY_CHARACTER;
  }
  if (kind != KEY_CODE_YES) return VM_KEY_NONE;
  switch (code) {
  case KEY_UP: return VM_KEY_UP;
  case KEY_DOWN: return VM_KEY_DOWN;
  case KEY_LEFT: return VM_KEY_LEFT;
  case KEY_RIGHT: return VM_KEY_RIGHT;
  case KEY_PPAGE: return VM_KEY_PAGE_UP;
  case KEY_NPAGE: return VM_KEY_PAGE_DOWN;
  case KEY_HOME: return VM_KEY_HOME;
  case KEY_END: return VM_KEY_END;
  case KEY_BACKSPACE: case KEY_DC: return VM_KEY_BACKSPACE;
  case KEY_ENTER: return VM_KEY_ENTER;
  case KEY_RESIZE: return VM_KEY_RESIZE;
  default: return VM_KEY_NONE;
  }
}

/// Columns of a code point in the process's locale; below 0: it cannot be shown.
static inline int vm_curses_width(uint32_t code) { return wcwidth((wchar_t)code); }

static inline void vm_curses_begin(void) { erase(); }
/// Writes code points from the beginning of a row on.
static inline void vm_curses_put(int row, const uint32_t *text, int count, int style) {
  attrset(style == VM_STYLE_REVERSE ? A_REVERSE : style == VM_STYLE_BOLD ? A_BOLD : A_NORMAL);
  mvaddnwstr(row, 0, (const wchar_t *)text, count);
  attrset(A_NORMAL);
}
/// Shows what was written since `vm_curses_begin`, with the cursor at a place or, where the row is below 0, hidden.
static inline void vm_curses_show(int row, int column, int all) {
  curs_set(row < 0 ? 0 : 1);
  if (row >= 0) move(row, column);
  if (all) clearok(stdscr, TRUE);
  refresh();
}

#endif
