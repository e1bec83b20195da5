// SPDX-License-Identifier: Apache-2.0
// Runs mutated inputs through the readers. An input is a function of (target, seed, index), so every finding
// can be had again:
//   readers_fuzz                                      a bounded run over all targets, for CI
//   readers_fuzz --seconds 600 --seed 7               as many inputs as fit, over all targets in turn
//   readers_fuzz --target config --seed 7 --index 12  one input, after a finding
// An input fails by an exception other than Failure, by a property that does not hold, by a crash, by more
// than max_input_s of processor time, or by holding more than max_live_bytes at once.
#include <malloc.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <string>

#include "base/hash.hpp"
#include "model/runtime.hpp"
#include "tests/fuzz/fuzz_target.hpp"

/// Of the sanitizers' runtime, absent without it.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace {

/// The largest text of a target is 64 KiB; readers keep a few copies of it and its document tree.
constexpr std::int64_t max_live_bytes = 256 << 20;
/// A thousand times what an input takes, also under sanitizers on a busy machine.
constexpr double max_input_s = 20;

std::atomic<std::int64_t> live_bytes{0};
char current_input[256] = "no input";

/// Async-signal-safe: says which input it was.
void say(const char* what) {
  const auto write_text = [](const char* text) { return ::write(STDERR_FILENO, text, std::strlen(text)); };
  (void)!write_text("\nfuzz: ");
  (void)!write_text(what);
  (void)!write_text(" at ");
  (void)!write_text(current_input);
  (void)!write_text("\n");
}
[[noreturn]] void end_with(const char* what) {
  say(what);
  ::_exit(1);
}
void on_signal(int number) { end_with(number == SIGPROF ? "too much time" : number == SIGABRT ? "abort" : "crash"); }

/// A crash must name its input, also one by a stack that is used up. Sanitizers report crashes themselves.
void watch_for_crashes() {
  std::signal(SIGPROF, on_signal);
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback([] { say("report of a sanitizer"); });
    return;
  }
  static char stack_bytes[1 << 16];
  stack_t stack{.ss_sp = stack_bytes, .ss_flags = 0, .ss_size = sizeof stack_bytes};
  sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(number, &action, nullptr);
}

void* counted_or_null(void* memory) {
  if (memory == nullptr) return nullptr;
  if (live_bytes += static_cast<std::int64_t>(malloc_usable_size(memory)); live_bytes > max_live_bytes) end_with("too much memory");
  return memory;
}
void* counted(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return counted_or_null(memory);
}
void* aligned(std::size_t bytes, std::align_val_t align) {
  const auto unit = static_cast<std::size_t>(align);
  return std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
}
void give_back(void* memory) {
  if (memory == nullptr) return;
  live_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

// All forms: one that were left to a sanitizer's runtime would be freed by another's rules.
void* operator new(std::size_t bytes) { return counted(std::malloc(bytes)); }
void* operator new[](std::size_t bytes) { return counted(std::malloc(bytes)); }
void* operator new(std::size_t bytes, std::align_val_t align) { return counted(aligned(bytes, align)); }
void* operator new[](std::size_t bytes, std::align_val_t align) { return counted(aligned(bytes, align)); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return counted_or_null(std::malloc(bytes)); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return counted_or_null(std::malloc(bytes)); }
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete[](void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { give_back(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { give_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }

namespace moebius::test {
namespace {

struct Options {
  std::optional<std::string> target;
  std::uint64_t seed = 1;
  std::optional<std::int64_t> index;
  double seconds = 0;  // 0: the bounded run
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--target") options.target = value;
    else if (name == "--seed") options.seed = std::stoull(value);
    else if (name == "--index") options.index = std::stoll(value);
    else if (name == "--seconds") options.seconds = std::stod(value);
    else throw std::invalid_argument("unknown option " + name);
  }
  if (argc % 2 == 0) throw std::invalid_argument("options come with a value each");
  return options;
}

struct Counts {
  std::int64_t inputs = 0, accepted = 0;
};

void set_timer(double seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = static_cast<time_t>(seconds);
  setitimer(ITIMER_PROF, &timer, nullptr);  // processor time: a busy machine is no finding
}

void run_input(const FuzzTarget& target, std::uint64_t seed, std::int64_t index, Counts& counts) {
  std::snprintf(current_input, sizeof current_input, "--target %s --seed %llu --index %lld", target.name.c_str(),
                static_cast<unsigned long long>(seed), static_cast<long long>(index));
  std::mt19937_64 random(xxh3_64(target.name, seed + static_cast<std::uint64_t>(index) * 0x9e3779b97f4a7c15U));
  Mutator mutator(random);
  set_timer(max_input_s);
  try {
    if (target.run(mutator) == Verdict::accepted) ++counts.accepted;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "\nfuzz: %s at %s\n", error.what(), current_input);
    std::exit(1);
  }
  set_timer(0);
  ++counts.inputs;
}

int run(const Options& options) {
  const std::filesystem::path scratch =
      std::filesystem::temp_directory_path() / ("moebius_fuzz_" + std::to_string(::getpid()));
  std::filesystem::create_directories(scratch);
  std::vector<FuzzTarget> targets;
  for (auto make : {weight_targets, model_targets, job_targets}) {
    for (FuzzTarget& target : make(scratch)) {
      if (!options.target || *options.target == target.name) targets.push_back(std::move(target));
    }
  }
  if (targets.empty()) throw std::invalid_argument("no target of that name");
  std::vector<Counts> counts(targets.size());
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  for (std::size_t t = 0; t < targets.size(); ++t) {
    if (options.index) {
      run_input(targets[t], options.seed, *options.index, counts[t]);
      continue;
    }
    // A long run gives every target the same time.
    const double end_s = options.seconds * static_cast<double>(t + 1) / static_cast<double>(targets.size());
    while (options.seconds > 0 ? seconds() < end_s : counts[t].inputs < targets[t].inputs_in_ci) {
      run_input(targets[t], options.seed, counts[t].inputs, counts[t]);
    }
  }
  std::int64_t total = 0;
  bool good = true;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    total += counts[t].inputs;
    std::printf("%-20s %10lld inputs, %10lld accepted\n", targets[t].name.c_str(), static_cast<long long>(counts[t].inputs),
                static_cast<long long>(counts[t].accepted));
    // A target whose inputs all fail at the door tests the door only.
    if (!options.index && (counts[t].accepted * 100 < counts[t].inputs || counts[t].accepted == counts[t].inputs)) {
      std::fprintf(stderr, "fuzz: target %s accepts too few or all of its inputs\n", targets[t].name.c_str());
      good = false;
    }
  }
  std::printf("%lld inputs in %.0f s, seed %llu, no finding\n", static_cast<long long>(total), seconds(),
              static_cast<unsigned long long>(options.seed));
  std::filesystem::remove_all(scratch);
  return good ? 0 : 1;
}

}  // namespace
}  // namespace moebius::test

int main(int argc, char** argv) {
  watch_for_crashes();
  try {
    const moebius::model::KernelRuntime runtime;
    const auto options = moebius::test::parse(argc, argv);
    return moebius::test::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "readers_fuzz: %s\n", error.what());
    return 2;
  }
}
