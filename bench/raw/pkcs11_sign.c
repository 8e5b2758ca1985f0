/*
 * The raw rate of a PKCS#11 token: C_SignInit and C_Sign over one key, nothing else.
 *
 *   pkcs11_sign MODULE TOKEN_LABEL PIN KEY_LABEL MECHANISM(ecdsa|eddsa|rsa) THREADS SECONDS
 *
 * Prints one line of JSON: requests, seconds, p50_us, p99_us.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "timing.h"
#include "token.h"

#ifndef CKM_EDDSA
#define CKM_EDDSA 0x1057UL
#endif

static CK_SLOT_ID slot;
static CK_MECHANISM mechanism;
static const char *key_label;
static double seconds;
static size_t input_octets = 32;

struct worker {
  pthread_t thread;
  size_t count;
  double *latencies;
  size_t room;
};

static void *run(void *argument) {
  struct worker *w = argument;
  CK_SESSION_HANDLE session;
  CHECK(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
  CK_OBJECT_HANDLE key = find_key(session, CKO_PRIVATE_KEY, key_label);
  unsigned char input[64] = {1}, signature[512];
  double end = now_us() + seconds * 1e6;
  for (;;) {
    double before = now_us();
    if (before >= end) break;
    CK_ULONG length = sizeof signature;
    CHECK(p11->C_SignInit(session, &mechanism, key));
    CHECK(p11->C_Sign(session, input, input_octets, signature, &length));
    if (w->count == w->room) {
      w->room = w->room == 0 ? 1 << 18 : w->room * 2;
      w->latencies = realloc(w->latencies, w->room * sizeof(double));
    }
    w->latencies[w->count++] = now_us() - before;
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 8) return 2;
  load_module(argv[1]);
  slot = slot_of(argv[2]);
  log_in(slot, argv[3]);
  key_label = argv[4];
  mechanism.mechanism = strcmp(argv[5], "ecdsa") == 0   ? CKM_ECDSA
                        : strcmp(argv[5], "eddsa") == 0 ? CKM_EDDSA
                                                        : CKM_SHA256_RSA_PKCS;
  int threads = atoi(argv[6]);
  seconds = atof(argv[7]);
  struct worker workers[64] = {0};
  double started = now_us();
  for (int i = 0; i < threads; i++) pthread_create(&workers[i].thread, NULL, run, &workers[i]);
  size_t total = 0;
  for (int i = 0; i < threads; i++) {
    pthread_join(workers[i].thread, NULL);
    total += workers[i].count;
  }
  double took = (now_us() - started) / 1e6;
  double *all = malloc((total + 1) * sizeof(double));
  size_t at = 0;
  for (int i = 0; i < threads; i++) {
    memcpy(all + at, workers[i].latencies, workers[i].count * sizeof(double));
    at += workers[i].count;
  }
  qsort(all, total, sizeof(double), by_value);
  printf("{\"requests\":%zu,\"seconds\":%.4f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", total, took, all[total / 2],
         all[(size_t)((double)total * 0.99)]);
  return 0;
}
