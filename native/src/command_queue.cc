#include "command_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace agentkeyd {

namespace {

// Longer than any command but the making of a large RSA key.
constexpr std::chrono::seconds kStopTimeout{5};

// To be told wakes JavaScript on a core that TPM or thread could use, and what it does then costs a quarter less for
// several at once (docs/decisions/0050). So many are told together,
constexpr std::size_t kTogether = 4;
// as long as so many wait here, enough for the TPM until JavaScript has sent the next,
constexpr std::size_t kAhead = 3;
// and the last took no longer than this, so that nobody notices what he waits.
constexpr std::chrono::milliseconds kQuick{2};

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
  Tasks done;
  std::unique_lock<std::mutex> lock(state->mutex);
  for (;;) {
    state->changed.wait(lock, [&] { return state->stopping || !state->items.empty(); });
    if (state->stopping) break;
    Item item = std::move(state->items.front());
    state->items.pop_front();
    if (item.task != nullptr) state->waiting--;
    lock.unlock();
    const auto begun_at = std::chrono::steady_clock::now();
    if (item.task != nullptr) {
      item.task->Run(state->esys);
    } else {
      state->esys.Discard(item.discard);
    }
    const bool is_quick = std::chrono::steady_clock::now() - begun_at < kQuick;
    lock.lock();
    if (item.task != nullptr) done.push_back(std::move(item.task));
    if (is_quick && !state->stopping && state->waiting >= kAhead && done.size() < kTogether) continue;
    // Under the lock: Stop must not return between this test and the call.
    if (!done.empty() && !state->abandoned) state->on_done(std::exchange(done, {}));
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
