import CHost

/// MMX: the registers are the significands of the x87 registers (Intel SDM vol. 1, 9.2 and 9.5).
extension CPU {
  func executeMMX(
    _ op: UnsafePointer<vm_op>, _ row: UnsafePointer<vm_simd_row>, _ isMemory: Bool
  ) throws(GuestFault) {
    let reg = UInt32(op.pointee.reg & 7)
    let rm = UInt32(op.pointee.rm)
    let immediate = UInt8(truncatingIfNeeded: op.pointee.imm)
    switch Int(row.pointee.shape) {
    case VM_SIMD_PP:
      try requireMMX()
      var source = isMemory ? try simdMemory(op, row) : vm_xmm(lo: vm_mmx_at(s, rm).pointee, hi: 0)
      var result = vm_xmm(lo: vm_mmx_at(s, reg).pointee, hi: 0)
      vm_simd_run(row, &result, &source, immediate)
      setMMX(reg, result.lo)

    case VM_SIMD_PSTORE:
      try requireMMX()
      let value = vm_mmx_at(s, reg).pointee
      if isMemory {
        try simdStore(op, row, vm_xmm(lo: value, hi: 0))
        enterMMX()
      } else {
        setMMX(rm, value)
      }

    case VM_SIMD_PI:
      try requireMMX()
      var result = vm_xmm(lo: vm_mmx_at(s, rm).pointee, hi: 0)
      var unused = vm_xmm()
      vm_simd_run(row, &result, &unused, immediate)
      setMMX(rm, result.lo)

    case VM_SIMD_XP:
      // CVTPI2PD of memory uses no MMX register (Intel SDM vol. 2A).
      let usesMMX = !(isMemory && row.pointee.prefix == SIMDPrefix._66.rawValue)
      try requireSSE()
      if usesMMX { try requireMMX() }
      var source = isMemory ? try simdMemory(op, row) : vm_xmm(lo: vm_mmx_at(s, rm).pointee, hi: 0)
      try simdCompute(op, row, vm_xmm_at(s, reg | UInt32(op.pointee.reg & 8)), &source, isMemory)
      if usesMMX { enterMMX() }

    case VM_SIMD_PX:
      try requireSSE()
      try requireMMX()
      var source = isMemory ? try simdMemory(op, row) : vm_xmm_at(s, rm).pointee
      var result = vm_xmm()
      try simdCompute(op, row, &result, &source, isMemory)
      setMMX(reg, result.lo)

    case VM_SIMD_PG:
      try requireMMX()
      var source = isMemory ? try simdMemory(op, row) : vm_xmm(lo: vm_gpr_at(s, rm).pointee, hi: 0)
      var result = vm_xmm(lo: vm_mmx_at(s, reg).pointee, hi: 0)
      vm_simd_run(row, &result, &source, immediate)
      setMMX(reg, result.lo)

    case VM_SIMD_GP:
      try requireMMX()
      var source = vm_xmm(lo: vm_mmx_at(s, rm).pointee, hi: 0)
      var result = vm_xmm()
      vm_simd_run(row, &result, &source, immediate)
      vm_gpr_at(s, UInt32(op.pointee.reg)).pointee = result.lo
      enterMMX()

    case VM_SIMD_EP:
      try requireMMX()
      var source = vm_xmm(lo: vm_mmx_at(s, reg).pointee, hi: 0)
      var result = vm_xmm()
      vm_simd_run(row, &result, &source, immediate)
      if isMemory {
        try simdStore(op, row, result)
      } else {
        vm_gpr_at(s, rm).pointee = result.lo
      }
      enterMMX()

    case VM_SIMD_MASKMOVQ:
      try requireMMX()
      let mask = vm_xmm(lo: vm_mmx_at(s, rm).pointee, hi: 0)
      let value = vm_xmm(lo: vm_mmx_at(s, reg).pointee, hi: 0)
      try maskedStore(op, size: 8, mask: mask, value: value)
      enterMMX()

    case VM_SIMD_EMMS:
      try requireMMX()
      s.pointee.fpu_status &= 0xc7ff
      s.pointee.fpu_empty = 0xff

    default:
      throw GuestFault.undefined
    }
  }

  /// The checks of every MMX instruction (Intel SDM vol. 3A, table 13-1): a pending x87 error is delivered first.
  @inline(__always)
  func requireMMX() throws(GuestFault) {
    if s.pointee.cr0 & 4 != 0 { throw GuestFault.undefined }
    if s.pointee.cr0 & 8 != 0 { throw GuestFault.deviceNotAvailable }
    if s.pointee.fpu_status & 0x80 != 0 { try deliverX87Error() }
  }

  /// Every MMX instruction but EMMS makes all registers valid and TOP 0.
  @inline(__always)
  func enterMMX() {
    s.pointee.fpu_status &= 0xc7ff
    s.pointee.fpu_empty = 0
  }

  @inline(__always)
  private func setMMX(_ index: UInt32, _ value: UInt64) {
    enterMMX()
    vm_mmx_at(s, index).pointee = value
    vm_mmx_mark(s, index)
  }
}
