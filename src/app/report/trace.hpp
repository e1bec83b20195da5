// SPDX-License-Identifier: Apache-2.0
#pragma once
// A recorded timeline in the Trace Event Format, which Perfetto and chrome://tracing open: a thread for each rank, and the
// messages with rows that came to it.

#include <ostream>

#include "app/report/report_data.hpp"

namespace moebius::app {

/// Failure(bad_usage) where no timeline was recorded.
void write_trace(std::ostream& out, const ReportData& data);

}  // namespace moebius::app
