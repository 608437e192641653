// console-gap FILE...: the longest that none of the files has grown, once one of them has, until standard input ends. Prints it
// in milliseconds. Sees each write as it happens (inotify), and costs nothing in between.

#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int count, char **files) {
  int watch = inotify_init1(IN_NONBLOCK);
  for (int i = 1; i < count; i++) {
    if (inotify_add_watch(watch, files[i], IN_MODIFY) < 0) {
      perror(files[i]);
      return 1;
    }
  }
  puts("watching");
  fflush(stdout);
  double last = 0, longest = 0;
  struct pollfd entries[] = {{watch, POLLIN, 0}, {0, POLLIN, 0}};
  while (poll(entries, 2, -1) > 0 && entries[1].revents == 0) {
    char events[1 << 14];
    while (read(watch, events, sizeof events) > 0) {}
    double at = now();
    if (last > 0 && at - last > longest) longest = at - last;
    last = at;
  }
  printf("%.1f\n", longest);
  return 0;
}
