/*
 * A well-behaved caller: one connection over a Unix socket, one fixed HTTP/1.1 request every 1/RATE seconds, never
 * two at a time. A request that is late because the one before took long is sent at once, and none is made up for.
 *
 *   paced_load SOCKET REQUEST_FILE RATE SECONDS
 *
 * Prints one line of JSON: requests, seconds, failed (not 2xx), p50_us, p99_us, max_us.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "timing.h"

#define MAX_REQUESTS 1000000
#define BUFFER_OCTETS 65536

static double latencies[MAX_REQUESTS];
static char request[1 << 20], answer[BUFFER_OCTETS];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void sleep_until(double at_us) {
  struct timespec t = {.tv_sec = (time_t)(at_us / 1e6), .tv_nsec = (long)((at_us - (double)(time_t)(at_us / 1e6) * 1e6) * 1e3)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void write_all(int fd, size_t octets) {
  for (size_t sent = 0; sent < octets;) {
    ssize_t n = write(fd, request + sent, octets - sent);
    if (n <= 0) die("write");
    sent += (size_t)n;
  }
}

/* Reads one whole answer; nonzero where it is a success. */
static int read_answer(int fd) {
  size_t received = 0;
  for (;;) {
    ssize_t n = read(fd, answer + received, BUFFER_OCTETS - 1 - received);
    if (n <= 0) die("read");
    received += (size_t)n;
    answer[received] = 0;
    char *end = strstr(answer, "\r\n\r\n");
    if (end == NULL) continue;
    char *length = strcasestr(answer, "\r\ncontent-length:");
    size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
    if (received >= (size_t)(end - answer) + 4 + body) return answer[9] == '2';
  }
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: paced_load SOCKET REQUEST_FILE RATE SECONDS\n");
    return 2;
  }
  double interval_us = 1e6 / atof(argv[3]), seconds = atof(argv[4]);
  if (!(interval_us > 0) || seconds <= 0) return 2;
  FILE *file = fopen(argv[2], "rb");
  if (file == NULL) die(argv[2]);
  size_t octets = fread(request, 1, sizeof request, file);
  fclose(file);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");

  size_t count = 0, failed = 0;
  double started = now_us(), due = started;
  while (now_us() < started + seconds * 1e6 && count < MAX_REQUESTS) {
    sleep_until(due);
    double began = now_us();
    write_all(fd, octets);
    if (!read_answer(fd)) {
      if (failed++ == 0) fprintf(stderr, "first failure: %.600s\n", answer);
    }
    latencies[count++] = now_us() - began;
    due += interval_us;
    if (due < now_us()) due = now_us();
  }
  double took = (now_us() - started) / 1e6;
  qsort(latencies, count, sizeof *latencies, by_value);
  printf("{\"requests\":%zu,\"seconds\":%.4f,\"failed\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n", count, took, failed,
         latencies[count / 2], latencies[(size_t)((double)count * 0.99)], latencies[count - 1]);
  return 0;
}
