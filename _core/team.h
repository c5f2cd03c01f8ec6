/* The threads of a parallel region: how many, and none on the processor of the thread that calls.

Linux may leave an OpenMP worker on the processor of the thread that woke it, while others idle: most of all in
virtual machines, where a processor that sleeps does not look idle. The two then spin for one another in turns of
some milliseconds. So the thread that calls has a home, where it was first, and workers are kept off it; that thread,
and all that it starts, stay free to move between calls. Where OMP_PROC_BIND is set, it has its way.
*/
#ifndef MINISPARSE_TEAM_H
#define MINISPARSE_TEAM_H

#ifdef _OPENMP
#include <omp.h>
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>

static void stay_on(int processor) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void keep_workers_off(int processor, const cpu_set_t *allowed) {
    #pragma omp parallel
    if (omp_get_thread_num() > 0) {
        cpu_set_t others = *allowed;
        CPU_CLR(processor, &others);
        sched_setaffinity(0, sizeof others, &others);
    }
}

/* Who waits for a worker is woken on that worker's processor, so that the caller comes home first. */
static void spread_workers(int threads) {
    static __thread int home = -1, spread = 0;
    cpu_set_t allowed;
    int processor = sched_getcpu();
    if ((processor == home && threads == spread) || omp_get_proc_bind() != omp_proc_bind_false || omp_in_parallel())
        return;
    if (sched_getaffinity(0, sizeof allowed, &allowed) || CPU_COUNT(&allowed) < 2) return;
    if (threads == spread && CPU_ISSET(home, &allowed)) {
        stay_on(home);
    } else {
        stay_on(processor);
        keep_workers_off(processor, &allowed);
        home = processor;
        spread = threads;
    }
    sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
static void spread_workers(int threads) {}
#endif

/* Threads for a parallel region: all of them, or one where that is quicker. */
static int team(int worthwhile) {
    int threads = worthwhile ? omp_get_max_threads() : 1;
    if (threads > 1) spread_workers(threads);
    return threads;
}
#else
static int team(int worthwhile) { return 1; }
#endif
#endif
