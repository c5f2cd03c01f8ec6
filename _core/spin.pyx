"""How long a round takes of a thread that spins: GNU's OpenMP is told how many, not how long.

Between two looks whether it has work the thread pauses, for 30 to 140 ticks as the processor likes. This module calls
no OpenMP, so that loading it does not load that, which reads its environment then.
"""

from time import perf_counter

cdef extern from *:
    """
    /* As GNU's OpenMP waits: a look, and a pause where the processor has an instruction for it. */
    static void spin(long rounds) {
        volatile int word = 0;
        long i;
        for (i = 0; i < rounds && !word; i++) {
    #if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
            __builtin_ia32_pause();
    #elif defined(__GNUC__)
            __asm__ volatile("" : : : "memory");
    #endif
        }
    }
    """
    void spin(long rounds) nogil

cdef enum:
    ROUNDS = 1000
    TIMES = 5


def seconds():
    """Seconds a round, > 0: of five thousand rounds those that nothing stood in the way of."""
    found = []
    for _ in range(TIMES):
        began = perf_counter()
        spin(ROUNDS)
        found.append((perf_counter() - began) / ROUNDS)
    return max(min(found), 1e-10)
