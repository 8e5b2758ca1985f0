// Octet strings that leave nothing behind in freed memory.
#pragma once

#include <string.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace agentkeyd {

template <class T>
struct WipingAllocator : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = WipingAllocator<U>;
  };
  WipingAllocator() = default;
  template <class U>
  WipingAllocator(const WipingAllocator<U>&) noexcept {}
  void deallocate(T* memory, std::size_t count) noexcept {
    explicit_bzero(memory, count * sizeof(T));
    std::allocator<T>::deallocate(memory, count);
  }
};

using Octets = std::vector<std::uint8_t, WipingAllocator<std::uint8_t>>;

}  // namespace agentkeyd
