// Request and response of one byte over UDP or TCP, for scripts/benchmark-network; records on a disk, for tests.
//
//   exchange serve PORT                         sends back whatever comes, over both
//   exchange keep PORT DISK                     takes the numbers 1, 2, 3 and so on over TCP, a line each; writes each to a
//                                               sector of the disk (modulo 2048), flushes, and sends the line back
//   exchange udp|tcp ADDRESS PORT SECONDS       prints "exchange COUNT P50 P99", times in tenths of a microsecond
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 20, CONNECTIONS = 16 };
static uint32_t times[MOST];

static int fail(const char *what) {
  fprintf(stderr, "exchange: %s: %s\n", what, strerror(errno));
  return 1;
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int order(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static int serve(struct sockaddr_in place) {
  struct pollfd all[2 + CONNECTIONS] = {{.events = POLLIN}, {.events = POLLIN}};
  int one = 1, used = 2;
  place.sin_addr.s_addr = INADDR_ANY;
  all[0].fd = socket(AF_INET, SOCK_DGRAM, 0);
  all[1].fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(all[1].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  for (int i = 0; i < 2; i++)
    if (bind(all[i].fd, (struct sockaddr *)&place, sizeof place) != 0) return fail("bind");
  if (listen(all[1].fd, CONNECTIONS) != 0) return fail("listen");
  for (;;) {
    if (poll(all, (nfds_t)used, -1) < 0) return fail("poll");
    static char bytes[1 << 16];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    if (all[0].revents) {
      ssize_t count = recvfrom(all[0].fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length);
      if (count > 0) sendto(all[0].fd, bytes, (size_t)count, 0, (struct sockaddr *)&from, length);
    }
    for (int i = used - 1; i >= 2; i--) {
      if (!all[i].revents) continue;
      ssize_t count = read(all[i].fd, bytes, sizeof bytes);
      ssize_t sent = 0, part = 0;
      while (sent < count && (part = write(all[i].fd, bytes + sent, (size_t)(count - sent))) > 0) sent += part;
      if (count <= 0 || sent != count) {
        close(all[i].fd);
        all[i] = all[--used];
      }
    }
    if (all[1].revents && used < 2 + CONNECTIONS) {
      int fd = accept(all[1].fd, 0, 0);
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      all[used++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
  }
}

// One connection, each number the next: whoever goes back in time answers "not N".
static int keep(struct sockaddr_in place, const char *path) {
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), disk = open(path, O_RDWR);
  if (disk < 0) return fail(path);
  place.sin_addr.s_addr = INADDR_ANY;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&place, sizeof place) != 0 || listen(listener, 1) != 0) return fail("listen");
  int fd = accept(listener, 0, 0);
  FILE *in = fdopen(fd, "r");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  char line[64], sector[512];
  for (long next = 1; fgets(line, sizeof line, in); next++) {
    if (atol(line) != next) {
      dprintf(fd, "not %ld\n", next);
      return 1;
    }
    memset(sector, 0, sizeof sector);
    snprintf(sector, sizeof sector, "record %ld\n", next);
    if (pwrite(disk, sector, sizeof sector, next % 2048 * 512) != sizeof sector || fsync(disk) != 0) return fail(path);
    dprintf(fd, "%ld\n", next);
  }
  return 0;
}

int main(int count, char **words) {
  struct sockaddr_in place = {.sin_family = AF_INET};
  if (count == 3 && strcmp(words[1], "serve") == 0) {
    place.sin_port = htons((uint16_t)atoi(words[2]));
    return serve(place);
  }
  if (count == 4 && strcmp(words[1], "keep") == 0) {
    place.sin_port = htons((uint16_t)atoi(words[2]));
    return keep(place, words[3]);
  }
  if (count != 5) {
    fprintf(stderr, "usage: exchange serve PORT | keep PORT DISK | udp|tcp ADDRESS PORT SECONDS\n");
    return 64;
  }
  int is_tcp = strcmp(words[1], "tcp") == 0, one = 1;
  place.sin_port = htons((uint16_t)atoi(words[3]));
  place.sin_addr.s_addr = inet_addr(words[2]);
  int fd = socket(AF_INET, is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
  if (connect(fd, (struct sockaddr *)&place, sizeof place) != 0) return fail("connect");
  if (is_tcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct timeval patience = {.tv_sec = 1};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  uint64_t end = now() + (uint64_t)atoi(words[4]) * 1000000000u;
  int done = 0;
  char byte = 1;
  while (done < MOST) {
    uint64_t start = now();
    if (start >= end) break;
    if (write(fd, &byte, 1) != 1) return fail("write");
    if (read(fd, &byte, 1) != 1) {
      // A datagram that is lost counts as a second.
      if (is_tcp || errno != EAGAIN) return fail("read");
    }
    times[done++] = (uint32_t)((now() - start) / 100);
  }
  if (done == 0) return fail("nothing came back");
  qsort(times, (size_t)done, sizeof times[0], order);
  printf("exchange %d %u %u\n", done, times[done / 2], times[(int)(done * 0.99)]);
  return 0;
}
