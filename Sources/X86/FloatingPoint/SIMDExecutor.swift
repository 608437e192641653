import CHost

/// MMX and SSE to SSE4.2 (Intel SDM vol. 1, chapters 9 to 12). The work is done by the host's own instructions; here
/// are operands, checks and exceptions. Nothing architectural changes before the last thing that can fault.
extension CPU {
  /// Runs one instruction that `SIMDTable.lookup` named: `vm_op.sub` is its `sub`.
  func executeSIMD(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    let row = SIMDTable.rows + Int(op.pointee.sub)
    let isMemory = op.pointee.prefixes & UInt8(VM_PREFIX_MEMORY) != 0
    let reg = UInt32(op.pointee.reg)
    let rm = UInt32(op.pointee.rm)
    switch Int(row.pointee.shape) {
    case VM_SIMD_XX:
      try requireSSE()
      var source = isMemory ? try simdMemory(op, row) : vm_xmm_at(s, rm).pointee
      try simdCompute(op, row, vm_xmm_at(s, reg), &source, isMemory)

    case VM_SIMD_LOAD:
      try requireSSE()
      if isMemory {
        vm_xmm_at(s, reg).pointee = try simdMemory(op, row)
      } else {
        vm_simd_run(row, vm_xmm_at(s, reg), vm_xmm_at(s, rm), 0)
      }

    case VM_SIMD_STORE:
      try requireSSE()
      if isMemory {
        try simdStore(op, row, vm_xmm_at(s, reg).pointee)
      } else {
        vm_simd_run(row, vm_xmm_at(s, rm), vm_xmm_at(s, reg), 0)
      }

    case VM_SIMD_STORE_HIGH:
      try requireSSE()
      try simdStore(op, row, vm_xmm(lo: vm_xmm_at(s, reg).pointee.hi, hi: 0))

    case VM_SIMD_XI:
      try requireSSE()
      vm_simd_run(row, vm_xmm_at(s, rm), vm_xmm_at(s, rm), UInt8(truncatingIfNeeded: op.pointee.imm))

    case VM_SIMD_XG:
      try requireSSE()
      var source = isMemory ? try simdMemory(op, row) : vm_xmm(lo: vm_gpr_at(s, rm).pointee, hi: 0)
      try simdCompute(op, row, vm_xmm_at(s, reg), &source, isMemory)

    case VM_SIMD_GX:
      try requireSSE()
      var source = isMemory ? try simdMemory(op, row) : vm_xmm_at(s, rm).pointee
      var result = vm_xmm()
      try simdCompute(op, row, &result, &source, isMemory)
      vm_gpr_at(s, reg).pointee = result.lo

    case VM_SIMD_EX:
      try requireSSE()
      var result = vm_xmm()
      vm_simd_run(row, &result, vm_xmm_at(s, reg), UInt8(truncatingIfNeeded: op.pointee.imm))
      if isMemory {
        try simdStore(op, row, result)
      } else {
        vm_gpr_at(s, rm).pointee = result.lo
      }

    case VM_SIMD_BLENDV:
      try requireSSE()
      var source = isMemory ? try simdMemory(op, row) : vm_xmm_at(s, rm).pointee
      vm_simd_run_blend(row, vm_xmm_at(s, reg), &source, vm_xmm_at(s, 0))

    case VM_SIMD_FLAGS:
      try requireSSE()
      var source = isMemory ? try simdMemory(op, row) : vm_xmm_at(s, rm).pointee
      var result = vm_xmm_at(s, reg).pointee
      try simdCompute(op, row, &result, &source, isMemory)
      setFlags(result.lo & arithmeticFlags, mask: arithmeticFlags)

    case VM_SIMD_STRINGS:
      try requireSSE()
      try executeStringCompare(op, row, isMemory)

    case VM_SIMD_MASKMOVDQU:
      try requireSSE()
      let mask = vm_xmm_at(s, rm).pointee
      let value = vm_xmm_at(s, reg).pointee
      try maskedStore(op, size: 16, mask: mask, value: value)

    case VM_SIMD_CRC32:
      try executeCRC32(op, row, isMemory)

    case VM_SIMD_MOVNTI:
      let value = vm_gpr_at(s, reg).pointee
      if op.pointee.prefixes & UInt8(VM_PREFIX_REX_W) != 0 {
        try store(try operandLinear(op, size: 8, write: true), value)
      } else {
        try store(try operandLinear(op, size: 4, write: true), UInt32(truncatingIfNeeded: value))
      }

    case VM_SIMD_FENCE:
      vm_full_fence()

    case VM_SIMD_CLFLUSH:
      let linear = try operandLinear(op, size: 1, write: false)
      _ = try load(linear, as: UInt8.self)

    case VM_SIMD_LDMXCSR:
      try requireSSE()
      let value = try load(try operandLinear(op, size: 4, write: false), as: UInt32.self)
      if value & ~UInt32(0xffff) != 0 { throw GuestFault.protection(0) }
      s.pointee.mxcsr = value

    case VM_SIMD_STMXCSR:
      try requireSSE()
      try store(try operandLinear(op, size: 4, write: true), s.pointee.mxcsr)

    case VM_SIMD_FXSAVE: try executeFXSAVE(op)
    case VM_SIMD_FXRSTOR: try executeFXRSTOR(op)
    case VM_SIMD_XSAVE, VM_SIMD_XSAVEOPT: try executeXSAVE(op)
    case VM_SIMD_XRSTOR: try executeXRSTOR(op)
    default: try executeMMX(op, row, isMemory)
    }
  }

  /// CF PF AF ZF SF OF.
  private var arithmeticFlags: UInt64 { 0x8d5 }

  /// The checks of every instruction that uses XMM registers (Intel SDM vol. 3A, table 15-1).
  @inline(__always)
  func requireSSE() throws(GuestFault) {
    if s.pointee.cr0 & 0xc != 0 || s.pointee.cr4 & 0x200 == 0 { throw sseUnavailable() }
  }

  @inline(never)
  private func sseUnavailable() -> GuestFault {
    if s.pointee.cr0 & 4 != 0 || s.pointee.cr4 & 0x200 == 0 { return .undefined }
    return .deviceNotAvailable
  }

  /// Runs a computation on `destination`, which is left alone when it raises an exception.
  @inline(__always)
  func simdCompute(
    _ op: UnsafePointer<vm_op>, _ row: UnsafePointer<vm_simd_row>, _ destination: UnsafeMutablePointer<vm_xmm>,
    _ source: UnsafePointer<vm_xmm>, _ isMemory: Bool
  ) throws(GuestFault) {
    let flags = Int(row.pointee.flags)
    var immediate = UInt8(truncatingIfNeeded: op.pointee.imm)
    if flags & (VM_SIMD_FLOAT | VM_SIMD_APPROXIMATE) == 0 {
      // INSERTPS of a memory operand has one source element: the selector is ignored.
      if isMemory && row.pointee.map == 3 && row.pointee.opcode == 0x21 { immediate &= 0x3f }
      vm_simd_run(row, destination, source, immediate)
    } else if flags & VM_SIMD_FLOAT != 0 {
      try simdComputeFloat(row, destination, source, immediate)
    } else {
      vm_simd_run_approximate(row, destination, source)
    }
  }

  /// SIMD floating-point exceptions (Intel SDM vol. 1, 11.5): sticky flags are set either way, an unmasked exception
  /// leaves the destination alone, and one found before the computation hides those found after it.
  func simdComputeFloat(
    _ row: UnsafePointer<vm_simd_row>, _ destination: UnsafeMutablePointer<vm_xmm>,
    _ source: UnsafePointer<vm_xmm>, _ immediate: UInt8
  ) throws(GuestFault) {
    let mxcsr = s.pointee.mxcsr
    var result = destination.pointee
    let reportsTiny = mxcsr & 0x800 == 0
    // Flush to zero has no effect while underflow is unmasked (Intel SDM vol. 1, 10.2.3.3).
    let effective = reportsTiny ? mxcsr & 0x7fff : mxcsr
    var raised = vm_simd_run_float(row, &result, source, immediate, effective)
    if reportsTiny && simdHasTinyResult(row, result) { raised |= 0x10 }
    if raised != 0 {
      let masks = (mxcsr >> 7) & 0x3f
      if raised & ~masks & 7 != 0 { raised &= 7 }
      s.pointee.mxcsr = mxcsr | raised
      if raised & ~masks != 0 { throw s.pointee.cr4 & 0x400 != 0 ? GuestFault.simd : GuestFault.undefined }
    }
    destination.pointee = result
  }

  /// Unmasked underflow is reported for a tiny result even when it is exact (Intel SDM vol. 1, 4.9.1.5).
  private func simdHasTinyResult(_ row: UnsafePointer<vm_simd_row>, _ result: vm_xmm) -> Bool {
    let flags = Int(row.pointee.flags)
    let lanes = Int(row.pointee.lanes)
    if flags & VM_SIMD_SINGLE_RESULT != 0 {
      for lane in 0..<lanes {
        let word = lane < 2 ? result.lo : result.hi
        let bits = UInt32(truncatingIfNeeded: word >> UInt64((lane & 1) &* 32))
        if bits & 0x7f80_0000 == 0 && bits & 0x7f_ffff != 0 { return true }
      }
    } else if flags & VM_SIMD_DOUBLE_RESULT != 0 {
      for lane in 0..<lanes {
        let bits = lane == 0 ? result.lo : result.hi
        if bits & 0x7ff0_0000_0000_0000 == 0 && bits & 0xf_ffff_ffff_ffff != 0 { return true }
      }
    }
    return false
  }

  /// The memory operand of a row, zero-extended; exactly its bytes are read.
  @inline(__always)
  func simdMemory(_ op: UnsafePointer<vm_op>, _ row: UnsafePointer<vm_simd_row>) throws(GuestFault) -> vm_xmm {
    let size = Int(row.pointee.size)
    let linear = try operandLinear(op, size: size, write: false)
    switch size {
    case 16:
      if Int(row.pointee.flags) & VM_SIMD_ALIGNED != 0 && linear & 15 != 0 { throw GuestFault.protection(0) }
      return try load128(linear)
    case 8: return vm_xmm(lo: try load(linear, as: UInt64.self), hi: 0)
    case 4: return vm_xmm(lo: UInt64(try load(linear, as: UInt32.self)), hi: 0)
    case 2: return vm_xmm(lo: UInt64(try load(linear, as: UInt16.self)), hi: 0)
    default: return vm_xmm(lo: UInt64(try load(linear, as: UInt8.self)), hi: 0)
    }
  }

  /// Stores the low bytes of `value`, as many as the row's memory operand has.
  @inline(__always)
  func simdStore(
    _ op: UnsafePointer<vm_op>, _ row: UnsafePointer<vm_simd_row>, _ value: vm_xmm
  ) throws(GuestFault) {
    let size = Int(row.pointee.size)
    let linear = try operandLinear(op, size: size, write: true)
    switch size {
    case 16:
      if Int(row.pointee.flags) & VM_SIMD_ALIGNED != 0 && linear & 15 != 0 { throw GuestFault.protection(0) }
      try store128(linear, value)
    case 8: try store(linear, value.lo)
    case 4: try store(linear, UInt32(truncatingIfNeeded: value.lo))
    case 2: try store(linear, UInt16(truncatingIfNeeded: value.lo))
    default: try store(linear, UInt8(truncatingIfNeeded: value.lo))
    }
  }

  /// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (Intel SDM vol. 2, 4.1).
  private func executeStringCompare(
    _ op: UnsafePointer<vm_op>, _ row: UnsafePointer<vm_simd_row>, _ isMemory: Bool
  ) throws(GuestFault) {
    var b = isMemory ? try simdMemory(op, row) : vm_xmm_at(s, UInt32(op.pointee.rm)).pointee
    let isWide = op.pointee.prefixes & UInt8(VM_PREFIX_REX_W) != 0
    let lengthA = stringLength(s.pointee.gpr.0, isWide)
    let lengthB = stringLength(s.pointee.gpr.2, isWide)
    var mask = vm_xmm()
    let immediate = UInt8(truncatingIfNeeded: op.pointee.imm)
    let result = vm_simd_run_strings(
      row, vm_xmm_at(s, UInt32(op.pointee.reg)), &b, immediate, lengthA, lengthB, &mask)
    if row.pointee.opcode & 1 != 0 {
      s.pointee.gpr.1 = result.index
    } else {
      vm_xmm_at(s, 0).pointee = mask
    }
    setFlags(result.flags & arithmeticFlags, mask: arithmeticFlags)
  }

  /// An explicit length: absolute values above the number of elements mean all of them.
  private func stringLength(_ register: UInt64, _ isWide: Bool) -> Int32 {
    let length = isWide ? Int64(bitPattern: register) : Int64(Int32(truncatingIfNeeded: register))
    return Int32(min(max(length, -16), 16))
  }

  /// CRC32 (Intel SDM vol. 2A). Needs no SSE state.
  private func executeCRC32(
    _ op: UnsafePointer<vm_op>, _ row: UnsafePointer<vm_simd_row>, _ isMemory: Bool
  ) throws(GuestFault) {
    let prefixes = Int(op.pointee.prefixes)
    let isWord = row.pointee.size == 4 && prefixes & VM_PREFIX_OPSIZE != 0
    let size = isWord ? 2 : Int(row.pointee.size)
    let rm = UInt32(op.pointee.rm)
    var value: UInt64
    if isMemory {
      let linear = try operandLinear(op, size: size, write: false)
      switch size {
      case 1: value = UInt64(try load(linear, as: UInt8.self))
      case 2: value = UInt64(try load(linear, as: UInt16.self))
      case 4: value = UInt64(try load(linear, as: UInt32.self))
      default: value = try load(linear, as: UInt64.self)
      }
    } else if size == 1 && (rm >= 20 || (rm >= 4 && rm < 8 && prefixes & VM_PREFIX_REX == 0)) {
      value = vm_gpr_at(s, rm & 3).pointee >> 8  // AH CH DH BH
    } else {
      value = vm_gpr_at(s, rm).pointee
    }
    var result = vm_xmm(lo: vm_gpr_at(s, UInt32(op.pointee.reg)).pointee, hi: 0)
    var source = vm_xmm(lo: value, hi: 0)
    if isWord {
      let byteRow = SIMDTable.crc32Byte
      vm_simd_run(byteRow, &result, &source, 0)
      source.lo = value >> 8
      vm_simd_run(byteRow, &result, &source, 0)
    } else {
      vm_simd_run(row, &result, &source, 0)
    }
    vm_gpr_at(s, UInt32(op.pointee.reg)).pointee = result.lo
  }

  /// MASKMOVDQU and MASKMOVQ: the bytes whose mask byte has its top bit set go to DS:rDI. A fault in the middle leaves
  /// the earlier bytes written; the restarted instruction writes them again.
  func maskedStore(
    _ op: UnsafePointer<vm_op>, size: Int, mask: vm_xmm, value: vm_xmm
  ) throws(GuestFault) {
    var place = op.pointee
    place.base = 7
    place.index = UInt8(VM_SLOT_ZERO)
    place.scale = 0
    place.disp = 0
    place.prefixes |= UInt8(VM_PREFIX_MEMORY)
    let linear = try withUnsafePointer(to: &place) { (pointer) throws(GuestFault) -> UInt64 in
      try operandLinear(pointer, size: size, write: true)
    }
    for index in 0..<size {
      let shift = UInt64((index & 7) &* 8)
      let maskByte = (index < 8 ? mask.lo : mask.hi) >> shift
      if maskByte & 0x80 == 0 { continue }
      let byte = (index < 8 ? value.lo : value.hi) >> shift
      try store(linear &+ UInt64(index), UInt8(truncatingIfNeeded: byte))
    }
  }
}
