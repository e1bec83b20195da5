// SPDX-License-Identifier: Apache-2.0
#include "io/job_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string paths = "[model]\npath = \"m\"\n[input]\npath = \"i.jsonl\"\n[output]\npath = \"o\"\n";  // 6 lines

class JobFileTest : public FolderTest {
 protected:
  ResolvedJob read(const std::string& text, std::vector<std::string> overrides = {}) const {
    return read_job(write("job.toml", text), overrides);
  }
  std::string failure(const std::string& text, std::vector<std::string> overrides = {}) const {
    auto message = failure_of([&] { read(text, overrides); }, ExitCode::bad_usage);
    const auto folder = folder_.string() + "/";
    if (const auto at = message.find(folder); at != std::string::npos) message.erase(at, folder.size());
    return message;
  }
  static std::map<std::string, JobEntry> by_key(const ResolvedJob& job) {
    std::map<std::string, JobEntry> entries;
    for (const auto& entry : job.entries) entries[entry.key] = entry;
    return entries;
  }
};

TEST_F(JobFileTest, defaults_are_those_of_the_struct) {
  const auto resolved = read(paths);
  EXPECT_EQ(resolved.job.model.path, "m");
  EXPECT_EQ(resolved.job.input.path, "i.jsonl");
  EXPECT_EQ(resolved.job.output.path, "o");
  const auto entries = by_key(resolved);
  EXPECT_EQ(entries.size(), resolved.entries.size());
  EXPECT_EQ(entries.at("schedule.delta").value, "0.8");
  EXPECT_EQ(entries.at("schedule.aging_ms").value, "200.0");
  EXPECT_EQ(entries.at("schedule.execution").value, "\"async\"");
  EXPECT_EQ(entries.at("replicas.ratio").value, "1.0");
  EXPECT_EQ(entries.at("run.strict").value, "false");
  EXPECT_EQ(entries.at("model.compute").origin, "default");
  EXPECT_THAT(entries.at("model.path").origin, HasSubstr("job.toml:2"));
}

TEST_F(JobFileTest, every_key_reaches_its_member) {
  const auto job = read(R"(
[model]
path = "models/x \"y\""
compute = "bf16"
[input]
path = "in"
[output]
path = "out"
[layout]
mode = "colocated"
attention_ranks = 3
expert_ranks = 5
[schedule]
execution = "lockstep"
scheduler = "mbflfs"
delta = 0.25
lookahead = 2
lookback = true
block_layers = 4
aging_ms = 10
gather_short_batches = false
group_expert_calls = false
[limits]
max_tokens_in_flight = 11
segment_tokens = 12
micro_batch_tokens = 16
expert_rows = 13
kv_tokens = 5_000_000_000
prefix_cache = false
)");
  const auto& j = job.job;
  EXPECT_EQ(j.model.path, "models/x \"y\"");
  EXPECT_EQ(j.model.compute, ComputeType::bf16);
  EXPECT_EQ(j.layout.mode, LayoutMode::colocated);
  EXPECT_EQ(j.layout.attention_ranks, 3);
  EXPECT_EQ(j.layout.expert_ranks, 5);
  EXPECT_EQ(j.schedule.execution, Execution::lockstep);
  EXPECT_EQ(j.schedule.scheduler, SchedulerKind::mbflfs);
  EXPECT_EQ(j.schedule.delta, 0.25);
  EXPECT_EQ(j.schedule.lookahead, 2);
  EXPECT_TRUE(j.schedule.lookback);
  EXPECT_EQ(j.schedule.block_layers, 4);
  EXPECT_EQ(j.schedule.aging_ms, 10.0);
  EXPECT_FALSE(j.schedule.gather_short_batches);
  EXPECT_FALSE(j.schedule.group_expert_calls);
  EXPECT_EQ(j.limits.max_tokens_in_flight, 11);
  EXPECT_EQ(j.limits.segment_tokens, 12);
  EXPECT_EQ(j.limits.micro_batch_tokens, 16);
  EXPECT_EQ(j.limits.expert_rows, 13);
  EXPECT_EQ(j.limits.kv_tokens, 5'000'000'000);
  EXPECT_FALSE(j.limits.prefix_cache);
  for (const auto& entry : job.entries) {
    constexpr std::string_view sections_elsewhere[] = {"run.", "pipeline.", "placement.", "replicas.", "rebalance.", "capacity.", "plan.", "emulation."};
    const bool elsewhere = std::ranges::any_of(sections_elsewhere, [&](std::string_view section) { return entry.key.starts_with(section); });
    EXPECT_EQ(entry.origin == "default", elsewhere) << entry.key << " is in the wrong test, or in none";
  }
}

TEST_F(JobFileTest, every_key_of_the_run_reaches_its_member) {
  const auto job = read(R"(
[model]
path = "m"
[input]
path = "in"
[output]
path = "out"
[run]
seed = 9223372036854775806
rows_per_block = 14
strict = true
progress = "json"
walltime_s = 3600
grace_s = 7.5
timeline = true
watchdog_s = 1.5
setup_limit_s = 2.5
max_errors = 7
)");
  const auto& j = job.job;
  EXPECT_EQ(j.run.seed, 9223372036854775806ULL);
  EXPECT_EQ(j.run.rows_per_block, 14);
  EXPECT_TRUE(j.run.strict);
  EXPECT_EQ(j.run.progress, ProgressKind::json);
  EXPECT_EQ(j.run.walltime_s, 3600.0);
  EXPECT_EQ(j.run.grace_s, 7.5);
  EXPECT_TRUE(j.run.timeline);
  EXPECT_EQ(j.run.watchdog_s, 1.5);
  EXPECT_EQ(j.run.setup_limit_s, 2.5);
  EXPECT_EQ(j.run.max_errors, 7);
  for (const auto& entry : job.entries) {
    EXPECT_FALSE(entry.key.starts_with("run.") && entry.origin == "default") << entry.key << " is in no test";
  }
}

TEST_F(JobFileTest, to_toml_reads_back_as_the_same_job) {
  const auto first = read(paths + "[schedule]\ndelta = 0.1\n[run]\nseed = 7\n", {"output.path=a \"b\" \\c\td"});
  const auto second = read(to_toml(first));
  ASSERT_EQ(first.entries.size(), second.entries.size());
  for (std::size_t idx = 0; idx < first.entries.size(); ++idx) {
    EXPECT_EQ(first.entries[idx].key, second.entries[idx].key);
    EXPECT_EQ(first.entries[idx].value, second.entries[idx].value);
  }
  EXPECT_EQ(second.job.output.path, "a \"b\" \\c\td");
  EXPECT_EQ(to_toml(first), to_toml(second));
}

TEST_F(JobFileTest, the_command_line_wins) {
  const auto job = read(paths + "[limits]\nexpert_rows = 5\n",
                        {"limits.expert_rows=6", "limits.expert_rows=7", "schedule.scheduler=flfs",
                         "model.path=else where", "input.path=\"quoted\"", "run.strict=true", "schedule.delta=1"});
  EXPECT_EQ(job.job.limits.expert_rows, 7);
  EXPECT_EQ(job.job.schedule.scheduler, SchedulerKind::flfs);
  EXPECT_EQ(job.job.schedule.delta, 1.0);
  EXPECT_EQ(job.job.model.path, "else where");
  EXPECT_EQ(job.job.input.path, "quoted");
  EXPECT_TRUE(job.job.run.strict);
  EXPECT_EQ(by_key(job).at("limits.expert_rows").origin, "command line");
}

TEST_F(JobFileTest, a_path_may_come_from_the_command_line_alone) {
  EXPECT_EQ(read("", {"model.path=m", "input.path=i", "output.path=o"}).job.output.path, "o");
}

struct BadJob {
  std::string text;  // after the three paths
  std::string message_start;
};

TEST_F(JobFileTest, names_file_line_and_key_of_what_is_wrong) {
  const std::vector<BadJob> cases = {
      {"[limits]\nkv_token = 3", "job.toml:8: unknown key limits.kv_token (the nearest known key is limits.kv_tokens)"},
      {"[run]\nkv_tokens = 3", "job.toml:8: unknown key run.kv_tokens (the nearest known key is limits.kv_tokens)"},
      {"[limit]\nkv_tokens = 3",
       "job.toml:7: unknown section [limit] (the nearest known one is [limits]; sections are model"},
      {"[run.seed]\nx = 1", "job.toml:7: run.seed is a table (it must be an integer"},
      {"[run]\nseed = \"x\"", "job.toml:8: run.seed is \"x\" (it must be an integer from 0 to 9223372036854775806)"},
      {"[run]\nseed = -1", "job.toml:8: run.seed is -1 (it must be an integer from 0"},
      {"[run]\n\n# comment\nseed = 1.0", "job.toml:10: run.seed is 1.0 (it must be an integer"},
      {"[run]\nstrict = 1", "job.toml:8: run.strict is 1 (it must be true or false)"},
      {"[run]\nwatchdog_s = nan", "job.toml:8: run.watchdog_s is nan (it must be a number from"},
      {"[run]\nwatchdog_s = 0", "job.toml:8: run.watchdog_s is 0 (it must be a number from"},
      {"[run]\nprogress = \"loud\"",
       "job.toml:8: run.progress is \"loud\" (it must be \"auto\" or \"bar\" or \"json\" or \"off\")"},
      {"[schedule]\ndelta = inf", "job.toml:8: schedule.delta is inf"},
      {"[schedule]\nscheduler = 3", "job.toml:8: schedule.scheduler is 3 (it must be \"defrag\" or \"mtfs\""},
      {"[schedule]\nexecution = \"together\"",
       "job.toml:8: schedule.execution is \"together\" (it must be \"async\" or \"lockstep\" or \"pipeline\")"},
      {"[pipeline]\norder = \"sasa\"", "job.toml:8: pipeline.order is \"sasa\" (it must be \"auto\" or \"asas\" or \"aass\" or \"fused\")"},
      {"[layout]\nmode = \"copies\"", "job.toml:8: layout.mode is \"copies\" (it must be \"split\" or \"colocated\" or \"replicate\" or \"auto\")"},
      {"[replicas]\nratio = 0.5", "job.toml:8: replicas.ratio is 0.5 (it must be a number from 1 to 1024)"},
      {"[capacity]\nmethod = \"cut\"", "job.toml:8: capacity.method is \"cut\" (it must be \"off\" or \"drop\""},
      {"[placement]\nplanner = \"magic\"", "job.toml:8: placement.planner is \"magic\" (it must be \"linear\" or \"round_robin\""},
      {"[placement]\nfile = 3", "job.toml:8: placement.file is 3 (it must be a path in quotes, or empty)"},
      {"[placement]\nemulated_slowdown = 2", "job.toml:8: placement.emulated_slowdown is 2 (it must be a list of numbers from 1 to 1000)"},
      {"[placement]\nemulated_slowdown = [1, 0.5]", "job.toml:8: placement.emulated_slowdown is a list (it must be a list of numbers"},
      {"[placement]\nemulated_slowdown = [\"x\"]", "job.toml:8: placement.emulated_slowdown is a list"},
      {"[limits]\nexpert_rows = [1]", "job.toml:8: limits.expert_rows is a list"},
      {"[limits]\nexpert_rows = 1979-05-27", "job.toml:8: limits.expert_rows is a date or time"},
      {"[limits]\nexpert_rows = 0", "job.toml:8: limits.expert_rows is 0 (it must be an integer from 1"},
      {"[limits]\nexpert_rows = 99999999999999999999", "job.toml:8: limits.expert_rows is"},
      {"[run]\nseed = 99999999999999999999", "job.toml:8: run.seed is"},
      {"[run]\nseed = 0x7fffffffffffffffff", "job.toml:8: run.seed is"},
      {"[limits]\nexpert_rows 3", "job.toml:8: not valid TOML ("},
      {"[limits]\nexpert_rows = 3\nexpert_rows = 4", "job.toml:9: not valid TOML ("},
      {"[run]\nprogress = \"\xff\"", "job.toml:8: not valid TOML (byte"},
      {"x = " + std::string(5000, '['), "job.toml: not a job file (more than 1000 brackets)"},
      // Two mistakes: the first line is named.
      {"[run]\nseed = -1\n[layout]\nmode = \"x\"", "job.toml:8: run.seed"},
  };
  for (const auto& bad : cases) {
    EXPECT_THAT(failure(paths + bad.text), StartsWith(bad.message_start)) << bad.text.substr(0, 100);
  }
}

TEST_F(JobFileTest, keys_without_a_section) {
  EXPECT_THAT(failure("seed = 3\n" + paths),
              StartsWith("job.toml:1: key seed stands in no section (the nearest known key "
                         "is run.seed)"));
}

TEST_F(JobFileTest, missing_paths_and_files) {
  EXPECT_THAT(failure(""), StartsWith("job.toml: model.path is missing"));
  EXPECT_THAT(failure("[model]\npath = \"m\"\n[input]\npath = \"i\""), StartsWith("job.toml: output.path is missing"));
  EXPECT_THAT(failure("[model]\npath = \"\""), StartsWith("job.toml:2: model.path is \"\" (it must be a path"));
  EXPECT_THAT(failure("[model]\npath = \"a\\u0000b\""), StartsWith("job.toml:2: model.path is"));
  const auto missing = failure_of([&] { read_job("no/such.toml", {}); }, ExitCode::bad_usage);
  EXPECT_THAT(missing, StartsWith("cannot open no/such.toml (No such file or directory; relative paths start at /"));
  EXPECT_THAT(failure_of([&] { read_job(folder_, {}); }, ExitCode::bad_usage), HasSubstr("it is a folder"));
}

TEST_F(JobFileTest, bad_overrides) {
  EXPECT_THAT(failure(paths, {"run.seed"}), StartsWith("--set run.seed: no value"));
  EXPECT_THAT(failure(paths, {"run.seeed=1"}),
              StartsWith("--set: unknown key run.seeed (the nearest known key is run.seed)"));
  EXPECT_THAT(failure(paths, {"run.seed=many"}),
              StartsWith("--set run.seed: the value is many (it must be an integer"));
  EXPECT_THAT(failure(paths, {"run.seed=-1"}), StartsWith("--set run.seed: run.seed is -1"));
  EXPECT_THAT(failure(paths, {"run.seed="}), StartsWith("--set run.seed: the value is  (it must be"));
  EXPECT_THAT(failure(paths, {"run.seed=1\nstrict=true"}), StartsWith("--set run.seed: the value has a line break"));
  EXPECT_THAT(failure(paths, {"model.compute=fp16"}), StartsWith("--set model.compute: model.compute is \"fp16\""));
}

TEST_F(JobFileTest, every_key_of_the_experts_reaches_its_member) {
  const auto job = read(paths + R"(
[pipeline]
r1 = 3
r2 = 2
order = "aass"
[placement]
planner = "gem"
file = "p.json"
trace = "t"
profile = "s.json"
trace_steps = 5
nodes = 2
record_trace = true
emulated_slowdown = [1, 2.5]
[replicas]
ratio = 1.25
router = "metro"
knee_rows = 3
[rebalance]
interval_s = 0.5
horizon_s = 20
spare_places = 3
force = true
[capacity]
method = "expanded_drop"
gamma = 1.25
layer_gamma = [2, 3]
metric = "random"
scope = "device"
phase = "prompts"
min_mean_load = 4
rounds = 7
)");
  const auto& j = job.job;
  EXPECT_EQ(j.pipeline.r1, 3);
  EXPECT_EQ(j.pipeline.r2, 2);
  EXPECT_EQ(j.pipeline.order, PipelineOrder::aass);
  EXPECT_EQ(j.placement.planner, PlannerKind::gem);
  EXPECT_EQ(j.placement.file, "p.json");
  EXPECT_EQ(j.placement.trace, "t");
  EXPECT_EQ(j.placement.profile, "s.json");
  EXPECT_EQ(j.placement.trace_steps, 5);
  EXPECT_EQ(j.placement.nodes, 2);
  EXPECT_TRUE(j.placement.record_trace);
  EXPECT_EQ(j.placement.emulated_slowdown, (std::vector<double>{1, 2.5}));
  EXPECT_EQ(j.replicas.ratio, 1.25);
  EXPECT_EQ(j.replicas.router, ReplicaRouterKind::metro);
  EXPECT_EQ(j.replicas.knee_rows, 3);
  EXPECT_EQ(j.rebalance.interval_s, 0.5);
  EXPECT_EQ(j.rebalance.horizon_s, 20);
  EXPECT_EQ(j.rebalance.spare_places, 3);
  EXPECT_TRUE(j.rebalance.force);
  EXPECT_EQ(j.capacity.method, CapacityMethod::expanded_drop);
  EXPECT_EQ(j.capacity.gamma, 1.25);
  EXPECT_EQ(j.capacity.layer_gamma, (std::vector<double>{2, 3}));
  EXPECT_EQ(j.capacity.metric, CapacityMetric::random);
  EXPECT_EQ(j.capacity.scope, CapacityScope::device);
  EXPECT_EQ(j.capacity.phase, CapacityPhase::prompts);
  EXPECT_EQ(j.capacity.min_mean_load, 4);
  EXPECT_EQ(j.capacity.rounds, 7);
  for (const auto& entry : job.entries) {
    const bool here = entry.key.starts_with("pipeline.") || entry.key.starts_with("placement.") || entry.key.starts_with("replicas.") ||
                      entry.key.starts_with("rebalance.") || entry.key.starts_with("capacity.");
    if (here) { EXPECT_NE(entry.origin, "default") << entry.key << " is not in this test"; }
  }
}

TEST_F(JobFileTest, every_key_of_slow_motion_reaches_its_member) {
  const auto job = read(paths + R"(
[plan]
profile = "costs.json"
[emulation]
device = "custom"
model = "deepseek-v2-lite"
shape = "checkpoint"
link = "pcie"
dilation = 50
efficiency = 0.5
attention_efficiency = 0.25
flops = 1e12
bytes_per_s = 2e11
expert_overhead_us = 3
attention_overhead_us = 4
row_tile = 5
link_bytes_per_s = 6e9
link_latency_us = 7
tokens_per_row = 8
)");
  EXPECT_EQ(job.job.plan.profile, "costs.json");
  const auto& e = job.job.emulation;
  EXPECT_EQ(e.device, EmulatedDevice::custom);
  EXPECT_EQ(e.model, EmulatedModel::deepseek_v2_lite);
  EXPECT_EQ(e.shape, EmulatedShape::checkpoint);
  EXPECT_EQ(e.link, EmulatedLink::pcie);
  EXPECT_EQ(e.dilation, 50);
  EXPECT_EQ(e.efficiency, 0.5);
  EXPECT_EQ(e.attention_efficiency, 0.25);
  EXPECT_EQ(e.flops, 1e12);
  EXPECT_EQ(e.bytes_per_s, 2e11);
  EXPECT_EQ(e.expert_overhead_us, 3);
  EXPECT_EQ(e.attention_overhead_us, 4);
  EXPECT_EQ(e.row_tile, 5);
  EXPECT_EQ(e.link_bytes_per_s, 6e9);
  EXPECT_EQ(e.link_latency_us, 7);
  EXPECT_EQ(e.tokens_per_row, 8);
  for (const auto& entry : job.entries) {
    if (entry.key.starts_with("emulation.") || entry.key.starts_with("plan.")) { EXPECT_NE(entry.origin, "default") << entry.key << " is not in this test"; }
  }
}

TEST_F(JobFileTest, lists_and_optional_paths_on_the_command_line) {
  const auto job = read(paths, {"placement.emulated_slowdown=[1.5, 2]", "placement.file=a b.json"});
  EXPECT_EQ(by_key(job).at("placement.emulated_slowdown").value, "[1.5, 2.0]");
  EXPECT_EQ(job.job.placement.file, "a b.json");
  EXPECT_EQ(by_key(read(paths)).at("placement.emulated_slowdown").value, "[]");
}

TEST_F(JobFileTest, a_job_may_stand_elsewhere_than_in_a_file) {
  const auto job = read_job_text(paths, "results.h5", std::vector<std::string>{"run.seed=3"});
  EXPECT_EQ(job.job.run.seed, 3U);
  EXPECT_EQ(by_key(job).at("input.path").origin, "results.h5:4");
  EXPECT_THAT(failure_of([&] { read_job_text("x = 1", "results.h5", {}); }, ExitCode::bad_usage),
              StartsWith("results.h5:1: key x stands in no section"));
}

TEST_F(JobFileTest, messages_stay_on_one_line) {  // failure() sees to it
  EXPECT_THAT(failure("[\"a\\nb\"]\nx = 1"), StartsWith("job.toml:1: unknown section [a\\u000Ab]"));
  EXPECT_THAT(failure(paths + "[run]\n\"a\\nb\" = 1"), StartsWith("job.toml:8: unknown key run.a\\u000Ab "));
  EXPECT_THAT(failure(paths, {"a\nb=1"}), StartsWith("--set: unknown key a\\u000Ab "));
  EXPECT_THAT(failure(paths, {"model.path=\xff"}), StartsWith("--set model.path: model.path is"));
}

TEST_F(JobFileTest, the_fingerprint_follows_results_only) {
  const auto print = [&](std::vector<std::string> overrides) { return fingerprint(read(paths, std::move(overrides))); };
  const auto original = print({});
  EXPECT_NE(original, print({"model.compute=bf16"}));
  EXPECT_NE(original, print({"run.seed=1"}));
  for (const std::string same :
       {"model.path=elsewhere", "input.path=x", "output.path=y", "layout.mode=colocated", "schedule.scheduler=mtfs",
        "limits.expert_rows=1", "limits.segment_tokens=1", "run.rows_per_block=1", "run.strict=true"}) {
    EXPECT_EQ(original, print({same})) << same;
  }
}

TEST_F(JobFileTest, every_key_is_documented) {
  const auto resolved = read(paths);
  const auto docs = job_keys();
  ASSERT_EQ(docs.size(), resolved.entries.size());
  std::set<std::string> seen;
  for (std::size_t idx = 0; idx < docs.size(); ++idx) {
    EXPECT_EQ(docs[idx].key, resolved.entries[idx].key);
    EXPECT_TRUE(seen.insert(docs[idx].key).second);
    EXPECT_FALSE(docs[idx].help.empty());
    EXPECT_FALSE(docs[idx].allowed.empty());
    if (!docs[idx].default_value.empty()) {
      EXPECT_EQ(docs[idx].default_value, resolved.entries[idx].value);
    }
  }
}

TEST_F(JobFileTest, mutations_are_read_or_refused) {
  const std::uint64_t seed = 11;
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto whole = to_toml(read(paths));
  int num_refused = 0;
  for (int round = 0; round < 800; ++round) {
    const auto text = mutate(whole, random, "[]={}\"'.#_\n0123456789aetrf-");
    try {
      (void)read(text);
    } catch (const Failure& failure) {
      ASSERT_EQ(failure.code(), ExitCode::bad_usage) << "seed " << seed << " round " << round;
      ASSERT_EQ(std::string(failure.what()).find('\n'), std::string::npos) << failure.what();
      ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 200);
}

TEST_F(JobFileTest, the_shipped_jobs_resolve) {
  int num_jobs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("inputs"))) {
    if (entry.path().extension() != ".toml") continue;
    EXPECT_EQ(read_job(entry.path(), {}).job.model.path, "inputs/models/tiny") << entry.path();
    ++num_jobs;
  }
  EXPECT_GE(num_jobs, 3);
}

}  // namespace
}  // namespace moebius::io
