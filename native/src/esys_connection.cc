#include "esys_connection.h"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <new>
#include <utility>

namespace agentkeyd {

namespace {

constexpr size_t kMaxTctiLength = 1024;

Napi::Value ErrorWithCode(Napi::Env env, const char* code, const char* message) {
  Napi::Object error = Napi::Error::New(env, message).Value();
  error.Set("code", Napi::String::New(env, code));
  return error;
}

Napi::Value ErrorOf(Napi::Env env, const TssError& fault) {
  Napi::Object error = Napi::Error::New(env, std::string(fault.call()) + " failed").Value();
  error.Set("rc", Napi::Number::New(env, fault.rc()));
  error.Set("call", Napi::String::New(env, fault.call()));
  return error;
}

// 1 to 2^53-1; 0 for a command that nobody takes back.
uint64_t TicketOf(const Napi::Value& value) {
  if (!value.IsNumber()) return 0;
  const int64_t ticket = value.As<Napi::Number>().Int64Value();
  return ticket > 0 ? static_cast<uint64_t>(ticket) : 0;
}

Napi::Value Rejected(Napi::Env env, const Napi::Value& reason) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(reason);
  return deferred.Promise();
}

}  // namespace

// A command under way, with the promise that it settles.
class EsysConnection::CommandTask : public Task {
 public:
  CommandTask(Napi::Env env, std::unique_ptr<Work> work, bool is_close)
      : deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)), is_close_(is_close) {}

  void Run(EsysContext& esys) override {
    try {
      reply_ = work_->Run(esys);
    } catch (const TssError& fault) {
      fault_ = std::make_unique<TssError>(fault);
    } catch (const std::bad_alloc&) {
      fault_ = std::make_unique<TssError>(TSS2_ESYS_RC_MEMORY, "operator new");
    }
    work_.reset();  // wipes the secrets in it
  }

  void Settle(Napi::Env env) const {
    if (fault_ == nullptr) {
      deferred_.Resolve(reply_.ToObject(env));
    } else {
      deferred_.Reject(ErrorOf(env, *fault_));
    }
  }
  void Refuse(const Napi::Value& reason) const { deferred_.Reject(reason); }
  Napi::Promise promise() const { return deferred_.Promise(); }
  bool is_close() const noexcept { return is_close_; }

 private:
  Napi::Promise::Deferred deferred_;
  std::unique_ptr<Work> work_;
  const bool is_close_;
  Reply reply_;
  std::unique_ptr<TssError> fault_;
};

// Commands that have run and whose promises are open. Shared with the thread, which may outlive the connection.
class EsysConnection::Done {
 public:
  // True if nobody has been told yet of what is here.
  bool Add(CommandQueue::Tasks tasks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool is_first = tasks_.empty();
    std::move(tasks.begin(), tasks.end(), std::back_inserter(tasks_));
    return is_first;
  }
  CommandQueue::Tasks Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(tasks_, {});
  }

 private:
  std::mutex mutex_;
  CommandQueue::Tasks tasks_;
};

Napi::Function EsysConnection::Define(Napi::Env env) {
  return DefineClass(env, "EsysConnection",
                     {
                         InstanceMethod<&EsysConnection::Run>("run"),
                         InstanceMethod<&EsysConnection::Cancel>("cancel"),
                         InstanceMethod<&EsysConnection::Reopen>("reopen"),
                         InstanceMethod<&EsysConnection::Close>("close"),
                         InstanceMethod<&EsysConnection::End>("end"),
                         InstanceMethod<&EsysConnection::IsDead>("isDead"),
                         InstanceMethod<&EsysConnection::Discard>("discard"),
                     });
}

EsysConnection::EsysConnection(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<EsysConnection>(info), env_(info.Env()), done_(std::make_shared<Done>()) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString() || !info[1].IsNumber()) {
    throw Napi::TypeError::New(env, "expected a TCTI configuration and a queue limit");
  }
  const std::string tcti = info[0].As<Napi::String>();
  const double limit = info[1].As<Napi::Number>().DoubleValue();
  if (tcti.empty() || tcti.size() > kMaxTctiLength || tcti.find('\0') != std::string::npos) {
    throw Napi::TypeError::New(env, "the TCTI configuration must be 1 to 1024 octets without NUL");
  }
  if (!(limit >= 1 && limit <= 1e6)) throw Napi::TypeError::New(env, "the queue limit must be 1 to 1000000");

  completions_ = Completions::New(env, "esys", 0, 1, this);
  completions_.Unref(env);
  // One call for all that is done until it is made; it fails only when the environment exits.
  queue_ = std::make_unique<CommandQueue>(tcti, static_cast<size_t>(limit),
                                          [completions = completions_, done = done_](CommandQueue::Tasks tasks) {
                                            if (done->Add(std::move(tasks))) completions.NonBlockingCall();
                                          });
  // Added after the one of `completions_`, so it runs before: the thread ends first.
  napi_add_env_cleanup_hook(env_, OnEnvironmentExit, this);
}

EsysConnection::~EsysConnection() { End(); }

void EsysConnection::OnEnvironmentExit(void* self) { static_cast<EsysConnection*>(self)->End(); }

void EsysConnection::End() noexcept {
  if (queue_ == nullptr) return;
  queue_.reset();
  completions_.Release();
  napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
}

Napi::Value EsysConnection::Run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    const auto& commands = Commands();
    const auto found = info[0].IsString() ? commands.find(info[0].As<Napi::String>()) : commands.end();
    if (found == commands.end()) throw Napi::TypeError::New(env, "unknown command");
    return Submit(env, found->second(Arguments(info[1])), TicketOf(info[2]));
  } catch (const TssError& fault) {
    return Rejected(env, ErrorOf(env, fault));
  } catch (const Napi::Error& error) {
    return Rejected(env, error.Value());
  }
}

// A command that waits is taken back and its promise rejected; of one that the TPM has, the answer comes.
void EsysConnection::Cancel(const Napi::CallbackInfo& info) {
  if (queue_ == nullptr) return;
  const Napi::Env env = info.Env();
  const std::unique_ptr<Task> task = queue_->Cancel(TicketOf(info[0]));
  if (task == nullptr) return;
  static_cast<CommandTask&>(*task).Refuse(ErrorWithCode(env, "CANCELLED", "the command was taken back"));
  TaskGone(env, false);
}

Napi::Value EsysConnection::Reopen(const Napi::CallbackInfo& info) {
  return Submit(info.Env(), MakeWork([](EsysContext& esys) {
                  esys.Open();
                  return Reply();
                }),
                0);
}

Napi::Value EsysConnection::Submit(Napi::Env env, std::unique_ptr<Work> work, uint64_t ticket) {
  if (closing_ || queue_ == nullptr) return Rejected(env, ErrorWithCode(env, "CLOSED", "the connection is closed"));
  auto command = std::make_unique<CommandTask>(env, std::move(work), false);
  const Napi::Promise promise = command->promise();
  std::unique_ptr<Task> task = std::move(command);
  if (!queue_->Push(task, ticket)) {
    static_cast<CommandTask&>(*task).Refuse(ErrorWithCode(env, "QUEUE_FULL", "the queue is full"));
    return promise;
  }
  TaskAdded(env);
  return promise;
}

Napi::Value EsysConnection::Close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (closing_ || queue_ == nullptr) return Rejected(env, ErrorWithCode(env, "CLOSED", "the connection is closed"));
  closing_ = true;
  auto task = std::make_unique<CommandTask>(env, MakeWork([](EsysContext& esys) {
                                              esys.Close();
                                              return Reply();
                                            }),
                                            true);
  const Napi::Promise promise = task->promise();
  queue_->PushLast(std::move(task));
  TaskAdded(env);
  return promise;
}

// While a command is under way the event loop stays alive, and so does this object.
void EsysConnection::TaskAdded(Napi::Env env) {
  if (pending_++ > 0) return;
  Ref();
  completions_.Ref(env);
}

void EsysConnection::Settle(Napi::Env env, Napi::Function, EsysConnection* self, void*) {
  const auto done = self->done_->Take();
  if (env == nullptr) return;  // the environment exits: nobody waits for the promises
  for (const auto& task : done) {
    const auto& command = static_cast<const CommandTask&>(*task);
    try {
      command.Settle(env);
    } catch (const Napi::Error&) {
      // A worker that is being terminated takes no values any more, so nobody waits for the promise.
    }
    self->TaskGone(env, command.is_close());
  }
}

void EsysConnection::TaskGone(Napi::Env env, bool is_close) {
  const bool is_idle = --pending_ == 0;
  if (is_idle) completions_.Unref(env);
  if (is_close) End();
  if (is_idle) Unref();
}

void EsysConnection::End(const Napi::CallbackInfo&) { End(); }

Napi::Value EsysConnection::IsDead(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), queue_ == nullptr || queue_->dead());
}

void EsysConnection::Discard(const Napi::CallbackInfo& info) {
  if (queue_ == nullptr || !info[0].IsNumber()) return;
  queue_->Discard(static_cast<HandleId>(info[0].As<Napi::Number>().Int64Value()));
}

}  // namespace agentkeyd
