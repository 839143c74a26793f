// Functions of libtorch that the bindings leave out: fused AdamW, attention over sequences of different lengths, and the
// device's memory. All of them are looked up in libtorch's dispatcher, so this part links with the CPU half alone and finds
// the CUDA kernels once that half is loaded.
//
// Tensors come as pointers to at::Tensor that the caller owns. Every function gives null, or an error's text in memory of
// malloc, which the caller frees.

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_efficient_attention_forward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

namespace {

template <typename Work>
char* guarded(Work&& work) {
  try {
    work();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an error without text");
  }
}

std::vector<at::Tensor> gradients_of(size_t count, at::Tensor* const* parameters) {
  std::vector<at::Tensor> gradients;
  gradients.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    if (const auto& gradient = parameters[i]->grad(); gradient.defined()) {
      gradients.push_back(gradient);
    }
  }
  return gradients;
}

}  // namespace

extern "C" {

void adam_torch_free(char* text) { std::free(text); }

// The length of all gradients together, a scalar on their device in f64.
char* adam_torch_gradient_norm(size_t count, at::Tensor* const* parameters, at::Tensor** norm) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto gradients = gradients_of(count, parameters);
    if (gradients.empty()) {
      *norm = new at::Tensor(at::zeros({}, at::kDouble));
      return;
    }
    const auto lengths = at::stack(at::_foreach_norm(gradients, 2)).to(at::kDouble);
    *norm = new at::Tensor(at::linalg_vector_norm(lengths));
  });
}

// One step of AdamW over parameters that hold a gradient, in one launch. `step` is a scalar in f32, counted from 1; gradients
// are divided by `divisor`, a scalar in f32 (and left divided).
char* adam_torch_adamw(size_t count, at::Tensor* const* parameters, at::Tensor* const* means, at::Tensor* const* squares,
                       const at::Tensor* step, const at::Tensor* divisor, double rate, double beta1, double beta2,
                       double weight_decay, double epsilon) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> values, first, second, steps;
    for (size_t i = 0; i < count; ++i) {
      if (parameters[i]->grad().defined()) {
        values.push_back(*parameters[i]);
        first.push_back(*means[i]);
        second.push_back(*squares[i]);
        steps.push_back(*step);
      }
    }
    if (values.empty()) return;
    const auto gradients = gradients_of(count, parameters);
    at::_fused_adamw_(values, gradients, first, second, /*max_exp_avg_sqs=*/{}, steps, rate, beta1, beta2, weight_decay,
                      epsilon, /*amsgrad=*/false, /*maximize=*/false, *divisor, /*found_inf=*/{});
  });
}

// Takes the gradients away: the next backward pass writes them instead of adding to zeros.
char* adam_torch_clear_gradients(size_t count, at::Tensor* const* parameters) {
  return guarded([&] {
    for (size_t i = 0; i < count; ++i) {
      if (parameters[i]->grad().defined()) parameters[i]->mutable_grad().reset();
    }
  });
}

// Attention in which each sequence sees itself only. `query`, `key`, `value` are [tokens, heads, width] on a CUDA device,
// sequences one after the other; `offsets` is int32 [sequences + 1] there. bf16 and f16 go through flash attention, f32 through
// the memory-efficient kernel.
char* adam_torch_varlen_attention(const at::Tensor* query, const at::Tensor* key, const at::Tensor* value,
                                  const at::Tensor* offsets, int64_t longest, at::Tensor** mixed) {
  return guarded([&] {
    const auto kind = query->scalar_type();
    if (kind == at::kHalf || kind == at::kBFloat16) {
      auto found = at::_flash_attention_forward(*query, *key, *value, *offsets, *offsets, longest, longest,
                                                /*dropout_p=*/0.0, /*is_causal=*/false, /*return_debug_mask=*/false);
      *mixed = new at::Tensor(std::get<0>(found));
    } else {
      auto found = at::_efficient_attention_forward(
          query->unsqueeze(0), key->unsqueeze(0), value->unsqueeze(0), /*bias=*/{}, *offsets, *offsets, longest, longest,
          /*dropout_p=*/0.0, /*custom_mask_type=*/0, /*compute_log_sumexp=*/at::GradMode::is_enabled());
      *mixed = new at::Tensor(std::get<0>(found).squeeze(0));
    }
  });
}

// Of a CUDA device's memory, in bytes: handed out now, handed out at most, held by the process at most, free, all.
char* adam_torch_device_memory(int32_t device, int64_t* numbers) {
  return guarded([&] {
    auto* allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    const auto stats = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    numbers[0] = stats.allocated_bytes[all].current;
    numbers[1] = stats.allocated_bytes[all].peak;
    numbers[2] = stats.reserved_bytes[all].peak;
    const auto [free, total] = allocator->getMemoryInfo(static_cast<c10::DeviceIndex>(device));
    numbers[3] = static_cast<int64_t>(free);
    numbers[4] = static_cast<int64_t>(total);
  });
}

// Gives memory that is held in reserve back to the device.
char* adam_torch_empty_cache() {
  return guarded([&] { c10::getDeviceAllocator(c10::DeviceType::CUDA)->emptyCache(); });
}
}
