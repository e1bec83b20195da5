// SPDX-License-Identifier: Apache-2.0
#include "ranks/agreement.hpp"

#include <limits>
#include <new>

namespace moebius::ranks {

void together(comm::Session& session, const std::function<void()>& step) {
  auto code = ExitCode::done;
  std::string message;
  try {
    step();
  } catch (const Failure& failure) {
    code = failure.code();
    message = failure.what();
  } catch (const std::bad_alloc&) {
    code = ExitCode::does_not_fit;
    message = "out of memory while setting up (an allocation was refused) use more ranks or lower [limits]";
  } catch (const std::exception& error) {
    code = ExitCode::internal_error;
    message = error.what();
  }
  const int worst = session.agree_max(static_cast<int>(code));
  if (worst == static_cast<int>(ExitCode::done)) return;
  // The lowest rank with the worst code speaks: the maximum of (-rank) over the ranks that have it.
  const bool mine_is_worst = static_cast<int>(code) == worst;
  const int speaker = -session.agree_max(mine_is_worst ? -session.rank().value : std::numeric_limits<int>::min());
  throw AgreedFailure(static_cast<ExitCode>(worst), speaker == session.rank().value ? message : std::string());
}

}  // namespace moebius::ranks
