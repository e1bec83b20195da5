// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which requests of the input a shard has: a contiguous run of them, so that neighbours that begin alike stay
// together (prefix reuse) and the merged results are few long runs. Cut by bytes and not by number: an input of
// several tasks has long requests in one place. Every request is in exactly one shard; a shard may be empty.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/shard.hpp"

namespace moebius::policy {

struct RequestRange {
  std::size_t first = 0, last = 0;  ///< [first, last)
  bool operator==(const RequestRange&) const = default;
};

/// `weights` are the bytes of all requests in input order, none negative. A request belongs to the shard in whose
/// share of all bytes it begins. A pure function of both: results depend on it.
RequestRange shard_range(std::span<const std::int64_t> weights, const Shard& shard);

}  // namespace moebius::policy
