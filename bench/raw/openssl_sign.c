/*
 * P-256 signing through an OpenSSL provider, for instance tpm2-openssl: EVP_DigestSign over one key that it made.
 *
 *   openssl_sign PROVIDER SECONDS
 *
 * tpm2-openssl finds the TPM by TPM2OPENSSL_TCTI. Prints one line of JSON: requests, seconds, p50_us, p99_us,
 * cpu_us (own, per request).
 */
#define _GNU_SOURCE
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <stdio.h>
#include <stdlib.h>

#include "timing.h"

#define CHECK(condition)                       \
  do {                                         \
    if (!(condition)) {                        \
      fprintf(stderr, "%s failed\n", #condition); \
      ERR_print_errors_fp(stderr);             \
      exit(1);                                 \
    }                                          \
  } while (0)

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  char query[64];
  snprintf(query, sizeof query, "?provider=%s", argv[1]);
  double seconds = atof(argv[2]);
  CHECK(OSSL_PROVIDER_load(NULL, "default") != NULL);
  CHECK(OSSL_PROVIDER_load(NULL, argv[1]) != NULL);
  EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, query, "EC", "P-256");
  CHECK(key != NULL);
  unsigned char message[200] = {7}, signature[256];
  size_t count = 0, room = 1 << 20;
  double *latencies = malloc(room * sizeof(double));
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  CHECK(latencies != NULL && context != NULL);
  double cpu_before = cpu_us(RUSAGE_SELF), started = now_us(), end = started + seconds * 1e6;
  while (now_us() < end && count < room) {
    double before = now_us();
    size_t length = sizeof signature;
    CHECK(EVP_DigestSignInit_ex(context, NULL, "SHA256", NULL, query, key, NULL) == 1);
    CHECK(EVP_DigestSign(context, signature, &length, message, sizeof message) == 1);
    EVP_MD_CTX_reset(context);
    latencies[count++] = now_us() - before;
  }
  double took = (now_us() - started) / 1e6, cpu = cpu_us(RUSAGE_SELF) - cpu_before;
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(key);
  qsort(latencies, count, sizeof(double), by_value);
  printf("{\"requests\":%zu,\"seconds\":%.4f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"cpu_us\":%.2f}\n", count, took,
         latencies[count / 2], latencies[(size_t)((double)count * 0.99)], cpu / (double)count);
  return 0;
}
