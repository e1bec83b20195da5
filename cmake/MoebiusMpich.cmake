# MPICH beside the MPI that FindMPI chose, so that the tests that start ranks run with both. Only src/comm and two files of
# the tests see <mpi.h>: these are compiled for each MPI, all else once. Nothing here where MPICH is absent, or is the
# chosen one: then the tests run with it alone (-DMPI_CXX_COMPILER=mpicxx.mpich).
if(NOT MOEBIUS_TESTS OR MOEBIUS_UNIT_TESTS_ONLY OR MPI_CXX_LIBRARIES MATCHES "mpich")
  return()
endif()
find_path(MOEBIUS_MPICH_INCLUDE mpich/mpi.h)
find_library(MOEBIUS_MPICH_LIBRARY mpich)
find_program(MOEBIUS_MPICH_EXEC NAMES mpiexec.mpich mpiexec.hydra)
if(NOT MOEBIUS_MPICH_INCLUDE OR NOT MOEBIUS_MPICH_LIBRARY OR NOT MOEBIUS_MPICH_EXEC)
  message(STATUS "No tests with MPICH (its packages are not installed)")
  return()
endif()
add_library(MPICH::mpich UNKNOWN IMPORTED)
set_target_properties(MPICH::mpich PROPERTIES IMPORTED_LOCATION ${MOEBIUS_MPICH_LIBRARY}
                      INTERFACE_INCLUDE_DIRECTORIES ${MOEBIUS_MPICH_INCLUDE}/mpich
                      INTERFACE_COMPILE_DEFINITIONS MPICH_SKIP_MPICXX)
