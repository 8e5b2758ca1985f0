#include "command_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace agentkeyd {

namespace {

// Longer than any command but the making of a large RSA key.
constexpr std::chrono::seconds kStopTimeout{5};

}  // namespace

CommandQueue::CommandQueue(std::string tcti, size_t limit, OnDone on_done)
    : limit_(limit), state_(std::make_shared<State>(std::move(tcti), std::move(on_done))) {
  thread_ = std::thread([state = state_] { Loop(state); });
}

bool CommandQueue::Push(std::unique_ptr<Task>& task, uint64_t ticket) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  if (state_->waiting >= limit_) return false;
  state_->items.push_back(Item{std::move(task), 0, ticket});
  state_->waiting++;
  state_->changed.notify_all();
  return true;
}

std::unique_ptr<Task> CommandQueue::Cancel(uint64_t ticket) {
  if (ticket == 0) return nullptr;
  const std::lock_guard<std::mutex> lock(state_->mutex);
  const auto found = std::find_if(state_->items.begin(), state_->items.end(),
                                  [ticket](const Item& item) { return item.ticket == ticket; });
  if (found == state_->items.end()) return nullptr;
  std::unique_ptr<Task> task = std::move(found->task);
  state_->items.erase(found);
  state_->waiting--;
  return task;
}

void CommandQueue::PushLast(std::unique_ptr<Task> task) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->items.push_back(Item{std::move(task), 0, 0});
  state_->waiting++;
  state_->changed.notify_all();
}

void CommandQueue::Discard(HandleId id) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->items.push_back(Item{nullptr, id, 0});
  state_->changed.notify_all();
}

void CommandQueue::Loop(const std::shared_ptr<State>& state) {
  std::unique_lock<std::mutex> lock(state->mutex);
  for (;;) {
    state->changed.wait(lock, [&] { return state->stopping || !state->items.empty(); });
    if (state->stopping) break;
    Item item = std::move(state->items.front());
    state->items.pop_front();
    if (item.task != nullptr) state->waiting--;
    lock.unlock();
    if (item.task != nullptr) {
      item.task->Run(state->esys);
    } else {
      state->esys.Discard(item.discard);
    }
    lock.lock();
    // Under the lock: Stop must not return between this test and the call.
    if (item.task != nullptr && !state->abandoned) state->on_done(std::move(item.task));
  }
  state->items.clear();
  lock.unlock();
  state->esys.Close();
  lock.lock();
  state->ended = true;
  state->changed.notify_all();
}

void CommandQueue::Stop() noexcept {
  if (!thread_.joinable()) return;
  {
    std::unique_lock<std::mutex> lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
    if (!state_->changed.wait_for(lock, kStopTimeout, [&] { return state_->ended; })) {
      state_->abandoned = true;
    }
  }
  if (state_->abandoned) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

}  // namespace agentkeyd
