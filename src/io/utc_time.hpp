// SPDX-License-Identifier: Apache-2.0
#pragma once
// Calendar time for records that people read. Durations come from base/clock.hpp, never from here.

#include <string>

namespace moebius::io {

/// "2025-11-23T22:57:01Z"
std::string utc_now();

}  // namespace moebius::io
