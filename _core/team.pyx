"""The threads of the kernels (team.h), one state for all of them: kernels call it through its address, by team.pxi."""

cdef extern from "team.h":
    int team(int worthwhile) nogil

ADDRESS = <size_t>&team
