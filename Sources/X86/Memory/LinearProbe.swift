extension CPU {
  /// The guest-physical address of `linear` as the paging structures have it, whatever the rights; nil when it is not
  /// mapped. Sets no flags and raises nothing: for debuggers.
  func probe(_ linear: UInt64) -> UInt64? {
    let state = s.pointee
    guard state.cr0 & CR0.pg != 0 else { return linear & state.a20_mask }
    let present: UInt64 = 1
    let large: UInt64 = 0x80
    let frame: UInt64 = 0x000f_ffff_ffff_f000
    func entry(_ table: UInt64, _ shift: UInt64, wide: Bool) -> UInt64? {
      let number = linear >> shift & (wide ? 0x1ff : 0x3ff)
      let place = (table &+ number * (wide ? 8 : 4)) & state.a20_mask
      let value = wide ? memory.read(place, as: UInt64.self) : UInt64(memory.read(place, as: UInt32.self))
      return value & present != 0 ? value : nil
    }
    func within(_ value: UInt64, _ bits: UInt64) -> UInt64 {
      let mask = (UInt64(1) << bits) - 1
      return (value & frame & ~mask | linear & mask) & state.a20_mask
    }
    guard state.cr4 & CR4.pae != 0 else {
      guard let directory = entry(state.cr3 & 0xffff_f000, 22, wide: false) else { return nil }
      if directory & large != 0 && state.cr4 & CR4.pse != 0 {
        return (directory & 0xffc0_0000 | (directory >> 13 & 0xff) << 32 | linear & 0x3f_ffff) & state.a20_mask
      }
      return entry(directory & 0xffff_f000, 12, wide: false).map { within($0, 12) }
    }
    var pointer: UInt64?
    if state.efer & EFER.lma != 0 {
      guard let root = entry(state.cr3 & frame, 39, wide: true) else { return nil }
      pointer = entry(root & frame, 30, wide: true)
      if let huge = pointer, huge & large != 0 { return within(huge, 30) }
    } else {
      let entries = [state.pdpte.0, state.pdpte.1, state.pdpte.2, state.pdpte.3]
      pointer = entries[Int(linear >> 30 & 3)]
      if let value = pointer, value & present == 0 { pointer = nil }
    }
    guard let pointer, let directory = entry(pointer & frame, 21, wide: true) else { return nil }
    if directory & large != 0 { return within(directory, 21) }
    return entry(directory & frame, 12, wide: true).map { within($0, 12) }
  }
}
