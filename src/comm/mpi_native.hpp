// SPDX-License-Identifier: Apache-2.0
#pragma once
// The MPI side of comm's classes. Only .cpp files of comm include this: it is what keeps <mpi.h> out
// of the headers that other folders see.

#include <mpi.h>

#include "comm/communicator.hpp"

namespace moebius::comm {

/// Throws a Failure that names the call's place and MPI's own text. For return codes of MPI calls on
/// communicators and windows of ours, whose error handler is MPI_ERRORS_RETURN.
void mpi_check(int return_code, const char* file = __builtin_FILE(), int line = __builtin_LINE());

struct Communicator::Native {
  MPI_Comm comm = MPI_COMM_NULL;
};

/// Wraps a communicator that the caller made and sets its error handler.
Communicator wrap_communicator(MPI_Comm comm);

}  // namespace moebius::comm
