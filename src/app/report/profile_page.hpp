// SPDX-License-Identifier: Apache-2.0
#pragma once
// The page of `moebius profile`: for each stage the measured times against the fitted ones, and the residuals.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebius::app {

struct FittedCurve {
  std::string name;
  double r_squared = 0;
  std::vector<std::pair<double, double>> points;  ///< fitted, measured seconds, both > 0
};

/// Self-contained HTML, well-formed as XML.
std::string profile_page(std::string_view model, std::string_view compute, const std::vector<FittedCurve>& curves);

}  // namespace moebius::app
