// Batch norm in training, with the ReLU that may follow it, and its gradient by oneDNN, as targets of
// XLA's foreign function interface on the CPU: float32 or bfloat16 (whose statistics are float32).
//
// Arrays are (groups, rows, channels), and each group has statistics of its own. A ReLU keeps in a
// mask, of as many bytes as `jaxdl_onednn_mask_bytes` says, where its results are positive.

#include <numeric>

#include "onednn.h"

using namespace jaxdl;
using dnnl::batch_normalization_backward;
using dnnl::batch_normalization_forward;
using dnnl::normalization_flags;

namespace {

struct Plan {
  dnnl::primitive forward, backward;
  memory::desc rows, channels, mask, scratch;
};

std::unique_ptr<Plan> MakePlan(Type type, int64_t rows, int64_t channels, float epsilon,
                               bool relu) {
  // For oneDNN, rows are the places of images; it takes several images faster than one.
  const int64_t places = std::gcd(rows, int64_t{1024});
  const memory::desc x({rows / places, channels, 1, places}, type, memory::format_tag::nhwc);
  auto flags = normalization_flags::use_scale | normalization_flags::use_shift;
  if (relu) flags |= normalization_flags::fuse_norm_relu;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);

  auto plan = std::make_unique<Plan>();
  const batch_normalization_forward::primitive_desc forward(
      Engine(), dnnl::prop_kind::forward_training, x, x, epsilon, flags, attributes);
  const batch_normalization_backward::primitive_desc backward(
      Engine(), dnnl::prop_kind::backward, x, x, x, epsilon, flags, forward, attributes);
  plan->forward = batch_normalization_forward(forward);
  plan->backward = batch_normalization_backward(backward);
  plan->rows = x;
  plan->channels = {{channels}, Type::f32, memory::format_tag::a};
  plan->mask = forward.workspace_desc();
  plan->scratch = forward.scratchpad_desc();
  if (backward.scratchpad_desc().get_size() > plan->scratch.get_size()) {
    plan->scratch = backward.scratchpad_desc();
  }
  return plan;
}

// A buffer that holds an array for each group, and how oneDNN sees one of them.
struct Part {
  int argument;
  ffi::AnyBuffer* buffer;
  const memory::desc Plan::*description;
  bool grouped = true;
};

ffi::Error Run(bool gradient, ffi::AnyBuffer& x, float epsilon, bool relu,
               const std::vector<Part>& parts) {
  Type type;
  if (!Taken(x, type) || x.dimensions().size() != 3) {
    return ffi::Error::InvalidArgument("oneDNN batch norm: takes float32 or bfloat16 of three axes");
  }
  const int64_t groups = x.dimensions()[0], rows = x.dimensions()[1], channels = x.dimensions()[2];
  int64_t bits = 0;
  std::memcpy(&bits, &epsilon, sizeof epsilon);
  const std::vector<int64_t> key = {static_cast<int64_t>(type), rows, channels, bits, relu};
  const auto make = [&] { return MakePlan(type, rows, channels, epsilon, relu); };
  return RunPlanned<Plan>("batch norm", key, make, [&](const Plan& plan) {
    const memory scratch(plan.scratch, Engine(), Workspace::Reserve(plan.scratch.get_size()));
    for (int64_t group = 0; group < groups; ++group) {
      std::unordered_map<int, memory> arguments = {{DNNL_ARG_SCRATCHPAD, scratch}};
      for (const Part& part : parts) {
        const memory::desc& description = plan.*part.description;
        char* start = static_cast<char*>(part.buffer->untyped_data());
        if (part.grouped) start += group * (part.buffer->size_bytes() / groups);
        arguments.insert({part.argument, memory(description, Engine(), start)});
      }
      (gradient ? plan.backward : plan.forward).execute(Stream(), arguments);
    }
    Stream().wait();
  });
}

ffi::Error Forward(ffi::AnyBuffer x, ffi::AnyBuffer scale, ffi::AnyBuffer bias,
                   ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::AnyBuffer> mean,
                   ffi::Result<ffi::AnyBuffer> var, ffi::Result<ffi::AnyBuffer> mask,
                   float epsilon, bool relu) {
  std::vector<Part> parts = {{DNNL_ARG_SRC, &x, &Plan::rows},
                             {DNNL_ARG_SCALE, &scale, &Plan::channels, false},
                             {DNNL_ARG_SHIFT, &bias, &Plan::channels, false},
                             {DNNL_ARG_DST, &*y, &Plan::rows},
                             {DNNL_ARG_MEAN, &*mean, &Plan::channels},
                             {DNNL_ARG_VARIANCE, &*var, &Plan::channels}};
  if (relu) parts.push_back({DNNL_ARG_WORKSPACE, &*mask, &Plan::mask});
  return Run(false, x, epsilon, relu, parts);
}

ffi::Error Gradient(ffi::AnyBuffer dy, ffi::AnyBuffer x, ffi::AnyBuffer scale, ffi::AnyBuffer mean,
                    ffi::AnyBuffer var, ffi::AnyBuffer mask, ffi::Result<ffi::AnyBuffer> dx,
                    ffi::Result<ffi::AnyBuffer> dscale, ffi::Result<ffi::AnyBuffer> dbias,
                    float epsilon, bool relu) {
  std::vector<Part> parts = {{DNNL_ARG_DIFF_DST, &dy, &Plan::rows},
                             {DNNL_ARG_SRC, &x, &Plan::rows},
                             {DNNL_ARG_SCALE, &scale, &Plan::channels, false},
                             {DNNL_ARG_MEAN, &mean, &Plan::channels},
                             {DNNL_ARG_VARIANCE, &var, &Plan::channels},
                             {DNNL_ARG_DIFF_SRC, &*dx, &Plan::rows},
                             {DNNL_ARG_DIFF_SCALE, &*dscale, &Plan::channels},
                             {DNNL_ARG_DIFF_SHIFT, &*dbias, &Plan::channels}};
  if (relu) parts.push_back({DNNL_ARG_WORKSPACE, &mask, &Plan::mask});
  return Run(true, x, epsilon, relu, parts);
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdl_onednn_batch_norm, Forward,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("epsilon")
                                  .Attr<bool>("relu"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdl_onednn_batch_norm_gradient, Gradient,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("epsilon")
                                  .Attr<bool>("relu"));

// The bytes of the mask of one group, or -1 where oneDNN has no batch norm of this kind.
extern "C" int64_t jaxdl_onednn_mask_bytes(bool bfloat16, int64_t rows, int64_t channels) {
  try {
    const auto plan = MakePlan(bfloat16 ? Type::bf16 : Type::f32, rows, channels, 1e-5f, true);
    return static_cast<int64_t>(plan->mask.get_size());
  } catch (const std::exception&) {
    return -1;
  }
}
