// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "app/build_facts.hpp"
#include "app/commands.hpp"
#include "app/launcher.hpp"
#include "app/mpi_program.hpp"
#include "base/clock.hpp"
#include "comm/window_checks.hpp"
#include "io/folder_checks.hpp"
#include "io/output_directory.hpp"
#include "io/output_lock.hpp"
#include "io/utc_time.hpp"
#include "ranks/agreement.hpp"

namespace moebius::app {
namespace {

namespace fs = std::filesystem;

/// A run wants at least so much; with less it may work, and a person should know.
constexpr double slow_commit_s = 0.2, large_clock_spread_s = 1.0;
constexpr std::uint64_t little_space_bytes = std::uint64_t{1} << 30;

struct Line {
  std::string check, verdict, text;  ///< verdict: ok, note, FAILED
};

class Table {
 public:
  void add(std::string check, std::string verdict, std::string text) { lines_.push_back({std::move(check), std::move(verdict), std::move(text)}); }
  void judge(std::string check, bool good, std::string text) { add(std::move(check), good ? "ok" : "FAILED", std::move(text)); }
  void advise(std::string check, bool good, std::string text) { add(std::move(check), good ? "ok" : "note", std::move(text)); }
  [[nodiscard]] std::string text() const {
    std::string all;
    for (const auto& [check, verdict, text] : lines_) all += fmt::format("{:<18} {:<7} {}\n", check, verdict, text);
    return all;
  }
  [[nodiscard]] int num_failed() const {
    int count = 0;
    for (const Line& line : lines_) count += line.verdict == "FAILED" ? 1 : 0;
    return count;
  }

 private:
  std::vector<Line> lines_;
};

std::string first_line_of(const char* file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

void add_versions(Table& table, const comm::Session& session) {
  for (const auto& [name, value] : build_facts(session)) table.add(name, "", value);
  table.add("kernel", "", first_line_of("/proc/version"));
}

std::string nodes_of(comm::Session& session) {
  const std::string& name = session.processor_name();
  std::set<std::string> names;
  for (const auto& bytes : session.gather_to_root(std::as_bytes(std::span(name.data(), name.size()))))
    names.emplace(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string text;
  for (const std::string& node : names) text += (text.empty() ? "" : " ") + node;
  return text;
}

void add_launcher(Table& table, comm::Session& session, const Launcher& launcher) {
  const std::string nodes = nodes_of(session);
  table.judge("launcher", session.num_ranks() > 1 || launcher.num_processes == 1,
              fmt::format("{}: {} processes, {} ranks on {} nodes ({})", launcher.name, launcher.num_processes, session.num_ranks(),
                          session.num_nodes(), nodes));
}

std::string in_us(double seconds) { return fmt::format("{:.2f} us", 1e6 * seconds); }

void add_windows(Table& table, comm::Session& session) {
  if (session.num_ranks() < 2) return table.add("windows", "note", "not checked: one rank needs none (run with several)");
  const comm::WindowChecks checks = comm::check_windows(session);
  table.judge("put, flush", checks.rings_ok, checks.rings_ok ? "messages of all ranks arrived whole and in order" : checks.ring_problem);
  table.judge("atomics", checks.atomics_ok, checks.atomics_ok ? "every value of a shared counter was there once" : "values of a shared counter were lost or doubled");
  const auto asleep = [&](const char* check, double seconds, double awake) {
    const bool waits = seconds > awake + checks.sleep_s / 4;
    table.advise(check, !waits,
                 waits ? fmt::format("waits for the target to enter MPI ({:.0f} ms of its {:.0f} ms away): progress is made in software, keep "
                                     "a core for each rank", 1e3 * seconds, 1e3 * checks.sleep_s)
                       : fmt::format("does not wait for a target outside of MPI ({}; it was away for {:.0f} ms)", in_us(seconds), 1e3 * checks.sleep_s));
  };
  asleep("put, target away", checks.put_asleep_s, checks.put_s);
  asleep("atomic, target away", checks.fetch_add_asleep_s, checks.fetch_add_s);
  table.add("latency", "ok", fmt::format("put of 8 bytes and flush {}, fetch-and-add {} (rank 0 to rank {})", in_us(checks.put_s),
                                         in_us(checks.fetch_add_s), session.num_ranks() - 1));
  table.add("bandwidth", "ok", fmt::format("{:.2f} GB/s", 1e-9 * checks.put_bytes_per_s));
}

void add_clocks(Table& table, comm::Session& session) {
  const double spread = comm::clock_spread_s(session);
  double step = 1;
  for (int i = 0; i < 1000; ++i) {
    const double before = now_s();
    double after = before;
    while (after == before) after = now_s();
    step = std::min(step, after - before);
  }
  table.advise("clocks", spread < large_clock_spread_s,
               fmt::format("calendar clocks at most {:.3f} ms apart (nothing is decided by them); steps of {:.0f} ns", 1e3 * spread, 1e9 * step));
}

/// Can a second rank take the lock of a result folder while the first has it, and once it is free?
void add_lock(Table& table, comm::Session& session, const fs::path& folder) {
  if (session.num_ranks() < 2) return table.add("folder lock", "note", "not checked: two ranks are needed");
  const bool first = session.rank() == RankId(0), second = session.rank().value == session.num_ranks() - 1;
  std::optional<io::OutputLock> lock;
  bool was_refused = false, was_free = false;
  const auto try_it = [&] {
    try {
      io::OutputLock::acquire(folder, 0.0).release();
      return true;
    } catch (const Failure&) {
      return false;
    }
  };
  ranks::together(session, [&] {
    if (first) lock.emplace(io::OutputLock::acquire(folder, 0.0));
  });
  if (second) was_refused = !try_it();
  session.barrier();
  lock.reset();
  session.barrier();
  if (second) was_free = try_it();
  const bool refused = session.agree_max(was_refused ? 1 : 0) != 0, free = session.agree_max(was_free ? 1 : 0) != 0;
  table.judge("folder lock", refused && free,
              refused && free ? fmt::format("rank {} is kept out while rank 0 has it, and let in afterwards", session.num_ranks() - 1)
              : refused       ? "a lock that was given back is not seen to be free"
                              : "two ranks had it at once: two jobs could write to one folder");
}

void add_folder(Table& table, comm::Session& session, const std::string& directory) {
  const fs::path folder = fs::path(directory) / "moebius-selftest";
  ranks::together(session, [&] {
    if (session.rank() != RankId(0)) return;
    io::make_output_directory(folder);
    const io::FolderChecks checks = io::check_folder(folder);
    table.advise("folder", checks.commit_s < slow_commit_s,
                 fmt::format("{}: a commit takes {:.2f} ms", fs::absolute(directory).lexically_normal().native(), 1e3 * checks.commit_s));
    table.advise("fcntl locks", checks.has_fcntl_locks, checks.has_fcntl_locks ? "work" : "do not work here: the existence of a file decides");
    table.advise("hard links", checks.has_hard_links, checks.has_hard_links ? "work" : "do not work here: moebius merge copies blocks");
    table.advise("free space", checks.free_bytes >= little_space_bytes, fmt::format("{:.1f} GB", 1e-9 * static_cast<double>(checks.free_bytes)));
  });
  add_lock(table, session, folder);
  ranks::together(session, [&] {
    if (session.rank() == RankId(0)) fs::remove_all(folder);
  });
}

ExitCode selftest(comm::Session& session, const Launcher& launcher, const std::string& directory) {
  const double begin = now_s();
  Table table;
  add_versions(table, session);
  add_launcher(table, session, launcher);
  add_windows(table, session);
  add_clocks(table, session);
  add_folder(table, session, directory);
  int num_failed = 0;
  if (session.rank() == RankId(0)) {
    num_failed = table.num_failed();
    fmt::print("moebius selftest, {}, {:.1f} s\n{}", io::utc_now(), now_s() - begin, table.text());
    if (num_failed > 0) std::fprintf(stderr, "moebius: %d checks failed (marked above) give the table to whoever looks after this machine\n", num_failed);
  }
  return session.agree_max(num_failed) > 0 ? ExitCode::internal_error : ExitCode::done;
}

}  // namespace

void add_selftest_command(CLI::App& app, int& exit_code) {
  auto directory = std::make_shared<std::string>(".");
  CLI::App* command = app.add_subcommand("selftest", "What this machine's MPI and file system do, as a table for a ticket; under 30 s");
  command->add_option("--dir", *directory, "A folder on the file system that results will go to")->capture_default_str();
  command->footer("Checks one-sided operations and rings, whether they need the target inside of MPI, their speed, clocks, locks, free space\n"
                  "and the launcher. Exit code 70 where a check failed: a job would not run right here.\n"
                  "Examples:\n"
                  "  srun -N 2 -n 8 moebius selftest --dir $SCRATCH\n"
                  "  mpirun -n 4 moebius selftest");
  command->callback([directory, &exit_code] {
    const Launcher launcher = find_launcher();  // before MPI starts, which may change the environment
    exit_code = run_mpi_program([&](comm::Session& session) { return selftest(session, launcher, *directory); });
  });
}

}  // namespace moebius::app
