/*
 * What the design requires of every signature of a token, and nothing else: the module in a process of its own behind
 * a socketpair, its signature verified before it is released; with DIRECTORY a record on disk before the module is
 * asked and another one before release, each with group commit. No callers, HTTP, JSON, policy or typed signing. So it
 * tells how much of a bound those steps leave for all the rest, and that rest in no language but C.
 *
 *   required_steps MODULE TOKEN_LABEL PIN KEY_LABEL IN_FLIGHT SECONDS [DIRECTORY]
 *
 * Prints one line of JSON: requests, seconds, p50_us, p99_us, cpu_us (of both processes, per signature).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "timing.h"
#include "token.h"

#define MUST(condition)                              \
  do {                                               \
    if (!(condition)) {                              \
      fprintf(stderr, "%s failed\n", #condition);    \
      exit(1);                                       \
    }                                                \
  } while (0)

enum {
  MAX_IN_FLIGHT = 256,
  DIGEST_OCTETS = 32,
  SIGNATURE_OCTETS = 64,
  POINT_OCTETS = 65,
  /* As long as the daemon's: a reservation with its settlement, an entry with its outcome. */
  RESERVATION_OCTETS = 256,
  ENTRY_OCTETS = 1024,
  /* Zeros of a journal that is written over and over. */
  JOURNAL_OCTETS = 8 * 1024 * 1024,
};

struct frame {
  unsigned call;
  unsigned char digest[DIGEST_OCTETS];
};
struct reply {
  unsigned call;
  unsigned char signature[SIGNATURE_OCTETS];
};

/* Group commit: what comes while one write is under way goes into the next. */
struct journal {
  int fd;
  size_t record_octets;
  size_t at;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  unsigned waiting[MAX_IN_FLIGHT];
  unsigned count;
  void (*durable)(const unsigned *calls, unsigned count);
};

static struct call {
  struct frame frame;
  double started;
  /* Of verification and record, those that are still to come. */
  atomic_int open;
} calls[MAX_IN_FLIGHT];

static struct journal reservations = {.record_octets = RESERVATION_OCTETS};
static struct journal entries = {.record_octets = ENTRY_OCTETS};
static int host;
static int with_records;
static double end;
static atomic_uint in_flight;
static pthread_mutex_t done_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_done = PTHREAD_COND_INITIALIZER;
static double *latencies;
static size_t done_count, room = 1 << 16;

/* 0 where the other side has ended. */
static int read_all(int fd, void *octets, size_t length) {
  for (size_t have = 0; have < length;) {
    ssize_t n = read(fd, (char *)octets + have, length - have);
    MUST(n >= 0);
    if (n == 0) return 0;
    have += (size_t)n;
  }
  return 1;
}

static void write_all(int fd, const void *octets, size_t length) {
  for (size_t have = 0; have < length;) {
    ssize_t n = write(fd, (const char *)octets + have, length - have);
    MUST(n > 0);
    have += (size_t)n;
  }
}

/* The module host: one signature after another, each answered by itself. */
static void serve_module(int fd, char **argv) {
  load_module(argv[1]);
  CK_SESSION_HANDLE session = log_in(slot_of(argv[2]), argv[3]);
  CK_OBJECT_HANDLE key = find_key(session, CKO_PRIVATE_KEY, argv[4]);
  /* DER: an OCTET STRING of the uncompressed point. */
  unsigned char point[2 + POINT_OCTETS];
  CK_ATTRIBUTE attribute = {CKA_EC_POINT, point, sizeof point};
  CHECK(p11->C_GetAttributeValue(session, find_key(session, CKO_PUBLIC_KEY, argv[4]), &attribute, 1));
  write_all(fd, point + 2, POINT_OCTETS);
  CK_MECHANISM mechanism = {.mechanism = CKM_ECDSA};
  struct frame frame;
  struct reply reply;
  while (read_all(fd, &frame, sizeof frame)) {
    reply.call = frame.call;
    CK_ULONG length = sizeof reply.signature;
    CHECK(p11->C_SignInit(session, &mechanism, key));
    CHECK(p11->C_Sign(session, frame.digest, sizeof frame.digest, reply.signature, &length));
    write_all(fd, &reply, sizeof reply);
  }
}

static void append(struct journal *journal, unsigned call) {
  pthread_mutex_lock(&journal->mutex);
  journal->waiting[journal->count++] = call;
  pthread_cond_signal(&journal->changed);
  pthread_mutex_unlock(&journal->mutex);
}

static void *commit(void *argument) {
  struct journal *journal = argument;
  static __thread unsigned char octets[MAX_IN_FLIGHT * ENTRY_OCTETS];
  memset(octets, 1, sizeof octets);
  for (;;) {
    unsigned group[MAX_IN_FLIGHT];
    pthread_mutex_lock(&journal->mutex);
    while (journal->count == 0) pthread_cond_wait(&journal->changed, &journal->mutex);
    unsigned count = journal->count;
    memcpy(group, journal->waiting, count * sizeof *group);
    journal->count = 0;
    pthread_mutex_unlock(&journal->mutex);
    size_t length = count * journal->record_octets;
    if (journal->at + length > JOURNAL_OCTETS) journal->at = 0;
    MUST(pwrite(journal->fd, octets, length, (off_t)journal->at) == (ssize_t)length);
    journal->at += length;
    journal->durable(group, count);
  }
  return NULL;
}

static void open_journal(struct journal *journal, const char *directory, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  journal->fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
  MUST(journal->fd >= 0);
  unsigned char *zeros = calloc(1, JOURNAL_OCTETS);
  MUST(zeros != NULL);
  write_all(journal->fd, zeros, JOURNAL_OCTETS);
  MUST(fsync(journal->fd) == 0);
  close(journal->fd);
  free(zeros);
  journal->fd = open(path, O_WRONLY | O_DSYNC);
  MUST(journal->fd >= 0);
  pthread_mutex_init(&journal->mutex, NULL);
  pthread_cond_init(&journal->changed, NULL);
  pthread_t thread;
  pthread_create(&thread, NULL, commit, journal);
}

static void ask_module(const unsigned *group, unsigned count) {
  struct frame frames[MAX_IN_FLIGHT];
  for (unsigned i = 0; i < count; i++) frames[i] = calls[group[i]].frame;
  write_all(host, frames, count * sizeof *frames);
}

static void begin(unsigned call) {
  calls[call].started = now_us();
  /* Another digest each time. */
  memcpy(calls[call].frame.digest, &calls[call].started, sizeof(double));
  atomic_store(&calls[call].open, with_records ? 2 : 1);
  if (with_records) append(&reservations, call);
  else ask_module(&call, 1);
}

static void reserved(const unsigned *group, unsigned count) {
  ask_module(group, count);
  for (unsigned i = 0; i < count; i++) append(&entries, group[i]);
}

/* Verified, or on record: released when it is both, and then the next begins. */
static void step_done(unsigned call) {
  if (atomic_fetch_sub(&calls[call].open, 1) > 1) return;
  double now = now_us();
  pthread_mutex_lock(&done_mutex);
  if (done_count == room) {
    room *= 2;
    latencies = realloc(latencies, room * sizeof *latencies);
    MUST(latencies != NULL);
  }
  latencies[done_count++] = now - calls[call].started;
  pthread_mutex_unlock(&done_mutex);
  if (now < end) {
    begin(call);
  } else if (atomic_fetch_sub(&in_flight, 1) == 1) {
    pthread_mutex_lock(&done_mutex);
    pthread_cond_signal(&all_done);
    pthread_mutex_unlock(&done_mutex);
  }
}

static void recorded(const unsigned *group, unsigned count) {
  for (unsigned i = 0; i < count; i++) step_done(group[i]);
}

static EVP_PKEY_CTX *verification_by(unsigned char *point) {
  OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"P-256", 0),
                             OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, POINT_OCTETS),
                             OSSL_PARAM_construct_end()};
  EVP_PKEY *key = NULL;
  EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
  MUST(EVP_PKEY_fromdata_init(make) == 1);
  MUST(EVP_PKEY_fromdata(make, &key, EVP_PKEY_PUBLIC_KEY, parameters) == 1);
  EVP_PKEY_CTX_free(make);
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
  MUST(context != NULL && EVP_PKEY_verify_init(context) == 1);
  return context;
}

static int verifies(EVP_PKEY_CTX *context, const struct call *call, const unsigned char *signature) {
  ECDSA_SIG *parts = ECDSA_SIG_new();
  MUST(ECDSA_SIG_set0(parts, BN_bin2bn(signature, 32, NULL), BN_bin2bn(signature + 32, 32, NULL)) == 1);
  unsigned char der[80], *at = der;
  int length = i2d_ECDSA_SIG(parts, &at);
  ECDSA_SIG_free(parts);
  return EVP_PKEY_verify(context, der, (size_t)length, call->frame.digest, DIGEST_OCTETS) == 1;
}

static void *verify(void *argument) {
  struct reply reply;
  while (read_all(host, &reply, sizeof reply)) {
    MUST(reply.call < MAX_IN_FLIGHT && verifies(argument, &calls[reply.call], reply.signature));
    step_done(reply.call);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 7 && argc != 8) return 2;
  unsigned wanted = (unsigned)atoi(argv[5]);
  MUST(wanted > 0 && wanted <= MAX_IN_FLIGHT);
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  pid_t child = fork();
  MUST(child >= 0);
  if (child == 0) {
    close(pair[0]);
    serve_module(pair[1], argv);
    return 0;
  }
  close(pair[1]);
  host = pair[0];
  unsigned char point[POINT_OCTETS];
  MUST(read_all(host, point, sizeof point));
  with_records = argc == 8;
  if (with_records) {
    reservations.durable = reserved;
    entries.durable = recorded;
    open_journal(&reservations, argv[7], "reservations");
    open_journal(&entries, argv[7], "entries");
  }
  latencies = malloc(room * sizeof *latencies);
  MUST(latencies != NULL);
  pthread_t thread;
  pthread_create(&thread, NULL, verify, verification_by(point));
  double cpu_before = cpu_us(RUSAGE_SELF), started = now_us();
  end = started + atof(argv[6]) * 1e6;
  atomic_store(&in_flight, wanted);
  for (unsigned i = 0; i < wanted; i++) {
    calls[i].frame.call = i;
    begin(i);
  }
  pthread_mutex_lock(&done_mutex);
  while (atomic_load(&in_flight) > 0) pthread_cond_wait(&all_done, &done_mutex);
  pthread_mutex_unlock(&done_mutex);
  double took = (now_us() - started) / 1e6, cpu = cpu_us(RUSAGE_SELF) - cpu_before;
  shutdown(host, SHUT_WR);
  MUST(waitpid(child, NULL, 0) == child);
  cpu += cpu_us(RUSAGE_CHILDREN);
  qsort(latencies, done_count, sizeof(double), by_value);
  printf("{\"requests\":%zu,\"seconds\":%.4f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"cpu_us\":%.2f}\n", done_count, took,
         latencies[done_count / 2], latencies[(size_t)((double)done_count * 0.99)], cpu / (double)done_count);
  /* The threads wait for what comes no more. */
  fflush(stdout);
  _exit(0);
}
