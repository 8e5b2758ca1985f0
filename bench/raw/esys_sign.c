/*
 * The raw rate of a TPM: Esys_Sign with a password session over one loaded P-256 key, nothing else.
 *
 *   esys_sign TCTI SECONDS [context]
 *
 * With `context` the key is brought in by TPM2_ContextLoad before each signature and flushed after it: what one of
 * many keys costs beyond one that stays loaded.
 *
 * Prints one line of JSON: requests, seconds, p50_us, p99_us, cpu_us (own, per request).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#include "timing.h"

#define CHECK(call)                                                \
  do {                                                             \
    TSS2_RC rc_ = (call);                                          \
    if (rc_ != TSS2_RC_SUCCESS) {                                  \
      fprintf(stderr, "%s: 0x%x\n", #call, (unsigned)rc_);         \
      exit(1);                                                     \
    }                                                              \
  } while (0)

int main(int argc, char **argv) {
  if (argc != 3 && argc != 4) return 2;
  int by_context = argc == 4 && strcmp(argv[3], "context") == 0;
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
  TPMS_CONTEXT *context = NULL;
  if (by_context) {
    CHECK(Esys_ContextSave(esys, key, &context));
    CHECK(Esys_FlushContext(esys, key));
  }
  TPM2B_DIGEST digest = {.size = 32, .buffer = {7}};
  TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL};
  TPMT_TK_HASHCHECK ticket = {.tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL};
  size_t count = 0, room = 1 << 20;
  double *latencies = malloc(room * sizeof(double));
  double cpu_before = cpu_us(RUSAGE_SELF), started = now_us(), end = started + seconds * 1e6;
  while (now_us() < end && count < room) {
    double before = now_us();
    TPMT_SIGNATURE *signature = NULL;
    if (by_context) {
      CHECK(Esys_ContextLoad(esys, context, &key));
      CHECK(Esys_TR_SetAuth(esys, key, &auth));
    }
    CHECK(Esys_Sign(esys, key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &digest, &scheme, &ticket, &signature));
    Esys_Free(signature);
    if (by_context) CHECK(Esys_FlushContext(esys, key));
    latencies[count++] = now_us() - before;
  }
  double took = (now_us() - started) / 1e6, cpu = cpu_us(RUSAGE_SELF) - cpu_before;
  if (by_context) {
    Esys_Free(context);
  } else {
    CHECK(Esys_FlushContext(esys, key));
  }
  Esys_Finalize(&esys);
  Tss2_TctiLdr_Finalize(&tcti);
  qsort(latencies, count, sizeof(double), by_value);
  printf("{\"requests\":%zu,\"seconds\":%.4f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"cpu_us\":%.2f}\n", count, took,
         latencies[count / 2], latencies[(size_t)((double)count * 0.99)], cpu / (double)count);
  return 0;
}
