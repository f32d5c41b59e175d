/* A clock that is wrong by SKEW_SECONDS for the programs that load this library (LD_PRELOAD).

   It shifts the time of day, and the times of day until which a program waits. Times since the
   machine's start stay as they are. libfaketime does more, and breaks clock_nanosleep. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EARLIEST_DAY 1000000000 /* less is no time of day, but one since the machine's start */
#define REAL(type, name) ((type)real(#name))

typedef int (*get_fn)(clockid_t, struct timespec *);
typedef int (*cond_fn)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
typedef int (*cond_clock_fn)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
typedef int (*lock_fn)(pthread_mutex_t *, const struct timespec *);
typedef int (*sem_fn)(sem_t *, const struct timespec *);
typedef int (*sem_clock_fn)(sem_t *, clockid_t, const struct timespec *);
typedef int (*sleep_fn)(clockid_t, int, const struct timespec *, struct timespec *);
typedef int (*timer_fn)(int, int, const struct itimerspec *, struct itimerspec *);
typedef long (*syscall_fn)(long, long, long, long, long, long, long);

static long skew(void) {
    static long seconds, known;
    if (!known) {
        const char *text = getenv("SKEW_SECONDS");
        seconds = text ? atol(text) : 0;
        known = 1;
    }
    return seconds;
}

static void *real(const char *name) {
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2"); /* the older condition variable differs */
    return found ? found : dlsym(RTLD_NEXT, name);
}

/* The time by the true clock until which to wait; `room` is where it may be written. */
static const struct timespec *until(const struct timespec *given, struct timespec *room) {
    if (!given || given->tv_sec < EARLIEST_DAY) return given;
    *room = *given;
    room->tv_sec -= skew();
    return room;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static get_fn get;
    if (!get) get = REAL(get_fn, clock_gettime);
    int failed = get(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += skew();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t) {
    struct timespec room;
    return REAL(cond_fn, pthread_cond_timedwait)(c, m, until(t, &room));
}

int pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t k, const struct timespec *t) {
    struct timespec room;
    return REAL(cond_clock_fn, pthread_cond_clockwait)(c, m, k, until(t, &room));
}

int pthread_mutex_timedlock(pthread_mutex_t *m, const struct timespec *t) {
    struct timespec room;
    return REAL(lock_fn, pthread_mutex_timedlock)(m, until(t, &room));
}

int sem_timedwait(sem_t *s, const struct timespec *t) {
    struct timespec room;
    return REAL(sem_fn, sem_timedwait)(s, until(t, &room));
}

int sem_clockwait(sem_t *s, clockid_t k, const struct timespec *t) {
    struct timespec room;
    return REAL(sem_clock_fn, sem_clockwait)(s, k, until(t, &room));
}

int clock_nanosleep(clockid_t k, int flags, const struct timespec *t, struct timespec *left) {
    struct timespec room;
    if (flags & TIMER_ABSTIME) t = until(t, &room);
    return REAL(sleep_fn, clock_nanosleep)(k, flags, t, left);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *set, struct itimerspec *was) {
    struct itimerspec room = *set;
    if (flags & TFD_TIMER_ABSTIME) until(&set->it_value, &room.it_value);
    return REAL(timer_fn, timerfd_settime)(fd, flags, &room, was);
}

/* Ray's libraries wait by the system call itself. */
long syscall(long number, ...) {
    long a[6];
    struct timespec room;
    va_list given;
    va_start(given, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(given, long);
    va_end(given);
    if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME))
        a[3] = (long)until((const struct timespec *)a[3], &room);
    return REAL(syscall_fn, syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
