// What oneDNN's primitives share as targets of XLA's foreign function interface on the CPU.
//
// oneDNN compiles a primitive for a shape. That is settled once a shape, in a plan; a call then only
// runs. One call runs at a time, on all of OpenMP's threads: two at once would only fight for them.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace jaxdl {

namespace ffi = xla::ffi;
using dnnl::memory;
using Numbers = ffi::Span<const int64_t>;
using Type = memory::data_type;

// Like all that lives as long as the process, never destroyed: XLA's threads may outlive `main`.
inline dnnl::engine& Engine() {
  static dnnl::engine& engine = *new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline dnnl::stream& Stream() {
  static dnnl::stream& stream = *new dnnl::stream(Engine());
  return stream;
}

// Memory for whatever runs, as much as the largest plan needs. Held until the process ends.
class Workspace {
 public:
  static char* Reserve(size_t size) {
    static Workspace& one = *new Workspace;
    if (size > one.size_) {
      one.memory_.reset();
      one.size_ = Aligned(size);
      one.memory_.reset(static_cast<char*>(std::aligned_alloc(kAlignment, one.size_)));
      if (!one.memory_) {
        one.size_ = 0;
        throw std::bad_alloc();
      }
    }
    return one.memory_.get();
  }

  static size_t Aligned(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

 private:
  static constexpr size_t kAlignment = 64;  // bytes of a cache line and of a vector
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> memory_;
  size_t size_ = 0;
};

// oneDNN's name of float32 or bfloat16, the types that are taken.
inline bool Taken(const ffi::AnyBuffer& buffer, Type& type) {
  type = buffer.element_type() == ffi::DataType::F32 ? Type::f32 : Type::bf16;
  return type == Type::f32 || buffer.element_type() == ffi::DataType::BF16;
}

inline std::mutex& OneAtATime() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}

// Finds the plan under a key, or makes it, and runs it; what oneDNN throws becomes an error.
template <typename Plan, typename Make, typename Run>
ffi::Error RunPlanned(const char* what, const std::vector<int64_t>& key, Make make, Run run) {
  static auto& plans = *new std::map<std::vector<int64_t>, std::unique_ptr<Plan>>;
  const std::lock_guard<std::mutex> lock(OneAtATime());
  try {
    std::unique_ptr<Plan>& plan = plans[key];
    if (!plan) plan = make();
    run(*plan);
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN ") + what + ": " + error.what());
  }
  return ffi::Error::Success();
}

}  // namespace jaxdl
