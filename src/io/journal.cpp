// SPDX-License-Identifier: Apache-2.0
#include "io/journal.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <thread>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "base/failure.hpp"

namespace moebius::io {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t checksum_digits = 16;
constexpr double lock_deadline_s = 60.0;

std::optional<std::uint64_t> parse_hex(std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != checksum_digits || error != std::errc{} || end != digits.data() + digits.size()) return {};
  return value;
}

/// The write lock on the whole journal, given back at the end of the scope.
class JournalLock {
 public:
  JournalLock(int fd, const std::filesystem::path& path) : fd_(fd) {
    const double deadline = now_s() + lock_deadline_s;
    while (!try_lock(path)) {
      if (now_s() > deadline)
        throw Failure{ExitCode::unreadable_input,
                      fmt::format("cannot lock {} (another process held it for {} s) end the other run that writes "
                                  "to this folder, or choose another output.path",
                                  path.native(), lock_deadline_s)};
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  JournalLock(const JournalLock&) = delete;
  JournalLock& operator=(const JournalLock&) = delete;
  ~JournalLock() {
    if (held_) set(F_UNLCK);
  }
  /// False on file systems without locks: appends are then only as atomic as the file system makes them.
  [[nodiscard]] bool held() const { return held_; }

 private:
  int set(int type) const {
    struct flock whole {};
    whole.l_type = static_cast<short>(type);
    whole.l_whence = SEEK_SET;
    return ::fcntl(fd_, F_SETLK, &whole);
  }
  /// True when there is no need to try again.
  bool try_lock(const std::filesystem::path& path) {
    if (set(F_WRLCK) == 0) {
      held_ = true;
      return true;
    }
    if (errno == ENOSYS || errno == ENOTSUP || errno == EINVAL) return true;
    if (errno != EACCES && errno != EAGAIN && errno != EINTR) os_failed("lock", path);
    return false;
  }
  int fd_;
  bool held_ = false;
};

/// Where the last complete line ends, looking back from `size`.
off_t end_of_last_line(int fd, off_t size, const std::filesystem::path& path) {
  char buffer[4096];
  for (off_t end = size; end > 0;) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(sizeof buffer));
    const ssize_t got = ::pread(fd, buffer, static_cast<std::size_t>(end - begin), begin);
    if (got != end - begin) os_failed("read", path);
    for (off_t at = end; at > begin; --at)
      if (buffer[at - begin - 1] == '\n') return at;
    end = begin;
  }
  return 0;
}

constexpr const char* kind_names[] = {"block", "master", "withdrawn"};  // [RecordKind]
constexpr const char* start_name = "start";

std::string with_checksum(const Json& json) {
  const std::string text = json.dump();
  return to_hex(xxh3_64(text)) + ' ' + text;
}

/// Checks the checksum and the version of a line; `read` takes the object and says whether it is what it wants.
template <class Read>
bool parse_with(std::string_view line, Read read) {
  if (line.size() <= checksum_digits || line[checksum_digits] != ' ') return false;
  const std::string_view text = line.substr(checksum_digits + 1);
  if (parse_hex(line.substr(0, checksum_digits)) != xxh3_64(text)) return false;
  try {
    const Json json = Json::parse(text);
    return json.at("v").get<int>() == 1 && read(json);
  } catch (const Json::exception&) {
    return false;
  }
}

/// Puts a whole line where it belongs.
void take_line(std::string_view line, std::int64_t number, JournalContents& contents) {
  StartRecord start;
  JournalRecord record;
  if (parse_line(line, start)) {
    contents.starts.push_back(std::move(start));
  } else if (!parse_line(line, record)) {
    contents.damaged_lines.push_back(number);
  } else if (record.run == contents.run()) {
    contents.records.push_back(std::move(record));
  } else {
    ++contents.num_late;
  }
}

}  // namespace

std::string fingerprint(const JobFacts& facts) {
  std::string text;
  for (const auto& [name, value] : facts) text += fmt::format("{} {}{}={}\n", name.size(), value.size(), name, value);
  return to_hex(xxh3_64(text));
}

std::vector<std::string> differences(const JobFacts& then, const JobFacts& now) {
  const auto value_in = [](const JobFacts& facts, const std::string& name) {
    const auto found = std::ranges::find(facts, name, &JobFacts::value_type::first);
    return found == facts.end() ? std::string("not there") : found->second;
  };
  std::vector<std::string> texts;
  std::set<std::string> seen;
  for (const JobFacts* facts : {&now, &then}) {
    for (const auto& [name, value] : *facts) {
      if (!seen.insert(name).second || value_in(then, name) == value_in(now, name)) continue;
      texts.push_back(fmt::format("{} was {} and is {}", name, value_in(then, name), value_in(now, name)));
    }
  }
  return texts;
}

std::string to_line(const JournalRecord& record) {
  return with_checksum({{"v", 1},
                        {"kind", kind_names[static_cast<std::size_t>(record.kind)]},
                        {"run", record.run},
                        {"file", record.file},
                        {"rank", record.rank.value},
                        {"sequence", record.sequence},
                        {"num_rows", record.num_rows},
                        {"num_tokens", record.num_tokens},
                        {"num_failed", record.num_failed},
                        {"xxh3", to_hex(record.checksum)},
                        {"digest", to_hex(record.digest)},
                        {"job", record.job_fingerprint},
                        {"utc", record.utc}});
}

std::string to_line(const StartRecord& record) {
  Json facts = Json::array();
  for (const auto& [name, value] : record.facts) facts.push_back(Json::array({name, value}));
  return with_checksum({{"v", 1},
                        {"kind", start_name},
                        {"run", record.run},
                        {"job", fingerprint(record.facts)},
                        {"facts", facts},
                        {"host", record.host},
                        {"pid", record.pid},
                        {"slurm_job", record.slurm_job},
                        {"num_ranks", record.num_ranks},
                        {"utc", record.utc}});
}

bool parse_line(std::string_view line, JournalRecord& record) {
  return parse_with(line, [&](const Json& json) {
    const auto digest = json.at("digest").get<std::string>();
    if (digest.size() != 2 * checksum_digits) return false;
    const auto high = parse_hex(std::string_view(digest).substr(0, checksum_digits));
    const auto low = parse_hex(std::string_view(digest).substr(checksum_digits));
    const auto checksum = parse_hex(json.at("xxh3").get<std::string>());
    const auto kind = std::ranges::find(kind_names, json.at("kind").get<std::string>());
    if (!high || !low || !checksum || kind == std::end(kind_names)) return false;
    record = {.kind = static_cast<RecordKind>(kind - std::begin(kind_names)),
              .run = json.at("run").get<std::int64_t>(),
              .file = json.at("file").get<std::string>(),
              .rank = RankId(json.at("rank").get<int>()),
              .sequence = json.at("sequence").get<std::int64_t>(),
              .num_rows = json.at("num_rows").get<std::int64_t>(),
              .num_tokens = json.at("num_tokens").get<std::int64_t>(),
              .num_failed = json.at("num_failed").get<std::int64_t>(),
              .checksum = *checksum,
              .digest = {.low = *low, .high = *high},
              .job_fingerprint = json.at("job").get<std::string>(),
              .utc = json.at("utc").get<std::string>()};
    return true;
  });
}

bool parse_line(std::string_view line, StartRecord& record) {
  return parse_with(line, [&](const Json& json) {
    if (json.at("kind").get<std::string>() != start_name) return false;
    record = {.run = json.at("run").get<std::int64_t>(),
              .facts = json.at("facts").get<JobFacts>(),
              .host = json.at("host").get<std::string>(),
              .pid = json.at("pid").get<std::int64_t>(),
              .slurm_job = json.at("slurm_job").get<std::string>(),
              .num_ranks = json.at("num_ranks").get<int>(),
              .utc = json.at("utc").get<std::string>()};
    return json.at("job").get<std::string>() == fingerprint(record.facts);
  });
}

std::filesystem::path journal_path(const std::filesystem::path& directory) { return directory / "journal"; }

Journal::Journal(const std::filesystem::path& directory) : path_(journal_path(directory)) {
  const int fd = ::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) os_failed("open for writing", path_);
  file_ = FileDescriptor(fd);
  sync_directory(directory);
}

/// A short write goes on where it ended: the lock keeps others out, and the line counts with its newline only.
void Journal::write_line(std::string_view line) const {
  while (!line.empty()) {
    const ssize_t written = ::write(file_.get(), line.data(), line.size());
    if (written < 0) os_failed("append to", path_);
    line.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Journal::append_line(std::string line) {
  line += '\n';
  MOEBIUS_EXPECT(std::count(line.begin(), line.end(), '\n') == 1);
  const JournalLock lock(file_.get(), path_);
  struct stat about {};
  if (::fstat(file_.get(), &about) != 0) os_failed("look at", path_);
  const off_t end = end_of_last_line(file_.get(), about.st_size, path_);
  if (end != about.st_size) {
    // Whoever wrote this tail is dead, since it would hold the lock: its record was never committed.
    if (!lock.held()) line.insert(line.begin(), '\n');
    else if (::ftruncate(file_.get(), end) != 0) os_failed("cut a torn record off", path_);
  }
  write_line(line);
  sync_file(file_, path_);
}

const JournalRecord* JournalContents::master() const {
  const JournalRecord* newest = nullptr;
  for (const JournalRecord& record : records)
    if (record.kind == RecordKind::master) newest = &record;
  return newest;
}

std::vector<JournalRecord> JournalContents::blocks() const {
  std::vector<JournalRecord> blocks;
  for (const JournalRecord& record : records) {
    if (record.kind == RecordKind::block) blocks.push_back(record);
    // Of those before it only: rows computed again may make a file of the same bytes and name.
    if (record.kind == RecordKind::withdrawn) std::erase_if(blocks, [&](const auto& block) { return block.file == record.file; });
  }
  return blocks;
}

JournalContents read_journal(const std::filesystem::path& directory) {
  const std::filesystem::path path = journal_path(directory);
  std::ifstream file(path, std::ios::binary);
  if (!file || !std::filesystem::is_regular_file(path))
    throw Failure{
        ExitCode::unreadable_input,
        fmt::format("cannot read {} (there is no such file) name a folder that `moebius run` wrote", path.native())};
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  JournalContents contents;
  std::string_view rest = text;
  for (std::int64_t line = 1; !rest.empty(); ++line) {
    const std::size_t length = rest.find('\n');
    if (length == std::string_view::npos) {
      contents.torn_bytes = static_cast<std::int64_t>(rest.size());
      break;
    }
    take_line(rest.substr(0, length), line, contents);
    rest.remove_prefix(length + 1);
  }
  return contents;
}

}  // namespace moebius::io
