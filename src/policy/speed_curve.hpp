// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long a rank's expert stage takes for a number of rows. Measured by `moebius profile`, on all ranks at once.

#include <span>
#include <utility>
#include <vector>

namespace moebius::policy {

class SpeedCurve {
 public:
  struct Point {
    double rows = 0, seconds = 0;
  };
  /// Time in proportion to rows, one second a row: for planners that know of no speeds.
  SpeedCurve() : SpeedCurve({{1.0, 1.0}}) {}
  /// At least one point, rows > 0 ascending, seconds > 0. Made monotone: no point is faster than one of fewer rows.
  explicit SpeedCurve(std::vector<Point> points);

  /// 0 for no rows; between points a straight line, the first one from (0, 0); beyond the last the line of the last
  /// two goes on. Never falls.
  [[nodiscard]] double seconds(double rows) const;
  [[nodiscard]] SpeedCurve slowed(double factor) const;
  [[nodiscard]] std::span<const Point> points() const { return points_; }
  /// Rows up to which a call takes at most twice as long as with one row: there reading the weights is what costs.
  [[nodiscard]] double knee_rows() const;

 private:
  std::vector<Point> points_;
};

/// The mean of several curves at all their points.
SpeedCurve mean_curve(std::span<const SpeedCurve> curves);

}  // namespace moebius::policy
