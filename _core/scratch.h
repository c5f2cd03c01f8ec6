/* Memory of a call, which the next one takes up again: pages that are new to the process take long to fill. */
#ifndef MINISPARSE_SCRATCH_H
#define MINISPARSE_SCRATCH_H

#include <stdlib.h>

static size_t *spare = NULL; /* what waits, if anything does; a piece begins with its size */

/* At least so many bytes behind the size, or NULL; what waits is nobody else's from then on. */
static inline char *borrow(size_t nbytes)
{
    size_t *piece = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQUIRE);
    if (piece == NULL || *piece < nbytes) {
        free(piece);
        piece = malloc(sizeof(size_t) + nbytes);
        if (piece != NULL)
            *piece = nbytes;
    }
    return (char *)piece;
}

static inline void give_back(char *piece)
{
    if (piece != NULL)
        free(__atomic_exchange_n(&spare, (size_t *)piece, __ATOMIC_RELEASE));
}

#endif
