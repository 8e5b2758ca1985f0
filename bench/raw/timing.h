/* What time it is and what CPU was used, in microseconds, for the programs that measure. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <sys/resource.h>
#include <time.h>

/* Monotonic. */
static inline double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Of RUSAGE_SELF, or of RUSAGE_CHILDREN that were waited for. */
static inline double cpu_us(int who) {
  struct rusage u;
  getrusage(who, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Orders doubles, for qsort. */
static inline int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

#endif
