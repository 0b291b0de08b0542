// What LibTorch has and tch 0.22 does not bind. Each function returns null, or what went wrong, to be freed by the caller.

#include <cstdlib>
#include <cstring>
#include <exception>

#include <ATen/core/Tensor.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_fused_adamw.h>

namespace {

template <typename Work>
char* caught(Work work) {
  try {
    work();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}

}  // namespace

extern "C" {

// Causal attention of documents laid end to end. q: [tokens, heads, dim]; k, v: [tokens, kv_heads, dim]; starts: int32,
// where each document begins, and at last the number of tokens. out: output, log-sum-exp, and the two that the backward
// pass wants to see again (state of the random numbers, unused).
char* smollm3_flash_attention(at::Tensor* out[4], const at::Tensor* q, const at::Tensor* k, const at::Tensor* v,
                              const at::Tensor* starts, int64_t longest, double scale) {
  return caught([&] {
    auto found = at::_flash_attention_forward(*q, *k, *v, *starts, *starts, longest, longest, /*dropout_p=*/0.0,
                                              /*is_causal=*/true, /*return_debug_mask=*/false, scale);
    out[0] = new at::Tensor(std::get<0>(found));
    out[1] = new at::Tensor(std::get<1>(found));
    out[2] = new at::Tensor(std::get<2>(found));
    out[3] = new at::Tensor(std::get<3>(found));
  });
}

// One AdamW step in place.
char* smollm3_fused_adamw(const at::Tensor* value, const at::Tensor* gradient, const at::Tensor* first,
                          const at::Tensor* second, const at::Tensor* step, double rate, double beta1, double beta2,
                          double decay, double epsilon) {
  return caught([&] {
    at::_fused_adamw_({*value}, {*gradient}, {*first}, {*second}, {}, {*step}, rate, beta1, beta2, decay, epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  });
}
}
