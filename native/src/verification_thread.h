// The JavaScript classes `PublicKey` and `VerificationThread`: promises over a VerificationQueue.
#pragma once

#include <napi.h>

#include <memory>

#include "public_key.h"
#include "verification_queue.h"

namespace agentkeyd {

class PublicKeyObject : public Napi::ObjectWrap<PublicKeyObject> {
 public:
  static Napi::Function Define(Napi::Env env);
  // The one that `value` is; throws Napi::TypeError if it is something else.
  static PublicKeyObject* From(const Napi::Value& value);

  // new PublicKey(algorithm, spki)
  explicit PublicKeyObject(const Napi::CallbackInfo& info);

  // Null once it was released.
  const std::shared_ptr<PublicKey>& key() const noexcept { return key_; }

 private:
  // verifies(octets, signature): boolean, on this thread. A released key says no.
  Napi::Value Verifies(const Napi::CallbackInfo& info);
  // release(): frees the key, once the questions under way about it are answered.
  void Release(const Napi::CallbackInfo&) { key_.reset(); }

  std::shared_ptr<PublicKey> key_;
};

class VerificationThread : public Napi::ObjectWrap<VerificationThread> {
 public:
  static Napi::Function Define(Napi::Env env);

  // new VerificationThread(queueLimit): starts the thread.
  explicit VerificationThread(const Napi::CallbackInfo& info);
  ~VerificationThread() override;

 private:
  class Asked;
  static void Settle(Napi::Env env, Napi::Function, VerificationThread* self, void*);
  using Answers = Napi::TypedThreadSafeFunction<VerificationThread, void, &VerificationThread::Settle>;

  // verifies(key, octets, signature): Promise<boolean>. Rejects with the code CLOSED, RELEASED or QUEUE_FULL.
  Napi::Value Verifies(const Napi::CallbackInfo& info);
  // end(): ends the thread; what is not answered rejects with CLOSED.
  void End(const Napi::CallbackInfo& info);

  // Ends the thread; returns the questions whose promises are open.
  VerificationQueue::Questions End() noexcept;
  void Done(Napi::Env env, std::size_t count);
  static void OnEnvironmentExit(void* self);

  const napi_env env_;
  Answers answers_;
  std::unique_ptr<VerificationQueue> queue_;
  std::size_t pending_ = 0;
};

}  // namespace agentkeyd
