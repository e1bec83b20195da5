// SPDX-License-Identifier: Apache-2.0
// Makes ranks of MPICH give their core away while they wait inside of MPI, as Open MPI does when told so. MPICH 4.0 with its
// ch4 device never does, whatever MPIR_CVAR_POLLS_BEFORE_YIELD says, and seven ranks on two cores then spend their time
// slices waiting for each other. Every turn of its waiting loops calls ucp_worker_progress of UCX; the one here, found first
// since the program exports it, calls that of UCX and yields where nothing had happened.
// For tests only: with a core for each rank there is nobody to yield to.
#include <dlfcn.h>
#include <sched.h>

extern "C" unsigned ucp_worker_progress(void* worker) {
  using Progress = unsigned (*)(void*);
  static const auto progress_of_ucx = reinterpret_cast<Progress>(dlsym(RTLD_NEXT, "ucp_worker_progress"));
  if (progress_of_ucx == nullptr) return 0;  // this MPICH does without UCX
  const unsigned num_events = progress_of_ucx(worker);
  if (num_events == 0) sched_yield();
  return num_events;
}
