// SPDX-License-Identifier: Apache-2.0
#pragma once
// The table /predicted of results.h5: what the plan of a run said of it, beside what it then took. For the sources of `io` only; others
// read it through ResultsReader.

#include "io/hdf5_handle.hpp"
#include "io/results_master.hpp"

namespace moebius::io {

void write_predicted(hid_t file, const PredictedTable& table);
/// Zeros where the results are older than the table.
PredictedTable read_predicted(hid_t file);

}  // namespace moebius::io
