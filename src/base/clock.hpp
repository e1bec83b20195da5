// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one clock of the program. Everything that asks for the time asks here, so that a simulator
// (ARCHITECTURE section 7) or a test can put another source in its place.

namespace moebius {

/// Seconds since an arbitrary start, monotonic.
double now_s();

/// Gives the core away until then, or a little longer.
void sleep_until_s(double time_s);

using ClockSource = double (*)();
using Sleeper = void (*)(double time_s);
/// Replace the source, and who sleeps by it (nullptr: the steady clock again). Not for use while ranks are running.
void set_clock_source(ClockSource source, Sleeper sleeper = nullptr);

}  // namespace moebius
