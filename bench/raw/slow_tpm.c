/*
 * A TPM that takes its time: stands before swtpm's two Unix sockets and answers every TPM2_Sign HOLD_MS after it came.
 * All else is answered as soon as swtpm has. One command at a time, as a chip.
 *
 *   slow_tpm SOCKET TPM_SOCKET HOLD_MS
 *
 * The control sockets are beside the data sockets, as `.ctrl`. Prints `ready` when it listens, and then, for every
 * line of its input, the number of TPM2_Sign so far. Ends with its input.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* TPM 2.0 Part 1, 18: tag (2 octets), size of the whole (4), command or response code (4). */
#define HEADER_OCTETS 10
#define MAX_OCTETS 65536
#define TPM_CC_SIGN 0x0000015d

struct relay {
  int listener;
  const char *tpm_socket;
  int is_data;
};

struct joined {
  int client, tpm, is_data;
};

static long hold_ns;
static unsigned long signs;
static pthread_mutex_t chip = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static struct sockaddr_un address(const char *path, const char *suffix) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (snprintf(at.sun_path, sizeof at.sun_path, "%s%s", path, suffix) >= (int)sizeof at.sun_path) {
    fprintf(stderr, "%s%s: too long for a socket\n", path, suffix);
    exit(2);
  }
  return at;
}

static uint32_t read_u32(const unsigned char *octets) {
  return (uint32_t)octets[0] << 24 | (uint32_t)octets[1] << 16 | (uint32_t)octets[2] << 8 | octets[3];
}

static int read_exactly(int fd, unsigned char *into, size_t octets) {
  for (size_t got = 0; got < octets;) {
    ssize_t n = read(fd, into + got, octets - got);
    if (n <= 0) return 0;
    got += (size_t)n;
  }
  return 1;
}

/* Octets of one whole command or response; 0 at the end of the connection or for what is none. */
static size_t read_frame(int fd, unsigned char *frame) {
  if (!read_exactly(fd, frame, HEADER_OCTETS)) return 0;
  size_t size = read_u32(frame + 2);
  if (size < HEADER_OCTETS || size > MAX_OCTETS) return 0;
  return read_exactly(fd, frame + HEADER_OCTETS, size - HEADER_OCTETS) ? size : 0;
}

static int write_all(int fd, const unsigned char *octets, size_t count) {
  for (size_t sent = 0; sent < count;) {
    ssize_t n = send(fd, octets + sent, count - sent, MSG_NOSIGNAL);
    if (n <= 0) return 0;
    sent += (size_t)n;
  }
  return 1;
}

static struct timespec later(struct timespec t, long ns) {
  t.tv_sec += ns / 1000000000;
  t.tv_nsec += ns % 1000000000;
  if (t.tv_nsec >= 1000000000) {
    t.tv_sec += 1;
    t.tv_nsec -= 1000000000;
  }
  return t;
}

/* One command and its response; false when either side has gone. */
static int relay_command(const struct joined *pair, unsigned char *frame) {
  size_t size = read_frame(pair->client, frame);
  if (size == 0) return 0;
  struct timespec came;
  clock_gettime(CLOCK_MONOTONIC, &came);
  int is_sign = read_u32(frame + 6) == TPM_CC_SIGN;
  pthread_mutex_lock(&chip);
  if (is_sign) signs += 1;
  size = write_all(pair->tpm, frame, size) ? read_frame(pair->tpm, frame) : 0;
  if (size > 0 && is_sign) {
    const struct timespec due = later(came, hold_ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0) continue;
  }
  pthread_mutex_unlock(&chip);
  return size > 0 && write_all(pair->client, frame, size);
}

/* The control channel has no frames that tell their size: what comes is passed on as it is, request and answer in turn. */
static int relay_control(const struct joined *pair, unsigned char *octets) {
  ssize_t n = read(pair->client, octets, MAX_OCTETS);
  if (n <= 0 || !write_all(pair->tpm, octets, (size_t)n)) return 0;
  n = read(pair->tpm, octets, MAX_OCTETS);
  return n > 0 && write_all(pair->client, octets, (size_t)n);
}

static void *serve(void *given) {
  struct joined *pair = given;
  unsigned char *octets = malloc(MAX_OCTETS);
  if (octets == NULL) die("malloc");
  while (pair->is_data ? relay_command(pair, octets) : relay_control(pair, octets)) continue;
  close(pair->client);
  close(pair->tpm);
  free(octets);
  free(pair);
  return NULL;
}

static int listen_at(const char *path, const char *suffix) {
  const struct sockaddr_un at = address(path, suffix);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(at.sun_path);
  if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 16) != 0) die(at.sun_path);
  return fd;
}

static void *accept_all(void *given) {
  const struct relay *relay = given;
  const struct sockaddr_un tpm = address(relay->tpm_socket, relay->is_data ? "" : ".ctrl");
  for (;;) {
    struct joined *pair = malloc(sizeof *pair);
    if (pair == NULL) die("malloc");
    pair->is_data = relay->is_data;
    pair->client = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC);
    pair->tpm = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pair->client < 0 || pair->tpm < 0) die("accept");
    if (connect(pair->tpm, (const struct sockaddr *)&tpm, sizeof tpm) != 0) die(tpm.sun_path);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, pair) != 0) die("pthread_create");
    pthread_detach(thread);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: slow_tpm SOCKET TPM_SOCKET HOLD_MS\n");
    return 2;
  }
  /* Timers of this process are exact to what the kernel can. */
  prctl(PR_SET_TIMERSLACK, 1UL);
  hold_ns = atol(argv[3]) * 1000000;
  struct relay relays[] = {{listen_at(argv[1], ""), argv[2], 1}, {listen_at(argv[1], ".ctrl"), argv[2], 0}};
  for (int i = 0; i < 2; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, accept_all, &relays[i]) != 0) die("pthread_create");
  }
  puts("ready");
  fflush(stdout);
  for (int c = getchar(); c != EOF; c = getchar()) {
    if (c != '\n') continue;
    pthread_mutex_lock(&chip);
    printf("%lu\n", signs);
    pthread_mutex_unlock(&chip);
    fflush(stdout);
  }
  return 0;
}
