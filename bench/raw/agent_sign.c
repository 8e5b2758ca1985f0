/*
 * Closed-loop signing through ssh-agent (draft-ietf-sshm-ssh-agent): the first key it lists, from N connections.
 *
 *   agent_sign SOCKET CONNECTIONS SECONDS
 *
 * Prints one line of JSON: requests, seconds, p50_us, p99_us.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "timing.h"

enum { REQUEST_IDENTITIES = 11, IDENTITIES_ANSWER = 12, SIGN_REQUEST = 13, SIGN_RESPONSE = 14 };

static const char *path;
static double seconds;

struct worker {
  pthread_t thread;
  size_t count, room;
  double *latencies;
};

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void put_u32(unsigned char *at, uint32_t value) {
  value = htonl(value);
  memcpy(at, &value, 4);
}

static uint32_t get_u32(const unsigned char *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return ntohl(value);
}

/* One message out, one in; the answer's octets after its length field. */
static uint32_t ask(int fd, const unsigned char *out, size_t octets, unsigned char *in, size_t room) {
  if (write(fd, out, octets) != (ssize_t)octets) die("write");
  size_t have = 0;
  for (;;) {
    ssize_t n = read(fd, in + have, room - have);
    if (n <= 0) die("read");
    have += (size_t)n;
    if (have >= 4 && have >= 4 + get_u32(in)) return get_u32(in);
  }
}

static void *run(void *argument) {
  struct worker *w = argument;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
  unsigned char in[65536], out[4096];
  put_u32(out, 1);
  out[4] = REQUEST_IDENTITIES;
  ask(fd, out, 5, in, sizeof in);
  if (in[4] != IDENTITIES_ANSWER || get_u32(in + 5) < 1) {
    fprintf(stderr, "the agent holds no key\n");
    exit(1);
  }
  uint32_t blob = get_u32(in + 9);
  unsigned char data[200] = {7};
  size_t length = 1 + 4 + blob + 4 + sizeof data + 4;
  put_u32(out, (uint32_t)length);
  out[4] = SIGN_REQUEST;
  memcpy(out + 5, in + 9, 4 + blob);
  put_u32(out + 9 + blob, sizeof data);
  memcpy(out + 13 + blob, data, sizeof data);
  put_u32(out + 13 + blob + sizeof data, 0);
  double end = now_us() + seconds * 1e6;
  for (;;) {
    double before = now_us();
    if (before >= end) break;
    ask(fd, out, 4 + length, in, sizeof in);
    if (in[4] != SIGN_RESPONSE) {
      fprintf(stderr, "the agent answered %d\n", in[4]);
      exit(1);
    }
    if (w->count == w->room) {
      w->room = w->room == 0 ? 1 << 16 : w->room * 2;
      w->latencies = realloc(w->latencies, w->room * sizeof(double));
    }
    w->latencies[w->count++] = now_us() - before;
  }
  close(fd);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  path = argv[1];
  int connections = atoi(argv[2]);
  seconds = atof(argv[3]);
  struct worker workers[256] = {0};
  if (connections < 1 || connections > 256) return 2;
  double started = now_us();
  for (int i = 0; i < connections; i++) pthread_create(&workers[i].thread, NULL, run, &workers[i]);
  size_t total = 0;
  for (int i = 0; i < connections; i++) {
    pthread_join(workers[i].thread, NULL);
    total += workers[i].count;
  }
  double took = (now_us() - started) / 1e6;
  double *all = malloc((total + 1) * sizeof(double));
  size_t at = 0;
  for (int i = 0; i < connections; i++) {
    memcpy(all + at, workers[i].latencies, workers[i].count * sizeof(double));
    at += workers[i].count;
  }
  qsort(all, total, sizeof(double), by_value);
  printf("{\"requests\":%zu,\"seconds\":%.4f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", total, took, all[total / 2],
         all[(size_t)((double)total * 0.99)]);
  return 0;
}
