// Products of two matrices by oneDNN, as a target of XLA's foreign function interface on the CPU:
// bfloat16 or float32, either of them transposed, summed in float32.

#include "onednn.h"

using namespace jaxdl;

namespace {

struct Plan {
  dnnl::matmul product;
  memory::desc left, right, result, scratch;
};

// Of a matrix that is (rows, columns) in memory, or of its transpose.
memory::desc MatrixDesc(Numbers shape, bool transposed, Type type) {
  const int64_t rows = shape[0], columns = shape[1];
  if (transposed) return {{columns, rows}, type, memory::dims{1, columns}};
  return {{rows, columns}, type, memory::dims{columns, 1}};
}

ffi::Error Matmul(ffi::AnyBuffer left, ffi::AnyBuffer right, ffi::Result<ffi::AnyBuffer> result,
                  bool transpose_left, bool transpose_right) {
  Type types[3];
  const ffi::AnyBuffer* buffers[] = {&left, &right, &*result};
  for (int i = 0; i < 3; ++i) {
    if (!Taken(*buffers[i], types[i]) || buffers[i]->dimensions().size() != 2) {
      return ffi::Error::InvalidArgument("oneDNN matmul: takes float32 or bfloat16 of two axes");
    }
  }
  std::vector<int64_t> key = {transpose_left, transpose_right};
  for (int i = 0; i < 3; ++i) {
    key.push_back(static_cast<int64_t>(types[i]));
    for (int64_t size : buffers[i]->dimensions()) key.push_back(size);
  }
  const auto make = [&] {
    auto plan = std::make_unique<Plan>();
    plan->left = MatrixDesc(left.dimensions(), transpose_left, types[0]);
    plan->right = MatrixDesc(right.dimensions(), transpose_right, types[1]);
    plan->result = MatrixDesc(result->dimensions(), false, types[2]);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc description(Engine(), plan->left, plan->right, plan->result,
                                                   attributes);
    plan->product = dnnl::matmul(description);
    plan->scratch = description.scratchpad_desc();
    return plan;
  };
  return RunPlanned<Plan>("matmul", key, make, [&](const Plan& plan) {
    char* work = Workspace::Reserve(plan.scratch.get_size());
    plan.product.execute(Stream(),
                         {{DNNL_ARG_SRC, memory(plan.left, Engine(), left.untyped_data())},
                          {DNNL_ARG_WEIGHTS, memory(plan.right, Engine(), right.untyped_data())},
                          {DNNL_ARG_DST, memory(plan.result, Engine(), result->untyped_data())},
                          {DNNL_ARG_SCRATCHPAD, memory(plan.scratch, Engine(), work)}});
    Stream().wait();
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdl_onednn_matmul, Matmul,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<bool>("transpose_left")
                                  .Attr<bool>("transpose_right"));
