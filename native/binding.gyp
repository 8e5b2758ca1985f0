{
  "target_defaults": {
    "default_configuration": "Release",
    # The last: a worker that is terminated can not take exceptions any more.
    "defines": ["NAPI_VERSION=9", "NAPI_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": [
      "-std=c++17", "-fexceptions", "-fvisibility=hidden",
      "-Wall", "-Wextra", "-Werror",
      "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-fstack-protector-strong",
      "-isystem<!(node -p \"require('node:path').dirname(require.resolve('node-addon-api/package.json'))\")"
    ],
    "ldflags": ["-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack"]
  },
  "targets": [
    {
      "target_name": "esys",
      "sources": [
        "src/addon.cc",
        "src/arguments.cc",
        "src/command_queue.cc",
        "src/commands.cc",
        "src/commands_attest.cc",
        "src/commands_handle.cc",
        "src/commands_nv.cc",
        "src/commands_object.cc",
        "src/commands_policy.cc",
        "src/commands_session.cc",
        "src/commands_sign.cc",
        "src/commands_system.cc",
        "src/esys_connection.cc",
        "src/esys_context.cc",
        "src/handle_table.cc",
        "src/reply.cc"
      ],
      "cflags_cc": ["<!@(pkg-config --cflags tss2-esys tss2-mu tss2-tctildr)"],
      "libraries": ["<!@(pkg-config --libs tss2-esys tss2-mu tss2-tctildr)"],
      # Never unloaded: a thread whose TPM does not answer may outlive its environment.
      "ldflags": ["-Wl,-z,nodelete"]
    },
    {
      "target_name": "peercred",
      "sources": ["src/peercred.cc", "src/process_watch.cc"]
    },
    {
      "target_name": "process_control",
      "sources": ["src/process_control.cc"]
    },
    {
      # OpenSSL is the one that Node is linked with: its headers come with Node, its symbols are found in Node.
      "target_name": "verify",
      "sources": [
        "src/public_key.cc",
        "src/verification_queue.cc",
        "src/verification_thread.cc",
        "src/verify.cc"
      ],
      "defines": ["OPENSSL_NO_DEPRECATED", "OPENSSL_API_COMPAT=30000"]
    }
  ]
}
