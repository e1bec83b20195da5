// SPDX-License-Identifier: Apache-2.0
#pragma once
// The table /emulation of results.h5: what slow motion lets a reader check. For the sources of `io` only; others read it
// through ResultsReader.

#include "io/hdf5_handle.hpp"
#include "io/results_master.hpp"

namespace moebius::io {

void write_emulation(hid_t file, const EmulationTable& table);
EmulationTable read_emulation(hid_t file);

}  // namespace moebius::io
