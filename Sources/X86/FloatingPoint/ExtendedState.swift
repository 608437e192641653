import CHost

/// FXSAVE, FXRSTOR (Intel SDM vol. 1, 10.5) and XSAVE, XRSTOR for x87 and SSE state (chapter 13).
extension CPU {
  private var isLongCode: Bool { s.pointee.mode & UInt32(VM_MODE_CODE_MASK) == UInt32(VM_MODE_CODE64) }
  /// XMM8-15 exist in 64-bit mode alone.
  private var visibleXMM: Int { isLongCode ? 16 : 8 }

  private func requireFX() throws(GuestFault) {
    if s.pointee.cr0 & 0xc != 0 { throw GuestFault.deviceNotAvailable }
  }

  private func requireXSAVE() throws(GuestFault) {
    if s.pointee.cr4 & 0x40000 == 0 { throw GuestFault.undefined }
    if s.pointee.cr0 & 8 != 0 { throw GuestFault.deviceNotAvailable }
  }

  func executeFXSAVE(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    try requireFX()
    let linear = try operandLinear(op, size: 512, write: true)
    if linear & 15 != 0 { throw GuestFault.protection(0) }
    var image = vm_fx_image()
    let place = vm_fx_bytes(&image)
    fillX87(place, op)
    fillMXCSR(place)
    fillXMM(place)
    // The bytes beyond the last register are left as they are.
    try storeBytes(linear, from: place, count: 160 + 16 * visibleXMM)
  }

  func executeFXRSTOR(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    try requireFX()
    let linear = try operandLinear(op, size: 512, write: false)
    if linear & 15 != 0 { throw GuestFault.protection(0) }
    var image = vm_fx_image()
    let place = vm_fx_bytes(&image)
    try loadBytes(linear, into: place, count: 512)
    let mxcsr = UnsafeRawPointer(place).load(fromByteOffset: 24, as: UInt32.self)
    if mxcsr & ~UInt32(0xffff) != 0 { throw GuestFault.protection(0) }
    takeX87(place, op)
    s.pointee.mxcsr = mxcsr
    takeXMM(place)
  }

  func executeXSAVE(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    try requireXSAVE()
    let linear = try operandLinear(op, size: 576, write: true)
    if linear & 63 != 0 { throw GuestFault.protection(0) }
    let requested = requestedState
    let previous = try load(linear &+ 512, as: UInt64.self)
    var image = vm_fx_image()
    let place = vm_fx_bytes(&image)
    // Every part is written or none: find a fault before the first store.
    try loadBytes(linear, into: place, count: 512)
    if requested & 1 != 0 { fillX87(place, op) }
    if requested & 2 != 0 { fillXMM(place) }
    if requested & 2 != 0 { fillMXCSR(place) }
    try storeBytes(linear, from: place, count: 160 + 16 * visibleXMM)
    try store(linear &+ 512, previous & ~requested | requested & 3)
  }

  func executeXRSTOR(_ op: UnsafePointer<vm_op>) throws(GuestFault) {
    try requireXSAVE()
    let linear = try operandLinear(op, size: 576, write: false)
    if linear & 63 != 0 { throw GuestFault.protection(0) }
    var image = vm_fx_image()
    let place = vm_fx_bytes(&image)
    try loadBytes(linear, into: place, count: 576)
    let raw = UnsafeRawPointer(place)
    let present = raw.load(fromByteOffset: 512, as: UInt64.self)
    var reserved: UInt64 = 0
    for offset in stride(from: 520, to: 576, by: 8) { reserved |= raw.load(fromByteOffset: offset, as: UInt64.self) }
    if present & ~s.pointee.xcr0 != 0 || reserved != 0 { throw GuestFault.protection(0) }
    let requested = requestedState
    let mxcsr = raw.load(fromByteOffset: 24, as: UInt32.self)
    if requested & 2 != 0 && mxcsr & ~UInt32(0xffff) != 0 { throw GuestFault.protection(0) }
    if requested & 1 != 0 {
      if present & 1 != 0 {
        takeX87(place, op)
      } else {
        vm_x87_init(s)
        for index in 0..<8 { vm_x87_clear(s, Int32(index)) }
      }
    }
    if requested & 2 != 0 {
      s.pointee.mxcsr = mxcsr
      if present & 2 != 0 {
        takeXMM(place)
      } else {
        for index in 0..<visibleXMM { vm_xmm_at(s, UInt32(index)).pointee = vm_xmm(lo: 0, hi: 0) }
      }
    }
  }

  private var requestedState: UInt64 {
    let low = s.pointee.gpr.0 & 0xffff_ffff
    return (s.pointee.gpr.2 << 32 | low) & s.pointee.xcr0 & 3
  }

  private func fillX87(_ place: UnsafeMutablePointer<UInt8>, _ op: UnsafePointer<vm_op>) {
    let raw = UnsafeMutableRawPointer(place)
    raw.storeBytes(of: s.pointee.fpu_control, as: UInt16.self)
    raw.storeBytes(of: s.pointee.fpu_status, toByteOffset: 2, as: UInt16.self)
    raw.storeBytes(of: UInt16(~s.pointee.fpu_empty), toByteOffset: 4, as: UInt16.self)
    raw.storeBytes(of: s.pointee.fpu_opcode & 0x7ff, toByteOffset: 6, as: UInt16.self)
    if op.pointee.prefixes & UInt8(VM_PREFIX_REX_W) != 0 {
      raw.storeBytes(of: s.pointee.fpu_ip, toByteOffset: 8, as: UInt64.self)
      raw.storeBytes(of: s.pointee.fpu_dp, toByteOffset: 16, as: UInt64.self)
    } else {
      let ip = s.pointee.fpu_ip & 0xffff_ffff | UInt64(s.pointee.fpu_cs) << 32
      let dp = s.pointee.fpu_dp & 0xffff_ffff | UInt64(s.pointee.fpu_ds) << 32
      raw.storeBytes(of: ip, toByteOffset: 8, as: UInt64.self)
      raw.storeBytes(of: dp, toByteOffset: 16, as: UInt64.self)
    }
    for index in 0..<8 {
      vm_x87_get(s, Int32(index), place + 32 + 16 * index)
      for padding in 10..<16 { place[32 + 16 * index + padding] = 0 }
    }
  }

  private func fillMXCSR(_ place: UnsafeMutablePointer<UInt8>) {
    let raw = UnsafeMutableRawPointer(place)
    raw.storeBytes(of: s.pointee.mxcsr, toByteOffset: 24, as: UInt32.self)
    raw.storeBytes(of: 0xffff, toByteOffset: 28, as: UInt32.self)
  }

  private func fillXMM(_ place: UnsafeMutablePointer<UInt8>) {
    let raw = UnsafeMutableRawPointer(place)
    for index in 0..<visibleXMM {
      raw.storeBytes(of: vm_xmm_at(s, UInt32(index)).pointee, toByteOffset: 160 + 16 * index, as: vm_xmm.self)
    }
  }

  private func takeX87(_ place: UnsafeMutablePointer<UInt8>, _ op: UnsafePointer<vm_op>) {
    let raw = UnsafeRawPointer(place)
    s.pointee.fpu_control = raw.load(as: UInt16.self) & 0x1f7f | 0x40
    s.pointee.fpu_status = raw.load(fromByteOffset: 2, as: UInt16.self)
    s.pointee.fpu_empty = ~place[4]
    s.pointee.fpu_opcode = raw.load(fromByteOffset: 6, as: UInt16.self) & 0x7ff
    let ip = raw.load(fromByteOffset: 8, as: UInt64.self)
    let dp = raw.load(fromByteOffset: 16, as: UInt64.self)
    if op.pointee.prefixes & UInt8(VM_PREFIX_REX_W) != 0 {
      s.pointee.fpu_ip = ip
      s.pointee.fpu_dp = dp
    } else {
      s.pointee.fpu_ip = ip & 0xffff_ffff
      s.pointee.fpu_dp = dp & 0xffff_ffff
      s.pointee.fpu_cs = UInt16(truncatingIfNeeded: ip >> 32)
      s.pointee.fpu_ds = UInt16(truncatingIfNeeded: dp >> 32)
    }
    vm_x87_summarize(s)
    for index in 0..<8 { vm_x87_put(s, Int32(index), place + 32 + 16 * index) }
  }

  private func takeXMM(_ place: UnsafeMutablePointer<UInt8>) {
    let raw = UnsafeRawPointer(place)
    for index in 0..<visibleXMM {
      vm_xmm_at(s, UInt32(index)).pointee = raw.load(fromByteOffset: 160 + 16 * index, as: vm_xmm.self)
    }
  }
}
