// Two-dimensional convolution and its two gradients by oneDNN, as targets of XLA's foreign
// function interface on the CPU: NHWC images, HWIO kernels, float32 or bfloat16 (which is summed in
// float32), any stride, padding, dilation and number of groups.
//
// oneDNN wants the kernel in an order of its own, which a plan settles; a call then reorders the
// kernel and runs.

#include "onednn.h"

using namespace jaxdl;

namespace {

enum class Direction { kForward, kInputGradient, kKernelGradient };

using Dimensions = memory::dims;

struct Plan {
  dnnl::primitive convolution;
  dnnl::reorder reorder;  // between the two orders of the kernel, where they differ
  memory::desc images, kernel, outputs, scratch;
  memory::desc given;  // the kernel in XLA's order
  bool reordered = false;
};

// Images and outputs are (batch, height, width, channels) in memory; oneDNN names axes NCHW.
memory::desc ImagesDesc(Numbers nhwc, Type type) {
  return {{nhwc[0], nhwc[3], nhwc[1], nhwc[2]}, type, memory::format_tag::nhwc};
}

Dimensions KernelDims(Numbers hwio, int64_t groups) {
  return {groups, hwio[3] / groups, hwio[2], hwio[0], hwio[1]};
}

// XLA's kernel is (height, width, inputs of a group, outputs of all groups).
memory::desc KernelDesc(Numbers hwio, int64_t groups, Type type) {
  const int64_t outputs = hwio[3], inputs = hwio[2], width = hwio[1];
  const Dimensions strides = {outputs / groups, 1, outputs, width * inputs * outputs,
                              inputs * outputs};
  return {KernelDims(hwio, groups), type, strides};
}

std::unique_ptr<Plan> MakePlan(Direction direction, Type type, Numbers images, Numbers kernel,
                               Numbers outputs, Numbers strides, Numbers pads, Numbers dilation,
                               int64_t groups) {
  const Dimensions step = {strides[0], strides[1]};
  const Dimensions gaps = {dilation[0] - 1, dilation[1] - 1};
  const Dimensions low = {pads[0], pads[2]}, high = {pads[1], pads[3]};
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const memory::desc x = ImagesDesc(images, type), y = ImagesDesc(outputs, type);
  const memory::desc any(KernelDims(kernel, groups), type, memory::format_tag::any);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);

  auto plan = std::make_unique<Plan>();
  const auto settle = [&plan](const auto& description, memory::desc order) {
    plan->scratch = description.scratchpad_desc();
    plan->kernel = order;
  };
  dnnl::convolution_forward::primitive_desc forward(
      Engine(), dnnl::prop_kind::forward_training, algorithm, x, any, y, step, gaps, low, high,
      attributes);
  switch (direction) {
    case Direction::kForward:
      plan->convolution = dnnl::convolution_forward(forward);
      settle(forward, forward.weights_desc());
      break;
    case Direction::kInputGradient: {
      dnnl::convolution_backward_data::primitive_desc backward(
          Engine(), algorithm, x, any, y, step, gaps, low, high, forward, attributes);
      plan->convolution = dnnl::convolution_backward_data(backward);
      settle(backward, backward.weights_desc());
      break;
    }
    case Direction::kKernelGradient: {
      dnnl::convolution_backward_weights::primitive_desc backward(
          Engine(), algorithm, x, any, y, step, gaps, low, high, forward, attributes);
      plan->convolution = dnnl::convolution_backward_weights(backward);
      settle(backward, backward.diff_weights_desc());
      break;
    }
  }
  plan->images = x;
  plan->outputs = y;
  plan->given = KernelDesc(kernel, groups, type);
  plan->reordered = plan->kernel != plan->given;
  if (plan->reordered) {
    const bool back = direction == Direction::kKernelGradient;
    const memory::desc &from = back ? plan->kernel : plan->given,
                       &to = back ? plan->given : plan->kernel;
    plan->reorder = dnnl::reorder(dnnl::reorder::primitive_desc(Engine(), from, Engine(), to));
  }
  return plan;
}

void Run(const Plan& plan, Direction direction, void* images, void* kernel, void* outputs) {
  const size_t scratch_size = Workspace::Aligned(plan.scratch.get_size());
  char* work = Workspace::Reserve(scratch_size + plan.kernel.get_size());

  const memory x(plan.images, Engine(), images), y(plan.outputs, Engine(), outputs);
  const memory given(plan.given, Engine(), kernel);
  const memory k(plan.kernel, Engine(), plan.reordered ? work + scratch_size : kernel);
  const memory scratch(plan.scratch, Engine(), work);
  std::unordered_map<int, memory> arguments = {{DNNL_ARG_SCRATCHPAD, scratch}};
  switch (direction) {
    case Direction::kForward:
      arguments.insert({{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, k}, {DNNL_ARG_DST, y}});
      break;
    case Direction::kInputGradient:
      arguments.insert({{DNNL_ARG_DIFF_SRC, x}, {DNNL_ARG_WEIGHTS, k}, {DNNL_ARG_DIFF_DST, y}});
      break;
    case Direction::kKernelGradient:
      arguments.insert({{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, k}, {DNNL_ARG_DIFF_DST, y}});
      break;
  }
  const bool writes_kernel = direction == Direction::kKernelGradient;
  if (plan.reordered && !writes_kernel) {
    plan.reorder.execute(Stream(), {{DNNL_ARG_FROM, given}, {DNNL_ARG_TO, k}});
  }
  plan.convolution.execute(Stream(), arguments);
  if (plan.reordered && writes_kernel) {
    plan.reorder.execute(Stream(), {{DNNL_ARG_FROM, k}, {DNNL_ARG_TO, given}});
  }
  Stream().wait();
}

ffi::Error Convolve(Direction direction, ffi::AnyBuffer& images, ffi::AnyBuffer& kernel,
                    ffi::AnyBuffer& outputs, Numbers strides, Numbers pads, Numbers dilation,
                    int64_t groups) {
  Type type;
  for (const ffi::AnyBuffer* buffer : {&images, &kernel, &outputs}) {
    if (!Taken(*buffer, type) || buffer->element_type() != images.element_type() ||
        buffer->dimensions().size() != 4) {
      return ffi::Error::InvalidArgument(
          "oneDNN convolution: takes float32 or bfloat16 of four axes");
    }
  }
  std::vector<int64_t> key = {static_cast<int64_t>(direction), static_cast<int64_t>(type), groups};
  for (Numbers part : {images.dimensions(), kernel.dimensions(), outputs.dimensions(), strides,
                       pads, dilation}) {
    key.insert(key.end(), part.begin(), part.end());
  }
  const auto make = [&] {
    return MakePlan(direction, type, images.dimensions(), kernel.dimensions(),
                    outputs.dimensions(), strides, pads, dilation, groups);
  };
  return RunPlanned<Plan>("convolution", key, make, [&](const Plan& plan) {
    Run(plan, direction, images.untyped_data(), kernel.untyped_data(), outputs.untyped_data());
  });
}

ffi::Error Forward(ffi::AnyBuffer images, ffi::AnyBuffer kernel, ffi::Result<ffi::AnyBuffer> outputs,
                   Numbers strides, Numbers pads, Numbers dilation, int64_t groups) {
  return Convolve(Direction::kForward, images, kernel, *outputs, strides, pads, dilation, groups);
}

ffi::Error InputGradient(ffi::AnyBuffer outputs, ffi::AnyBuffer kernel,
                         ffi::Result<ffi::AnyBuffer> images, Numbers strides, Numbers pads,
                         Numbers dilation, int64_t groups) {
  return Convolve(Direction::kInputGradient, *images, kernel, outputs, strides, pads, dilation,
                  groups);
}

ffi::Error KernelGradient(ffi::AnyBuffer outputs, ffi::AnyBuffer images,
                          ffi::Result<ffi::AnyBuffer> kernel, Numbers strides, Numbers pads,
                          Numbers dilation, int64_t groups) {
  return Convolve(Direction::kKernelGradient, images, *kernel, outputs, strides, pads, dilation,
                  groups);
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>()
      .Attr<Numbers>("strides")
      .Attr<Numbers>("pads")
      .Attr<Numbers>("dilation")
      .Attr<int64_t>("groups");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdl_onednn_forward, Forward, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdl_onednn_input_gradient, InputGradient, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdl_onednn_kernel_gradient, KernelGradient, Binding());

// Whether this CPU multiplies bfloat16 itself; others are slower at it than at float32.
extern "C" bool jaxdl_onednn_has_bfloat16() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (isa & needed) == needed;
}
