/* A PKCS#11 token and one key of it, for the programs that sign with it. Each ends the process where it fails. */
#ifndef BENCH_TOKEN_H
#define BENCH_TOKEN_H

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(call)                                                  \
  do {                                                               \
    CK_RV rv_ = (call);                                              \
    if (rv_ != CKR_OK) {                                             \
      fprintf(stderr, "%s: 0x%lx\n", #call, (unsigned long)rv_);     \
      exit(1);                                                       \
    }                                                                \
  } while (0)

static CK_FUNCTION_LIST *p11;

static void load_module(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  CK_C_GetFunctionList get = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
  CHECK(get(&p11));
  CK_C_INITIALIZE_ARGS locking = {.flags = CKF_OS_LOCKING_OK};
  CHECK(p11->C_Initialize(&locking));
}

static CK_SLOT_ID slot_of(const char *token_label) {
  CK_SLOT_ID slots[64];
  CK_ULONG count = 64;
  CHECK(p11->C_GetSlotList(CK_TRUE, slots, &count));
  char padded[33];
  snprintf(padded, sizeof padded, "%-32s", token_label);
  for (CK_ULONG i = 0; i < count; i++) {
    CK_TOKEN_INFO info;
    CHECK(p11->C_GetTokenInfo(slots[i], &info));
    if (memcmp(info.label, padded, 32) == 0) return slots[i];
  }
  fprintf(stderr, "no token labelled %s\n", token_label);
  exit(1);
}

/* A session that is logged in; so are all that are opened after it. */
static CK_SESSION_HANDLE log_in(CK_SLOT_ID slot, const char *pin) {
  CK_SESSION_HANDLE session;
  CHECK(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
  CHECK(p11->C_Login(session, CKU_USER, (unsigned char *)pin, strlen(pin)));
  return session;
}

static CK_OBJECT_HANDLE find_key(CK_SESSION_HANDLE session, CK_OBJECT_CLASS class, const char *label) {
  CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, (void *)label, strlen(label)}};
  CHECK(p11->C_FindObjectsInit(session, template, 2));
  CK_OBJECT_HANDLE key;
  CK_ULONG found = 0;
  CHECK(p11->C_FindObjects(session, &key, 1, &found));
  CHECK(p11->C_FindObjectsFinal(session));
  if (found != 1) {
    fprintf(stderr, "no key labelled %s\n", label);
    exit(1);
  }
  return key;
}

#endif
