/*
 * The raw rate of a PKCS#11 token: C_SignInit and C_Sign over one key, nothing else.
 *
 *   pkcs11_sign MODULE TOKEN_LABEL PIN KEY_LABEL MECHANISM(ecdsa|eddsa|rsa) THREADS SECONDS
 *
 * Prints one line of JSON: requests, seconds, p50_us, p99_us.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef CKM_EDDSA
#define CKM_EDDSA 0x1057UL
#endif

#define CHECK(call)                                                  \
  do {                                                               \
    CK_RV rv_ = (call);                                              \
    if (rv_ != CKR_OK) {                                             \
      fprintf(stderr, "%s: 0x%lx\n", #call, (unsigned long)rv_);     \
      exit(1);                                                       \
    }                                                                \
  } while (0)

static CK_FUNCTION_LIST *p11;
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

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void *run(void *argument) {
  struct worker *w = argument;
  CK_SESSION_HANDLE session;
  CHECK(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
  CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
  CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                             {CKA_LABEL, (void *)key_label, strlen(key_label)}};
  CHECK(p11->C_FindObjectsInit(session, template, 2));
  CK_OBJECT_HANDLE key;
  CK_ULONG found = 0;
  CHECK(p11->C_FindObjects(session, &key, 1, &found));
  CHECK(p11->C_FindObjectsFinal(session));
  if (found != 1) {
    fprintf(stderr, "no key labelled %s\n", key_label);
    exit(1);
  }
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

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc != 8) return 2;
  void *library = dlopen(argv[1], RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  CK_C_GetFunctionList get = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
  CHECK(get(&p11));
  CK_C_INITIALIZE_ARGS locking = {.flags = CKF_OS_LOCKING_OK};
  CHECK(p11->C_Initialize(&locking));
  CK_SLOT_ID slots[64];
  CK_ULONG count = 64;
  CHECK(p11->C_GetSlotList(CK_TRUE, slots, &count));
  int have = 0;
  for (CK_ULONG i = 0; i < count; i++) {
    CK_TOKEN_INFO info;
    CHECK(p11->C_GetTokenInfo(slots[i], &info));
    char padded[33];
    snprintf(padded, sizeof padded, "%-32s", argv[2]);
    if (memcmp(info.label, padded, 32) == 0) {
      slot = slots[i];
      have = 1;
    }
  }
  if (!have) {
    fprintf(stderr, "no token labelled %s\n", argv[2]);
    return 1;
  }
  CK_SESSION_HANDLE session;
  CHECK(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
  CHECK(p11->C_Login(session, CKU_USER, (unsigned char *)argv[3], strlen(argv[3])));
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
