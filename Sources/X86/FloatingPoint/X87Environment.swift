import CHost

/// FLDENV, FSTENV, FRSTOR, FSAVE in their four formats (Intel SDM vol. 1, 8.1.10).
extension CPU {
  private func x87Is16Bit(_ op: UnsafePointer<vm_op>) -> Bool {
    let isCode16 = s.pointee.mode & UInt32(VM_MODE_CODE_MASK) == UInt32(VM_MODE_CODE16)
    // REX.W overrides the prefix.
    return isCode16 != (op.pointee.prefixes & UInt8(VM_PREFIX_OPSIZE | VM_PREFIX_REX_W) == UInt8(VM_PREFIX_OPSIZE))
  }

  private var x87IsProtected: Bool { s.pointee.mode & UInt32(VM_MODE_PROTECTED) != 0 }

  func storeX87Environment(_ op: UnsafePointer<vm_op>, withRegisters: Bool) throws(GuestFault) {
    let is16 = x87Is16Bit(op)
    let head = is16 ? 14 : 28
    let count = withRegisters ? head + 80 : head
    let linear = try operandLinear(op, size: count, write: true)
    try checkAlignment(linear, size: is16 ? 2 : 4, set: Int(s.pointee.mmu))
    var image = vm_fx_image()
    let place = vm_fx_bytes(&image)
    if is16 {
      fillEnvironment16(place)
    } else {
      fillEnvironment32(place)
    }
    if withRegisters {
      for index in 0..<8 { vm_x87_get(s, Int32(index), place + head + 10 * index) }
    }
    try storeBytes(linear, from: place, count: count)
    if withRegisters {
      vm_x87_init(s)
    } else {
      s.pointee.fpu_control |= 0x3f
      vm_x87_summarize(s)
    }
  }

  private func fillEnvironment16(_ place: UnsafeMutablePointer<UInt8>) {
    let words = UnsafeMutableRawPointer(place).assumingMemoryBound(to: UInt16.self)
    words[0] = s.pointee.fpu_control
    words[1] = s.pointee.fpu_status
    words[2] = vm_x87_tag_word(s)
    if x87IsProtected {
      words[3] = UInt16(truncatingIfNeeded: s.pointee.fpu_ip)
      words[4] = s.pointee.fpu_cs
      words[5] = UInt16(truncatingIfNeeded: s.pointee.fpu_dp)
      words[6] = s.pointee.fpu_ds
    } else {
      let ip = realAddress(s.pointee.fpu_cs, s.pointee.fpu_ip)
      let dp = realAddress(s.pointee.fpu_ds, s.pointee.fpu_dp)
      words[3] = UInt16(truncatingIfNeeded: ip)
      words[4] = UInt16(truncatingIfNeeded: (ip >> 4) & 0xf000) | s.pointee.fpu_opcode & 0x7ff
      words[5] = UInt16(truncatingIfNeeded: dp)
      words[6] = UInt16(truncatingIfNeeded: (dp >> 4) & 0xf000)
    }
  }

  private func fillEnvironment32(_ place: UnsafeMutablePointer<UInt8>) {
    let words = UnsafeMutableRawPointer(place).assumingMemoryBound(to: UInt32.self)
    words[0] = 0xffff_0000 | UInt32(s.pointee.fpu_control)
    words[1] = 0xffff_0000 | UInt32(s.pointee.fpu_status)
    words[2] = 0xffff_0000 | UInt32(vm_x87_tag_word(s))
    let opcode = UInt32(s.pointee.fpu_opcode & 0x7ff)
    if x87IsProtected {
      words[3] = UInt32(truncatingIfNeeded: s.pointee.fpu_ip)
      words[4] = opcode << 16 | UInt32(s.pointee.fpu_cs)
      words[5] = UInt32(truncatingIfNeeded: s.pointee.fpu_dp)
      words[6] = 0xffff_0000 | UInt32(s.pointee.fpu_ds)
    } else {
      let ip = realAddress(s.pointee.fpu_cs, s.pointee.fpu_ip)
      let dp = realAddress(s.pointee.fpu_ds, s.pointee.fpu_dp)
      words[3] = 0xffff_0000 | ip & 0xffff
      words[4] = (ip >> 16) << 12 | opcode
      words[5] = 0xffff_0000 | dp & 0xffff
      words[6] = (dp >> 16) << 12
    }
  }

  /// Real and virtual-8086 mode show linear addresses.
  private func realAddress(_ selector: UInt16, _ offset: UInt64) -> UInt32 {
    (UInt32(selector) << 4) &+ UInt32(truncatingIfNeeded: offset)
  }

  func loadX87Environment(_ op: UnsafePointer<vm_op>, withRegisters: Bool) throws(GuestFault) {
    let is16 = x87Is16Bit(op)
    let head = is16 ? 14 : 28
    let count = withRegisters ? head + 80 : head
    let linear = try operandLinear(op, size: count, write: false)
    try checkAlignment(linear, size: is16 ? 2 : 4, set: Int(s.pointee.mmu))
    var image = vm_fx_image()
    let place = vm_fx_bytes(&image)
    try loadBytes(linear, into: place, count: count)
    let raw = UnsafeRawPointer(place)
    let step = is16 ? 2 : 4
    func word(_ index: Int) -> UInt32 {
      is16
        ? UInt32(raw.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
        : raw.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)
    }
    s.pointee.fpu_control = UInt16(truncatingIfNeeded: word(0)) & 0x1f7f | 0x40
    s.pointee.fpu_status = UInt16(truncatingIfNeeded: word(1))
    vm_x87_set_tag_word(s, UInt16(truncatingIfNeeded: word(2)))
    if x87IsProtected {
      s.pointee.fpu_ip = UInt64(word(3))
      s.pointee.fpu_cs = UInt16(truncatingIfNeeded: word(4))
      s.pointee.fpu_dp = UInt64(word(5))
      s.pointee.fpu_ds = UInt16(truncatingIfNeeded: word(6))
      if step == 4 { s.pointee.fpu_opcode = UInt16(truncatingIfNeeded: word(4) >> 16) & 0x7ff }
    } else {
      let high: UInt32 = 0xfff_f000
      s.pointee.fpu_ip = UInt64(word(3) & 0xffff | (word(4) & high) << 4)
      s.pointee.fpu_dp = UInt64(word(5) & 0xffff | (word(6) & high) << 4)
      s.pointee.fpu_cs = 0
      s.pointee.fpu_ds = 0
      s.pointee.fpu_opcode = UInt16(truncatingIfNeeded: word(4)) & 0x7ff
    }
    vm_x87_summarize(s)
    if withRegisters {
      for index in 0..<8 { vm_x87_put(s, Int32(index), place + head + 10 * index) }
    }
  }
}
