#include "reply.h"

namespace agentkeyd {

namespace {

struct ToValue {
  Napi::Env env;

  Napi::Value operator()(double number) const { return Napi::Number::New(env, number); }
  Napi::Value operator()(bool flag) const { return Napi::Boolean::New(env, flag); }
  Napi::Value operator()(const Octets& octets) const {
    return Napi::Buffer<std::uint8_t>::Copy(env, octets.data(), octets.size());
  }
  Napi::Value operator()(const std::vector<Octets>& list) const {
    Napi::Array array = Napi::Array::New(env, list.size());
    for (uint32_t i = 0; i < list.size(); i++) array.Set(i, (*this)(list[i]));
    return array;
  }
  Napi::Value operator()(const NewHandle& handle) const {
    Napi::Object object = Napi::Object::New(env);
    object.Set("id", Napi::Number::New(env, static_cast<double>(handle.id)));
    object.Set("kind", Napi::String::New(env, HandleKindName(handle.kind)));
    return object;
  }
};

}  // namespace

Napi::Object Reply::ToObject(Napi::Env env) const {
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [name, value] : values_) object.Set(name, std::visit(ToValue{env}, value));
  return object;
}

}  // namespace agentkeyd
