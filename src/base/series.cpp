// SPDX-License-Identifier: Apache-2.0
#include "base/series.hpp"

#include "base/check.hpp"

namespace moebius {

Series::Series(double period_s, std::size_t max_points) : period_s_(period_s), max_points_(max_points) {
  MOEBIUS_EXPECT(period_s > 0 && max_points >= 2);
}

void Series::add(const SeriesPoint& point) {
  if (points_.size() >= max_points_) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < points_.size(); i += 2) points_[kept++] = points_[i];
    points_.resize(kept);
    period_s_ *= 2;
  }
  points_.push_back(point);
  next_s_ = point.time_s + period_s_;
}

}  // namespace moebius
