# team(worthwhile): threads for a parallel region, as team.h says.

cdef extern from *:
    """typedef int (*team_function)(int);"""
    ctypedef int (*team_function)(int) noexcept nogil

from minisparse._core.team import ADDRESS

cdef team_function team = <team_function><size_t>ADDRESS
