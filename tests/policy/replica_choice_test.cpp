// SPDX-License-Identifier: Apache-2.0
#include "policy/replica_choice.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "policy/placement_planners.hpp"

namespace moebius::policy {
namespace {

using Hosts = std::vector<std::vector<PhysicalExpert>>;  // of each expert

std::vector<ActiveExpert> active_of(const Hosts& hosts) {
  std::vector<ActiveExpert> active;
  for (std::size_t e = 0; e < hosts.size(); ++e) active.push_back({static_cast<std::int32_t>(e), hosts[e]});
  return active;
}

Hosts random_hosts(std::mt19937_64& random, int num_experts, int num_ranks) {
  Hosts hosts(static_cast<std::size_t>(num_experts));
  for (auto& of : hosts) {
    while (of.empty()) {
      for (int r = 0; r < num_ranks; ++r) {
        if (random() % 3 == 0) of.push_back({RankId(r), PlaceId(static_cast<int>(random() % 4))});
      }
    }
  }
  return hosts;
}

int largest(std::span<const PhysicalExpert> chosen, int num_ranks) {
  std::vector<int> counts(static_cast<std::size_t>(num_ranks));
  for (const PhysicalExpert& host : chosen) ++counts[host.rank.idx()];
  return *std::ranges::max_element(counts);
}

void expect_feasible(const Hosts& hosts, std::span<const PhysicalExpert> chosen) {
  ASSERT_EQ(chosen.size(), hosts.size());
  for (std::size_t e = 0; e < hosts.size(); ++e) EXPECT_NE(std::ranges::find(hosts[e], chosen[e]), hosts[e].end()) << "expert " << e;
}

/// The least largest count over all choices.
int best_of_all(const Hosts& hosts, std::vector<int>& counts, std::size_t next) {
  if (next == hosts.size()) return *std::ranges::max_element(counts);
  int best = 1 << 20;
  for (const PhysicalExpert& host : hosts[next]) {
    ++counts[host.rank.idx()];
    best = std::min(best, best_of_all(hosts, counts, next + 1));
    --counts[host.rank.idx()];
  }
  return best;
}

TEST(ReplicaChoice, exact_is_the_best_of_all_choices_and_greedy_keeps_its_bound) {
  std::mt19937_64 random(41);
  for (int i = 0; i < 500; ++i) {
    const int num_ranks = 1 + static_cast<int>(random() % 4), num_experts = 1 + static_cast<int>(random() % 8);
    const Hosts hosts = random_hosts(random, num_experts, num_ranks);
    const auto active = active_of(hosts);
    ReplicaChoice choice(num_ranks);
    std::vector<int> counts(static_cast<std::size_t>(num_ranks));
    const int best = best_of_all(hosts, counts, 0), first_rank = static_cast<int>(random() % 7);
    const auto exact = choice.exact(active, first_rank);
    expect_feasible(hosts, exact);
    EXPECT_EQ(largest(exact, num_ranks), best) << i;
    const int bound = (1 + static_cast<int>(std::ceil(std::log2(num_ranks)))) * best;
    const auto metro = choice.metro(active, first_rank);
    expect_feasible(hosts, metro);
    EXPECT_LE(largest(metro, num_ranks), bound);
    EXPECT_GE(largest(metro, num_ranks), best);
    const auto fewest = choice.fewest_first(active, first_rank);
    expect_feasible(hosts, fewest);
    EXPECT_LE(largest(fewest, num_ranks), bound);
  }
}

/// Whether a plain bipartite matching finds every expert one of `most` seats on one of its ranks.
bool seats_suffice(const Hosts& hosts, int num_ranks, int most) {
  std::vector<int> seat_of(static_cast<std::size_t>(num_ranks * most), -1);
  const std::function<bool(std::size_t, std::vector<char>&)> sit = [&](std::size_t expert, std::vector<char>& seen) {
    for (const PhysicalExpert& host : hosts[expert]) {
      for (int seat = host.rank.value * most; seat < (host.rank.value + 1) * most; ++seat) {
        const auto s = static_cast<std::size_t>(seat);
        if (seen[s] != 0) continue;
        seen[s] = 1;
        if (seat_of[s] >= 0 && !sit(static_cast<std::size_t>(seat_of[s]), seen)) continue;
        seat_of[s] = static_cast<int>(expert);
        return true;
      }
    }
    return false;
  };
  for (std::size_t expert = 0; expert < hosts.size(); ++expert) {
    std::vector<char> seen(seat_of.size());
    if (!sit(expert, seen)) return false;
  }
  return true;
}

TEST(ReplicaChoice, exact_has_as_few_as_a_plain_matching_also_where_greedy_is_far_off) {
  std::mt19937_64 random(53);
  int gaps = 0;
  for (int i = 0; i < 200; ++i) {
    // Few ranks are the only choice of many experts, and others may go there as well.
    const int num_ranks = 12, num_experts = 60;
    Hosts hosts(static_cast<std::size_t>(num_experts));
    for (auto& of : hosts) {
      const int first = static_cast<int>(random() % 12), second = static_cast<int>(random() % (1 + random() % 12));
      of = {{RankId(std::min(first, second)), PlaceId(0)}};
      if (first != second) of.push_back({RankId(std::max(first, second)), PlaceId(0)});
    }
    ReplicaChoice choice(num_ranks);
    const int most = largest(choice.exact(active_of(hosts), i), num_ranks);
    EXPECT_TRUE(seats_suffice(hosts, num_ranks, most));
    EXPECT_FALSE(seats_suffice(hosts, num_ranks, most - 1)) << i;
    gaps += largest(choice.metro(active_of(hosts), i), num_ranks) > most + 1 ? 1 : 0;
  }
  EXPECT_GT(gaps, 20);
}

/// metro by its definition.
std::vector<PhysicalExpert> metro_by_definition(const Hosts& hosts, int num_ranks, int first_rank) {
  std::vector<int> counts(static_cast<std::size_t>(num_ranks));
  std::vector<PhysicalExpert> chosen;
  for (const auto& of : hosts) {
    std::vector<PhysicalExpert> order = of;
    std::ranges::stable_sort(order, {}, [&](const PhysicalExpert& host) {
      return std::pair(counts[host.rank.idx()], (host.rank.value - first_rank % num_ranks + num_ranks) % num_ranks);
    });
    chosen.push_back(order.front());
    ++counts[order.front().rank.idx()];
  }
  return chosen;
}

TEST(ReplicaChoice, metro_is_that_of_the_definition_and_equal_arguments_choose_alike) {
  std::mt19937_64 random(43);
  for (int i = 0; i < 200; ++i) {
    const int num_ranks = 2 + static_cast<int>(random() % 15);
    const Hosts hosts = random_hosts(random, 1 + static_cast<int>(random() % 60), num_ranks);
    const auto active = active_of(hosts);
    const int first_rank = static_cast<int>(random() % 100);
    ReplicaChoice used(num_ranks), fresh(num_ranks);
    (void)used.exact(active_of(random_hosts(random, 9, num_ranks)), 3);  // what was asked before must not be seen
    const auto metro = used.metro(active, first_rank);
    EXPECT_TRUE(std::ranges::equal(metro, metro_by_definition(hosts, num_ranks, first_rank))) << i;
    EXPECT_TRUE(std::ranges::equal(used.fewest_first(active, first_rank), fresh.fewest_first(active, first_rank)));
    EXPECT_TRUE(std::ranges::equal(used.exact(active, first_rank), fresh.exact(active, first_rank)));
  }
}

/// The worst case of the greedy: in round i, experts that may go to either rank of a pair of those that were chosen
/// before; each time one of the two grows.
Hosts tournament(int log_ranks, int num_ranks) {
  Hosts hosts;
  std::vector<int> alive(static_cast<std::size_t>(num_ranks));
  std::iota(alive.begin(), alive.end(), 0);
  for (int round = 0; round < log_ranks; ++round) {
    std::vector<int> winners;
    for (std::size_t i = 0; i + 1 < alive.size(); i += 2) {
      hosts.push_back({{RankId(alive[i]), PlaceId(0)}, {RankId(alive[i + 1]), PlaceId(0)}});
      winners.push_back(alive[i]);  // the lowest rank wins the tie
    }
    alive = winners;
  }
  return hosts;
}

TEST(ReplicaChoice, the_tournament_costs_metro_a_logarithm) {
  for (int log_ranks = 1; log_ranks <= 6; ++log_ranks) {
    const int num_ranks = 1 << log_ranks;
    const Hosts hosts = tournament(log_ranks, num_ranks);
    ReplicaChoice choice(num_ranks);
    EXPECT_EQ(largest(choice.metro(active_of(hosts), 0), num_ranks), log_ranks);
    EXPECT_EQ(largest(choice.exact(active_of(hosts), 0), num_ranks), 1);
  }
}

TEST(ReplicaChoice, the_search_goes_on_above_a_maximum_that_is_too_small) {
  Hosts hosts = tournament(6, 64);
  for (int i = 0; i < 5; ++i) hosts.push_back({{RankId(63), PlaceId(1 + i)}});
  ReplicaChoice choice(64);
  EXPECT_EQ(largest(choice.fewest_first(active_of(hosts), 0), 64), 6);
  EXPECT_EQ(largest(choice.exact(active_of(hosts), 0), 64), 5);
}

TEST(ReplicaChoice, without_replicas_all_agree_and_with_all_of_them_ranks_are_even) {
  std::mt19937_64 random(47);
  for (const int num_ranks : {1, 3, 8}) {
    for (const int num_experts : {1, 7, 64}) {
      Hosts single, full;
      for (int e = 0; e < num_experts; ++e) {
        single.push_back({{RankId(static_cast<int>(random() % static_cast<unsigned>(num_ranks))), PlaceId(0)}});
        auto& all = full.emplace_back();
        for (int r = 0; r < num_ranks; ++r) all.push_back({RankId(r), PlaceId(e)});
      }
      ReplicaChoice choice(num_ranks);
      const auto metro = choice.metro(active_of(single), 0);
      const std::vector<PhysicalExpert> only(metro.begin(), metro.end());
      EXPECT_TRUE(std::ranges::equal(choice.fewest_first(active_of(single), 1), only));
      EXPECT_TRUE(std::ranges::equal(choice.exact(active_of(single), 2), only));
      const int even = (num_experts + num_ranks - 1) / num_ranks;
      EXPECT_EQ(largest(choice.metro(active_of(full), 0), num_ranks), even);
      EXPECT_EQ(largest(choice.fewest_first(active_of(full), 0), num_ranks), even);
      EXPECT_EQ(largest(choice.exact(active_of(full), 0), num_ranks), even);
    }
  }
}

TEST(ReplicaChoice, nothing_active_is_nothing_chosen) {
  ReplicaChoice choice(2);
  EXPECT_TRUE(choice.metro({}, 0).empty());
  EXPECT_TRUE(choice.exact({}, 0).empty());
}

}  // namespace
}  // namespace moebius::policy
