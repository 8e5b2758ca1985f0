#include "verification_queue.h"

#include <pthread.h>

namespace agentkeyd {

namespace {

// Half a millisecond of ECDSA.
constexpr std::size_t kTogether = 8;

}  // namespace

VerificationQueue::VerificationQueue(std::size_t limit, OnAnswer on_answer)
    : limit_(limit), on_answer_(std::move(on_answer)), thread_([this] { Loop(); }) {
  // For people who look at threads; at most 15 characters.
  pthread_setname_np(thread_.native_handle(), "verification");
}

bool VerificationQueue::Push(std::unique_ptr<Question>& question) {
  Questions one;
  one.emplace_back();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_.size() >= limit_) return false;
    one.front() = std::move(question);
    waiting_.splice(waiting_.end(), one);
  }
  changed_.notify_one();
  return true;
}

VerificationQueue::Questions VerificationQueue::TakeAnswered() {
  Questions result;
  const std::lock_guard<std::mutex> lock(mutex_);
  result.swap(answered_);
  told_ = false;
  return result;
}

void VerificationQueue::Loop() noexcept {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    // Still in its list, so that `Stop` finds it wherever it is; nobody else takes from this one.
    Question& question = *waiting_.front();
    lock.unlock();
    question.Answer();
    lock.lock();
    answered_.splice(answered_.end(), waiting_, waiting_.begin());
    // While more wait, several answers go together: to be told costs the other thread a third of a verification.
    if (told_ || (!waiting_.empty() && answered_.size() < kTogether)) continue;
    told_ = true;
    lock.unlock();
    on_answer_();
    lock.lock();
  }
}

VerificationQueue::Questions VerificationQueue::Stop() noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
  // The thread is no more: nobody else is here.
  Questions result;
  result.swap(answered_);
  result.splice(result.end(), waiting_);
  return result;
}

}  // namespace agentkeyd
