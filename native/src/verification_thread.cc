#include "verification_thread.h"

#include <string>
#include <system_error>
#include <utility>

namespace agentkeyd {

namespace {

// Also of the largest message that a token is sent to sign, and of an RSA-8192 key in DER.
constexpr std::size_t kMaxOctets = 2 * 1024 * 1024;
constexpr std::size_t kMaxSpkiOctets = 4096;

constexpr napi_type_tag kPublicKeyTag{0x8e1f4c7a90b34d52, 0xb6d1a3c2785e4f09};

// Valid until JavaScript runs again.
Span Octets(const Napi::Value& value, std::size_t limit) {
  if (!value.IsTypedArray()) throw Napi::TypeError::New(value.Env(), "expected a Uint8Array");
  const auto octets = value.As<Napi::Uint8Array>();
  if (octets.TypedArrayType() != napi_uint8_array || octets.ByteLength() > limit) {
    throw Napi::TypeError::New(value.Env(), "expected a Uint8Array of at most " + std::to_string(limit) + " octets");
  }
  return Span{octets.Data(), octets.ByteLength()};
}

Napi::Value Fault(Napi::Env env, const char* code, const char* message) {
  Napi::Object error = Napi::Error::New(env, message).Value();
  error.Set("code", Napi::String::New(env, code));
  return error;
}

Napi::Value Rejected(Napi::Env env, const Napi::Value& reason) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(reason);
  return deferred.Promise();
}

Napi::Value Closed(Napi::Env env) { return Fault(env, "CLOSED", "the verification thread has ended"); }

}  // namespace

Napi::Function PublicKeyObject::Define(Napi::Env env) {
  return DefineClass(env, "PublicKey",
                     {
                         InstanceMethod<&PublicKeyObject::Verifies>("verifies"),
                         InstanceMethod<&PublicKeyObject::Release>("release"),
                     });
}

PublicKeyObject* PublicKeyObject::From(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kPublicKeyTag)) {
    throw Napi::TypeError::New(value.Env(), "expected a PublicKey");
  }
  return Unwrap(value.As<Napi::Object>());
}

PublicKeyObject::PublicKeyObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PublicKeyObject>(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) throw Napi::TypeError::New(env, "expected an algorithm");
  key_ = PublicKey::Parse(info[0].As<Napi::String>(), Octets(info[1], kMaxSpkiOctets));
  if (key_ == nullptr) throw Napi::TypeError::New(env, "not a public key of this algorithm");
  info.This().As<Napi::Object>().TypeTag(&kPublicKeyTag);
}

Napi::Value PublicKeyObject::Verifies(const Napi::CallbackInfo& info) {
  const bool verifies = key_ != nullptr && key_->Verifies(Octets(info[0], kMaxOctets), Octets(info[1], kMaxOctets));
  return Napi::Boolean::New(info.Env(), verifies);
}

// A question with the promise that its answer settles.
class VerificationThread::Asked : public Question {
 public:
  Asked(Napi::Env env, std::shared_ptr<PublicKey> key, Span octets, Span signature)
      : Question(std::move(key), octets, signature), deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }
  void Settle(Napi::Env env) const { deferred_.Resolve(Napi::Boolean::New(env, verifies())); }
  void Refuse(const Napi::Value& reason) const { deferred_.Reject(reason); }

 private:
  const Napi::Promise::Deferred deferred_;
};

Napi::Function VerificationThread::Define(Napi::Env env) {
  return DefineClass(env, "VerificationThread",
                     {
                         InstanceMethod<&VerificationThread::Verifies>("verifies"),
                         InstanceMethod<&VerificationThread::End>("end"),
                     });
}

VerificationThread::VerificationThread(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<VerificationThread>(info), env_(info.Env()) {
  const Napi::Env env = info.Env();
  const double limit = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
  if (!(limit >= 1 && limit <= 1e6)) throw Napi::TypeError::New(env, "the queue limit must be 1 to 1000000");
  answers_ = Answers::New(env, "verification", 0, 1, this);
  answers_.Unref(env);
  try {
    // One call for all that is answered until it is made; it fails only when the environment exits.
    queue_ = std::make_unique<VerificationQueue>(static_cast<std::size_t>(limit),
                                                 [answers = answers_] { answers.NonBlockingCall(); });
  } catch (const std::system_error& fault) {
    answers_.Abort();
    throw Napi::Error::New(env, std::string("no thread: ") + fault.what());
  }
  // Added after the one of `answers_`, so it runs before: the thread ends first.
  napi_add_env_cleanup_hook(env_, OnEnvironmentExit, this);
}

VerificationThread::~VerificationThread() { End(); }

void VerificationThread::OnEnvironmentExit(void* self) { static_cast<VerificationThread*>(self)->End(); }

VerificationQueue::Questions VerificationThread::End() noexcept {
  if (queue_ == nullptr) return {};
  VerificationQueue::Questions open = queue_->Stop();
  queue_.reset();
  // A call that is still to be made is dropped: this object may be gone by then.
  answers_.Abort();
  napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
  return open;
}

Napi::Value VerificationThread::Verifies(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    if (queue_ == nullptr) return Rejected(env, Closed(env));
    const std::shared_ptr<PublicKey>& key = PublicKeyObject::From(info[0])->key();
    if (key == nullptr) return Rejected(env, Fault(env, "RELEASED", "the key was released"));
    auto asked = std::make_unique<Asked>(env, key, Octets(info[1], kMaxOctets), Octets(info[2], kMaxOctets));
    const Napi::Promise promise = asked->promise();
    std::unique_ptr<Question> question = std::move(asked);
    if (!queue_->Push(question)) {
      static_cast<Asked&>(*question).Refuse(Fault(env, "QUEUE_FULL", "the queue is full"));
      return promise;
    }
    // While an answer is awaited the event loop stays alive, and so does this object.
    if (pending_++ == 0) {
      Ref();
      answers_.Ref(env);
    }
    return promise;
  } catch (const Napi::Error& error) {
    return Rejected(env, error.Value());
  }
}

void VerificationThread::Settle(Napi::Env env, Napi::Function, VerificationThread* self, void*) {
  if (env == nullptr || self->queue_ == nullptr) return;  // the environment exits, or `end` has refused them
  const VerificationQueue::Questions answered = self->queue_->TakeAnswered();
  try {
    for (const auto& question : answered) static_cast<const Asked&>(*question).Settle(env);
  } catch (const Napi::Error&) {
    // A worker that is being terminated takes no values any more, so nobody waits for the promises.
  }
  self->Done(env, answered.size());
}

void VerificationThread::Done(Napi::Env env, std::size_t count) {
  if (count == 0) return;
  pending_ -= count;
  if (pending_ > 0) return;
  if (queue_ != nullptr) answers_.Unref(env);
  Unref();
}

void VerificationThread::End(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const VerificationQueue::Questions open = End();
  for (const auto& question : open) static_cast<const Asked&>(*question).Refuse(Closed(env));
  Done(env, open.size());
}

}  // namespace agentkeyd
