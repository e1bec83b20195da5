// SPDX-License-Identifier: Apache-2.0
#pragma once
// The report as one HTML page that needs nothing beside itself: no network, no script. It is well-formed XML too.

#include <string>

#include "app/report/report_data.hpp"

namespace moebius::app {

std::string report_page(const ReportData& data);

}  // namespace moebius::app
