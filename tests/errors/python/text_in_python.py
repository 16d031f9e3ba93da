from tileloom import vm

vm.parse("""
func @f(%p: *f16) warps = 1 {
  %t = laod %p[0] : reg<f16, [16]>
}
""")
