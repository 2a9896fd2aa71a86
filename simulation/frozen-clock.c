/*
 * Preloaded into a redis-server: its wall time is the number of microseconds that stands in the file $FROZEN_CLOCK, and
 * stands still until somebody writes another one. Monotonic time goes on, so that the server's own cron does. Needs no
 * headers, and allocates nothing: the allocator itself asks for the time.
 */
struct timespec { long seconds, nanoseconds; };
struct timeval { long seconds, microseconds; };

extern char *getenv(const char *name);
extern int open(const char *path, int flags, ...);
extern void *mmap(void *at, unsigned long bytes, int protection, int flags, int file, long offset);
extern long syscall(long number, ...);

#if defined(__aarch64__)
enum { SYS_CLOCK_GETTIME = 113 };
#else
enum { SYS_CLOCK_GETTIME = 228 };
#endif
enum { CLOCK_REALTIME = 0, CLOCK_REALTIME_COARSE = 5, READ_ONLY = 0, PROT_READ = 1, MAP_SHARED = 1 };

static volatile long *shared;

static int now(long *micros) {
  if (!shared) {
    const char *path = getenv("FROZEN_CLOCK");
    int file = path ? open(path, READ_ONLY) : -1;
    if (file < 0) return 0;
    void *at = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (at == (void *)-1) return 0;
    shared = at;
  }
  *micros = *shared;
  return 1;
}

int clock_gettime(int id, struct timespec *time) {
  long micros;
  if ((id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE) || !now(&micros))
    return (int)syscall(SYS_CLOCK_GETTIME, id, time);
  time->seconds = micros / 1000000;
  time->nanoseconds = micros % 1000000 * 1000;
  return 0;
}

int gettimeofday(struct timeval *time, void *zone) {
  struct timespec read;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &read) != 0) return -1;
  time->seconds = read.seconds;
  time->microseconds = read.nanoseconds / 1000;
  return 0;
}

long time(long *seconds) {
  struct timespec read;
  if (clock_gettime(CLOCK_REALTIME, &read) != 0) return -1;
  if (seconds) *seconds = read.seconds;
  return read.seconds;
}
