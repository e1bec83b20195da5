// SPDX-License-Identifier: Apache-2.0
#include "io/output_lock.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

using OutputLockTest = FolderTest;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A process that holds the lock of a folder until it is killed; an fcntl lock is of a process, so a test needs one.
class Holder {
 public:
  explicit Holder(const std::filesystem::path& folder) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const OutputLock lock = OutputLock::acquire(folder);
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      while (true) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Holder() { kill_it(); }
  void kill_it() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

TEST_F(OutputLockTest, AHolderIsNamedAndOneThatIsKilledMakesRoom) {
  Holder holder(folder_);
  const std::string message = failure_of([&] { OutputLock::acquire(folder_, 0.1); }, ExitCode::bad_usage);
  EXPECT_TRUE(has(message, "pid " + std::to_string(holder.pid()))) << message;
  EXPECT_TRUE(has(message, "host " + this_process().host)) << message;
  EXPECT_TRUE(has(message, folder_.native())) << message;
  const pid_t dead = holder.pid();
  holder.kill_it();
  const OutputLock lock = OutputLock::acquire(folder_, 0.0);
  ASSERT_TRUE(lock.taken_over_from());
  EXPECT_EQ(lock.taken_over_from()->pid, dead);
  const auto owner = process_from_text(content_of(lock_path(folder_)));
  ASSERT_TRUE(owner);
  EXPECT_EQ(owner->pid, ::getpid());
}

TEST_F(OutputLockTest, AHolderThatEndsWithinThePatienceIsWaitedFor) {
  Holder holder(folder_);
  const pid_t killer = ::fork();
  if (killer == 0) {
    ::usleep(100'000);
    ::kill(holder.pid(), SIGKILL);
    ::_exit(0);
  }
  EXPECT_NO_THROW(OutputLock::acquire(folder_, 30.0));
  ::waitpid(killer, nullptr, 0);
}

TEST_F(OutputLockTest, AReleasedLockLeavesNoFileAndNobodyToTakeOverFrom) {
  {
    OutputLock lock = OutputLock::acquire(folder_);
    EXPECT_FALSE(lock.taken_over_from());
    EXPECT_TRUE(std::filesystem::exists(lock_path(folder_)));
    const OutputLock moved = std::move(lock);
    EXPECT_TRUE(std::filesystem::exists(lock_path(folder_)));
  }
  EXPECT_FALSE(std::filesystem::exists(lock_path(folder_)));
  EXPECT_FALSE(OutputLock::acquire(folder_).taken_over_from());
}

TEST_F(OutputLockTest, AFileWithOddContentIsNoReasonToStop) {
  for (const char* content : {"", "no json", "{}", "[1]"}) {
    set_content(lock_path(folder_), content);
    EXPECT_FALSE(OutputLock::acquire(folder_, 0.0).taken_over_from()) << content;
  }
}

TEST_F(OutputLockTest, AFolderThatCannotBeWrittenIsNamed) {
  EXPECT_TRUE(has(failure_of([&] { OutputLock::acquire(folder_ / "nowhere"); }, ExitCode::bad_usage), "nowhere"));
  EXPECT_TRUE(has(failure_of([&] { OutputLock::acquire("/proc"); }, ExitCode::bad_usage), "/proc"));
}

TEST(OutputLock, WhoIsGone) {
  const ProcessName me = this_process();
  EXPECT_GT(me.start_ticks, 0);
  EXPECT_FALSE(is_gone(me, me));
  ProcessName other = me;
  other.start_ticks -= 1;  // the pid was given out again
  EXPECT_TRUE(is_gone(other, me));
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  other = me;
  other.pid = child;
  EXPECT_TRUE(is_gone(other, me));
  other.host = "another";
  EXPECT_FALSE(is_gone(other, me));
  ProcessName requeued = me;
  requeued.slurm_job = other.slurm_job = "77";
  requeued.slurm_restart = 1;
  other.slurm_restart = 0;
  EXPECT_TRUE(is_gone(other, requeued));
  other.slurm_restart = 1;
  EXPECT_FALSE(is_gone(other, requeued));
  other.slurm_restart = 0;
  other.slurm_job = "78";
  EXPECT_FALSE(is_gone(other, requeued));
}

TEST(OutputLock, NamesComeBackAndSlurmIsAsked) {
  ::setenv("SLURM_JOB_ID", "4711", 1);
  ::setenv("SLURM_RESTART_COUNT", "3", 1);
  ProcessName me = this_process();
  ::unsetenv("SLURM_JOB_ID");
  ::unsetenv("SLURM_RESTART_COUNT");
  EXPECT_EQ(me.slurm_job, "4711");
  EXPECT_EQ(me.slurm_restart, 3);
  EXPECT_TRUE(has(describe(me), "Slurm job 4711"));
  me.host = "a \"b\"\n";
  EXPECT_EQ(process_from_text(to_text(me)), me);
}

}  // namespace
}  // namespace moebius::io
