// SPDX-License-Identifier: Apache-2.0
#include "base/tensor.hpp"

namespace moebius {

std::size_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32: return 4;
    case DType::f16:
    case DType::bf16: return 2;
    case DType::i64: return 8;
    case DType::f8_e4m3:
    case DType::u8: return 1;
    case DType::other: return 0;
  }
  return 0;
}

std::vector<std::byte> read_bytes(const TensorRef& tensor) {
  std::vector<std::byte> bytes(tensor.num_bytes);
  if (!bytes.empty()) tensor.read(0, bytes);
  return bytes;
}

}  // namespace moebius
