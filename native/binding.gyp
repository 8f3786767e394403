{
  'targets': [
    {
      'target_name': 'bpf',
      'sources': [
        'addon.cc', 'args.cc', 'attach.cc', 'btf.cc', 'error.cc', 'fd.cc', 'link.cc', 'map.cc', 'netns.cc',
        'object.cc', 'probe.cc', 'program.cc', 'ringbuf.cc',
      ],
      'dependencies': ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      'defines': ['NAPI_VERSION=9'],
      'cflags_cc': ['-std=c++17', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden', '<!@(pkg-config --cflags libbpf)'],
      'libraries': ['<!@(pkg-config --libs libbpf)'],
    },
  ],
}
