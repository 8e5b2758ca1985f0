/*
 * Closed-loop load over one Unix socket: every connection sends an HTTP/1.1 request, waits for the answer, and
 * sends the next one of the file, over and over. One thread, epoll, no allocation per request, so that it takes
 * as little of the machine as it can.
 *
 *   http_load SOCKET REQUEST_FILE CONNECTIONS SECONDS [MAX_REQUESTS]
 *
 * Prints one line of JSON: requests, seconds, ok (2xx), failed, p50_us, p99_us, max_us, cpu_us (own, per request).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "timing.h"

#define MAX_CONNECTIONS 4096
#define BUFFER_OCTETS 65536

struct request {
  const char *octets;
  size_t length;
};

struct connection {
  int fd;
  const struct request *request;
  size_t sent;
  size_t received;
  double started_us;
  char buffer[BUFFER_OCTETS];
};

static struct request *requests;
static size_t request_count, next_request;
static size_t begun_count, max_requests = SIZE_MAX;
static double *latencies;
static size_t latency_count, latency_room;
static size_t ok_count, failed_count;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void send_rest(struct connection *c) {
  while (c->sent < c->request->length) {
    ssize_t n = write(c->fd, c->request->octets + c->sent, c->request->length - c->sent);
    if (n < 0) {
      if (errno == EAGAIN) return;
      die("write");
    }
    c->sent += (size_t)n;
  }
}

static void begin(struct connection *c) {
  begun_count++;
  c->request = &requests[next_request];
  next_request = (next_request + 1) % request_count;
  c->sent = 0;
  c->received = 0;
  c->started_us = now_us();
  send_rest(c);
}

/* Octets of the message that begins here, or 0 where its head is not all there. */
static size_t message_octets(char *text) {
  char *end = strstr(text, "\r\n\r\n");
  if (end == NULL) return 0;
  char *length = strcasestr(text, "\r\ncontent-length:");
  size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
  return (size_t)(end - text) + 4 + body;
}

/* Octets of the whole answer, or 0 while it is not all there. */
static size_t answer_octets(struct connection *c) {
  c->buffer[c->received] = 0;
  size_t total = message_octets(c->buffer);
  return c->received >= total ? total : 0;
}

/* The requests of a file, one after the other. */
static void read_requests(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) die(path);
  fseek(file, 0, SEEK_END);
  size_t octets = (size_t)ftell(file);
  rewind(file);
  char *text = malloc(octets + 1);
  if (text == NULL || fread(text, 1, octets, file) != octets) die(path);
  fclose(file);
  text[octets] = 0;
  size_t room = 0;
  for (size_t at = 0; at < octets;) {
    size_t length = message_octets(text + at);
    if (length == 0 || at + length > octets) {
      fprintf(stderr, "%s: not a sequence of whole requests\n", path);
      exit(2);
    }
    if (request_count == room) {
      room = room == 0 ? 64 : room * 2;
      requests = realloc(requests, room * sizeof *requests);
      if (requests == NULL) die("realloc");
    }
    requests[request_count++] = (struct request){.octets = text + at, .length = length};
    at += length;
  }
  if (request_count == 0) exit(2);
}

static void finish(struct connection *c) {
  if (latency_count == latency_room) {
    latency_room = latency_room == 0 ? 1 << 20 : latency_room * 2;
    latencies = realloc(latencies, latency_room * sizeof *latencies);
    if (latencies == NULL) die("realloc");
  }
  latencies[latency_count++] = now_us() - c->started_us;
  if (c->received > 9 && c->buffer[9] == '2') {
    ok_count++;
  } else {
    if (failed_count++ == 0) fprintf(stderr, "first failure: %.600s\n", c->buffer);
  }
}

int main(int argc, char **argv) {
  if (argc != 5 && argc != 6) {
    fprintf(stderr, "usage: http_load SOCKET REQUEST_FILE CONNECTIONS SECONDS [MAX_REQUESTS]\n");
    return 2;
  }
  int connections = atoi(argv[3]);
  double seconds = atof(argv[4]);
  if (connections < 1 || connections > MAX_CONNECTIONS || seconds <= 0) return 2;
  if (argc == 6) max_requests = strtoul(argv[5], NULL, 10);
  if (max_requests < (size_t)connections) return 2;
  read_requests(argv[2]);

  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  int poller = epoll_create1(EPOLL_CLOEXEC);
  struct connection *all = calloc((size_t)connections, sizeof *all);
  if (all == NULL) die("calloc");
  for (int i = 0; i < connections; i++) {
    struct connection *c = &all[i];
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
  }
  double cpu_before = cpu_us(RUSAGE_SELF), started = now_us(), deadline = started + seconds * 1e6;
  for (int i = 0; i < connections; i++) begin(&all[i]);
  int running = connections;
  struct epoll_event events[256];
  while (running > 0) {
    int n = epoll_wait(poller, events, 256, 15000);
    if (n == 0) {
      fprintf(stderr, "no answer for 15 s\n");
      return 1;
    }
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      send_rest(c);
      ssize_t got = read(c->fd, c->buffer + c->received, BUFFER_OCTETS - 1 - c->received);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) {
        fprintf(stderr, "the server closed a connection: %.*s\n", (int)c->received, c->buffer);
        return 1;
      }
      c->received += (size_t)got;
      if (answer_octets(c) == 0) continue;
      finish(c);
      if (now_us() < deadline && begun_count < max_requests) {
        begin(c);
      } else {
        running--;
      }
    }
  }
  double took = (now_us() - started) / 1e6, cpu = cpu_us(RUSAGE_SELF) - cpu_before;
  qsort(latencies, latency_count, sizeof *latencies, by_value);
  printf("{\"requests\":%zu,\"seconds\":%.4f,\"ok\":%zu,\"failed\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"cpu_us\":%.2f}\n",
         latency_count, took, ok_count, failed_count, latencies[latency_count / 2],
         latencies[(size_t)((double)latency_count * 0.99)], latencies[latency_count - 1],
         cpu / (double)latency_count);
  return 0;
}
