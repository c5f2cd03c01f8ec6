/* The threads of a parallel region: how many, and none on the processor of the thread that calls.

Linux may leave an OpenMP worker on the processor of the thread that woke it, while others idle: most of all in
virtual machines, where a processor that sleeps does not look idle. The two then spin for one another in turns of
some milliseconds. So workers are kept off the processor of the thread that calls; that thread itself, and all
that it starts, stay free. Where OMP_PROC_BIND is set, it has its way.
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

static void keep_workers_off(int processor) {
    cpu_set_t allowed, here;
    if (sched_getaffinity(0, sizeof allowed, &allowed) || CPU_COUNT(&allowed) < 2) return;
    CPU_ZERO(&here);
    CPU_SET(processor, &here);
    /* the caller stays while the workers leave: or whoever wakes it would draw it along */
    sched_setaffinity(0, sizeof here, &here);
    #pragma omp parallel
    if (omp_get_thread_num() > 0) {
        cpu_set_t others = allowed;
        CPU_CLR(processor, &others);
        sched_setaffinity(0, sizeof others, &others);
    }
    sched_setaffinity(0, sizeof allowed, &allowed);
}

static void spread_workers(int threads) {
    static __thread int last_processor = -1, last_threads = 0;
    int processor = sched_getcpu();
    if (processor == last_processor && threads == last_threads) return;
    if (omp_get_proc_bind() != omp_proc_bind_false || omp_in_parallel()) return;
    keep_workers_off(processor);
    last_processor = processor;
    last_threads = threads;
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
