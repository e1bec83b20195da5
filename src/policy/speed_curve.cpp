// SPDX-License-Identifier: Apache-2.0
#include "policy/speed_curve.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.hpp"

namespace moebius::policy {

SpeedCurve::SpeedCurve(std::vector<Point> points) : points_(std::move(points)) {
  MOEBIUS_EXPECT(!points_.empty());
  for (std::size_t i = 0; i < points_.size(); ++i) {
    MOEBIUS_EXPECT(points_[i].rows > (i == 0 ? 0.0 : points_[i - 1].rows) && points_[i].seconds > 0);
    if (i > 0) points_[i].seconds = std::max(points_[i].seconds, points_[i - 1].seconds);
  }
}

double SpeedCurve::seconds(double rows) const {
  if (rows <= 0) return 0;
  const auto after = std::ranges::lower_bound(points_, rows, {}, &Point::rows);
  const auto last = static_cast<std::ptrdiff_t>(points_.size()) - 1;
  const auto end = std::min(after - points_.begin(), last);
  const Point from = end == 0 ? Point{} : points_[static_cast<std::size_t>(end - 1)], to = points_[static_cast<std::size_t>(end)];
  return to.seconds + (to.seconds - from.seconds) * (rows - to.rows) / (to.rows - from.rows);
}

SpeedCurve SpeedCurve::slowed(double factor) const {
  std::vector<Point> points = points_;
  for (Point& point : points) point.seconds *= factor;
  return SpeedCurve(std::move(points));
}

double SpeedCurve::knee_rows() const {
  const double limit = 2 * seconds(1);
  if (seconds(points_.back().rows) <= limit) return points_.back().rows;
  double low = 1, high = points_.back().rows;
  while (high - low > 1e-3) {
    const double middle = (low + high) / 2;
    (seconds(middle) <= limit ? low : high) = middle;
  }
  return low;
}

SpeedCurve mean_curve(std::span<const SpeedCurve> curves) {
  MOEBIUS_EXPECT(!curves.empty());
  std::set<double> all_rows;
  for (const SpeedCurve& curve : curves) {
    for (const SpeedCurve::Point& point : curve.points()) all_rows.insert(point.rows);
  }
  std::vector<SpeedCurve::Point> points;
  for (const double rows : all_rows) {
    double sum = 0;
    for (const SpeedCurve& curve : curves) sum += curve.seconds(rows);
    points.push_back({rows, sum / static_cast<double>(curves.size())});
  }
  return SpeedCurve(std::move(points));
}

}  // namespace moebius::policy
