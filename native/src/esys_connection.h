// The JavaScript class `EsysConnection`: promises over a CommandQueue.
#pragma once

#include <napi.h>

#include <memory>

#include "command_queue.h"
#include "commands.h"

namespace agentkeyd {

class EsysConnection : public Napi::ObjectWrap<EsysConnection> {
 public:
  static Napi::Function Define(Napi::Env env);

  // new EsysConnection(tcti, queueLimit): has no context before `reopen`.
  explicit EsysConnection(const Napi::CallbackInfo& info);
  ~EsysConnection() override;

 private:
  class CommandTask;
  class Done;
  static void Settle(Napi::Env env, Napi::Function, EsysConnection* self, void*);
  using Completions = Napi::TypedThreadSafeFunction<EsysConnection, void, &EsysConnection::Settle>;

  Napi::Value Run(const Napi::CallbackInfo& info);
  void Cancel(const Napi::CallbackInfo& info);
  Napi::Value Reopen(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
  Napi::Value IsDead(const Napi::CallbackInfo& info);
  void Discard(const Napi::CallbackInfo& info);
  void End(const Napi::CallbackInfo& info);

  Napi::Value Submit(Napi::Env env, std::unique_ptr<Work> work, uint64_t ticket);
  void TaskAdded(Napi::Env env);
  void TaskGone(Napi::Env env, bool is_close);
  // Ends thread and context; what was queued is dropped.
  void End() noexcept;
  static void OnEnvironmentExit(void* self);

  const napi_env env_;
  Completions completions_;
  const std::shared_ptr<Done> done_;
  std::unique_ptr<CommandQueue> queue_;
  size_t pending_ = 0;
  bool closing_ = false;
};

}  // namespace agentkeyd
