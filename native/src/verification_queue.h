// One thread that verifies what is asked, in the order in which it is asked. Knows nothing of JavaScript.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "public_key.h"

namespace agentkeyd {

// A signature to verify, and the answer. Octets are copied: nothing here is JavaScript's.
class Question {
 public:
  Question(std::shared_ptr<PublicKey> key, Span octets, Span signature)
      : key_(std::move(key)),
        octets_(octets.data, octets.data + octets.size),
        signature_(signature.data, signature.data + signature.size) {}
  virtual ~Question() = default;

  void Answer() noexcept {
    verifies_ = key_->Verifies(Span{octets_.data(), octets_.size()}, Span{signature_.data(), signature_.size()});
  }
  // No until it is answered.
  bool verifies() const noexcept { return verifies_; }

 private:
  const std::shared_ptr<PublicKey> key_;
  const std::vector<std::uint8_t> octets_;
  const std::vector<std::uint8_t> signature_;
  bool verifies_ = false;
};

class VerificationQueue {
 public:
  // A list, as its elements change queues without any memory of their own: the thread never fails for want of it.
  using Questions = std::list<std::unique_ptr<Question>>;
  // Called on the queue's thread when answers are there to be taken, and not again before `TakeAnswered`.
  using OnAnswer = std::function<void()>;

  VerificationQueue(std::size_t limit, OnAnswer on_answer);
  VerificationQueue(const VerificationQueue&) = delete;
  VerificationQueue& operator=(const VerificationQueue&) = delete;
  ~VerificationQueue() { Stop(); }

  // False if as many as the limit wait already; `question` is left where it is then.
  bool Push(std::unique_ptr<Question>& question);
  Questions TakeAnswered();
  // Lets the running verification end, and the thread. Returns what nobody has taken, answered or not.
  Questions Stop() noexcept;

 private:
  void Loop() noexcept;

  const std::size_t limit_;
  const OnAnswer on_answer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Questions waiting_;
  Questions answered_;
  bool told_ = false;
  bool stopping_ = false;
  // Last, so that all the rest is there when it starts.
  std::thread thread_;
};

}  // namespace agentkeyd
