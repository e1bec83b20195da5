// SPDX-License-Identifier: Apache-2.0
#pragma once
// Owners of HDF5 identifiers and the one way to look at an HDF5 return code. For the sources of `io`
// only: nothing else in the program includes <hdf5.h>.
// Invariants: a handle owns its identifier alone and closes it once; a return code below zero becomes
// a Failure that carries HDF5's own innermost text, and HDF5 itself prints nothing.

#include <hdf5.h>

#include <filesystem>
#include <string_view>
#include <utility>

namespace moebius::io {

/// Throws the Failure for the error that HDF5 noted last on this thread.
[[noreturn]] void hdf5_failed(std::string_view doing, std::string_view object);

/// Passes a good return code (herr_t, htri_t, hid_t, ssize_t) through; "cannot <doing> <object> (...)" otherwise.
template <class Code>
Code hdf5_check(Code code, std::string_view doing, std::string_view object = {}) {
  if (code < 0) hdf5_failed(doing, object);
  return code;
}

/// Move-only owner of one identifier; `close_id` is the HDF5 function that gives it back.
template <herr_t (*close_id)(hid_t)>
class Hdf5Handle {
 public:
  Hdf5Handle() = default;
  explicit Hdf5Handle(hid_t id) : id_(id) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    if (this != &other) {
      drop();
      id_ = std::exchange(other.id_, H5I_INVALID_HID);
    }
    return *this;
  }
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;
  ~Hdf5Handle() { drop(); }

  [[nodiscard]] hid_t get() const { return id_; }
  [[nodiscard]] bool valid() const { return id_ >= 0; }

  /// Close and see whether it worked: a file that was written is only good if this returns.
  void close(std::string_view object) { hdf5_check(close_id(std::exchange(id_, H5I_INVALID_HID)), "close", object); }

 private:
  void drop() noexcept {
    if (id_ >= 0) close_id(std::exchange(id_, H5I_INVALID_HID));
  }
  hid_t id_ = H5I_INVALID_HID;
};

using Hdf5File = Hdf5Handle<H5Fclose>;
using Hdf5Dataset = Hdf5Handle<H5Dclose>;
using Hdf5Space = Hdf5Handle<H5Sclose>;
using Hdf5Type = Hdf5Handle<H5Tclose>;
using Hdf5Attribute = Hdf5Handle<H5Aclose>;
using Hdf5Object = Hdf5Handle<H5Oclose>;
using Hdf5Properties = Hdf5Handle<H5Pclose>;

/// A new file, replaced if it is there. It is assembled in memory and reaches the disk in one large
/// write when it is closed, which parallel file systems like better than HDF5's many small ones.
Hdf5File create_hdf5(const std::filesystem::path& file);
/// An existing file, for reading. Takes no file lock, since finished result files never change and
/// some parallel file systems refuse locks.
Hdf5File open_hdf5(const std::filesystem::path& file);

}  // namespace moebius::io
