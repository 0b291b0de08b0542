// What LibTorch has and tch 0.22 does not bind. Each function returns null, or an error message to be freed by the caller.

#include <cstdlib>
#include <cstring>
#include <exception>
#include <set>
#include <vector>

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/csrc/autograd/profiler_kineto.h>

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

std::vector<at::Tensor> list(const at::Tensor* const* tensors, int64_t count) {
  std::vector<at::Tensor> all;
  all.reserve(count);
  for (int64_t i = 0; i < count; ++i) all.push_back(*tensors[i]);
  return all;
}

}  // namespace

extern "C" {

// Causal attention of documents laid end to end. q: [tokens, heads, dim]; k, v: [tokens, kv_heads, dim]; cu_seqlens:
// int32, where each document begins, then the number of tokens. out: output, log-sum-exp, and two tensors for the
// backward pass (state of the random numbers, unused).
char* smollm3_flash_attention(at::Tensor* out[4], const at::Tensor* q, const at::Tensor* k, const at::Tensor* v,
                              const at::Tensor* cu_seqlens, int64_t max_seqlen, double scale) {
  return caught([&] {
    auto result = at::_flash_attention_forward(*q, *k, *v, *cu_seqlens, *cu_seqlens, max_seqlen, max_seqlen,
                                               /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false, scale);
    // Without dropout the last two may be undefined.
    auto some = [&](const at::Tensor& tensor) {
      return new at::Tensor(tensor.defined() ? tensor : at::zeros({2}, q->options().dtype(at::kLong)));
    };
    out[0] = some(std::get<0>(result));
    out[1] = some(std::get<1>(result));
    out[2] = some(std::get<2>(result));
    out[3] = some(std::get<3>(result));
  });
}

// One AdamW step of `count` tensors in place, all of one dtype and on one device. Gradients are first multiplied by
// `scale`, in place too, unless it is 1.
char* smollm3_fused_adamw(const at::Tensor* const* values, const at::Tensor* const* gradients,
                          const at::Tensor* const* firsts, const at::Tensor* const* seconds, int64_t count,
                          double scale, double step, double rate, double beta1, double beta2, double decay,
                          double epsilon) {
  return caught([&] {
    if (count == 0) return;
    auto all = list(values, count), of_all = list(gradients, count);
    if (scale != 1.0) at::_foreach_mul_(of_all, scale);
    // Made on the device and read-only: one for all.
    std::vector<at::Tensor> steps(count, at::full({}, step, all[0].options().dtype(at::kFloat)));
    at::_fused_adamw_(all, of_all, list(firsts, count), list(seconds, count), {}, steps, rate, beta1, beta2, decay,
                      epsilon, /*amsgrad=*/false, /*maximize=*/false);
  });
}

// flags: deterministic algorithms, warnings only, new memory filled.
void smollm3_deterministic(bool flags[3]) {
  const auto& context = at::globalContext();
  flags[0] = context.deterministicAlgorithms();
  flags[1] = context.deterministicAlgorithmsWarnOnly();
  flags[2] = context.deterministicFillUninitializedMemory();
}

void smollm3_set_deterministic(const bool flags[3]) {
  auto& context = at::globalContext();
  context.setDeterministicAlgorithms(flags[0], flags[1]);
  context.setDeterministicFillUninitializedMemory(flags[2]);
}

// Peak memory of a CUDA device in bytes: of tensors, and reserved by the allocator.
char* smollm3_device_memory(int64_t peak[2], int8_t device) {
  return caught([&] {
    auto stats = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(device);
    constexpr size_t all = 0;  // small and large blocks together
    peak[0] = stats.allocated_bytes[all].peak;
    peak[1] = stats.reserved_bytes[all].peak;
  });
}

// Kineto, LibTorch's profiler: operations of the calling thread and, with `cuda`, every kernel.
char* smollm3_profile_begin(bool cuda) {
  return caught([&] {
    using namespace torch::profiler::impl;
    std::set<ActivityType> activities{ActivityType::CPU};
    if (cuda) activities.insert(ActivityType::CUDA);
    ProfilerConfig config(ProfilerState::KINETO);
    torch::autograd::profiler::prepareProfiler(config, activities);
    torch::autograd::profiler::enableProfiler(config, activities, {at::RecordScope::FUNCTION});
  });
}

// Ends it, and calls `each` for every operation and kernel; times in nanoseconds.
char* smollm3_profile_end(void (*each)(void* context, const char* name, bool on_device, int64_t start, int64_t length),
                          void* context) {
  return caught([&] {
    auto result = torch::autograd::profiler::disableProfiler();
    for (const auto& event : result->events()) {
      each(context, event.name().c_str(), event.deviceType() != c10::DeviceType::CPU,
           static_cast<int64_t>(event.startNs()), static_cast<int64_t>(event.durationNs()));
    }
  });
}
}
