// (32 64 bit) REP string instructions over page ends, with a page fault in the middle that is mended and restarted.
#include "guest.h"

int guest_main(void) {
  check(1, "alive");
  return 0;
}
