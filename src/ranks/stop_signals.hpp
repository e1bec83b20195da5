// SPDX-License-Identifier: Apache-2.0
#pragma once
// SIGUSR1 and SIGTERM ask a run to stop: Slurm sends the first where a script says --signal, and the second at
// the end of the walltime, some time before it kills. One process has one set of signal handlers, so that this is
// the one thing of a run that is not an object.

namespace moebius::ranks {

/// From here on signals are counted instead of ending the process; the count starts at 0.
void watch_stop_signals();
/// How many came since, at most 2: the first asks to stop, the second to stop at once.
int num_stop_signals();

}  // namespace moebius::ranks
