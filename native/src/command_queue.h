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
#include <vector>

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
  using Tasks = std::vector<std::unique_ptr<Task>>;
  // `on_done` is called on the connection's thread with tasks that have run, in order, and never again once Stop has
  // returned. While others wait and the TPM is quick, a few are told together.
  using OnDone = std::function<void(Tasks)>;

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
