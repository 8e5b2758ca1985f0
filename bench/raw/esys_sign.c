/*
 * The raw rate of a TPM: Esys_Sign with a password session over one loaded P-256 key, nothing else.
 *
 *   esys_sign TCTI SECONDS
 *
 * Prints one line of JSON: requests, seconds, p50_us, p99_us.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#define CHECK(call)                                                \
  do {                                                             \
    TSS2_RC rc_ = (call);                                          \
    if (rc_ != TSS2_RC_SUCCESS) {                                  \
      fprintf(stderr, "%s: 0x%x\n", #call, (unsigned)rc_);         \
      exit(1);                                                     \
    }                                                              \
  } while (0)

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  double seconds = atof(argv[2]);
  TSS2_TCTI_CONTEXT *tcti = NULL;
  ESYS_CONTEXT *esys = NULL;
  CHECK(Tss2_TctiLdr_Initialize(argv[1], &tcti));
  CHECK(Esys_Initialize(&esys, tcti, NULL));
  TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.userAuth = {.size = 32, .buffer = {1}}};
  TPM2B_PUBLIC template = {
      .publicArea = {
          .type = TPM2_ALG_ECC,
          .nameAlg = TPM2_ALG_SHA256,
          .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                              TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_NODA,
          .parameters.eccDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
                                   .scheme = {.scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256},
                                   .curveID = TPM2_ECC_NIST_P256,
                                   .kdf.scheme = TPM2_ALG_NULL}}};
  ESYS_TR key;
  CHECK(Esys_CreatePrimary(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
                           &template, &(TPM2B_DATA){0}, &(TPML_PCR_SELECTION){0}, &key, NULL, NULL, NULL, NULL));
  TPM2B_AUTH auth = {.size = 32, .buffer = {1}};
  CHECK(Esys_TR_SetAuth(esys, key, &auth));
  TPM2B_DIGEST digest = {.size = 32, .buffer = {7}};
  TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL};
  TPMT_TK_HASHCHECK ticket = {.tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL};
  size_t count = 0, room = 1 << 20;
  double *latencies = malloc(room * sizeof(double));
  double started = now_us(), end = started + seconds * 1e6;
  while (now_us() < end && count < room) {
    double before = now_us();
    TPMT_SIGNATURE *signature = NULL;
    CHECK(Esys_Sign(esys, key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &digest, &scheme, &ticket, &signature));
    Esys_Free(signature);
    latencies[count++] = now_us() - before;
  }
  double took = (now_us() - started) / 1e6;
  CHECK(Esys_FlushContext(esys, key));
  Esys_Finalize(&esys);
  Tss2_TctiLdr_Finalize(&tcti);
  qsort(latencies, count, sizeof(double), by_value);
  printf("{\"requests\":%zu,\"seconds\":%.4f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", count, took, latencies[count / 2],
         latencies[(size_t)((double)count * 0.99)]);
  return 0;
}
