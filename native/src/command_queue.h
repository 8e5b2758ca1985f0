// One thread, one EsysContext, one queue. Knows nothing of JavaScript.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "esys_context.h"

namespace agentkeyd {

// Something to do on the connection's thread.
class Task {
 public:
  virtual ~Task() = default;
  virtual void Run(EsysContext& esys) = 0;
};

class CommandQueue {
 public:
  // `on_done` is called on the connection's thread with each task that has run, and never again once
  // Stop has returned.
  using OnDone = std::function<void(std::unique_ptr<Task>)>;

  CommandQueue(std::string tcti, size_t limit, OnDone on_done);
  CommandQueue(const CommandQueue&) = delete;
  CommandQueue& operator=(const CommandQueue&) = delete;
  ~CommandQueue() { Stop(); }

  // False if `limit` tasks wait already; `task` is untouched then. `ticket` names it for Cancel; 0 names none.
  bool Push(std::unique_ptr<Task>& task, uint64_t ticket);
  // Takes a task out that waits; null if it runs, has run, or was never here.
  std::unique_ptr<Task> Cancel(uint64_t ticket);
  // Regardless of the limit.
  void PushLast(std::unique_ptr<Task> task);
  // Gives a number up, after what is queued.
  void Discard(HandleId id);
  bool dead() const noexcept { return state_->esys.dead(); }

  // Drops what is queued, lets the running command end, flushes and finalises. A TPM that does not
  // answer is left to a detached thread, so that the environment can always exit.
  void Stop() noexcept;

 private:
  // A task, or a number to give up.
  struct Item {
    std::unique_ptr<Task> task;
    HandleId discard;
    uint64_t ticket;
  };
  struct State {
    State(std::string tcti, OnDone done) : esys(std::move(tcti)), on_done(std::move(done)) {}

    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Item> items;
    size_t waiting = 0;  // tasks among the items
    bool stopping = false;
    bool ended = false;
    bool abandoned = false;
    EsysContext esys;
    OnDone on_done;
  };

  static void Loop(const std::shared_ptr<State>& state);

  const size_t limit_;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace agentkeyd
